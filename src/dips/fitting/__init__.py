"""Training from photos to a run folder: what ``dips.fit`` and ``dips train`` do."""
