"""The state file and metrics.jsonl, whole and cut short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dips.errors import RunError
from dips.train.state import (
    Progress,
    _checksum,
    append_metrics,
    flatten_optimizer,
    load_state,
    restore_optimizer,
    save_state,
    trim_metrics,
)


def test_state_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "state"
    progress = Progress(epoch=2, step=3, best_metrics={"select": 0.1 + 0.2}, sums={"loss": 1 / 3}, run={"lr": 1e-3})
    parts = {
        "model": {"a.b": torch.randn(2, 3), "count": torch.tensor(5), "half": torch.randn(2).bfloat16()},
        "average": {"a.b": torch.randn(4, 2).T},
    }
    save_state(path, progress, parts)
    again, tensors = load_state(path, Progress)
    assert again == progress and tensors.keys() == parts.keys()
    for part, values in parts.items():
        assert tensors[part].keys() == values.keys()
        assert all(torch.equal(tensors[part][name], value) for name, value in values.items())
    assert list(tmp_path.iterdir()) == [path]


def test_shared_weights_can_be_saved(tmp_path: Path) -> None:
    value = torch.randn(3)
    save_state(tmp_path / "state", Progress(), {"model": {"a": value, "b": value}, "best": {"a": value}})
    assert torch.equal(load_state(tmp_path / "state", Progress)[1]["model"]["b"], value)


def test_a_state_of_any_version_is_checked(tmp_path: Path) -> None:
    """Keys that are missing or more do no harm, a validation of NaN neither; a value of another type does."""
    path = tmp_path / "resume.safetensors"
    for text, expected in (
        ('{"epoch": 1, "best_metrics": {"select": NaN}, "more": 1}', 1),
        ('{"seconds": 3, "run": {"lr": 0.1}}', 0),
        ('{"epoch": "1"}', None),
        ('{"sums": [1]}', None),
        ("[]", None),
    ):
        tensors = {"model/a": torch.zeros(1)}
        save_file(tensors, path, {"progress": text, "sha256": _checksum(text, tensors)})
        if expected is None:
            with pytest.raises(RunError, match=r"resume\.safetensors cannot be resumed from .*remove it"):
                load_state(path, Progress)
        else:
            assert load_state(path, Progress)[0].epoch == expected


@pytest.mark.parametrize("content", [b"", b"not a state at all", b"\x08" + b"\0" * 7 + b"{}      "])
def test_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resume.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"resume\.safetensors.*remove it"):
        load_state(path, Progress)


@pytest.mark.parametrize("where", ["number", "last", "progress", "none"])
def test_a_state_that_changed_on_the_disk_is_named(tmp_path: Path, where: str) -> None:
    path = tmp_path / "resume.safetensors"
    save_state(path, Progress(epoch=3), {"model": {"a": torch.ones(4)}, "optimizer": {"0.step": torch.tensor(7.0)}})
    data = path.read_bytes()
    if where == "none":
        save_file({"model/a": torch.ones(4)}, path, {"progress": '{"epoch": 3}'})
    elif where == "progress":
        path.write_bytes(data.replace(b'\\"epoch\\": 3', b'\\"epoch\\": 4'))
    else:
        at = data.rindex(torch.tensor(7.0).numpy().tobytes()) if where == "number" else len(data) - 1
        path.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :])
    assert path.read_bytes() != data
    with pytest.raises(RunError, match=r"resume\.safetensors cannot be resumed from .*remove it and train from the start"):
        load_state(path, Progress)


@pytest.mark.parametrize("make", [torch.optim.AdamW, torch.optim.SGD])
def test_optimizer_goes_on_as_if_never_stopped(make: type[torch.optim.Optimizer]) -> None:
    extra: dict[str, Any] = {"lr": 0.1}
    if make is torch.optim.SGD:
        extra |= {"momentum": 0.9, "nesterov": True}

    def run(stop: bool) -> torch.Tensor:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = make(layer.parameters(), **extra)
        for step in range(6):
            if stop and step == 3:
                saved = flatten_optimizer(optimizer)
                assert all(isinstance(value, torch.Tensor) for value in saved.values())
                optimizer = make(layer.parameters(), **extra)
                restore_optimizer(optimizer, saved)
            optimizer.zero_grad()
            layer(torch.full((1, 3), step + 1.0)).square().sum().backward()
            optimizer.step()
        return layer.weight.detach()

    assert torch.equal(run(True), run(False))


def test_metrics_are_lines_of_json_without_nan(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    append_metrics(path, {"epoch": 1, "loss": 0.5})
    append_metrics(path, {"epoch": 2, "loss": float("nan")})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1, "loss": 0.5},
        {"epoch": 2, "loss": None},
    ]


def test_trim_drops_later_epochs_and_the_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    trim_metrics(path, 0)  # no file is no error
    for epoch in (1, 2, 3):
        append_metrics(path, {"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 4, "lo')
    trim_metrics(path, 2)
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
