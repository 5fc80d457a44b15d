"""Prediction folders as they are, and as they should not be."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from dips.errors import ImageError, RunError
from dips.view.predictions import read_predictions


def rewrite(folder: Path, stem: str, /, **parts: object) -> None:
    path = folder / "json" / f"{stem}.json"
    record = {**json.loads(path.read_text()), **parts}
    path.write_text(json.dumps({key: value for key, value in record.items() if value != "gone"}))


def test_everything_a_review_needs(predicted: Path) -> None:
    read = read_predictions(predicted)
    assert [photo.name for photo in read.photos] == ["a.jpg", "b.jpg", "c.jpg", "sub/d.jpg"]
    assert read.classes == ("none", "mast", "tower") and read.object_classes == ("mast", "tower")
    assert read.model == "0123456789ab"
    first = read.photos[0]
    assert [predicted.score for predicted in first.boxes] == [0.9, 0.4]
    assert (first.width, first.height, first.label) == (200, 100, "tower")
    assert [photo.reviewed for photo in read.photos] == [False] * 4 and {predicted.label for predicted in first.boxes} == {None}
    assert [photo.priority for photo in read.photos] == [0.1, 0.6, 0.3, 0.6]


def test_photos_are_in_the_order_of_their_folders(predicted: Path) -> None:
    for name in ("sub-a/x", "sub/z"):
        rewrite_from = json.loads((predicted / "json" / "b.json").read_text())
        path = predicted / "json" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**rewrite_from, "name": f"{name}.jpg"}))
    assert [photo.name for photo in read_predictions(predicted).photos][3:] == ["sub/d.jpg", "sub/z.jpg", "sub-a/x.jpg"]


@pytest.mark.parametrize(
    "parts",
    [{"path": "gone"}, {"name": "gone"}, {"background": "gone"}, {"width": 0}, {"height": "x"}, {"label": "other"},
     {"boxes": 3}, {"boxes": [{"box": [1, 2, 3], "score": 1, "mask": {}}]}, {"boxes": [{"box": [1, 2, 3, 4], "mask": {}}]},
     {"boxes": [{"box": [1, 2, 3, 4], "score": 1}]}, {"class_scores": "gone"}, {"label_score": None}],
)  # fmt: skip
def test_a_damaged_record_is_named(predicted: Path, parts: dict[str, object]) -> None:
    rewrite(predicted, "b", **parts)
    with pytest.raises(RunError, match=r"b\.json is damaged .* predict the photo again"):
        read_predictions(predicted)


@pytest.mark.parametrize("text", ["", "{", "[]", "\ufeff\x00"])
def test_a_record_that_is_no_json_is_named(predicted: Path, text: str) -> None:
    (predicted / "json" / "b.json").write_text(text)
    with pytest.raises(RunError, match=r"b\.json is damaged"):
        read_predictions(predicted)


def test_folders_that_are_no_prediction(predicted: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a prediction"):
        read_predictions(tmp_path / "photos")
    (tmp_path / "empty" / "json").mkdir(parents=True)
    with pytest.raises(RunError, match="holds no photos"):
        read_predictions(tmp_path / "empty")
    (predicted / ".unfinished").mkdir()
    (predicted / ".unfinished" / "plan.json").touch()
    with pytest.raises(RunError, match="is unfinished"):
        read_predictions(predicted)


def test_photos_of_two_models_and_a_photo_twice(predicted: Path) -> None:
    rewrite(predicted, "c", model="ba9876543210")
    with pytest.raises(RunError, match=r"c\.json is of another model"):
        read_predictions(predicted)
    rewrite(predicted, "c", model="0123456789ab", name="b.jpg")
    with pytest.raises(RunError, match="about the same photo"):
        read_predictions(predicted)


def test_a_relative_photo_is_found_from_here_and_from_beside_the_folder(
    predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(predicted, "a", path="photos/a.jpg")
    photo = read_predictions(predicted).photos[0]
    monkeypatch.chdir(tmp_path)
    assert photo.locate(Path("boxes")) == Path("photos/a.jpg")
    monkeypatch.chdir(predicted / "json")
    assert photo.locate(predicted) == tmp_path / "photos" / "a.jpg"
    (tmp_path / "photos" / "a.jpg").unlink()
    with pytest.raises(ImageError, match="does not exist"):
        photo.locate(predicted)


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", "photos", "/proc/self/environ", "secret.txt"])
def test_what_is_not_named_like_a_photo_is_not_opened(predicted: Path, path: str) -> None:
    rewrite(predicted, "a", path=path)
    with pytest.raises(ImageError, match=r"is not a photo|does not exist"):
        read_predictions(predicted).photos[0].locate(predicted)


def test_no_torch_is_needed() -> None:
    import subprocess
    import sys

    assert importlib.util.find_spec("torch")
    program = "import sys, dips.view; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_photos_that_an_earlier_version_predicted_have_no_priority(predicted: Path) -> None:
    rewrite(predicted, "b", priority="gone")
    assert [photo.priority for photo in read_predictions(predicted).photos] == [0.1, None, 0.3, 0.6]
    rewrite(predicted, "b", priority=7)
    with pytest.raises(RunError, match=r"b\.json is damaged"):
        read_predictions(predicted)
