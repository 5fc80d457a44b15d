"""One seed of a comparison: every method is fitted or restored, then measured, and its results are saved immediately.

In: a study and methods in an order in which they can be fitted. Out: files of :class:`~dips.comparison.folder.MethodFolder`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from dips.baselines.method import ScoreMapMethod
from dips.baselines.study import Study
from dips.benchmark.frames import GroundTruth
from dips.benchmark.loop import evaluate_photos
from dips.comparison.folder import MethodFolder, with_needs
from dips.comparison.records import ResultFile
from dips.data.depth import Depth
from dips.data.problems import ProblemRecord
from dips.errors import ConfigError, DipsError
from dips.evaluate.protocol import FRAMED, Protocol
from dips.system.console import log
from dips.system.device import synchronise
from dips.types import DataSet, FloatArray, Problem, Sample

__all__ = ["Measurer"]

_TIMED = 8  # photos used to time an answer


class Measurer:
    """Fits and measures methods, seed by seed.

    Attributes:
        test: photos that methods are measured on.
        shown: test photos whose maps are stored for the sheet.
        ground_truth: fingerprint of the photos and their ground truth; results measured on others are measured again.
        depth: how values of more than 8 bits in ``test`` are reduced to 8.
        file_stem: stem of the files that hold numbers and maps of this split.
        results: what this object has measured, by seed and name.
        failed: methods that raised, with seed and reason.
        problems: photos that could not be read.
    """

    def __init__(
        self,
        test: DataSet,
        split: str,
        protocol: Protocol,
        shown: Sequence[Sample],
        ground_truth: str,
        depth: Depth | None = None,
    ) -> None:
        self.test, self.shown, self.ground_truth, self.depth = test, tuple(shown), ground_truth, depth or Depth()
        self._protocol = protocol
        self.file_stem = split if protocol is FRAMED else f"{split}-{protocol.name}"
        self.results: dict[tuple[int, str], ResultFile] = {}
        self.failed: list[dict[str, Any]] = []
        self.problems: list[Problem] = []

    def measure_seed(self, study: Study, methods: Sequence[ScoreMapMethod]) -> None:
        """Fit and measure methods with one seed.

        A method is measured as soon as it is fitted; those that learn nothing or share the transformer's passes are measured
        together, at the end.
        """
        stale = self._stale(study, methods)
        todo = set(stale) | {m.name for m in methods if not self._measured(study, m)}
        needed = with_needs(todo, {m.name: m.needs for m in methods})
        if done := [method.title for method in methods if method.name not in needed]:
            log(f"already fitted and measured with seed {study.seed}: {', '.join(done)}")
        together: list[ScoreMapMethod] = []
        for number, method in enumerate(methods, 1):
            if method.name not in needed:
                continue
            state = "" if method.name in stale else ": already fitted"
            log(f"[{number}/{len(methods)}] {method.title}, seed {study.seed}{state}")
            if not self._ready(study, method, stale, keep=any(method.name in other.needs for other in methods)):
                continue
            if method.name in todo:
                if method.shares or type(method).train is ScoreMapMethod.train:
                    together.append(method)
                else:
                    self._measure(study, [method])
        if together:
            log(f"measuring {', '.join(method.title for method in together)}")
            self._measure(study, together)

    def _stale(self, study: Study, methods: Sequence[ScoreMapMethod]) -> dict[str, str]:
        """Return the methods that must be fitted, each with the reason why an earlier fit is outdated (also logged), or ""."""
        stale: dict[str, str] = {}
        for method in methods:
            folder = self._folder(study, method)
            why, is_fitted = folder.outdated(method), folder.fit_file() is not None
            below = [name for name in method.needs if name in stale]
            if not why and below and (is_fitted or any(stale[name] for name in below)):
                why = f"built on {', '.join(below)}"
            if why or not is_fitted:
                stale[method.name] = why
        for why in dict.fromkeys(filter(None, stale.values())):
            titles = [method.title for method in methods if stale.get(method.name) == why]
            log(f"refitted (seed {study.seed}): {', '.join(titles)}; {why}")
        return stale

    def _measured(self, study: Study, method: ScoreMapMethod) -> bool:
        result = self._folder(study, method).result(self.file_stem)
        return result is not None and result.ground_truth == self.ground_truth

    def _folder(self, study: Study, method: ScoreMapMethod) -> MethodFolder:
        return MethodFolder(study.folder / method.name)

    def _ready(self, study: Study, method: ScoreMapMethod, stale: Mapping[str, str], *, keep: bool) -> bool:
        """Fit the method, or restore an earlier fit; return whether that succeeded."""
        folder = self._folder(study, method)
        try:
            if missing := [name for name in method.needs if name not in study.done]:
                raise ConfigError(f"it builds on {', '.join(missing)}, which failed")
            if method.name in stale:
                folder.begin(method, anew=bool(stale[method.name]))  # no numbers of other code remain if this fit fails
                folder.save_fit(method, method.fit(study))
            else:
                method.restore(study, folder.state())
                earlier = folder.fit_file()
                method.spent = 0.0 if earlier is None else earlier.seconds
        except Exception as error:  # one method must not stop the others
            self._fail(study, method, error)
            return False
        if keep:
            study.done[method.name] = method
        return True

    def _fail(self, study: Study, method: ScoreMapMethod, error: Exception) -> None:
        why = str(error) if isinstance(error, DipsError) else f"{type(error).__name__}: {error}"
        log(f"  {method.title} failed: {why}")
        self.failed.append({"name": method.name, "title": method.title, "seed": study.seed, "why": why})

    def _measure(self, study: Study, methods: Sequence[ScoreMapMethod]) -> None:
        """Choose thresholds on validation, and measure on the split."""
        working = {method.name: method for method in methods}
        shown = {sample.id for sample in self.shown}
        maps: dict[str, dict[str, FloatArray]] = {name: {} for name in working}

        def drop(name: str, error: Exception) -> None:
            self._fail(study, working.pop(name), error)

        def keep(name: str, ground_truth: GroundTruth, score_map: FloatArray, classes: NDArray[np.int64]) -> None:
            if ground_truth.sample.id in shown:
                maps[name][ground_truth.sample.id] = score_map

        on_val = evaluate_photos(dict(working), study.boxed, protocol=self._protocol, on_failure=drop, depth=study.depth)
        on_split = evaluate_photos(
            dict(working), self.test.samples, protocol=self._protocol, on_map=keep, on_failure=drop, depth=self.depth
        )
        self.problems += on_split.problems
        for name, method in list(working.items()):
            chosen, result = on_val.methods[name].boxes, on_split.methods[name]
            try:
                cost = {"parameters": method.parameters, "seconds_per_photo": _seconds_per_photo(method, study)}
            except Exception as error:
                drop(name, error)
                continue
            record = {
                **result.record(chosen.best_tau if chosen.n_boxed else None),
                "top1_cls": result.boxes.record(curves=False)["class_top1"],
                **cost,
                "ground_truth": self.ground_truth,
                "skipped": msgspec.to_builtins(ProblemRecord.of(on_split.problems)),
            }
            self.results[study.seed, name] = self._folder(study, method).save_result(self.file_stem, record, maps[name])
            log(f"  {method.title}: V2 {record['boxes']['max_box_acc_v2'] or 0:.1f}")


@torch.no_grad()
def _seconds_per_photo(method: ScoreMapMethod, study: Study) -> float:
    """Time maps of one batch in memory, without classes: some methods predict them in the same pass, others in another."""
    images, labels = study.val.batch(range(min(_TIMED, len(study.val))), method.side, study.device)
    started = time.perf_counter()
    method.maps(images, labels)
    synchronise(study.device)
    return (time.perf_counter() - started) / len(images)
