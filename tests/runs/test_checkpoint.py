"""What was saved comes back equal; what is missing, damaged or foreign is refused by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dips.config import PredictConfig
from dips.errors import RunError
from dips.models.classifier import Classifier
from dips.models.frozen import FrozenNetworks
from dips.models.linear_map import LinearMap, LinearMaps
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.runs.checkpoint import StoredModel, _per_core, load_model, save_model
from dips.runs.records import ModelMeta, read_model_record
from dips.types import PhotoBatch

META = ModelMeta(
    classes=("none", "tower"),
    background=0,
    thresholds={"fast": {"v2": 0.4, "run": 0.3}},
    mode="fast",
    unet_share=0.0,
    temper=2.0,
    photo_side=480,
)


@pytest.fixture(scope="module")
def nets() -> StoredModel:
    """All parts, and how to use them."""
    torch.manual_seed(0)
    localizer = Localizer("test_efficientnet", channels=(16, 8, 8, 4, 4))
    localizer.normalise.mean += 0.1  # constants of the run, not of the architecture
    localizer(torch.rand(2, 3, 64, 64))  # moves the running statistics
    linear = LinearMaps((4, 6, 5), stages=2, outputs=1)
    for buffer in linear.buffers():
        buffer.copy_(torch.randn(buffer.shape))
    return StoredModel(Classifier("test_resnet", 2).eval(), linear, localizer.eval(), META)


def save(folder: Path, nets: StoredModel, **changed: Any) -> None:
    parts = {"classifier": nets.classifier, "linear": nets.linear, "localizer": nets.localizer, "meta": nets.meta} | changed
    save_model(folder, **parts)


@pytest.fixture
def run(tmp_path: Path, nets: StoredModel) -> Path:
    save(tmp_path / "run", nets)
    return tmp_path / "run"


def test_a_run_from_before_there_was_a_depth(run: Path) -> None:
    file = run / "model.json"
    saved = json.loads(file.read_text())
    assert saved["meta"].pop("depth") == {"rule": "auto", "scales": []}
    file.write_text(json.dumps(saved))
    assert load_model(run).meta == META
    for scales in ([[9000, 7000]], [[7000]], [["a", "b"]]):
        file.write_text(json.dumps({**saved, "meta": {**saved["meta"], "depth": {"rule": "auto", "scales": scales}}}))
        with pytest.raises(RunError, match="is damaged"):
            load_model(run)


@pytest.mark.parametrize("unet", [True, False])
@pytest.mark.parametrize("maps", [True, False])
def test_equal_outputs(tmp_path: Path, nets: StoredModel, unet: bool, maps: bool) -> None:
    save(tmp_path, nets, linear=nets.linear if maps else None, localizer=nets.localizer if unet else None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    loaded = load_model(tmp_path)
    images = torch.rand(1, 3, 40, 50)
    with torch.no_grad():
        assert torch.equal(loaded.classifier(images), nets.classifier(images)) and not loaded.classifier.training
        assert (loaded.localizer is not None) == unet and (loaded.linear is not None) == maps
        if loaded.localizer is not None and nets.localizer is not None:
            assert torch.equal(loaded.localizer(images), nets.localizer(images)) and not loaded.localizer.training
        if loaded.linear is not None and nets.linear is not None:
            blocks, priors = [torch.rand(1, width, 3, 3) for width in (4, 6, 5)], torch.rand(1, 1)
            for mode, count in (("accurate", 3), ("fast", 2)):
                ours, theirs = loaded.linear.of(mode), nets.linear.of(mode)
                assert torch.equal(ours(blocks[:count], priors), theirs(blocks[:count], priors))
                assert loaded.linear.of(mode).level == nets.linear.of(mode).level
            assert (loaded.linear.channels, loaded.linear.stages) == ((4, 6, 5), 2)
    assert loaded.meta == META


fractions = st.floats(0, 1)
metas = st.builds(
    ModelMeta,
    classes=st.tuples(st.text(), st.text()).filter(lambda names: names[0] != names[1]),
    background=st.none() | st.integers(0, 1),
    thresholds=st.dictionaries(st.text(), st.dictionaries(st.text(), fractions, max_size=3), max_size=3),
    mode=st.sampled_from(["fast", "accurate", "unet"]),
    unet_share=fractions,
    temper=st.floats(0, exclude_min=True, allow_infinity=False),
    photo_side=st.integers(1, 2**53),
)


@settings(max_examples=10)
@given(meta=metas)
def test_any_description_survives(meta: ModelMeta, tmp_path_factory: pytest.TempPathFactory, nets: StoredModel) -> None:
    folder = tmp_path_factory.mktemp("meta")
    save(folder, nets, localizer=None, linear=None, meta=meta)
    assert read_model_record(folder).meta == meta


def test_saving_again_replaces(run: Path, nets: StoredModel) -> None:
    changed = replace(META, thresholds={"unet": {"v2": 0.7}})
    save(run, nets, linear=None, meta=changed)
    loaded = load_model(run)
    assert loaded.meta == changed and loaded.linear is None, "of the old file nothing is left"


def test_class_names_belong_to_the_classifier(tmp_path: Path, nets: StoredModel) -> None:
    with pytest.raises(RunError, match="3 class names for a classifier of 2"):
        save(tmp_path, nets, meta=replace(META, classes=("a", "b", "c")))
    assert list(tmp_path.iterdir()) == []


def test_the_file_says_how_to_build_and_use_the_networks(run: Path) -> None:
    saved = json.loads((run / "model.json").read_text())
    assert list(saved) == ["schema", "localizer", "classifier", "linear", "sha256", "meta"] and saved["schema"] == 2
    keys = ["classes", "background", "thresholds", "mode", "unet_share", "temper", "photo_side", "depth", "calibration"]
    keys += ["object_classes"]
    assert list(saved["meta"]) == keys
    assert saved["linear"] == {"channels": [4, 6, 5], "stages": 2, "outputs": 1}
    assert saved["localizer"] == {"encoder": "test_efficientnet", "channels": [16, 8, 8, 4, 4]}


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
        (edit(lambda d: d["classifier"].update(classes=3)), "damaged .it names 2 classes, its classifier has 3"),
        (edit(lambda d: d["localizer"].update(encoder="resnet9999")), "do not make a model"),
        (edit(lambda d: d.update(classifier=None)), r"damaged .Expected `object`, got `null` - at `\$\.classifier`"),
        (edit(lambda d: d.pop("localizer")), "damaged .Object missing required field `localizer`"),
        (edit(lambda d: d.pop("linear")), "damaged .Object missing required field `linear`"),
        (edit(lambda d: d["linear"].update(outputs=4)), "damaged .it has 1 classes of objects, its linear maps have 4"),
        (edit(lambda d: d["linear"].update(channels=[4, 6])), "do not make a model"),
        (edit(lambda d: d["linear"].update(stages=3)), "do not make a model"),
        (edit(lambda d: d["meta"].update(thresholds=3)), r"damaged .*\$\.meta\.thresholds"),
        (edit(lambda d: d["meta"].update(thresholds={"fast": 0.5})), r"damaged .*\$\.meta\.thresholds"),
        (edit(lambda d: d["meta"].pop("mode")), "damaged .Object missing required field `mode`"),
        (edit(lambda d: d.update(schema=1)), "another version of DiPS .schema 1, this one reads 2.*copy the run again"),
    ],
)
def test_what_is_wrong_is_told(run: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(run)
    with pytest.raises(RunError, match=message):
        load_model(run)


def test_files_of_two_models_do_not_mix(run: Path, tmp_path: Path, nets: StoredModel) -> None:
    torch.manual_seed(9)
    save(tmp_path / "other", nets, classifier=Classifier("test_resnet", 2))
    (tmp_path / "other" / "model.safetensors").replace(run / "model.safetensors")
    with pytest.raises(RunError, match="belongs to another"):
        load_model(run)


def test_a_run_says_the_same_whatever_the_number_of_threads_and_leaves_it_to_others() -> None:
    torch.manual_seed(0)
    frozen = FrozenNetworks(Classifier("test_efficientnet", 3), side=64)
    linear = LinearMap(frozen.classifier.stage_channels, outputs=3)
    for weight in linear.weights:
        weight.normal_()
    networks = Networks(frozen, config=PredictConfig(), device=torch.device("cpu"), linear=linear)
    squares = np.random.default_rng(1).integers(0, 255, (5, networks.side, networks.side, 3), dtype=np.uint8)
    before, maps = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            per_core, later = _per_core(networks), list[int]()
            maps.append(per_core.answer(PhotoBatch(squares)).maps)
            thread = threading.Thread(target=lambda found=later: found.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert torch.get_num_threads() == threads and later == [threads]
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(maps[0], other) for other in maps[1:]) and maps[0].std() > 0
