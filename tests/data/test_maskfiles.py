"""True masks: how metadata names them, where their files are found, and what is read from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dips.data import check_data, load_data, load_ground_truth
from dips.data.maskfiles import read_mask
from dips.data.metadata import read_metadata
from dips.errors import DataError, ImageError
from dips.types import Sample

FIRST, SECOND = "val/0138tl/d6fc.jpg", "val/0hwky/77aa.jpg"
LINES = (
    f"{FIRST},val/0138tl/d6fc_m1.png,val/0138tl/d6fc_ignore.png\n"
    f"{FIRST},val/0138tl/d6fc_m2.png,\n"
    f"{SECOND},val/0hwky/77aa_m1.png,\n"
)


def draw(path: Path, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (32, 24)) -> Path:
    """A mask as OpenImages has them, 1 bit deep and white in the boxes."""
    mask = Image.new("1", size)
    for box in boxes:
        mask.paste(1, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)
    return path


def draw_all(root: Path) -> None:
    draw(root / "val/0138tl/d6fc_m1.png", (0, 0, 8, 8))
    draw(root / "val/0138tl/d6fc_m2.png", (16, 0, 24, 8))
    draw(root / "val/0138tl/d6fc_ignore.png", (4, 0, 12, 8))
    draw(root / "val/0hwky/77aa_m1.png", (0, 0, 32, 24))


@pytest.fixture
def open_images(tmp_path: Path, make_photo) -> Path:
    """Photos and metadata of a split ``val``, without the masks' files."""
    folder = tmp_path / "metadata" / "val"
    folder.mkdir(parents=True)
    for seed, id in enumerate((FIRST, SECOND)):
        make_photo(tmp_path / id, seed=seed)
    (folder / "image_ids.txt").write_text(f"{FIRST}\n{SECOND}\n")
    (folder / "class_labels.txt").write_text(f"{FIRST},0\n{SECOND},1\n")
    (folder / "localization.txt").write_text(LINES)
    return tmp_path


def test_metadata_with_masks(open_images: Path) -> None:
    data = read_metadata(open_images / "metadata" / "val")
    assert data.masks[FIRST] == ["val/0138tl/d6fc_m1.png", "val/0138tl/d6fc_m2.png"] and not data.boxes and not data.sizes
    assert data.ignore == {FIRST: "val/0138tl/d6fc_ignore.png"}


@pytest.mark.parametrize("place", [".", "masks", "val/masks"])
def test_masks_beside_the_photos_and_elsewhere(open_images: Path, place: str) -> None:
    draw_all(open_images / place)
    data = load_data(open_images, split="val")
    first, second = data.samples
    assert data.layout == "wsol" and data.classes == ("0138tl", "0hwky") and not data.problems
    assert [file.name for file in first.masks] == ["d6fc_m1.png", "d6fc_m2.png"] and first.boxes is None
    assert first.ignore is not None and first.ignore.name == "d6fc_ignore.png" and first.ignore.is_file()
    assert len(second.masks) == 1 and second.ignore is None and first.frame is None


@pytest.mark.parametrize("masks", ["dataset/OpenImages", "OpenImages"])
def test_masks_where_the_benchmark_puts_them(open_images: Path, masks: str) -> None:
    (open_images / "metadata" / "OpenImages").mkdir()
    (open_images / "metadata" / "val").rename(open_images / "metadata" / "OpenImages" / "val")
    (open_images / "dataset" / "OpenImages").mkdir(parents=True)
    (open_images / "val").rename(open_images / "dataset" / "OpenImages" / "val")
    draw_all(open_images / masks)
    for data in (load_data(open_images / "dataset" / "OpenImages", split="val"), load_ground_truth(open_images, split="val")):
        assert data.samples[0].masks[1] == open_images / masks / "val/0138tl/d6fc_m2.png" and not data.problems


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


def test_some_masks_are_missing(open_images: Path) -> None:
    draw_all(open_images)
    (open_images / "val/0138tl/d6fc_m2.png").unlink()
    data = load_data(open_images, split="val")
    first, second = data.samples
    assert first.masks == () and first.ignore is None and len(second.masks) == 1, "half a mask would be a wrong one"
    (problem,) = data.problems
    assert problem.path.name == "localization.txt" and "1 photos lack" in problem.message and "d6fc_m2.png" in problem.message
    report = check_data(open_images)
    assert report.splits[0].masked == 1 and "true masks: 1 photos" in report.render()


def test_all_masks_are_missing(open_images: Path) -> None:
    with pytest.raises(DataError, match=r"localization\.txt: .*d6fc_m1\.png and the other masks are missing.*put the masks"):
        load_data(open_images, split="val")
    draw_all(open_images)
    (open_images / "val/0138tl/d6fc_ignore.png").unlink()
    (open_images / "val/0hwky/77aa_m1.png").unlink()
    with pytest.raises(DataError, match=r"d6fc_ignore\.png and the other masks"):
        load_data(open_images, split="val")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{FIRST},a.png", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},,a.png", r"line 4: expected id,mask,ignored"),
        (",a.png,", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},1,2,3,4", r"line 4: expected id,mask,ignored"),
        (f"{FIRST},a.png,other.png", r"line 4: .*d6fc\.jpg has two ignored regions, .*d6fc_ignore\.png and other\.png"),
    ],
)
def test_malformed_lines(open_images: Path, line: str, message: str) -> None:
    folder = open_images / "metadata" / "val"
    (folder / "localization.txt").write_text(f"{LINES}{line}\n")
    with pytest.raises(DataError, match=rf"localization\.txt, {message}"):
        read_metadata(folder)
    (folder / "localization.txt").write_text(f"{FIRST},1,2,3,4\n{FIRST},a.png,\n")
    with pytest.raises(DataError, match=r"localization\.txt, line 2: expected 4 numbers"):
        read_metadata(folder)


def sample(*masks: Path, ignore: Path | None = None) -> Sample:
    return Sample(Path("photo.jpg"), "photo.jpg", None, masks=masks, ignore=ignore)


@pytest.mark.parametrize(
    ("depth", "value"), [(np.uint8, 1), (np.uint8, 255), (np.uint16, 1), (np.uint16, 255), (np.uint16, 65535)]
)
def test_any_value_above_0_is_the_object(tmp_path: Path, depth: type, value: int) -> None:
    array = np.zeros((24, 32), depth)
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
    with pytest.raises(DataError, match=r"photo\.jpg: its true mask is not known"):
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
