"""Maps missing packages to the extra that installs them."""

from __future__ import annotations

__all__ = ["missing_package"]

_EXTRAS = {
    "onnx": ("onnxruntime",),
    "ray": ("ray",),
    "remote": ("fsspec", "pyarrow"),
    "track": ("norfair",),
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
    """Return how to install the package missing in ``error``; None if no extra of DiPS contains it."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f'this needs {package}, which is not installed; pip install "dips-wsol[{extra}]"'
    return None
