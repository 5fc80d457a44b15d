"""The files of a comparison, so that it resumes where it stopped and computes nothing twice.

::

    OUT/compare.json             identity of the comparison
    OUT/config.toml              settings
    OUT/seed-0/cam/source.json   the code that fits the method (Source); written first
    OUT/seed-0/cam/fit.json      how it was fitted (FitFile); written last, so that it marks a fitted method
    OUT/seed-0/cam/state.safetensors
    OUT/seed-0/cam/test.json     its numbers on a split (ResultFile), and the validation thresholds used
    OUT/seed-0/cam/test.maps.safetensors    its maps of the photos shown in the sheet
    OUT/seed-0/dips/run/         a run folder: 'dips predict' works on it
    OUT/table.json, .md, .tex    the table (Comparison), with its figures
    OUT/table-original-pixels.json ...    the table of another protocol or split

In: results. Out: files, each written atomically.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch

from dips.baselines.method import Fit, ScoreMapMethod
from dips.comparison.records import ComparedMethod, FitFile, MethodWords, ResultFile
from dips.comparison.source import OTHER_VERSION, Source
from dips.config import Config, load_config, to_toml
from dips.errors import RunError
from dips.system.console import log
from dips.system.files import atomic_file, is_unused
from dips.system.journal import Claim
from dips.system.records import read_record, write_json
from dips.types import FloatArray

__all__ = ["MethodFolder", "claim_folder", "read_methods", "require_comparison", "with_needs"]

_CURVE_STEP = 5  # the table stores every fifth threshold of the curves, each method's own file all of them
OTHER_GROUND_TRUTH = "measured on other photos or another ground truth"
_REMEDY = "remove it, and it will be rebuilt"


def require_comparison(folder: Path, besides: Path | None = None) -> None:
    """Check that a folder is unused or holds a comparison.

    Args:
        besides: file of another option, which may be in the folder.

    Raises:
        RunError: the folder holds something else.
    """
    ours = ("compare.json", "config.toml")
    if not is_unused(folder, besides) and not any((folder / name).is_file() for name in ours):
        raise RunError(f"{folder} already exists and is not a comparison; nothing was changed. Choose another --out")


_DIGESTS = {
    "photos": "other photos or labels",
    "validation": "another ground truth of validation",
    "transformer": "other weights of the transformer",
    "cnn": "other weights of the CNN",
}


def claim_folder(folder: Path, identity: Mapping[str, Any], config: Config) -> None:
    """Start a comparison in ``folder``, or check that the one started there is the same.

    Args:
        identity: what must be the same, by option name.

    Raises:
        RunError: the folder holds a different comparison.
    """
    settings = folder / "config.toml"
    claim = Claim(
        folder=folder,
        mark="compare.json",
        identity={"schema_version": 1, **identity},
        holds="a comparison",
        labels=_DIGESTS,
        optional=("schema_version", "--photos", "--stride", "validation"),
        remedy="repeat the command with the same settings, or choose another --out",
    )
    if not claim.path.is_file():
        with atomic_file(settings) as out:
            out.write(to_toml(config))
        write_json(claim.path, claim.identity)
        return
    changed = load_config(settings).differences(config)
    claim.check(more=[f"other settings ({', '.join(changed)})"] if changed else [])


class MethodFolder:
    """One method's files for one seed.

    >>> MethodFolder(Path("compare/birds/seed-0/no-method")).fit_file() is None
    True
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._source_path, self._fit_path = folder / "source.json", folder / "fit.json"
        self._state_path = folder / "state.safetensors"

    def fit_file(self) -> FitFile | None:
        """Read how the method was fitted; None if it was not.

        Raises:
            RunError: the file is damaged.
        """
        return read_record(self._fit_path, FitFile, remedy=_REMEDY) if self._fit_path.is_file() else None

    def source(self) -> Source | None:
        """Read which code fits the method; None if no fit was started, or an early version started it.

        Raises:
            RunError: the file is damaged.
        """
        return read_record(self._source_path, Source, remedy=_REMEDY) if self._source_path.is_file() else None

    def outdated(self, method: ScoreMapMethod) -> str:
        """Return why the stored fit, finished or not, does not match the method as it is now; empty if it does.

        Raises:
            RunError: a file is damaged.
        """
        if (source := self.source()) is None:
            return OTHER_VERSION if self.folder.is_dir() and any(self.folder.iterdir()) else ""
        return source.differs(Source.of(method))

    def begin(self, method: ScoreMapMethod, *, anew: bool) -> None:
        """Prepare a fit: remove the numbers of an earlier one, and all methods that were built on it.

        Args:
            anew: remove everything else as well, such as the run folder of an interrupted fit, which would be resumed.
        """
        if anew:
            self.forget()
        else:
            self._forget_numbers()
        write_json(self._source_path, Source.of(method))

    def save_fit(self, method: ScoreMapMethod, fit: Fit) -> None:
        """Write a fitted method."""
        with atomic_file(self._state_path, "wb") as file:
            file.write(safetensors.torch.save(method.state()))
        words = MethodWords(**{key: getattr(method, key) for key in MethodWords.__struct_fields__})
        write_json(self._fit_path, FitFile(**_plain(fit.record()), method=words))

    def forget(self) -> None:
        """Remove everything left by a fit, and all methods that were built on it."""
        self._forget_numbers()
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def _forget_numbers(self) -> None:
        for old in self.folder.glob("*.json"):
            old.unlink()
        for path in sorted(self.folder.parent.glob("*/source.json")):
            other = MethodFolder(path.parent)
            if (source := other.source()) is not None and self.folder.name in source.needs:
                other.forget()

    def state(self) -> dict[str, Any]:
        """Read the tensors of a fitted method.

        Raises:
            RunError: the file is damaged.
        """
        try:
            return safetensors.torch.load_file(self._state_path)
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{self._state_path} is damaged ({error}); remove {self.folder}, and it will be rebuilt") from error

    def result(self, file_stem: str) -> ResultFile | None:
        """Read the method's numbers on a split; None if it was not measured.

        Args:
            file_stem: stem of the split's file names.

        Raises:
            RunError: the file is damaged.
        """
        path = self.folder / f"{file_stem}.json"
        return read_record(path, ResultFile, remedy=_REMEDY) if path.is_file() else None

    def save_result(self, file_stem: str, record: Mapping[str, Any], maps: Mapping[str, FloatArray]) -> ResultFile:
        """Write the method's numbers, with the keys of :class:`ResultFile`, and its maps ``(h, w)`` in [0, 1] by photo.

        Returns:
            The numbers.
        """
        if maps:
            with atomic_file(self._maps_path(file_stem), "wb") as file:
                file.write(safetensors.numpy.save({k: np.ascontiguousarray(v, np.float32) for k, v in maps.items()}))
        result = msgspec.convert(record, ResultFile)
        write_json(self.folder / f"{file_stem}.json", result)
        return result

    def maps(self, file_stem: str) -> dict[str, FloatArray]:
        """Read the stored maps ``(h, w)`` by photo; empty if there are none.

        Raises:
            RunError: the file is damaged.
        """
        path = self._maps_path(file_stem)
        try:
            return dict(safetensors.numpy.load_file(path)) if path.is_file() else {}
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{path} is damaged ({error}); remove {self.folder}, and it will be rebuilt") from error

    def _maps_path(self, file_stem: str) -> Path:
        return self.folder / f"{file_stem}.maps.safetensors"


