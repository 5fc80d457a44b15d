"""Training as a whole on a tiny network: reproducible, resumable, honest about what it chose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from dips.config import TrainConfig
from dips.errors import RunError
from dips.train.loop import FitResult, fit_localizer

CONFIG = TrainConfig(
    epochs=3,
    batch=4,
    resize=32,
    crop=24,
    fg_pixels=10,
    bg_pixels=10,
    crf_size=8,
    crf_full=32,
    lambda_crf=1e-5,
    lambda_cls=0.1,
    lr=0.02,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Item:
    image: np.ndarray
    maps: np.ndarray
    regions: np.ndarray
    boxes: np.ndarray
    label: int


def make_items(count: int = 10) -> list[Item]:
    """Bright squares on dark noise, class by colour; every fifth photo is of the background class 2 and has no proposal."""
    rng = np.random.default_rng(0)
    items = []
    for index in range(count):
        image = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        label = 2 if index % 5 == 4 else index % 2
        p = 0 if label == 2 else 2
        x, y = rng.integers(1, 4, 2) * 4
        maps, regions = np.full((p, 8, 8), 0.1, np.float16), np.zeros((p, 32, 32), np.bool_)
        if p:
            image[y : y + 16, x : x + 16, label] = 250
            maps[:, y // 4 : y // 4 + 4, x // 4 : x // 4 + 4] = 1
            regions[:, y : y + 16, x : x + 16] = True
        boxes = np.tile(np.array([x, y, x + 16, y + 16], np.float32) / 32, (p, 1))
        items.append(Item(image, maps, regions, boxes, label))
    return items


class Net(nn.Module):
    """With batch norm and dropout, whose state must survive too."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.1))
        self.head = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(images))
        return logits

    def parameter_groups(self, lr: float, encoder_share: float) -> list[dict[str, Any]]:
        return [
            {"params": list(self.encoder.parameters()), "lr": lr * encoder_share},
            {"params": list(self.head.parameters()), "lr": lr},
        ]


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.layer = nn.Linear(3, 3)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layer(images.mean((2, 3)))
        return scores


def fit(
    run_dir: Path,
    config: TrainConfig = CONFIG,
    *,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    items: Any = None,
    resume: bool = False,
    save_minutes: float = 5.0,
    localizer: nn.Module | None = None,
) -> FitResult:
    return fit_localizer(
        localizer or Net(),
        Classifier(),
        items or make_items(),
        config=config,
        fabric=Fabric(accelerator="cpu", devices=1),
        run_dir=run_dir,
        validate=validate,
        resume=resume,
        background=2,
        save_minutes=save_minutes,
    )


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def _without_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


class _Killed(Exception):
    pass


def test_it_learns_to_find_the_squares(tmp_path: Path) -> None:
    localizer = Net()
    config = replace(CONFIG, epochs=12, average=0.9)
    result = fit(tmp_path, config, localizer=localizer)
    inside = outside = 0.0
    objects = [item for item in make_items() if len(item.maps)]
    with torch.no_grad():
        for item in objects:
            images = torch.from_numpy(item.image).permute(2, 0, 1)[None] / 255
            found = localizer(images).softmax(1)[0, 1]
            inside += found[item.regions[0]].mean().item() / len(objects)
            outside += found[~item.regions[0]].mean().item() / len(objects)
    assert inside > 0.7 > 0.3 > outside
    assert not localizer.training and _same(localizer.state_dict(), result.state)
    losses = [line["loss"] for line in _lines(tmp_path)]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_one_seed_one_result_another_seed_another(tmp_path: Path, average: float) -> None:
    config = replace(CONFIG, epochs=2, average=average)
    first, again = fit(tmp_path / "a", config), fit(tmp_path / "b", config)
    other = fit(tmp_path / "c", replace(config, seed=1))
    assert _same(first.state, again.state) and not _same(first.state, other.state)
    assert _without_time(_lines(tmp_path / "a")) == _without_time(_lines(tmp_path / "b"))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("average", [0.9, 0.0])
