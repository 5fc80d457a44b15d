"""The networks (paper figure 1): transformer, classifier, localizer, the linear map on keys, and where weights come from.

Importing anything from here mends torchvision first where that is needed, because timm imports it.
"""

from __future__ import annotations

from dips.models import _torchvision

_torchvision.mend()
