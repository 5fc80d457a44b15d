"""What is known of a split without its photos."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dips.data import load_data, load_ground_truth
from dips.data.ground_truth import read_mask
from dips.errors import DataError, ImageError
from dips.types import Sample

from .conftest import MakePhoto, Rows, boxes_of, draw, draw_all, write_metadata


@pytest.fixture
def ilsvrc(tmp_path: Path) -> Path:
    """Training and validation photos of two classes, as ILSVRC numbers and names them; no photo."""
    train: Rows = {
        f"train/{name}/{name}_{n}.JPEG": (label, (64, 48), []) for label, name in enumerate(("n01", "n02")) for n in "12"
    }
    write_metadata(tmp_path / "metadata" / "ILSVRC" / "train", train)
    two = [(0, 0, 9, 9), (20, 10, 63, 47)]
    rows = {"val/00000002.JPEG": (1, (500, 375), two), "val/00000001.JPEG": (0, (64, 48), [(5, 5, 5, 40)])}
    write_metadata(tmp_path / "metadata" / "ILSVRC" / "val", rows)
    return tmp_path


@pytest.mark.parametrize("inside", ["", "metadata", "metadata/ILSVRC", "metadata/ILSVRC/val"])
def test_metadata_alone(ilsvrc: Path, inside: str) -> None:
    data = load_ground_truth(ilsvrc / inside, split="validation")
    assert (data.split, data.root) == ("val", ilsvrc) and not data.problems
    assert [s.id for s in data] == ["val/00000002.JPEG", "val/00000001.JPEG"], "the order of image_ids.txt"
    first, second = data
    assert data.classes == ("n01", "n02") and first.label == 1 and first.frame == (500, 375)
    assert boxes_of(first) == [[0, 0, 9, 9], [20, 10, 63, 47]]
    assert second.boxes is not None and second.boxes.dtype == np.float32 and second.boxes.base is None
    assert first.path == ilsvrc / "val" / "00000002.JPEG"
    assert all(sample.boxes is None for sample in load_ground_truth(ilsvrc, split="train"))


def test_path_is_where_the_photos_are(ilsvrc: Path, make_photo: MakePhoto) -> None:
    make_photo(ilsvrc / "ILSVRC" / "val" / "00000001.JPEG", format="JPEG")
    data = load_ground_truth(ilsvrc, split="val")
    assert data.root == ilsvrc / "ILSVRC" and data[1].path.is_file() and data[1].frame == (64, 48)


def test_cub_v2(tmp_path: Path, make_photo: MakePhoto) -> None:
    rows = {f"val/001.A/{n}.jpg": (0, (320, 240), [(80.5, 60, 200, 180)]) for n in (1, 2)}
    write_metadata(tmp_path / "metadata" / "val", rows)
    make_photo(tmp_path / "val" / "001.A" / "2.jpg")
    data = load_ground_truth(tmp_path, split="val")
    assert data.classes == ("001.A",) and [s.id for s in data] == list(rows)
    assert boxes_of(data[0]) == [[80.5, 60, 200, 180]] and data[0].frame == (320, 240)
    photos = load_data(tmp_path, split="val")
    assert [s.id for s in photos.samples] == ["001.A/2.jpg"] and photos.samples[0].frame == (320, 240)


def test_masks_without_photos(tmp_path: Path) -> None:
    folder = write_metadata(tmp_path / "metadata" / "test", {f"test/x/{n}.jpg": (0, (9, 9), []) for n in "ab"})
    (folder / "image_sizes.txt").unlink()
    (folder / "localization.txt").write_text("test/x/a.jpg,test/x/a_m.png,test/x/a_i.png\ntest/x/c.jpg,test/x/c_m.png,\n")
    with pytest.raises(DataError, match=r"a_m\.png and the other masks are missing, looked for in .*put the masks' folders"):
        load_ground_truth(tmp_path)
    for name in ("a_m.png", "a_i.png"):
        path = tmp_path / "masks" / "test" / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (32, 24)).save(path)
    data = load_ground_truth(tmp_path)
    assert data[0].masks == (tmp_path / "masks/test/x/a_m.png",) and data[0].frame is None
    assert data[0].ignore == tmp_path / "masks/test/x/a_i.png" and data[1].masks == ()
    assert "test/x/c.jpg" in data.problems[0].message


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("localization.txt", "9,9,2,20", r"line 4: the box 9,9,2,20 of val/00000001\.JPEG ends before it starts"),
        ("localization.txt", "0,0,nan,3", r"line 4: expected 4 numbers, found 'val/00000001\.JPEG,0,0,nan,3'"),
        ("localization.txt", "64,0,80,3", r"the box 64,0,80,3 of val/00000001\.JPEG lies outside of its photo \(64 x 48"),
        ("localization.txt", "0,-9,80,-2", r"the box 0,-9,80,-2 of val/00000001\.JPEG lies outside"),
        ("image_sizes.txt", None, r"no size for val/00000002\.JPEG, which has boxes"),
        ("image_ids.txt", None, "lists no photo"),
    ],
)
def test_what_cannot_be_scored(ilsvrc: Path, file: str, line: str | None, message: str) -> None:
    path = ilsvrc / "metadata" / "ILSVRC" / "val" / file
    path.write_text("" if line is None else f"{path.read_text()}val/00000001.JPEG,{line}\n")
    with pytest.raises(DataError, match=rf"{file.split('.')[0]}.*{message}"):
        load_ground_truth(ilsvrc, split="val")


def test_which_metadata(ilsvrc: Path) -> None:
    with pytest.raises(DataError, match=r"no metadata of the split 'test'; there are train, val"):
        load_ground_truth(ilsvrc)
    with pytest.raises(DataError, match=r"no metadata of the split 'test'; there are val"):
        load_ground_truth(ilsvrc / "metadata" / "ILSVRC" / "val")
    write_metadata(ilsvrc / "metadata" / "CUB" / "val", {"a/1.jpg": (0, (9, 9), [(0, 0, 5, 5)])})
    with pytest.raises(DataError, match=r"several data sets, CUB, ILSVRC; give one of them"):
        load_ground_truth(ilsvrc, split="val")
    assert len(load_ground_truth(ilsvrc, split="train")) == 4, "only one of them has it"
    assert load_ground_truth(ilsvrc / "metadata" / "CUB", split="val").classes == ("a",)
    with pytest.raises(DataError, match="does not exist"):
        load_ground_truth(ilsvrc / "gone")


def test_other_layouts_get_the_size_of_the_photo(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("none/a.jpg", "x/b.jpg"):
        make_photo(tmp_path / name, (40, 30))
    (tmp_path / "test.csv").write_text("path,label,x0,y0,x1,y1\nnone/a.jpg,none,,,,\nx/b.jpg,x,1,2,3,4\n")
    data = load_ground_truth(tmp_path)
    none, one = data
    assert none.frame is None and one.frame == (40, 30)
    assert load_data(tmp_path, split="test").background == 0
    (tmp_path / "x" / "b.jpg").write_text("text")
    with pytest.raises(ImageError, match=r"b\.jpg is not a photo"):
        load_ground_truth(tmp_path)


def test_union_and_ignored_region(open_images: Path) -> None:
    draw_all(open_images)
    first, second = load_data(open_images / "val").samples
    mask = read_mask(first, (32, 24))
    expected = np.zeros((24, 32), np.uint8)
    expected[:8, 4:12] = 255
    expected[:8, :8] = expected[:8, 16:24] = 1
    assert mask.dtype == np.uint8 and np.array_equal(mask, expected)
    assert np.array_equal(read_mask(first, (16, 12)), expected[::2, ::2]), "nearest neighbour"
    assert (read_mask(second, (7, 5)) == np.ones((5, 7))).all()


def sample(*masks: Path, ignore: Path | None = None) -> Sample:
    return Sample(Path("photo.jpg"), "photo.jpg", None, masks=masks, ignore=ignore)


@pytest.mark.parametrize(
    ("depth", "value"), [(np.uint8, 1), (np.uint8, 255), (np.uint16, 1), (np.uint16, 255), (np.uint16, 65535)]
)
def test_any_value_above_0_is_the_object(tmp_path: Path, depth: type, value: int) -> None:
    array: NDArray[np.integer] = np.zeros((24, 32), depth)
    array[2:5, 3:9] = value
    Image.fromarray(array).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(sample(tmp_path / "m.png"), (32, 24)), array > 0)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_colour_masks(tmp_path: Path, mode: str) -> None:
    mask = Image.new("RGB", (32, 24))
    mask.paste((0, 0, 200), (3, 2, 9, 5))
    mask.convert(mode).save(tmp_path / "m.png")
    found = read_mask(sample(tmp_path / "m.png"), (32, 24))
    assert found[2:5, 3:9].all() and found.sum() == 18, "transparency is no object"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good = draw(tmp_path / "good.png", (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"photo\.jpg has no ground-truth mask; name"):
        read_mask(sample(), (8, 8))
    for broken in (sample(good, tmp_path / "gone.png"), sample(good, ignore=tmp_path / "gone.png")):
        with pytest.raises(DataError, match=r"gone\.png does not exist"):
            read_mask(broken, (8, 8))
    for content in (b"", b"text"):
        (tmp_path / "broken.png").write_bytes(content)
        with pytest.raises(ImageError, match=r"broken\.png is not a mask"):
            read_mask(sample(good, tmp_path / "broken.png"), (8, 8))
    with pytest.raises(ImageError, match="cannot be opened"):
        read_mask(sample(tmp_path), (8, 8))


def test_needs_no_torch() -> None:
    code = "import sys; import dips.data.predicted_classes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def many(folder: Path, count: int) -> Path:
    names = (f"val/ILSVRC2012_val_{n:08d}.JPEG" for n in range(count))
    return write_metadata(folder, {name: (n % 9, (500, 375), [(0, 0, n % 500, 99)]) for n, name in enumerate(names)})


def test_fifty_thousand_photos(tmp_path: Path) -> None:
    many(tmp_path / "metadata" / "val", 50_000)
    begin = time.process_time()
    assert len(load_ground_truth(tmp_path, split="val")) == 50_000
    assert time.process_time() - begin < 10, "one second where nothing else runs"


KEPT = """
import sys, tracemalloc
from dips.data import load_ground_truth
load_ground_truth(sys.argv[1], split="val")
tracemalloc.start()
data = load_ground_truth(sys.argv[1], split="val")
print(tracemalloc.get_traced_memory()[0] / len(data))
"""


def test_memory_per_photo(tmp_path: Path) -> None:
    folder = many(tmp_path / "metadata" / "val", 5_000)
    # its own process: threads that other tests left behind allocate, too
    done = subprocess.run([sys.executable, "-c", KEPT, str(folder)], capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < 1024, "bytes"


def test_metadata_of_cub() -> None:
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("DIPS_TEST_DATA") or default) / "wsol_metadata" / "CUB"
    if not folder.is_dir():
        pytest.skip(f"no metadata in {folder}; set DIPS_TEST_DATA")
    data = {split: load_ground_truth(folder, split=split) for split in ("train", "val", "test")}
    assert {split: len(truth) for split, truth in data.items()} == {"train": 5994, "val": 1000, "test": 5794}
    for truth in data.values():
        assert truth.classes == data["test"].classes and len(truth.classes) == 200 and not truth.problems
        assert all(s.boxes is not None and s.frame and s.label is not None for s in truth)
    one = data["test"][0]
    assert one.id == "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg" and one.frame == (500, 335)
    assert boxes_of(one) == [[60, 27, 385, 331]] and load_ground_truth(folder / "test").root == folder
