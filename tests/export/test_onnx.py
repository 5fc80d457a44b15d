"""A model as an ONNX file: the same answers as torch's, written only then, and a reader that trusts no file."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dips.config import PredictConfig
from dips.data.images import read_image, resize_image
from dips.errors import ConfigError, RunError
from dips.export.description import Description, is_onnx, parse_description
from dips.export.graph import Graph
from dips.export.onnx_model import OnnxNetworks, load_onnx
from dips.models.backbones import random_transformer
from dips.models.classifier import Classifier
from dips.models.keymap import KeyMap
from dips.models.localizer import Localizer
from dips.models.networks import Networks
from dips.predict.prediction import Prediction
from dips.predict.predictor import Predictor
from dips.types import PhotoBatch

onnx = pytest.importorskip("onnx", reason="onnx is missing; it is in the extra dev")
pytest.importorskip("onnxscript", reason="onnxscript is missing; it is in the extra dev")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is missing; it is in the extra dev")

from dips.export.onnx import export_onnx, to_bytes  # noqa: E402

MakePhoto = Callable[..., Path]
ROOT = Path(__file__).parents[2]
CONFIG = PredictConfig(size=50, flip=True, sst_share=0.6, threshold=0.7, min_area=0.001, batch=2)  # 50: the U-Net must pad
CLASSES = ("none", "bird", "left")
HEAVY = "torch torchvision timm segmentation_models_pytorch sklearn scipy numba matplotlib jinja2 lightning_fabric safetensors"


def made(share: float, *, flip: bool = True) -> Networks:
    torch.manual_seed(0)
    localizer = Localizer("test_efficientnet", channels=(16, 16, 8, 8, 4))
    classifier = Classifier("test_efficientnet", len(CLASSES))
    with torch.no_grad():  # else random networks say the same of every photo
        for net, last in ((localizer, localizer.net.segmentation_head[0]), (classifier, classifier.head)):
            seen = net.eval()(torch.nn.functional.interpolate(torch.rand(16, 3, 5, 5), (40, 40), mode="bilinear"))
            mean, std = seen.transpose(0, 1).flatten(1).mean(1), seen.transpose(0, 1).flatten(1).std(1)
            last.weight /= std.view(-1, *[1] * (last.weight.ndim - 1))
            last.bias.copy_((last.bias - mean) / std)
    extra: dict[str, Any] = {}
    if share > 0:
        key_map = KeyMap((64, 96), 24)
        key_map.weight[:] = 9 * torch.randn(2, 24, generator=torch.Generator().manual_seed(0))
        transformer = random_transformer("vit_tiny_patch16_224", embed_dim=24, depth=2, num_heads=3, patch_size=8)
        extra = {"key_map": key_map, "transformer": transformer}
    return Networks(
        localizer,
        classifier,
        config=dataclasses.replace(CONFIG, sst_share=share, flip=flip),
        classifier_size=40,
        device=torch.device("cpu"),
        **extra,
    )


def about(networks: Networks) -> Description:
    return Description(
        classes=CLASSES,
        background=0,
        settings=dataclasses.asdict(networks.config),
        side=networks.side,
        photo_side=48,
        weights={"encoder": {"arch": "test_efficientnet", "note": "random, for tests", "licence": "Apache-2.0"}},
        model="0" * 64,
        dips="0.1.0",
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_photo: MakePhoto) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(((90, 120), (200, 60), (96, 96), (30, 40), (150, 100))):
        make_photo(folder / f"{number}.png", size, seed=number, box=(5, 5, 20 + 2 * number, 25))
    return folder


@pytest.fixture(scope="module")
def networks() -> Networks:
    return made(0.6)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, networks: Networks, photos: Path) -> Path:
    path = tmp_path_factory.mktemp("exported") / "bird.onnx"
    found = export_onnx(networks, path, about=about(networks), photos=sorted(photos.iterdir()))
    assert found.photos == 5 and found.other_boxes == () and 0 < found.score_map < 1e-4 and found.probabilities < 1e-4
    assert "5 photos" in found.line() and "in 5 of 5" in found.line()
    return path


@pytest.fixture(scope="module")
def small() -> tuple[Networks, bytes]:
    """Networks without transformer, and their file."""
    networks = made(0.0)
    return networks, to_bytes(networks, about(networks))


@pytest.fixture
def change(file: Path, tmp_path: Path) -> Callable[..., Path]:
    """``change(lambda model: ...)`` writes a changed copy of the exported file."""

    def write(edit: Callable[[Any], object]) -> Path:
        model = onnx.load(file)
        edit(model)
        path = tmp_path / "changed.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def describe(model: Any, **changes: Any) -> None:
    said = json.loads(model.metadata_props[0].value)
    said.update(changes)
    onnx.helper.set_model_props(model, {"dips": json.dumps(said)})


def found(predictor: Predictor, *paths: Path) -> list[Prediction]:
    def refuse(path: Path, why: str) -> None:
        raise AssertionError(why)

    return list(predictor.photos(paths, refuse))


# --- the same answers


def test_the_networks_say_something(networks: Networks, photos: Path) -> None:
    """Else every comparison below would be empty."""
    squares = [resize_image(read_image(path), (96, 96)) for path in sorted(photos.iterdir())]
    said = networks.answer(PhotoBatch(np.stack(squares)))
    assert (
        np.ptp(said.maps) > 0.2 and np.ptp(said.maps, axis=0).mean() > 0.05 and np.ptp(said.probabilities, axis=0).max() > 0.01
    )


@pytest.mark.parametrize("share", [0.6, 0.0, 1.0])
def test_batch_and_size_are_free(share: float, file: Path, networks: Networks, small: tuple[Networks, bytes]) -> None:
    if share == 0:
        networks, data = small
    elif share == 1:
        networks = made(1.0, flip=False)
        data = to_bytes(networks, about(networks))
    else:
        data = file.read_bytes()
    exported = OnnxNetworks(data, "it", "cpu")
    assert exported.side == networks.side == (96 if share else 50)
    generator = np.random.default_rng(0)
    for count, height, width in ((1, networks.side, networks.side), (3, 200, 131), (2, 20, 30), (1, 1, 300), (1, 50, 50)):
        coarse = generator.integers(0, 256, (count, 5, 5, 3), np.uint8)
        squares = [resize_image(photo, (width, height)) for photo in coarse]
        with torch.inference_mode():
            maps, probabilities = Graph(networks)(torch.from_numpy(np.stack(squares)))
        said = exported.answer(PhotoBatch(np.stack(squares)))
        np.testing.assert_allclose(said.maps, maps.numpy(), atol=1e-4)
        np.testing.assert_allclose(said.probabilities, probabilities.numpy(), atol=1e-4)
        assert said.maps.dtype == said.probabilities.dtype == np.float32
        np.testing.assert_allclose(said.probabilities.sum(1), 1, atol=1e-5)


def test_the_graph_leaves_squares_as_they_are(networks: Networks) -> None:
    square = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    said = networks.answer(PhotoBatch(square))
    with torch.inference_mode():
        maps, probabilities = Graph(networks)(torch.from_numpy(square))
    np.testing.assert_allclose(maps.numpy(), said.maps, atol=1e-6)
    np.testing.assert_allclose(probabilities.numpy(), said.probabilities, atol=1e-6)


@pytest.mark.parametrize("settings", [[], ["predict.tile=48", "predict.min_area=0.01"], ["predict.threshold=0.9"]])
def test_the_same_predictions(file: Path, networks: Networks, photos: Path, settings: list[str]) -> None:
    model = load_onnx(file, settings=settings, device="cpu")
    assert model.classes == CLASSES and model.background == 0 and model.about.weights["encoder"]["note"] == "random, for tests"
    plain = Predictor(networks, config=model.predictor.config, classes=CLASSES, background=0)
    paths = sorted(photos.iterdir())
    pairs = list(zip(model.predict(photos), found(plain, *paths), strict=True))
    for there, here in pairs:
        assert there.path == here.path and there.label == here.label and there.size == here.size
        np.testing.assert_allclose(there.grid, here.grid, atol=1e-4)
        np.testing.assert_allclose(there.boxes, here.boxes, atol=1)
    assert any(len(there.boxes) for there, _ in pairs)


def test_settings_of_an_exported_model(file: Path) -> None:
    assert load_onnx(file).predictor.config == CONFIG
    assert load_onnx(file, settings="predict.threshold=0.2").predictor.config.threshold == 0.2
    assert load_onnx(file, settings=["predict.threshold=-1"]).predictor.config.threshold == CONFIG.threshold
    assert load_onnx(file, settings=["predict.tile=-1"]).predictor.tile == 48
    for name in ("size=64", "flip=false", "sst_share=0"):
        with pytest.raises(ConfigError, match=rf"predict\.{name.split('=')[0]} is part of .*bird\.onnx.*--set predict\.{name}"):
            load_onnx(file, settings=[f"predict.{name}"])
    with pytest.raises(ConfigError, match=r"train\.epochs=3: a trained model takes only"):
        load_onnx(file, settings=["train.epochs=3"])
    with pytest.raises(ConfigError, match=r"did you mean 'predict\.threshold'"):
        load_onnx(file, settings=["predict.treshold=0.3"])


# --- what is written, and when


def test_nothing_is_written_above_the_tolerance(
    tmp_path: Path, photos: Path, small: tuple[Networks, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, data = small
    monkeypatch.setattr("dips.export.onnx.to_bytes", lambda networks, about: data)
    paths = sorted(photos.iterdir())
    with pytest.raises(RunError, match=r"x\.onnx was not written: largest difference .* more than the tolerance of 1e-12"):
        export_onnx(networks, tmp_path / "x.onnx", about=about(networks), photos=paths, tolerance=1e-12)
    broken = made(0.0)
    broken.classifier.head.bias.data[:] = float("nan")
    with pytest.raises(RunError, match=r"nan in probabilities.* more than the tolerance"):
        export_onnx(broken, tmp_path / "x.onnx", about=about(broken), photos=paths[:1], tolerance=1.0)
    assert list(tmp_path.iterdir()) == []
    assert export_onnx(networks, tmp_path / "x.onnx", about=about(networks), photos=paths).photos == 5


def test_no_file_is_overwritten(tmp_path: Path, networks: Networks, photos: Path) -> None:
    old = tmp_path / "x.onnx"
    old.write_text("mine")
    for path, words in ((old, "already exists"), (tmp_path / "x.bin", "must end in .onnx")):
        with pytest.raises(RunError, match=words):
            export_onnx(networks, path, about=about(networks), photos=sorted(photos.iterdir()))
    assert old.read_text() == "mine" and list(tmp_path.iterdir()) == [old]


def test_without_photos_nothing_can_be_compared(
    tmp_path: Path, small: tuple[Networks, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, data = small
    monkeypatch.setattr("dips.export.onnx.to_bytes", lambda networks, about: data)
    text = tmp_path / "a.jpg"
    text.write_text("no photo")
    with pytest.raises(RunError, match="--photos"):
        export_onnx(networks, tmp_path / "x.onnx", about=about(networks), photos=[text])
    assert list(tmp_path.iterdir()) == [text]


def test_the_file_says_what_it_is_and_nothing_of_this_machine(file: Path) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {item.domain for item in model.opset_import} == {""} and model.opset_import[0].version == 18
    assert "random, for tests" in model.doc_string and model.producer_name == "dips"
    said = json.loads(model.metadata_props[0].value)
    assert said["schema"] == 1 and said["classes"] == list(CLASSES) and said["predict"]["threshold"] == 0.7
    data = file.read_bytes()
    assert [text for text in (b"stack_trace", b"site-packages", b".py", str(ROOT).encode()) if text in data] == []
    assert len(data) < 3_000_000, "weights are there once"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, file: Path, networks: Networks) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RunError, match=re.escape('pip install "dips-wsol[export]"')):
        to_bytes(networks, about(networks))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunError, match=re.escape("bird.onnx needs onnxruntime")) as caught:
        load_onnx(file)
    assert 'pip install "dips-wsol[onnx]"' in str(caught.value)


# --- files from anywhere


def test_a_name_tells_an_exported_model(tmp_path: Path) -> None:
    (tmp_path / "run.onnx").mkdir()
    assert is_onnx("a/b.onnx") and is_onnx(Path("B.ONNX")) and not is_onnx("runs/onnx") and not is_onnx(tmp_path / "run.onnx")


def test_files_that_are_no_model(tmp_path: Path, file: Path) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(RunError, match=r"cannot read .*x\.onnx"):
        load_onnx(path)
    for data in (b"", b"no model", file.read_bytes()[:-1000], np.random.default_rng(0).bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(RunError, match=r"x\.onnx is (damaged|an ONNX model, but none)"):
            load_onnx(path)


def test_models_of_others_are_refused(change: Callable[..., Path]) -> None:
    with pytest.raises(RunError, match="none that 'dips export' wrote"):
        load_onnx(change(lambda model: model.ClearField("metadata_props")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "schema 2, this one reads 1"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", 3, None]}, "classes"),
        ({"classes": ["a", "a", "b"]}, "class names"),
        ({"classes": 3}, "classes"),
        ({"background": 3}, "background"),
        ({"background": "none"}, "background"),
        ({"side": 10**9}, "side"),
        ({"side": "96"}, "side"),
        ({"photo_side": -1}, "photo_side"),
        ({"predict": {"threshold": 7}}, "threshold"),
        ({"predict": {"treshold": 0.5}}, "treshold"),
        ({"predict": None}, "predict"),
        ({"more": 1}, "more"),
        ({"precision": "int4"}, "int4"),
    ],
)
def test_descriptions_are_checked(change: Callable[..., Path], changes: dict[str, Any], words: str) -> None:
    problem = "was written by another version" if "schema" in changes else "is damaged"
    with pytest.raises(RunError, match=rf"changed\.onnx {problem} .*{words}.*; export the run again"):
        load_onnx(change(lambda model: describe(model, **changes)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["schema", "classes", "background", "predict", "side", "weights"]), json_values), st.text()
)
def test_any_description_is_read_or_refused(changes: dict[str, Any], text: str) -> None:
    good = json.loads(Description(**{**vars_of(), "photo_side": None}).to_json())
    for said in (json.dumps(good | changes), json.dumps(changes), text):
        try:
            parse_description(said, "it.onnx")
        except RunError as error:
            assert str(error).startswith("it.onnx ")


@given(
    st.lists(st.text(), min_size=1, unique=True),
    st.floats(0, 1),
    st.integers(1, 8192),
)
def test_descriptions_come_back(classes: list[str], threshold: float, side: int) -> None:
    config = dataclasses.replace(CONFIG, threshold=threshold)
    changes = {"classes": tuple(classes), "side": side, "background": len(classes) - 1, "settings": dataclasses.asdict(config)}
    said = Description(**vars_of() | changes)
    assert parse_description(said.to_json(), "it.onnx") == said and said.predict == config


def vars_of() -> dict[str, Any]:
    return {
        "classes": CLASSES,
        "background": None,
        "settings": dataclasses.asdict(CONFIG),
        "side": 96,
        "photo_side": 48,
        "weights": {},
        "model": "",
        "dips": "0.1.0",
    }


def test_other_inputs_and_answers_are_refused(change: Callable[..., Path]) -> None:
    def rename(model: Any) -> None:
        model.graph.output[0].name = "other"
        model.graph.node.append(onnx.helper.make_node("Identity", ["score_map"], ["other"]))

    with pytest.raises(RunError, match="its inputs or outputs are not those that"):
        load_onnx(change(rename))
    exported = OnnxNetworks(change(lambda model: describe(model, classes=["a", "b"])).read_bytes(), "it", "cpu")
    with pytest.raises(RunError, match="other shapes"):
        exported.answer(PhotoBatch(np.zeros((1, 96, 96, 3), np.uint8)))


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "ABSOLUTE"])
def test_a_file_cannot_name_others(
    change: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    """Weights in other files, of which a stranger's model could send any."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "weights.bin").write_bytes(bytes(1 << 20))
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 20))
    monkeypatch.chdir(inside)

    def outsource(model: Any) -> None:
        tensor = max(model.graph.initializer, key=lambda item: len(item.raw_data))
        length = len(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        where = str(tmp_path / "weights.bin") if location == "ABSOLUTE" else location
        for key, value in (("location", where), ("offset", "0"), ("length", str(length))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    with pytest.raises(RunError, match=r"changed\.onnx refers to other files"):
        load_onnx(change(outsource))


def test_operators_that_onnxruntime_does_not_have_are_refused(change: Callable[..., Path]) -> None:
    def foreign(model: Any) -> None:
        model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
        model.graph.node[0].domain = "com.example"

    with pytest.raises(RunError, match="cannot be run by this onnxruntime"):
        load_onnx(change(foreign))


def test_devices(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mps", "tpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(RunError, match="give cpu, cuda"):
            load_onnx(file, device=name)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RunError, match=r"onnxruntime-gpu.*--device cpu"):
        load_onnx(file, device="cuda")
    assert load_onnx(file, device="auto").classes == CLASSES


@pytest.mark.parametrize(("given", "taken"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_threads(monkeypatch: pytest.MonkeyPatch, given: str, taken: int | None) -> None:
    from dips.export.onnx_model import _threads

    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert _threads() == taken if taken else 1 <= _threads() <= (os.cpu_count() or 1)


# --- without torch


WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names!r}.split() else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def without_torch(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs in a process that finds nothing of the extra train, and no onnx."""
    blocker = WITHOUT.format(names=f"{HEAVY} onnx onnxscript")
    return subprocess.run(
        [sys.executable, "-c", blocker + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


MAIN = "from dips.cli import main\nsys.exit(main())"


def test_prediction_needs_no_torch(tmp_path: Path, file: Path, networks: Networks, photos: Path) -> None:
    made_of = without_torch(
        MAIN, "predict", file, photos, "--out", tmp_path / "out", "--format", "json,overlays,masks,coco,csv", "--tile", "48"
    )
    assert made_of.returncode == 0, made_of.stderr
    assert "5 photos" in made_of.stdout
    assert made_of.stderr == "tiles of 48 pixels besides the whole photo, threshold 0.7; encoder random, for tests\n"
    plain = Predictor(networks, config=dataclasses.replace(CONFIG, tile=48), classes=CLASSES, background=0)
    for path, here in zip(sorted(photos.iterdir()), found(plain, *sorted(photos.iterdir())), strict=True):
        record = json.loads((tmp_path / "out" / "json" / f"{path.stem}.json").read_text())
        assert record["label"] == here.label and record["threshold"] == pytest.approx(0.7)
        boxes = np.array([entry["box"] for entry in record["boxes"]], np.float32).reshape(-1, 4)
        np.testing.assert_allclose(boxes, here.boxes, atol=1)
    again = without_torch(MAIN, "boxes", tmp_path / "out", "--out", tmp_path / "again", "--threshold", "0.5")
    assert again.returncode == 0, again.stderr


def test_python_needs_no_torch(file: Path, photos: Path) -> None:
    done = without_torch(
        "import dips\nmodel = dips.load(sys.argv[1])\nprint(*[p.label for p in model.predict(sys.argv[2])])", file, photos
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 5


@pytest.mark.parametrize("command", ["train data --out run", "predict run photos --out out", "evaluate run data", "export run"])
def test_other_commands_say_what_to_install(tmp_path: Path, command: str, photos: Path) -> None:
    words = [
        str(photos) if word == "photos" else str(tmp_path / word) if word in ("out", "run") else word
        for word in command.split()
    ]
    done = without_torch(MAIN, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r'dips: error: this needs \w+, which is not installed; pip install "dips-wsol\[train\]"\n', done.stderr)


def test_what_python_says_without_torch() -> None:
    done = without_torch("import dips\ndips.fit")
    assert done.returncode == 1 and 'pip install "dips-wsol[train]"' in done.stderr.splitlines()[-1]


def test_doctor_needs_no_torch() -> None:
    done = without_torch(MAIN, "doctor")
    assert done.returncode == 0 and "FAILED" not in done.stdout and "torch is not installed" in done.stdout


def test_the_example_of_the_page_runs(file: Path, photos: Path) -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(import json.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
    assert '"tower.onnx"' in example and '"photo.jpg"' in example
    code = example.replace('"tower.onnx"', repr(str(file))).replace('"photo.jpg"', repr(str(photos / "1.png")))
    done = without_torch(code)
    assert done.returncode == 0, done.stderr
    (expected,) = found(load_onnx(file).predictor, photos / "1.png")
    label, box = done.stdout.splitlines()
    assert label.split()[0] == expected.label and float(label.split()[1]) == pytest.approx(expected.label_score, abs=0.02)
    assert [int(value) for value in box.split()] == pytest.approx(expected_extent(expected), abs=4)


def expected_extent(prediction: Prediction) -> list[int]:
    rows, columns = np.nonzero(prediction.score_map > prediction.threshold * prediction.score_map.max())
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
