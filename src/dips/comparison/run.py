"""``dips compare``: fit what is missing, measure what has not been measured, write the table.

In: DATA, names of methods, a budget. Out: a record that :mod:`dips.comparison.table` turns into table and figures. Methods
learn from the training part, choose on validation and are measured on the split; results are saved immediately.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from dips.baselines.limits import Limits
from dips.baselines.method import ScoreMapMethod
from dips.baselines.photos import Photos, store_photos
from dips.baselines.study import Study
from dips.benchmark.loop import evaluate_maps
from dips.comparison.catalogue import choose_methods, create_methods, sort_key
from dips.comparison.contact_sheets import shown_photos, write_attention, write_sheets
from dips.comparison.folder import claim_folder, read_methods, require_comparison
from dips.comparison.measure import Measurer
from dips.comparison.records import Comparison, Failure, StudyPhotoCounts
from dips.comparison.table import comparison_table
from dips.comparison.table_files import write_comparison
from dips.config import Config, load_config
from dips.data import align_classes, load_data
from dips.data.labels import several_labels
from dips.data.load import require_divided
from dips.data.problems import ProblemList, photo_problems
from dips.data.scale import depth_of, depth_setting
from dips.errors import ConfigError, DataError
from dips.evaluate.protocol import find_protocol
from dips.fitting.splits import read_splits
from dips.harvest.store import Store
from dips.system.console import counted
from dips.system.device import environment, pick_device
from dips.system.environment import store_folder
from dips.system.files import only_one
from dips.types import DataSet, Problem, Sample, Severity

__all__ = ["Budget", "compare", "open_study"]

Budget = float | Literal["converged"]
"""Total minutes that a method may use, or ``converged``: each is trained until validation stops improving."""

_STRIDES = (8, 16, 32)
_CHOICE_THRESHOLDS = 101  # for choices on validation; steps of a hundredth are fine enough


def compare(
    data: str | Path,
    *,
    out: str | Path,
    methods: Sequence[str | ScoreMapMethod] = ("all",),
    seeds: int = 1,
    budget: Budget = 3.0,
    stride: int = 16,
    split: str = "test",
    protocol: str = "wsol-224",
    recipe: str | Path | None = None,
    settings: Sequence[str] = (),
    weights: Sequence[str] = (),
    store: str | Path | None = None,
    device: str = "auto",
    photos: int = 6,
    problems: str | Path | None = None,
) -> dict[str, Any]:
    """Fit and measure methods on one data set under one protocol, and write the table and its figures into ``out``.

    Results already in ``out`` are neither fitted nor measured again, and the table shows all of them for this protocol and
    split; each protocol and split has its own table. A method that fails is reported and does not stop the others.

    Args:
        data: see ``docs/data.md``; the methods learn from its training photos.
        out: folder of the comparison.
        methods: names (``docs/compare.md``), ``FILE.py:CLASS``, or methods.
        seeds: number of fits per method, with seeds from ``train.seed`` on; the validation part stays the same.
        budget: total minutes that each method may use, or ``converged``: each is trained until validation stops improving,
            see :class:`~dips.baselines.limits.Limits`.
        stride: stride of the feature map of CNN-based methods, in pixels: 8, 16 or 32; the next larger one if the CNN does not
            support it.
        split: the part of DATA to measure on.
        protocol: ``wsol-224`` or ``original-pixels``.
        recipe, settings, weights, store, device: as for :func:`dips.fit`.
        photos: number of rows of the sheet.
        problems: file for all problems of the data, of which only the first few are logged.

    Returns:
        The contents of ``table.json``.

    Raises:
        DipsError: something is wrong with data, settings or folders.
    """
    folder = Path(out)
    config = load_config(recipe, (settings,) if isinstance(settings, str) else settings)
    config.check()
    _require_budget(budget)
    if stride not in _STRIDES:
        raise ConfigError(f"--stride {stride}: give {', '.join(map(str, _STRIDES[:-1]))} or {_STRIDES[-1]}")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds} must be at least 1")
    if photos < 0:
        raise ConfigError(f"--photos {photos} must be at least 0")
    resolved, chosen_device = find_protocol(protocol), pick_device(device)
    require_comparison(folder, None if problems is None else Path(problems))
    choices = choose_methods((methods,) if isinstance(methods, str) else methods)
    if not choices:
        raise ConfigError("--methods names none; give some, separated by commas, or all")
    require_divided(data)
    measurer, told = None, ProblemList(problems)
    first = config.train.seed
    if config.data.val_seed < 0:  # one validation part for all seeds, to share the harvest and compare on the same photos
        config = config.replace(**{"data.val_seed": first})
    with ExitStack() as held:
        for seed in range(first, first + seeds):
            study = open_study(
                data,
                folder=folder / f"seed-{seed}",
                config=config,
                seed=seed,
                budget=budget,
                stride=stride,
                weights=weights,
                store=store,
                device=chosen_device,
                problems=told,
            )
            if measurer is None:
                test = _measured_on(data, split, study)
                told.add([*test.problems, *photo_problems(test.root, {split: test.samples})])
                options = {"budget": budget, "--photos": photos, "--stride": stride}
                claim_folder(folder, {"data": str(Path(data).resolve()), **options, **_identity(study)}, config)
                held.enter_context(only_one(folder / "compare.json", folder, "dips compare"))
                depth = depth_of([sample.path for sample in test.samples], study.depth)
                ground_truth = _ground_truth(test.samples, study)
                measurer = Measurer(test, split, resolved, shown_photos(test.samples, photos), ground_truth, depth)
            measurer.measure_seed(study, create_methods(choices, study.heads))
            told.add(measurer.problems)
    assert measurer is not None
    rows = read_methods(folder, measurer.file_stem, measurer.results, measurer.ground_truth)
    compared = sorted(rows, key=lambda method: sort_key(method.name))
    runs = [run for method in compared for run in method.runs]
    comparison = Comparison(
        data=str(data),
        split=split,
        protocol=f"{resolved.words}, 1000 thresholds",
        protocol_name=resolved.name,
        n_images=len(test),
        n_boxed=sum(sample.boxed for sample in test.samples),
        n_skipped=max((len(run["skipped"]) for run in runs), default=0),
        budget_minutes=None if isinstance(budget, str) else budget,
        limits="" if study.limits is None else study.limits.words,
        stride=stride,
        seeds=sorted({run["seed"] for run in runs}),
        photos=StudyPhotoCounts(train=len(study.train), val=len(study.val), val_boxed=sum(s.boxed for s in study.val.samples)),
        cnn=_title(study, "cnn"),
        transformer=_title(study, "transformer"),
        weights={role: source and source.record() for role, source in study.weights.items()},
        environment=environment(chosen_device),
        methods=compared,
        failed=[Failure(**failure) for failure in measurer.failed],
        problems=told.records(),
    )
    write_comparison(folder, comparison, comparison_table(comparison))
    shown_seed = min(comparison.seeds, default=first)  # no seed if every method failed
    write_sheets(folder, comparison, measurer.shown, folder / f"seed-{shown_seed}", measurer.file_stem, measurer.depth)
    if study.uses_transformer:
        write_attention(folder, comparison, study, measurer.shown, measurer.depth)
    record: dict[str, Any] = msgspec.to_builtins(comparison)
    return record


def open_study(
    data: str | Path,
    *,
    folder: str | Path,
    config: Config | None = None,
    seed: int = 0,
    budget: Budget = 3.0,
    stride: int = 16,
    weights: Sequence[str] = (),
    store: str | Path | None = None,
    device: torch.device | str = "cpu",
    problems: ProblemList | None = None,
) -> Study:
    """Return the study that methods are fitted on with one seed; its photos are read into the store.

    Args:
        data: see ``docs/data.md``.
        folder: folder in which methods write their files.
        config: settings; default: those of ``dips train``.
        seed: for all random draws of methods, and for the validation split unless ``data.val_seed`` says otherwise.
        budget, stride: as for :func:`compare`.
        weights, store: as for :func:`dips.fit`.
        device: where to compute.
        problems: list that problems of the data are added to; None: a new list, so they are only logged.

    Raises:
        DataError: the data cannot be trained on.
    """
    config = (load_config() if config is None else config).replace(**{"train.seed": seed})
    train, val = read_splits(data, config)
    told = ProblemList() if problems is None else problems
    told.add([*train.problems, *_first_labels(train)])
    photo_store = Store(store_folder(store))
    depth = depth_of([sample.path for sample in train.samples], depth_setting(config.data))
    limits = Limits() if isinstance(budget, str) else None
    parts: list[Photos] = []
    for part in (train, val):
        photos, unreadable = store_photos(part.samples, photo_store, depth)
        told.add(unreadable)
        if not len(photos):
            raise DataError(f"no photo of {part.root} can be read; 'dips check' names what is wrong with them")
        parts.append(photos)
    return Study(
        data=Path(data),
        train=parts[0],
        val=parts[1],
        classes=train.classes,
        background=train.background,
        config=config,
        seconds=60 * (Limits().minutes if isinstance(budget, str) else budget),
        seed=seed,
        device=torch.device(device),
        judge=lambda maps, samples: evaluate_maps(maps, samples, thresholds=_CHOICE_THRESHOLDS).max_box_acc_v2,
        folder=Path(folder),
        store=photo_store.folder,
        given=tuple(weights),
        depth=depth,
        problems=told,
        limits=limits,
        stride=stride,
    )


def _require_budget(budget: Budget) -> None:
    if budget == math.inf or (isinstance(budget, str) and budget != "converged"):
        raise ConfigError(f"--budget {budget}: give minutes, or converged")
    if not isinstance(budget, str) and not budget > 0:
        raise ConfigError(f"--budget {budget:g} must be above 0 minutes")


def _first_labels(train: DataSet) -> list[Problem]:
    """Return a note if photos have several labels: all methods but DiPS learn only the first."""
    mixed = several_labels(train.samples)
    message = f"{counted(mixed, 'photo', 'has')} several labels, of which all methods but DiPS learn the first"
    return [Problem(train.root, message, Severity.NOTE)] if mixed else []


def _identity(study: Study) -> dict[str, Any]:
    """Return what else must match when a comparison is resumed: photos with labels, validation's ground truth, and weights."""
    photos = [
        f"{digest}:{'|'.join(map(str, sample.labels))}"
        for part in (study.train, study.val)
        for sample, digest in zip(part.samples, part.digests, strict=True)
    ]
    shas = {role: weights and weights.sha256[:16] for role, weights in study.weights.items()}
    return {"photos": _digest(photos), "validation": _ground_truth(study.val.samples, study), **shas}


