"""Work on very many photos, for any number of processes: what each of them has to open, and what it then does.

:class:`Predictor` is for pipelines with photos in their own tables.
"""

from dips.batch.predictor import Predictor

__all__ = ["Predictor"]
