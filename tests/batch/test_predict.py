"""The job of a prediction: what travels to other processes, and that photos are shown alike in all of them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import dips
from dips.batch.predict import PredictJob, context_of, predictor_of
from dips.errors import RunError
from dips.predict.folder import PredictionFolder
from dips.runs.identity import identity
from dips.shards.plan import Plan, read_plan


def folder_of(model: dips.Model, photos: Path, out: Path, step: int = 2) -> PredictionFolder:
    return PredictionFolder.plan([photos], out, formats=("json",), made_with=identity(model.run), step=step)


def test_a_model_stays_where_it_is(tiny_model: dips.Model) -> None:
    job = PredictJob(tiny_model.run, Path("out"), "cpu", ["predict.threshold=0.4"], loaded=tiny_model)
    there = pickle.loads(pickle.dumps(job))
    assert there == job and there.loaded is None and len(pickle.dumps(job)) < 1000


def test_a_process_that_loads_the_model_itself_writes_the_same(
    tiny_model: dips.Model, tmp_path: Path, make_photo: Callable[..., Path]
) -> None:
    for number in range(5):
        make_photo(tmp_path / "p" / f"{number}.jpg", (96, 72), seed=number)
    for name, loaded in (("a", tiny_model), ("b", None)):
        folder = folder_of(tiny_model, tmp_path / "p", tmp_path / name)
        job = PredictJob(tiny_model.run, folder.out, loaded=loaded)
        folder.fill(job, context=lambda folder=folder: context_of(tiny_model, folder.listing.source))  # type: ignore[misc]
    files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(files) == 11
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_another_model_in_the_same_place_is_refused(
    tiny_model: dips.Model, tmp_path: Path, make_photo: Callable[..., Path]
) -> None:
    make_photo(tmp_path / "p" / "a.jpg", (96, 72))
    folder = PredictionFolder.plan([tmp_path / "p"], tmp_path / "out", formats=("json",), made_with={"model": "another"})
    job = PredictJob(tiny_model.run, folder.out)
    with pytest.raises(RunError, match=r"is another model than the one that .*out was begun with"):
        folder.fill(job, context=lambda: context_of(tiny_model, folder.listing.source))
    with pytest.raises(RunError, match="has no plan"):
        replace(job, out=tmp_path / "nowhere").open()


def test_all_shards_show_photos_of_16_bits_with_one_scale(tiny_model: dips.Model, tmp_path: Path) -> None:
    """It follows from all photos together, and travels with the plan."""
    (tmp_path / "p").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        levels = random.integers(7000 + 300 * number, 7600 + 300 * number, (72, 96)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "p" / f"{number}.png"), levels)
    folder = folder_of(tiny_model, tmp_path / "p", tmp_path / "out")
    plans: list[Plan] = []
    folder.work(
        PredictJob(tiny_model.run, folder.out),
        context=lambda: context_of(tiny_model, folder.listing.source),
        begun=plans.append,
    )
    plan = read_plan(folder.files)
    assert plan == plans[0] and len(list(plan.shards())) == 3
    predictor = predictor_of(tiny_model, plan)
    assert predictor.depth == tiny_model.predictor.for_photos([Path(item.uri) for item in folder.listing.source.each()]).depth
    (scale,) = predictor.depth.scales
    records = [path.read_text() for path in sorted((tmp_path / "out" / "json").iterdir())]
    assert len(records) == 6 and all(f'"scale": [\n  {scale[0]!r},\n  {scale[1]!r}' in text for text in records)