def read_methods(
    folder: Path, file_stem: str, results: Mapping[tuple[int, str], ResultFile], ground_truth: str
) -> list[ComparedMethod]:
    """Return all results in a comparison's folder for a split: the methods, with a run for each seed.

    Results of other code or ground truth than the current one are skipped with a log line: their numbers cannot be compared
    with the others.

    Args:
        folder: folder of the comparison.
        file_stem: stem of the split's file names.
        results: results that need not be read, by seed and name of the method.
        ground_truth: fingerprint of what they must have been measured on.

    Raises:
        RunError: a file is damaged.
    """
    words: dict[str, MethodWords] = {}
    runs: dict[str, list[dict[str, Any]]] = {}
    left_out: dict[str, list[str]] = {}
    seeds = sorted(int(name) for path in folder.glob("seed-*") if (name := path.name.removeprefix("seed-")).isdigit())
    for seed in seeds:
        methods = [MethodFolder(path) for path in sorted((folder / f"seed-{seed}").iterdir()) if path.is_dir()]
        fits = {method.folder.name: (method, fit) for method in methods if (fit := method.fit_file()) is not None}
        needs = {name: fit.method.needs for name, (_, fit) in fits.items()}
        for name, (method, fit) in fits.items():
            if (result := results.get((seed, name)) or method.result(file_stem)) is None:
                continue
            if result.ground_truth != ground_truth:
                left_out.setdefault(OTHER_GROUND_TRUTH, []).append(f"{name} (seed {seed})")
                continue
            if why := next(filter(None, (_outdated(fits[part][0]) for part in with_needs({name}, needs) if part in fits)), ""):
                left_out.setdefault(why, []).append(f"{name} (seed {seed})")
                continue
            words.setdefault(name, fit.method)
            below = sum(fits[need][1].seconds for need in with_needs({name}, needs) - {name} if need in fits)
            learned = {field.name: getattr(fit, field.name) for field in fields(Fit)}
            runs.setdefault(name, []).append({"seed": seed, **_numbers(result), "fit": learned, "needs_seconds": below})
    for why, names in left_out.items():
        log(f"left out of the table, {why}: {', '.join(names)}; to include them, list them in --methods, with the same --seeds")
    return [ComparedMethod(**msgspec.structs.asdict(words[name]), runs=of_seeds) for name, of_seeds in runs.items()]


def _outdated(method: MethodFolder) -> str:
    """Return what has changed in the code of a fit, like :meth:`Source.outdated`."""
    source = method.source()
    return OTHER_VERSION if source is None else source.outdated()


def _numbers(result: ResultFile) -> dict[str, Any]:
    """Return the part of a method's numbers that the table stores."""
    numbers: dict[str, Any] = msgspec.to_builtins(result)
    del numbers["schema_version"], numbers["ground_truth"]
    if curves := numbers["boxes"].get("curves"):
        numbers["boxes"]["curves"] = {key: values[::_CURVE_STEP] for key, values in curves.items()}
    return numbers


def _plain(value: Any) -> Any:
    """Return a method's own record as JSON values: NumPy floats as Python floats, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def with_needs(names: Iterable[str], needs: Mapping[str, Sequence[str]]) -> set[str]:
    """Return these methods and all that they build on, given the direct needs of each."""
    reached: set[str] = set()
    rest = list(names)
    while rest:
        name = rest.pop()
        if name not in reached:
            reached.add(name)
            rest += needs.get(name, ())
    return reached
