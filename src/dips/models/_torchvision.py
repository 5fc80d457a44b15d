"""Make ``import torchvision`` work beside a torch wheel it was not built for.

PyPI's torchvision is a CUDA build. Its C++ library cannot be loaded beside a CPU-only torch; torchvision tolerates that,
but then registers Python kernels for two operators that only the library defines, and the import ends with "operator
torchvision::nms does not exist". timm needs torchvision merely at import; nothing here calls the two. Only if the import fails
in this very way are the operators declared (without a kernel) and the import repeated.
"""

from __future__ import annotations

import importlib
import re
import sys

import torch

__all__ = ["mend"]

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_MISSING = re.compile(r"operator torchvision::\w+ does not exist")
_declared: list[torch.library.Library] = []  # an operator lives as long as the Library object that declared it


def mend() -> bool:
    """Import torchvision, declaring its missing operators if need be.

    Returns:
        True if operators had to be declared; False where torchvision works by itself or is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return False  # timm raises its own error
    except RuntimeError as error:
        if not _MISSING.search(str(error)):
            raise
    else:
        return False
    # The failed import leaves behind submodules that hold no registration yet: remove them.
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)
    _declared.append(library)
    importlib.import_module("torchvision")
    return True
