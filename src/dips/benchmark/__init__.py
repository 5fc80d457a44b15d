"""Measuring on a split: ``dips evaluate``, ``dips score``, and their loop, also used by ``dips compare``.

- ``evaluate``: a trained run on a split; ``score``: existing score maps on a split.
- ``loop``: runs every :class:`~dips.types.Answerer` on every photo and measures its maps.
- ``frames``: ground truth and score maps in the frame of a protocol, and their comparison.
- ``mapfiles``, ``map_shards``: score maps on disk, measured in several processes.
- ``records``, ``photo_rows``, ``fingerprints``: the JSON and CSV output.

The metrics themselves are in :mod:`dips.evaluate`.
"""
