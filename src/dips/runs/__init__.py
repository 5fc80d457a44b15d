"""The run folder on disk: checkpoint, model card, which model it is."""
