"""The run folder on disk: opened (``trained``), its files (``records``, ``checkpoint``, ``card``), which model it is."""
