"""``dips adapt``: DINO's self-distillation continued on one's own unlabelled photos, from the weights of any ViT.

Importing anything from here mends torchvision first where that is needed, as ``dips.models`` does.
"""

from __future__ import annotations

from dips.models import _torchvision

_torchvision.mend()
