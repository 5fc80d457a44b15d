"""What comes with which extra of the package, for the one who lacks it."""

from __future__ import annotations

__all__ = ["missing_package"]

_EXTRAS = {
    "onnx": ("onnxruntime",),
    "export": ("onnxscript",),
    "train": (
        "jinja2",
        "lightning_fabric",
        "matplotlib",
        "safetensors",
        "scipy",
        "segmentation_models_pytorch",
        "sklearn",
        "timm",
        "torch",
        "torchvision",
    ),
}


def missing_package(error: ImportError) -> str | None:
    """What to tell of an import that failed because an extra is not installed; None where it failed for another reason."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f'this needs {package}, which is not installed; pip install "dips-wsol[{extra}]"'
    return None
