"""The networks (paper figure 1): transformer, classifier, localizer, where their weights come from, and checkpoints.

Importing anything from here mends torchvision first where that is needed, because timm imports it.
"""

from __future__ import annotations

from dips.models import _torchvision

_torchvision.mend()
