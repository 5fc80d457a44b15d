"""``dips adapt``: continue DINO's self-distillation on your own unlabelled photos, starting from any ViT's weights.

Importing anything from this package first patches torchvision if needed, as ``dips.models`` does.
"""

from __future__ import annotations

from dips.models import _torchvision

_torchvision.mend()
