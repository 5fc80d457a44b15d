"""What is installed and usable here, as lines of text for a person and for bug reports. Asks nothing of the network."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dips
from dips.errors import DipsError
from dips.system.environment import __version__, store_folder
from dips.system.extras import missing_package

__all__ = ["doctor", "render"]

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
    "cyclopts",
)


def render() -> str:
    """Everything as text; a part that fails says why and does not stop the others."""
    lines = []
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "versions": _versions,
        "devices": _devices,
        "weights": _weights,
        "store": _store,
    }
    for title, part in parts.items():
        lines.append(title)
        try:
            lines += [f"  {line}" for line in part()]
        except Exception as error:  # a broken installation is what this command is for
            lines.append(f"  FAILED: {type(error).__name__}: {error}")
    return "\n".join(lines)


def _versions() -> Iterator[str]:
    yield f"dips {__version__} in {Path(dips.__file__).parent}"
    yield f"python {platform.python_version()} in {sys.executable}"
    yield platform.platform()
    for name in _PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name}: not installed"


def _devices() -> Iterator[str]:
    with suppress(ModuleNotFoundError):
        import onnxruntime

        yield f"onnxruntime {onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"
    try:
        import torch
    except ModuleNotFoundError:
        yield 'torch is not installed: exported models predict; for the rest pip install "dips-wsol[train]"'
        return
    yield f"cpu: {os.cpu_count()} processors, torch uses {torch.get_num_threads()} threads"
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / (1 << 30)
        yield f"cuda:{index}: {torch.cuda.get_device_name(index)}, {memory:.1f} GiB"
    if not torch.cuda.is_available():
        yield f"cuda: none{'' if torch.version.cuda else ' (this torch was built without it)'}"
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
        yield "an exported model holds its own; others need torch"
        return

    given = os.environ.get("DIPS_WEIGHTS", "")
    yield f"DIPS_WEIGHTS: {given or 'not set'}"
    for item in filter(None, given.split(os.pathsep)):
        if not Path(item.rpartition("=")[2]).expanduser().exists():
            yield f"  MISSING: {item}"
    for package in EMBEDDED:
        where = package.path()
        yield f"embedded {package.role}: {package.note}; {package.distribution} {package.version}, licence {package.licence}"
        yield f"  {where}" if where else '  NOT INSTALLED: pip install "dips-wsol[demo]"'
    offline = os.environ.get("DIPS_OFFLINE")
    os.environ["DIPS_OFFLINE"] = "1"  # look into the hub's cache, do not download
    try:
        for name, role, arch in (
            ("harvest.sst=auto", "transformer", "auto"),
            ("classifier.arch, localizer.encoder", "cnn", Config().classifier.arch),
        ):
            try:
                found = resolve(arch, role=role)  # type: ignore[arg-type]
            except DipsError as error:
                yield f"{name}: NONE: {error}"
                continue
            yield f"{name} takes: {found.line()}, licence {found.licence or 'unknown'}"
            if arch == "auto" and not found.arch.startswith(AUTO_TRANSFORMER):
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
    yield f"{folder}: {_size(size)} in {len(files)} files" if files else f"{folder}: empty; --store DIR names another"
    there = next(place for place in (folder, *folder.parents) if place.exists())
    for name, place in (("store", there), ("this folder", Path.cwd())):
        free = shutil.disk_usage(place).free
        yield f"free where the {name} lies: {_size(free)}" if name == "store" else f"free in {name}: {_size(free)}"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def doctor() -> int:
    """Say what is installed and usable: versions, devices, weights with their licences, store, disk. For bug reports."""
    print(render())
    return 0