def _ground_truth(samples: Sequence[Sample], study: Study) -> str:
    """Return a fingerprint of photos and of all that they are measured by, independent of their order."""
    store = Store(study.store)
    files = [(sample.path, *sample.masks, *([] if sample.ignore is None else [sample.ignore])) for sample in samples]
    digests = store.digests(chain.from_iterable(files))  # in one pass, for few transactions
    lines = []
    for sample, own in zip(samples, files, strict=True):
        boxes = None if sample.boxes is None else sample.boxes.tolist()
        parts = *islice(digests, len(own)), boxes, sample.frame, sample.box_labels, sample.labels, sample.window
        lines.append("|".join(map(str, parts)))
    return _digest(lines)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _title(study: Study, role: str) -> str:
    weights = study.weights[role]
    return "none found" if weights is None else weights.title


def _measured_on(data: str | Path, split: str, study: Study) -> DataSet:
    """Return the photos of the split, with the classes of the training photos.

    Raises:
        DataError: there are no photos, none of them has boxes or masks, or some are training or validation photos.
    """
    dataset = load_data(data, split=split, background_class="", label_column=study.config.data.label_column)
    test = align_classes(dataset, study.classes, study.background)
    learned = {*study.train.digests, *study.val.digests}  # hashes of the photos' bytes: a copy is the same photo
    if both := sum(digest in learned for digest in Store(study.store).digests(sample.path for sample in test.samples)):
        raise DataError(
            f"{counted(both, 'photo')} of the split '{split}' of {data} {'is' if both == 1 else 'are'} among those that the "
            "methods learn from or choose on; name another with --split"
        )
    if not any(sample.masks or sample.boxed for sample in test.samples):
        raise DataError(
            f"no photo of the split '{split}' of {data} has ground-truth boxes or masks to compare by; see docs/data.md"
        )
    return replace(test, split=split)
