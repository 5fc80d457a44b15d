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
from msgspec.structs import replace

from dips.errors import RunError
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.runs.checkpoint import key_map_values, load_key_map, load_model, save_model
from dips.runs.records import KeyMapValues, ModelMeta, read_model_record

META = ModelMeta(
    classes=("none", "tower"), background=0, best_tau={"v2": 0.4}, sst_share=0.6, temper=2.0, photo_side=480, key_map=None
)


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


numbers = st.floats(allow_nan=False, allow_infinity=False)
key_maps = st.builds(
    KeyMapValues,
    sizes=st.lists(st.integers(1, 2048), max_size=2).map(tuple),
    weight=st.lists(st.lists(numbers, max_size=3).map(tuple), max_size=2).map(tuple),
    bias=st.lists(numbers, max_size=2).map(tuple),
)
metas = st.builds(
    ModelMeta,
    classes=st.tuples(st.text(), st.text()),
    background=st.none() | st.integers(0, 1),
    best_tau=st.dictionaries(st.text(), numbers, max_size=3),
    sst_share=st.none() | numbers,
    temper=numbers,
    photo_side=st.none() | st.integers(1, 2**53),
    key_map=st.none() | key_maps,
)


@settings(max_examples=10, deadline=None)
@given(meta=metas)
def test_any_description_survives(
    meta: ModelMeta, tmp_path_factory: pytest.TempPathFactory, nets: tuple[Localizer, Classifier]
) -> None:
    folder = tmp_path_factory.mktemp("meta")
    save_model(folder, *nets, meta)
    assert read_model_record(folder).meta == meta


def test_saving_again_replaces(run: Path, nets: tuple[Localizer, Classifier]) -> None:
    save_model(run, *nets, replace(META, best_tau={"v2": 0.7}))
    assert load_model(run)[2].best_tau == {"v2": 0.7}


def test_class_names_belong_to_the_classifier(tmp_path: Path, nets: tuple[Localizer, Classifier]) -> None:
    with pytest.raises(RunError, match="3 class names for a classifier of 2"):
        save_model(tmp_path, *nets, replace(META, classes=("a", "b", "c")))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_as_it_was_from_the_first_version_on(run: Path) -> None:
    saved = json.loads((run / "model.json").read_text())
    assert list(saved) == ["schema", "localizer", "classifier", "sha256", "meta"] and saved["schema"] == 1
    assert list(saved["meta"]) == ["classes", "background", "best_tau", "sst_share", "temper", "photo_side", "key_map"]
    edit(lambda description: description["meta"].pop("sst_share"))(run)  # early versions had none
    assert load_model(run)[2] == replace(META, sst_share=None)


def test_linear_maps_survive(tmp_path: Path) -> None:
    key_map = KeyMap((32, 64), 5)
    key_map.weight[:], key_map.bias[:] = torch.randn(2, 5), torch.randn(2)
    loaded = load_key_map(key_map_values(key_map), tmp_path)
    assert loaded.sizes == (32, 64) and torch.equal(loaded.weight, key_map.weight) and torch.equal(loaded.bias, key_map.bias)
    good = key_map_values(key_map)
    for bad in (replace(good, weight=()), replace(good, weight=((1.0,), (1.0, 2.0))), replace(good, bias=(1.0,))):
        with pytest.raises(RunError, match=r"model\.json: key_map is damaged .*copy the run again"):
            load_key_map(bad, tmp_path)


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
        (lambda run: (run / "model.json").write_text("[]"), r"model\.json is damaged .Expected `object`.*copy the run again"),
        (edit(lambda d: d.update(schema=99)), "another version of DiPS .schema 99.*copy the run again"),
        (edit(lambda d: d.pop("classifier")), "damaged .Object missing required field `classifier`"),
        (edit(lambda d: d["classifier"].update(classes=3)), "do not make a model"),
        (edit(lambda d: d["localizer"].update(encoder="resnet9999")), "do not make a model"),
        (edit(lambda d: d.update(localizer=None)), r"damaged .Expected `object`, got `null` - at `\$\.localizer`"),
        (edit(lambda d: d["meta"].update(best_tau=3)), r"damaged .*\$\.meta\.best_tau"),
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
