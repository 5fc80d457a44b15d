"""What a comparison keeps on disk, so that it goes on where it stopped and nothing is computed twice.

::

    OUT/compare.json             what it was begun with
    OUT/config.toml              settings
    OUT/seed-0/cam/fit.json      how a method learned; written last, so that it marks a fitted method
    OUT/seed-0/cam/state.safetensors
    OUT/seed-0/cam/test.json     its numbers on a split, and at which thresholds of validation
    OUT/seed-0/cam/test.maps.safetensors    its maps of the photos that the sheet shows
    OUT/seed-0/dips/run/         a run folder: 'dips predict' works on it
    OUT/table.json, .md, .tex    the table, and its figures beside it
    OUT/table-original-pixels.json ...    that of another protocol or split

In: results. Out: files, each whole or not at all.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch

from dips.baselines.method import Fit, ScoreMapMethod
from dips.config import Config, load_config, to_toml
from dips.errors import RunError
from dips.system.files import atomic_file, file_sha256
from dips.system.journal import Claim
from dips.system.records import write_json
from dips.types import FloatArray

__all__ = ["MethodFolder", "begin", "gather", "read_json", "require_comparison", "with_needs"]

_THIN = 5  # the table keeps every fifth threshold of the curves, each method's own file all of them
_ROW = ("name", "title", "paper", "labels", "own", "needs")


def require_comparison(folder: Path) -> None:
    """See that a folder is there to be filled, or holds a comparison.

    Raises:
        RunError: it is something else.
    """
    ours = ("compare.json", "config.toml")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not any((folder / n).is_file() for n in ours))):
        raise RunError(f"{folder} already exists and is not a comparison; nothing was changed. Choose another --out")


def begin(folder: Path, identity: Mapping[str, Any], config: Config) -> None:
    """Start a comparison in ``folder``, or check that it is the one that was started there.

    Args:
        identity: what must be the same, by the name of its option.

    Raises:
        RunError: it is another one.
    """
    settings = folder / "config.toml"
    claim = Claim(
        folder=folder,
        mark="compare.json",
        identity=identity,
        holds="a comparison",
        remedy="repeat the command with the same settings, or choose another --out",
    )
    if not claim.path.is_file():
        with atomic_file(settings) as out:
            out.write(to_toml(config))
        write_json(claim.path, identity)
        return
    changed = load_config(settings).differences(config)
    claim.check(more=[f"other settings ({', '.join(changed)})"] if changed else [])


def read_json(path: Path) -> dict[str, Any]:
    """A file of a comparison.

    Raises:
        RunError: it is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it, and it is made again") from error
    return record


