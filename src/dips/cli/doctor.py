"""``dips doctor``: what is installed and usable here, for a person and for bug reports. Never uses the network."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dips
from dips.errors import DipsError
from dips.system.console import counted, say
from dips.system.environment import __version__, store_folder
from dips.system.extras import missing_package

__all__ = ["doctor"]

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "lightning-fabric",
    "numba",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "safetensors",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "ray",
    "cyclopts",
)


def doctor() -> int:
    """Show what is installed and usable: versions, devices, weights with their licences, store, disk. For bug reports."""
    sections: dict[str, Callable[[], Iterator[str]]] = {
        "versions": _versions,
        "devices": _devices,
        "weights": _weights,
        "store": _store,
    }
    for title, lines in sections.items():
        print(title)
        try:
            for line in lines():
                say(f"  {line}")
        except Exception as error:  # a broken installation is what this command is for
            say(f"  FAILED: {type(error).__name__}: {error}")
    return 0


def _versions() -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    yield f"dips {__version__} in {Path(dips.__file__).parent}"
    yield f"python {platform.python_version()} in {sys.executable}"
    yield platform.platform()
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name}: not installed"


def _devices() -> Iterator[str]:
    with suppress(ModuleNotFoundError):
        import onnxruntime

        yield f"onnxruntime {onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
    try:
        import torch
    except ModuleNotFoundError:
        yield 'torch is not installed: only exported models can predict; for everything else pip install "dips-wsol[train]"'
        return
    yield f"cpu: {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / (1 << 30)
        yield f"cuda:{index}: {torch.cuda.get_device_name(index)}, {memory:.1f} GiB"
    if not torch.cuda.is_available():
        yield f"cuda: none{'' if torch.version.cuda else ' (this torch was built without CUDA)'}"
    if torch.backends.mps.is_available():
        yield "mps: available"


def _weights() -> Iterator[str]:
    from dips.config import Config

    try:
        from dips.models.names import hub_entry
        from dips.models.weights.resolve import AUTO_TRANSFORMER, EMBEDDED, resolve
    except ModuleNotFoundError as error:
        if missing_package(error) is None:
            raise
        yield "torch is not installed; an exported model contains its own weights"
        return

    variable = os.environ.get("DIPS_WEIGHTS", "")
    yield f"DIPS_WEIGHTS: {variable or 'not set'}"
    for item in filter(None, variable.split(os.pathsep)):
        if not Path(item.rpartition("=")[2]).expanduser().exists():
            yield f"  MISSING: {item}"
    for package in EMBEDDED:
        path = package.path()
        yield f"embedded {package.role}: {package.note}; {package.distribution} {package.version}, licence {package.licence}"
        yield f"  {path}" if path else '  NOT INSTALLED: pip install "dips-wsol[demo]"'
    offline = os.environ.get("DIPS_OFFLINE")
    os.environ["DIPS_OFFLINE"] = "1"  # search the hub's cache, but do not download
    try:
        for name, role, arch in (
            ("harvest.sst=auto", "transformer", "auto"),
            ("classifier.arch, localizer.encoder", "cnn", Config().classifier.arch),
        ):
            try:
                weights = resolve(arch, role=role)  # type: ignore[arg-type]
            except DipsError as error:
                yield f"{name}: NONE: {error}"
                continue
            yield f"{name} uses: {weights.line()}, licence {weights.licence or 'unknown'}"
            if arch == "auto" and not weights.arch.startswith(AUTO_TRANSFORMER):
                entry = hub_entry(AUTO_TRANSFORMER)
                source = f" (hub: {entry[0]}, licence {entry[2] or 'unknown'})" if entry else ""
                yield f"  the paper's {AUTO_TRANSFORMER} is not on this machine{source}"
    finally:
        if offline is None:
            del os.environ["DIPS_OFFLINE"]
        else:
            os.environ["DIPS_OFFLINE"] = offline


def _store() -> Iterator[str]:
    folder = store_folder()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    content = f"{_size(size)} in {counted(len(files), 'file')}" if files else "empty; --store DIR uses another folder"
    yield f"{folder}: {content}"
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    yield f"free space at the store: {_size(shutil.disk_usage(existing).free)}"
    yield f"free space in this folder: {_size(shutil.disk_usage(Path.cwd()).free)}"


def _size(size: float) -> str:
    """Return a number of bytes as people read it."""
    if size < 1024:
        return f"{size:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
