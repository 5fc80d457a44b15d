"""What was saved comes back equal; what is missing, damaged or foreign is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.errors import RunError
from dips.models.classifier import Classifier
from dips.models.localizer import Localizer
from dips.runs import checkpoint
from dips.runs.checkpoint import load_model, save_model

META: dict[str, Any] = {"classes": ["none", "tower"], "background": 0, "threshold": 0.4, "weights": [{"arch": "x"}]}


@pytest.fixture(scope="module")
def nets() -> tuple[Localizer, Classifier]:
    torch.manual_seed(0)
    localizer = Localizer("test_efficientnet", channels=(16, 8, 8, 4, 4))
    localizer.normalise.mean += 0.1  # constants of the run, not of the architecture
    localizer(torch.rand(2, 3, 64, 64))  # moves the running statistics
    return localizer.eval(), Classifier("test_resnet", 2).eval()


@pytest.fixture
def run(tmp_path: Path, nets: tuple[Localizer, Classifier]) -> Path:
    save_model(tmp_path / "run", *nets, META)
    return tmp_path / "run"


def test_equal_outputs(run: Path, nets: tuple[Localizer, Classifier]) -> None:
    localizer, classifier, meta = load_model(run)
    images = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        assert torch.equal(localizer(images), nets[0](images))
        assert torch.equal(classifier(images), nets[1](images))
    assert meta == META
    assert not localizer.training and not classifier.training
    assert sorted(path.name for path in run.iterdir()) == ["model.json", "model.safetensors"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=5, deadline=None)
@given(meta=st.dictionaries(st.text().filter(lambda key: key != "classes"), json_values, max_size=4))
def test_any_json_survives(
    meta: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, nets: tuple[Localizer, Classifier]
) -> None:
    folder = tmp_path_factory.mktemp("meta")
    save_model(folder, *nets, meta)
    assert checkpoint._read_description(folder)["meta"] == meta


def test_saving_again_replaces(run: Path, nets: tuple[Localizer, Classifier]) -> None:
    save_model(run, *nets, META | {"threshold": 0.7})
    assert load_model(run)[2]["threshold"] == 0.7


def test_bad_meta(tmp_path: Path, nets: tuple[Localizer, Classifier]) -> None:
    for meta in ({"x": object()}, {"x": float("nan")}):
        with pytest.raises(RunError, match=r"model\.json.*not JSON"):
            save_model(tmp_path, *nets, meta)
    with pytest.raises(RunError, match="3 class names for a classifier of 2"):
        save_model(tmp_path, *nets, {"classes": ["a", "b", "c"]})
    assert list(tmp_path.iterdir()) == []


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(run: Path) -> None:
        description = json.loads((run / "model.json").read_text())
        change(description)
        (run / "model.json").write_text(json.dumps(description))

    return apply


def truncate(run: Path) -> None:
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda run: (run / "model.json").unlink(), r"model\.json is missing"),
        (lambda run: (run / "model.safetensors").unlink(), r"cannot read .*model\.safetensors"),
        (truncate, r"model\.safetensors is damaged"),
        (lambda run: (run / "model.json").write_text("{"), r"model\.json is damaged"),
        (lambda run: (run / "model.json").write_bytes(b"\xff\xfe"), r"model\.json is damaged"),
        (lambda run: (run / "model.json").write_text("[]"), "does not describe a model"),
        (edit(lambda d: d.update(schema=99)), "another version of DiPS .schema 99"),
        (edit(lambda d: d.pop("classifier")), "lacks classifier"),
        (edit(lambda d: d["classifier"].update(classes=3)), "do not make a model"),
        (edit(lambda d: d["localizer"].update(encoder="resnet9999")), "do not make a model"),
        (edit(lambda d: d.update(localizer=None)), "do not make a model"),
    ],
)
def test_what_is_wrong_is_told(run: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(run)
    with pytest.raises(RunError, match=message):
        load_model(run)


def test_files_of_two_models_do_not_mix(run: Path, tmp_path: Path, nets: tuple[Localizer, Classifier]) -> None:
    torch.manual_seed(9)
    save_model(tmp_path / "other", nets[0], Classifier("test_resnet", 2), META)
    (tmp_path / "other" / "model.safetensors").replace(run / "model.safetensors")
    with pytest.raises(RunError, match="belongs to another"):
        load_model(run)