class MethodFolder:
    """One method's files for one seed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fit, self._state = folder / "fit.json", folder / "state.safetensors"

    def fit(self) -> Fit | None:
        """How the method learned, if it has."""
        if not self._fit.is_file():
            return None
        record = read_json(self._fit)
        known = {field.name for field in fields(Fit)}
        return Fit(**{name: value for name, value in record.items() if name in known})

    def save_fit(self, method: ScoreMapMethod, fit: Fit) -> None:
        """Keep a method that has learned; numbers of an earlier fit are removed."""
        for old in self.folder.glob("*.json"):
            old.unlink()
        with atomic_file(self._state, "wb") as file:
            file.write(safetensors.torch.save(method.state()))
        write_json(self._fit, {**fit.record(), "method": _words(method), "source": source_hash(method)})

    def forget(self) -> None:
        """Remove a fit and its numbers, and those of all methods that were built on it."""
        for old in self.folder.glob("*.json"):
            old.unlink()
        for file in sorted(self.folder.parent.glob("*/fit.json")):
            other = MethodFolder(file.parent)
            if file.is_file() and self.folder.name in other.words()["needs"]:
                other.forget()

    def fits(self, method: ScoreMapMethod) -> bool:
        """Whether the method was fitted, and by the code that it has now."""
        return self._fit.is_file() and read_json(self._fit).get("source") == source_hash(method)

    def words(self) -> dict[str, Any]:
        """Name, title and so on of the method that was fitted."""
        found = read_json(self._fit).get("method")
        if not isinstance(found, dict) or not set(_ROW) <= set(found):
            raise RunError(f"{self._fit} is damaged; remove it, and it is made again")
        return found

    def state(self) -> dict[str, Any]:
        """The tensors of a method that has learned.

        Raises:
            RunError: they are damaged.
        """
        try:
            return safetensors.torch.load_file(self._state)
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{self._state} is damaged ({error}); remove {self.folder}, and it is made again") from error

    def result(self, what: str) -> dict[str, Any] | None:
        """The method's numbers on a split, if it was measured."""
        file = self.folder / f"{what}.json"
        return read_json(file) if file.is_file() else None

    def save_result(self, what: str, record: Mapping[str, Any], maps: Mapping[str, FloatArray]) -> None:
        """Keep its numbers and its maps by photo."""
        if maps:
            with atomic_file(self._maps(what), "wb") as file:
                file.write(safetensors.numpy.save({k: np.ascontiguousarray(v, np.float32) for k, v in maps.items()}))
        write_json(self.folder / f"{what}.json", record)

    def maps(self, what: str) -> dict[str, FloatArray]:
        """The kept maps by photo; empty where there are none.

        Raises:
            RunError: they are damaged.
        """
        file = self._maps(what)
        try:
            return dict(safetensors.numpy.load_file(file)) if file.is_file() else {}
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"{file} is damaged ({error}); remove {self.folder}, and it is made again") from error

    def _maps(self, what: str) -> Path:
        return self.folder / f"{what}.maps.safetensors"


def gather(folder: Path, what: str) -> list[dict[str, Any]]:
    """Everything that a comparison's folder holds on a split: a row per method, with a run for each seed.

    ``needs_seconds`` of a run is the time that the methods took which it builds on.
    """
    rows: dict[str, dict[str, Any]] = {}
    seeds = sorted(int(name) for path in folder.glob("seed-*") if (name := path.name.removeprefix("seed-")).isdigit())
    for seed in seeds:
        found = {path.name: MethodFolder(path) for path in sorted((folder / f"seed-{seed}").iterdir()) if path.is_dir()}
        fits = {name: fit for name, method in found.items() if (fit := method.fit()) is not None}
        needs = {name: found[name].words()["needs"] for name in fits}
        for name in fits:
            if (result := found[name].result(what)) is None:
                continue
            row = rows.setdefault(name, {**{key: found[name].words()[key] for key in _ROW}, "runs": []})
            if curves := result["boxes"].get("curves"):
                result["boxes"]["curves"] = {key: values[::_THIN] for key, values in curves.items()}
            below = sum(fits[need].seconds for need in with_needs({name}, needs) - {name} if need in fits)
            row["runs"].append({"seed": seed, **result, "fit": fits[name].record(), "needs_seconds": below})
    return list(rows.values())


def with_needs(names: Iterable[str], needs: Mapping[str, Sequence[str]]) -> set[str]:
    """These methods and all that they build on, by what each needs directly."""
    found: set[str] = set()
    rest = list(names)
    while rest:
        name = rest.pop()
        if name not in found:
            found.add(name)
            rest += needs.get(name, ())
    return found


def source_hash(method: ScoreMapMethod) -> str | None:
    """Stands for the file of a method of the user's own; None for one of this project."""
    kind = type(method)
    if kind.__module__.partition(".")[0] == "dips":
        return None
    try:
        return file_sha256(Path(inspect.getfile(kind)))[:16]
    except (OSError, TypeError):  # typed into an interpreter
        return ""


def _words(method: ScoreMapMethod) -> dict[str, Any]:
    return {key: getattr(method, key) for key in _ROW}
