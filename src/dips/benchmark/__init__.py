"""Measuring on a split: what ``dips evaluate``, ``dips score`` and ``dips compare`` share."""