def test_a_stop_in_validation_changes_nothing(tmp_path: Path, optimizer: Any, average: float) -> None:
    config = replace(CONFIG, optimizer=optimizer, average=average)
    calls = []

    def dies(model: nn.Module) -> dict[str, float]:
        calls.append(model)
        if len(calls) == 2:
            raise _Killed
        return {"select": -len(calls)}

    whole = fit(tmp_path / "whole", config, validate=lambda model: {"select": -1.0})
    with pytest.raises(_Killed):
        fit(tmp_path / "cut", config, validate=dies)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')  # what a kill in the middle of a line leaves
    rest = fit(tmp_path / "cut", config, validate=lambda model: {"select": -1.0}, resume=True)
    assert _same(whole.state, rest.state)
    assert whole.epoch == rest.epoch == 3
    assert _without_time(_lines(tmp_path / "whole")) == _without_time(_lines(tmp_path / "cut"))


_VICTIM = """
import importlib.util, os, signal, sys, torch
from pathlib import Path
spec = importlib.util.spec_from_file_location("test_loop", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["test_loop"] = module
spec.loader.exec_module(module)
torch.set_num_threads(1)
class Deadly(list):
    reads = 0
    def __getitem__(self, index):
        Deadly.reads += 1
        if Deadly.reads == 17:  # the second step of the second epoch
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)
module.fit(Path(sys.argv[2]), items=Deadly(module.make_items()), save_minutes=0.0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_kill_9_inside_an_epoch_changes_nothing(tmp_path: Path) -> None:
    """The state of the middle of the epoch is gone on from, not that of its start."""
    done = subprocess.run(
        [sys.executable, "-c", _VICTIM, __file__, str(tmp_path / "cut")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [line["epoch"] for line in _lines(tmp_path / "cut")] == [1]
    reads = []

    class Counting(list[Item]):
        def __getitem__(self, index: Any) -> Any:
            reads.append(index)
            return super().__getitem__(index)

    rest = fit(tmp_path / "cut", items=Counting(make_items()), resume=True)
    whole = fit(tmp_path / "whole")
    assert _same(whole.state, rest.state)
    assert _without_time(_lines(tmp_path / "whole")) == _without_time(_lines(tmp_path / "cut"))
    assert 10 < len(reads) < 20  # the third epoch, and the rest of the second


def test_workers_change_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    alone = fit(tmp_path / "a", config)
    assert _same(alone.state, fit(tmp_path / "b", replace(config, workers=1)).state)


def test_a_finished_run_is_read_not_trained(tmp_path: Path) -> None:
    first = fit(tmp_path, validate=lambda model: {"select": 1.0, "other": 2.0})
    localizer = Net(seed=5)
    again = fit(tmp_path, resume=True, localizer=localizer, validate=lambda model: pytest.fail("not needed"))
    assert _same(first.state, again.state) and _same(localizer.state_dict(), first.state)
    assert again.epoch == 3 and again.metrics == {"select": 1.0, "other": 2.0}
    assert len(_lines(tmp_path)) == 3


@pytest.mark.parametrize(
    ("values", "select_on", "chosen"),
    [
        ([0.1, 0.3, 0.2], "boxes", 2),
        ([0.3, 0.3, 0.2], "boxes", 2),
        ([float("nan"), 0.1, float("nan")], "boxes", 2),
        ([0.3, 0.2, 0.1], "last", 3),
    ],
)
def test_choice_of_the_epoch(tmp_path: Path, values: list[float], select_on: Any, chosen: int) -> None:
    states = []

    def validate(model: nn.Module) -> dict[str, float]:
        assert not model.training and not torch.is_grad_enabled()
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"select": values[len(states) - 1]}

    result = fit(tmp_path, replace(CONFIG, select_on=select_on), validate=validate)
    assert result.epoch == chosen and _same(result.state, states[chosen - 1])
    assert len({tuple(state["head.weight"].flatten().tolist()) for state in states}) == 3


def test_metrics_line(tmp_path: Path) -> None:
    seen = []

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(len(_lines(tmp_path)) if (tmp_path / "metrics.jsonl").exists() else 0)
        return {"select": 0.5, "boxes": 1.5}

    fit(tmp_path, validate=validate)
    assert seen == [0, 1, 2]  # a line appears as its epoch ends
    line = _lines(tmp_path)[1]
    assert line["epoch"] == 2 and line["step"] == 6 and line["val_select"] == 0.5 and line["val_boxes"] == 1.5
    assert {"loss", "loss_cpa", "loss_cls", "loss_crf", "lr", "seconds"} <= line.keys()
    assert line["loss"] == pytest.approx(line["loss_cpa"] + 0.1 * line["loss_cls"] + 1e-5 * line["loss_crf"])


@pytest.mark.parametrize("other", ["agreement", "v2"])
def test_one_number_is_told_once_in_words(other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, validate=lambda model: {"select": 94.79, other: 94.79})
    said = capsys.readouterr().err
    assert said.count("94.79") == len(_lines(tmp_path)) and "selection metric" not in said and "linear_probe" not in said
    assert all("val_select" not in line and line[f"val_{other}"] == 94.79 for line in _lines(tmp_path))
    first = next(line for line in said.splitlines() if line.startswith("epoch 1/"))
    assert "left" not in first, "the first epoch also loads"


def test_classifier_stays_as_it_was(tmp_path: Path) -> None:
    classifier = Classifier().train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    config = replace(CONFIG, epochs=1)
    fit_localizer(Net(), classifier, make_items(), config=config, fabric=fabric, run_dir=tmp_path, background=2)
    assert _same(before, classifier.state_dict()) and not classifier.training


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    fit(tmp_path, replace(CONFIG, epochs=1))
    with pytest.raises(RunError, match="--resume"):
        fit(tmp_path, replace(CONFIG, epochs=1))


@pytest.mark.parametrize(("change", "name"), [({"lr": 0.5}, "lr"), ({"epochs": 9}, "epochs")])
def test_resume_with_other_settings_is_refused(tmp_path: Path, change: dict[str, Any], name: str) -> None:
    fit(tmp_path)
    with pytest.raises(RunError, match=f"written with {name} ="):
        fit(tmp_path, replace(CONFIG, **change), resume=True)


def test_resume_with_other_photos_or_network_is_refused(tmp_path: Path) -> None:
    fit(tmp_path / "a")
    with pytest.raises(RunError, match="photos = 10, now it is 9"):
        fit(tmp_path / "a", items=make_items(9), resume=True)

    def dies(model: nn.Module) -> dict[str, float]:
        raise _Killed

    with pytest.raises(_Killed):
        fit(tmp_path / "b", validate=dies, save_minutes=0.0)
    with pytest.raises(RunError, match="another network"):
        fit(tmp_path / "b", resume=True, localizer=nn.Conv2d(3, 2, 1))


def test_resume_without_a_state_starts(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    assert fit(tmp_path, config, resume=True).epochs == 1


def test_infinite_loss_names_the_step(tmp_path: Path) -> None:
    class Bad(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * torch.nan

    with pytest.raises(RunError, match=r"epoch 1, step 1 .*cpa nan.*train\.lr"):
        fit(tmp_path, localizer=Bad())


def test_background_photos_alone_can_be_trained_on(tmp_path: Path) -> None:
    items = [item for item in make_items() if item.label == 2]
    fit(tmp_path, replace(CONFIG, epochs=1), items=items)
    assert _lines(tmp_path)[0]["loss_cpa"] > 0 and _lines(tmp_path)[0]["loss_cls"] == 0
