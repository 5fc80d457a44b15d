"""Weight files: every kind is read to equal tensors, and what is damaged or dangerous is refused by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dips.errors import WeightsError
from dips.models.weights.readers import read_state, unwrap


def example() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
def test_every_kind_gives_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(example(), path)
    else:
        torch.save(example(), path)
    state = read_state(path)
    assert state.keys() == example().keys()
    assert all(torch.equal(state[name], value) for name, value in example().items())


def test_half_precision_becomes_float(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(3)}, tmp_path / "w.pt")
    state = read_state(tmp_path / "w.pt")
    assert state["x"].dtype == torch.float32
    assert state["n"].dtype == torch.int64


@given(
    wrappers=st.lists(st.sampled_from(["teacher", "state_dict", "model"]), max_size=3, unique=True),
    prefix=st.sampled_from(["", "module.", "backbone.", "module.backbone."]),
)
def test_wrapping_is_taken_off(wrappers: list[str], prefix: str) -> None:
    raw: Any = {f"{prefix}{name}": value for name, value in example().items()}
    if "backbone" in prefix:
        raw[prefix.replace("backbone.", "head.") + "mlp.weight"] = torch.zeros(1)
    for wrapper in wrappers:
        raw = {wrapper: raw, "epoch": 3, "optimizer": {"state": {}}}
    assert equal(unwrap(raw), example())


def test_checkpoint_with_its_command_line(tmp_path: Path) -> None:
    torch.save({"teacher": example(), "args": argparse.Namespace(lr=0.1), "epoch": 3}, tmp_path / "dino.pth")
    assert equal(read_state(tmp_path / "dino.pth"), example())


def contains_itself(how: str) -> dict[str, Any]:
    outer: dict[str, Any] = {"epoch": 3}
    if how == "itself":
        outer["model"] = outer
    elif how == "each other":
        outer["state_dict"] = {"model": outer, "a.weight": torch.ones(1)}
    elif how == "three in a ring":
        outer["teacher"] = {"state_dict": {"model": outer}}
    else:
        for _ in range(20_000):
            outer = {"model": outer}
    return outer


@pytest.mark.parametrize("how", ["itself", "each other", "three in a ring", "wrapped 20,000 times"])
def test_a_dictionary_that_contains_itself_is_refused(tmp_path: Path, how: str) -> None:
    raw = contains_itself(how)
    if how != "wrapped 20,000 times":  # which Python's own pickle cannot write
        torch.save(raw, tmp_path / "loop.pth")
        with pytest.raises(WeightsError, match=r"loop\.pth holds no tensors of a network"):
            read_state(tmp_path / "loop.pth")
    assert unwrap(raw) == {}


@pytest.mark.parametrize("shape", [(1 << 33,), (1 << 15, 1 << 15, 16)])
def test_a_small_file_cannot_claim_gigabytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensor = torch.zeros(1, dtype=torch.float16)
    torch.save({"a": tensor.expand(shape)}, tmp_path / "huge.pth")
    assert (tmp_path / "huge.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"huge\.pth claims [0-9,]+ bytes of weights in a file of"):
        read_state(tmp_path / "huge.pth")
    torch.save({"a": tensor.expand(4, 5)}, tmp_path / "small.pth")
    assert read_state(tmp_path / "small.pth")["a"].shape == (4, 5)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_code_in_a_pickle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.ones(1), "b": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth.*could run code"):
        read_state(tmp_path / "evil.pth")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx"])
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.98])
def test_truncated_file_is_named(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"cut{suffix}"
    big = {"x": torch.randn(50, 50), "y": torch.randn(50, 50)}
    if suffix == ".pth":
        torch.save(big, path)
    elif suffix == ".safetensors":
        safetensors.torch.save_file(big, path)
    else:
        onnx = pytest.importorskip("onnx")
        tensors = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in big.items()]
        onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], tensors)), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else keep * len(data))])
    with pytest.raises(WeightsError, match=f"cut{suffix}"):
        read_state(path)


def test_text_missing_unknown_and_empty(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(WeightsError, match=r"page\.pth is damaged"):
        read_state(tmp_path / "page.pth")
    with pytest.raises(WeightsError, match="there is no weight file"):
        read_state(tmp_path / "none.pth")
    (tmp_path / "w.npz").write_bytes(b"x")
    with pytest.raises(WeightsError, match="unknown kind"):
        read_state(tmp_path / "w.npz")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_state(tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds no tensors"):
        read_state(tmp_path / "list.pth")


SHARED = torch.zeros(2**18)


@pytest.mark.parametrize(
    "claim",
    [
        {"w": torch.zeros(1, dtype=torch.float16).expand(2**33)},
        {"model": {"w": torch.ones(4, 1).expand(4, 2**28)}},
        {f"w{number}": SHARED for number in range(99)},
    ],
)
def test_tensors_that_claim_more_than_the_file_holds(tmp_path: Path, claim: dict[str, Any]) -> None:
    torch.save(claim, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth claims [0-9,]+ bytes of weights in a file of .*contiguous"):
        read_state(tmp_path / "w.pth")


def test_weights_that_are_shared_by_two_names(tmp_path: Path) -> None:
    shared = torch.rand(600, 600)
    torch.save({"a": shared, "b": shared, "c": shared.T}, tmp_path / "w.pth")
    assert torch.equal(read_state(tmp_path / "w.pth")["c"], shared.T)
