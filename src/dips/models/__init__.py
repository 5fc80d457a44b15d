"""The networks (paper figure 1): transformer, classifier, localizer, the linear map on keys, and where weights come from.

Importing anything from here first repairs torchvision if needed, because timm imports it.
"""

from __future__ import annotations

from dips.models import _torchvision

_torchvision.mend()
