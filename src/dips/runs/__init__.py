"""The run folder on disk: opened (``trained``), its files (``records``, ``checkpoint``, ``card``), its model (``identity``)."""
