"""A whole run: the same with and without an interruption, and stopped where nothing good would come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from dips.adaptation.collapse import Health
from dips.adaptation.crops import Feed
from dips.adaptation.learner import Learner
from dips.adaptation.loop import AdaptProgress, fit_transformer, steps_within
from dips.config import AdaptConfig
from dips.errors import ConfigError, RunError
from dips.train.state import load_state

from .conftest import CONFIG, MemoryPhotos, make_vit, same


def fit(
    state_file: Path,
    config: AdaptConfig = CONFIG,
    *,
    photos: MemoryPhotos | None = None,
    weights: str = "w",
    save_minutes: float = 2.0,
) -> tuple[dict[str, Tensor], AdaptProgress]:
    return fit_transformer(
        make_vit,
        photos or MemoryPhotos(),
        config=config,
        fabric=Fabric(accelerator="cpu", devices=1),
        state_file=state_file,
        origin={"weights": weights},
        save_minutes=save_minutes,
    )


def test_a_run(tmp_path: Path) -> None:
    state, progress = fit(tmp_path / "state")
    before = make_vit().net.state_dict()
    changed = {name.rpartition("blocks.")[2][0] for name in state if not torch.equal(state[name], before[name])}
    assert state.keys() == before.keys() and changed == {"1", "2", "n"}, "two blocks and the norm"
    assert progress.step == progress.steps == 6
    assert [check["step"] for check in progress.checks] == [0, 3, 6]
    assert "loss" not in progress.checks[0] and all(check["loss"] > 0 for check in progress.checks[1:])
    assert {"entropy", "information", "spread", "alarm"} <= progress.checks[2].keys()
    assert progress.seconds > 0


def test_one_seed_one_result_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (fit(tmp_path / str(i), replace(CONFIG, seed=seed))[0] for i, seed in enumerate((0, 0, 1)))
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize(("at", "centring"), [(1, "mean"), (3, "sinkhorn"), (4, "mean")])
def test_an_interruption_changes_no_bit(at: int, centring: Any, tmp_path: Path) -> None:
    """Before the check, at it, and after it; the head alone, and all."""
    config = replace(CONFIG, centring=centring)
    whole, measured = fit(tmp_path / "whole", config)
    deadly = MemoryPhotos(deadly=6 + at * 4 + 2)  # after the photos of checks, inside a step
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", config, photos=deadly, save_minutes=0.0)
    assert load_state(tmp_path / "cut", AdaptProgress)[0].step == at
    rest, again = fit(tmp_path / "cut", config)
    assert same(whole, rest)
    assert measured.checks == again.checks and again.step == 6


def test_without_a_state_of_the_middle_it_goes_on_from_the_check(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", photos=MemoryPhotos(deadly=6 + 5 * 4))
    assert load_state(tmp_path / "cut", AdaptProgress)[0].step == 3
    assert same(whole, fit(tmp_path / "cut")[0])


def test_a_run_that_only_lacks_its_file_is_not_repeated(tmp_path: Path) -> None:
    whole, _ = fit(tmp_path / "state")
    photos = MemoryPhotos()
    again, _ = fit(tmp_path / "state", photos=photos)
    assert same(whole, again) and photos.reads == 6, "those of the check"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": replace(CONFIG, lr=0.5)}, r"with lr = 0\.001, now it is 0\.5"),
        ({"config": replace(CONFIG, steps=9)}, "with steps = 6, now it is 9"),
        ({"weights": "others"}, "with weights = w, now it is others"),
        ({"photos": MemoryPhotos(5)}, "with photos that can be read = 6, now it is 5"),
    ],
)
def test_other_work_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    fit(tmp_path / "state")
    with pytest.raises(RunError, match=f"{says}; repeat the command that it belongs to, or remove it"):
        fit(tmp_path / "state", **change)


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"state cannot be resumed from .*remove it"):
        fit(tmp_path / "state")


def health(*spreads: float) -> Any:
    """Stand in for :meth:`Learner.health`: each spread of features once, then the last again."""
    left = list(spreads)
    return lambda *_: Health(1.0, 1.0, left.pop(0) if len(left) > 1 else left[0], 1.0)


def test_a_collapse_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Learner, "health", health(0.5, 0.04))
    config = replace(CONFIG, steps=8, checks=4)
    with pytest.raises(RunError, match=r"collapsed at step 4: its features .* no weights were written\. Lower adapt\.lr"):
        fit(tmp_path / "state", config)
    errors = capsys.readouterr().err
    assert "WARNING: the teacher is collapsing: its features are nearly the same" in errors
    assert errors.count("WARNING") == 1, "the second alarm is the error itself"
    assert not (tmp_path / "state").exists(), "with other settings it begins from the start"


def test_a_collapse_at_the_end_stops_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Learner, "health", health(0.5, 0.5, 0.04))
    with pytest.raises(RunError, match="collapsed at step 6"):
        fit(tmp_path / "state")
    assert "WARNING" not in capsys.readouterr().err


def test_a_single_alarm_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Learner, "health", health(0.5, 0.04, 0.5))
    _, progress = fit(tmp_path / "state", replace(CONFIG, steps=8, checks=4))
    assert [bool(check["alarm"]) for check in progress.checks] == [False, True, False, False, False]
    assert capsys.readouterr().err.count("WARNING") == 1


def test_the_head_alone_gives_no_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "health", health(0.5, 0.04, 0.5))
    _, progress = fit(tmp_path / "state", replace(CONFIG, steps=8, checks=4, head_first=0.3))
    assert not any(check["alarm"] for check in progress.checks)


def test_a_loss_that_is_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "step", lambda *_: float("nan"))
    with pytest.raises(RunError, match=r"not finite at step 1; no weights were written\. Lower adapt\.lr \(now 0\.001\)"):
        fit(tmp_path / "state")
    assert not (tmp_path / "state").exists(), "the repeated command starts again, with another rate"


def test_a_batch_that_processes_cannot_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fabric, "world_size", property(lambda _: 3))
    with pytest.raises(ConfigError, match=r"adapt\.batch=4 cannot be shared by 3 processes"):
        fit(tmp_path / "state")


def test_minutes_become_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a clock that only steps and checks move: two seconds each."""
    now = [0.0]

    def timed(answer: Any) -> Any:
        def call(*_: Any) -> Any:
            now[0] += 2
            return answer

        return call

    monkeypatch.setattr("dips.adaptation.loop.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(Learner, "step", timed(1.0))
    monkeypatch.setattr(Learner, "health", timed(Health(1, 1, 1, 1)))
    config = replace(CONFIG, steps=0, checks=4)
    learner = Learner(make_vit(), config, Fabric(accelerator="cpu", devices=1), 1)
    feed, checked = Feed(MemoryPhotos(), config, 8), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert steps_within(110, learner, feed, checked) == 50  # and five checks
    capsys.readouterr()
    assert steps_within(1, learner, feed, checked) == 10, "at least"
    assert "more than the 0.0167 asked for: 10 steps are the least" in capsys.readouterr().err
    _, progress = fit(tmp_path / "state", replace(config, minutes=1.0))
    assert progress.steps == progress.step == 25


def test_timing_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def six(*arguments: Any) -> int:
        assert steps_within(*arguments) >= 10
        return 6

    monkeypatch.setattr("dips.adaptation.loop.steps_within", six)
    assert same(fit(tmp_path / "timed", replace(CONFIG, steps=0))[0], fit(tmp_path / "counted")[0])
