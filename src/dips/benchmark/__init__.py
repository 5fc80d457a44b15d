"""Measuring on a split: ``dips evaluate``, ``dips score``, and their loop, also used by ``dips compare``.

- ``evaluate``: a trained run on a split; ``score``: ready score maps on a split.
- ``loop``: asks every :class:`~dips.types.Answerer` about every photo and counts what its maps are worth.
- ``frames``: ground truth and score maps in the frame of a protocol, and their comparison.
- ``mapfiles``, ``workers``: score maps on disk, measured in several processes.
- ``records``, ``photo_rows``, ``fingerprints``: the JSON and the CSV that are written.

The metrics themselves are in :mod:`dips.evaluate`.
"""
