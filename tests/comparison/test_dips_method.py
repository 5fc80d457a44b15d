"""DiPS among the methods: as its runs predict, in both modes, with and without a U-Net."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dips
import dips.comparison.source as source_module
from dips.comparison import dips_method
from dips.comparison.dips_method import Accurate, Dips
from dips.comparison.folder import MethodFolder
from dips.data.images import read_image, resize_image
from dips.fitting.fit import fit
from dips.fitting.prepare import prepare
from dips.models.frozen import FrozenNetworks
from dips.types import PhotoBatch

Compare = Callable[..., dict[str, Any]]


def load(run: Path, weights: Path, *settings: str) -> dips.Model:
    model = dips.load(run, device="cpu", settings=settings, weights=[str(weights)])
    assert isinstance(model, dips.Model)
    return model


@pytest.mark.parametrize("unet", [False, True])
def test_both_modes_answer_as_the_run_folder_does(
    run: Compare, scenes: Path, tmp_path: Path, tiny_weights: Path, unet: bool
) -> None:
    settings = ["predict.flip=true", f"train.epochs={int(unet)}", f"predict.unet_share={0.3 if unet else 0}"]
    record = run(["dips", "accurate"], settings=settings)
    assert record["failed"] == [] and [row["name"] for row in record["methods"]] == ["dips", "accurate"]
    assert all(row["own"] and row["labels"] == "image" for row in record["methods"])
    fast, accurate = (row["runs"][0] for row in record["methods"])
    assert fast["fit"]["epochs"] == int(unet) and (fast["fit"]["steps"] > 0) == unet
    assert fast["fit"]["seconds"] > 0 and accurate["fit"]["steps"] == 0 and accurate["needs_seconds"] > 0
    assert fast["boxes"]["class_top1"] == accurate["boxes"]["class_top1"] is not None

    folder = tmp_path / "out" / "seed-0"
    made_with = {"dips": [], "accurate": ["predict.mode=accurate", "predict.unet_share=0"]}
    parts: dict[str, int] = {}
    for name, more in made_with.items():
        model = load(folder / "dips" / "run", tiny_weights, "predict.flip=false", *more)
        side = model.networks.side
        maps = MethodFolder(folder / name).maps("test")
        assert len(maps) == 3, "those with ground truth"
        for photo, score_map in maps.items():
            square = resize_image(read_image(scenes / "test" / photo, max_side=side), (side, side))
            own_map = model.networks.answer(PhotoBatch(square[None])).maps[0]
            np.testing.assert_allclose(np.asarray(own_map), score_map, atol=1e-5)
        count = [model.stored.classifier, *([model.transformer] if more else []), model.networks.localizer]
        parts[name] = sum(p.numel() for part in count if part is not None for p in part.parameters())
        assert (model.networks.localizer is not None) == (unet and not more)
    assert {"dips": fast["parameters"], "accurate": accurate["parameters"]} == parts


def test_the_joined_map_looks_once_and_its_halves_are_fitted_alone(
    run: Compare, scenes: Path, tmp_path: Path, tiny_weights: Path
) -> None:
    record = run(["joined", "joined-keys", "joined-cnn"], settings=["train.epochs=0"])
    assert record["failed"] == [] and [row["name"] for row in record["methods"]] == [
        *("dips", "joined", "joined-keys", "joined-cnn"),
    ]
    folder = tmp_path / "out" / "seed-0"
    found = {row["name"]: row["runs"][0] for row in record["methods"]}
    one_look = ("predict.mode=accurate", "predict.second_look=0", "predict.flip=false")
    expected = {"joined": folder / "dips" / "run", **{name: folder / name / "run" for name in ("joined-keys", "joined-cnn")}}
    for name, place in expected.items():
        model = load(place, tiny_weights, *one_look)
        side = model.networks.side
        maps = MethodFolder(folder / name).maps("test")
        for photo, score_map in maps.items():
            square = resize_image(read_image(scenes / "test" / photo, max_side=side), (side, side))
            own_map = model.networks.answer(PhotoBatch(square[None])).maps[0]
            np.testing.assert_allclose(np.asarray(own_map), score_map, atol=1e-5)
        assert maps
        linear, cnn = model.stored.linear, sum(p.numel() for p in model.stored.classifier.parameters())
        assert linear is not None
        weights = [bool(weight.any()) for weight in linear.accurate.weights]
        stages = linear.stages
        used = {"joined": [True, True], "joined-keys": [False, True], "joined-cnn": [True, False]}[name]
        assert [any(weights[:stages]), any(weights[stages:])] == used
        transformer = sum(p.numel() for p in model.transformer.parameters())
        assert found[name]["parameters"] == cnn + (0 if name == "joined-cnn" else transformer)
    assert found["joined"]["needs_seconds"] > 0 == found["joined-keys"]["needs_seconds"]
    assert all(found[name]["fit"]["seconds"] > 0 for name in ("joined-keys", "joined-cnn")), "with a harvest of their own"


def test_a_harvest_takes_its_time_whatever_the_store_holds(
    run: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = tmp_path / "out" / "seed-0" / "dips" / "store", list[bool]()

    def killed(data: Any, **more: Any) -> None:
        fit(data, **{**more, "out": tmp_path / "elsewhere", "resume": False})
        raise ValueError("as good as killed")

    def watched(data: Any, **more: Any) -> Any:
        seen.append(more["store"].exists())
        return fit(data, **more)

    monkeypatch.setattr(dips_method, "fit", killed)
    assert run(["dips"], settings=["train.epochs=0"])["failed"] and store.is_dir()
    monkeypatch.setattr(dips_method, "fit", watched)
    assert run(["dips"], settings=["train.epochs=0"])["failed"] == []
    assert seen == [False] and not store.exists(), "it harvested anew, and left nothing"


def test_a_unet_trains_in_what_the_harvest_leaves(run: Compare, tmp_path: Path) -> None:
    left: list[float] = []
    prepared: list[int] = []

    def counted(*given: Any, **more: Any) -> Any:
        prepared.append(1)
        return prepare(*given, **more)

    def within(study: Any, photos: int, seconds: float, most: int) -> int:
        left.append(study.seconds - seconds)
        return 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dips_method, "prepare", counted)
        patch.setattr(dips_method, "epochs_within", within)
        patch.setattr(dips_method, "fit", lambda *given, **more: 1 / 0)
        assert "division" in run(["dips"], settings=["train.epochs=3"], budget=5.0)["failed"][0]["why"]
        seconds = float((tmp_path / "out" / "seed-0" / "dips" / "harvest-seconds.txt").read_text())
        assert seconds > 0 and left == pytest.approx([seconds]) and prepared == [1]
        patch.setattr(dips_method, "fit", fit)
        record = run(["dips"], settings=["train.epochs=3"], budget=5.0)
    learned = record["methods"][0]["runs"][0]["fit"]
    assert learned["epochs"] == 1 and learned["fixed"] >= seconds and prepared == [1], (
        "the harvest is that of the call that broke"
    )


def test_a_training_is_continued_by_the_same_code_only(
    run: Compare, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / "seed-0" / "dips"

    def trained(version: str) -> tuple[int, str]:
        monkeypatch.setattr(source_module, "package_hash", lambda _: version)
        assert run(["dips"])["failed"] == []
        return (folder / "run" / "model.json").stat().st_mtime_ns, capfd.readouterr().err

    first, _ = trained("1")
    (folder / "fit.json").unlink()  # as a kill after the training leaves it
    again, said = trained("1")
    assert again == first and "is trained already" in said
    (folder / "fit.json").unlink()
    newer, said = trained("2")
    assert (
        newer > first
        and "is trained already" not in said
        and "refitted (seed 0): DiPS; fitted by another version of DiPS" in said
    )


def test_problems_of_the_training_photos_are_told_once(
    run: Compare, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(scenes, tmp_path / "copy"))
    (data / "train" / "tower" / "broken.jpg").write_bytes(b"no photo")
    (data / "train" / "empty").mkdir()
    assert run(["dips"], data=data)["failed"] == []
    said = capfd.readouterr().err
    assert said.count("broken.jpg") == 1 and said.count("no photos in this folder") == 1
    kept = json.loads((tmp_path / "out" / "seed-0" / "dips" / "run" / "run.json").read_text())["problems"]
    assert {Path(item["path"]).name for item in kept} == {"broken.jpg", "empty", "train"}, "the folder: a class has few photos"


def test_without_linear_maps_only_the_unet_is_there(run: Compare) -> None:
    record = run(["accurate"], settings=["harvest.refine=none", "predict.mode=unet", "train.epochs=1"])
    assert [row["name"] for row in record["methods"]] == ["dips"]
    (failed,) = record["failed"]
    assert failed["name"] == "accurate" and "needs harvest.refine=dataset; leave 'accurate' out" in failed["why"]


@pytest.mark.parametrize("kind", [Dips, Accurate])
def test_map_and_class_come_from_one_pass(
    run: Compare, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """By which an answer is timed."""
    run(["dips"], settings=["train.epochs=0"])
    model = load(tmp_path / "out" / "seed-0" / "dips" / "run", tiny_weights)
    method = kind()
    method.networks = model.networks_of("fast" if kind is Dips else "accurate", model.frozen)
    calls: list[int] = []
    plain = FrozenNetworks.cnn

    def counted(self: FrozenNetworks, images: torch.Tensor) -> Any:
        calls.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(FrozenNetworks, "cnn", counted)
    first, second = torch.rand(2, 3, 64, 64), torch.rand(3, 3, 64, 64)
    maps, probabilities = method.maps(first, torch.zeros(2)), method.probabilities(first)
    looks = 1 if kind is Dips else 2
    assert calls == [2] * looks and maps.shape[0] == len(probabilities) == 2
    assert len(method.maps(second, torch.zeros(3))) == 3 and calls == [2] * looks + [3] * looks
