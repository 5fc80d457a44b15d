"""Which files below a folder are photos."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dips.data.photo_files import expand, find_images, gather_images, has_photos, is_photo, list_images
from dips.errors import DataError

from .conftest import MakePhoto


def test_list_images(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("b/ü 1.JPG", "b/a.png", "a.jpeg", ".hidden/x.jpg", "b/._a.png", "__MACOSX/a.jpg", "c d/e/z.Tif"):
        make_photo(tmp_path / name, (2, 2))
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert names == ["a.jpeg", "b/a.png", "b/ü 1.JPG", "c d/e/z.Tif"]
    with pytest.raises(DataError, match="not a folder"):
        list_images(tmp_path / "a.jpeg")


def test_gather_images(tmp_path: Path, make_photo: MakePhoto) -> None:
    photo, other = make_photo(tmp_path / "in" / "a.jpg", (2, 2)), make_photo(tmp_path / "b.jpg", (2, 2))
    assert gather_images(str(photo)) == [photo] and gather_images([tmp_path / "in", other]) == [photo, other]
    with pytest.raises(DataError, match="no photo in an empty list"):
        gather_images([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no photo in .*empty; give photos"):
        gather_images(tmp_path / "empty")


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def messages(folder: Path) -> dict[str, str]:
    return {problem.path.relative_to(folder).as_posix(): problem.message for problem in find_images(folder).problems}


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_images(folder)]


def test_photos_of_every_suffix_that_is_read(tmp_path: Path, make_photo: MakePhoto) -> None:
    jpeg = make_photo(tmp_path / "a" / "1.jpg", (8, 6))
    raw = jpeg.read_bytes()
    for name in ("2.JFIF", "3.jpe", "4.pjpeg", "5.mpo", "6", "7.RJPG", "IMG_2024.01.02", "with a. dot", "8.jpg.1"):
        (tmp_path / "a" / name).write_bytes(raw)
    for name in ("p.ppm", "p.pgm", "p.gif", "p.dib"):
        make_photo(tmp_path / "a" / name, (8, 6))
    shutil.move(make_photo(tmp_path / "a" / "x.png", (8, 6)), tmp_path / "a" / "png without suffix")
    assert len(names(tmp_path)) == 15 and messages(tmp_path) == {}
    assert is_photo(tmp_path / "a" / "6") and not is_photo(tmp_path / "a") and not is_photo(tmp_path / "gone")


def test_what_is_left_out_is_counted_for_each_folder(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "tower" / "1.jpg", (2, 2))
    for name in ("tower/2.HEIC", "tower/deep/3.heic", "tower/4", "tower/clip.MP4", "none/5.nef", "none/6.jpg.part", "7.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(HEIC if name != "tower/4" else bytes(range(256)))
    (tmp_path / "none" / "copy").touch()
    for name in ("notes.txt", "Thumbs.db", ".hidden.nef", "tower/LICENSE", "tower/1.xml", "events.out.tfevents.1.host.0"):
        (tmp_path / name).write_text("a note")
    assert messages(tmp_path) == {
        ".": "1 file is left out; 7.avif: convert to JPEG or PNG, for example by 'magick IN OUT.jpg' of ImageMagick",
        "none": messages(tmp_path)["none"],
        "tower": messages(tmp_path)["tower"],
    }
    of_none = messages(tmp_path)["none"]
    assert of_none.startswith("3 files are left out; 5.nef: convert to JPEG") and "; copy: empty, copy again" in of_none
    assert "; 6.jpg.part: if it is a photo, finish its copy" in of_none
    remedies = (
        "4 files are left out; 2.HEIC, 3.heic: convert",
        "; clip.MP4: give to 'dips stream'; 4: convert to JPEG or PNG if",
    )
    assert all(remedy in messages(tmp_path)["tower"] for remedy in remedies)
    assert sorted(find_images(tmp_path).left_out) == ["", "none", "tower"]
    assert has_photos(tmp_path / "tower") and not has_photos(tmp_path / "none")


def test_what_is_surely_no_photo_of_a_class(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "z" / "1.jpg", (2, 2))
    for name in ("a/clip.mov", "b/1.jpg.crdownload", "c/empty", "d/notes.txt", "e/1.png~"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert find_images(tmp_path).left_out == {} and sorted(messages(tmp_path)) == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    "marks",
    [
        (".unfinished/plan.json",),
        (".unfinished.json",),
        ("predictions.json", "json/1.json", "maps/1.png"),
        ("compare.json",),
        ("model.json", "config.toml"),
    ],
)
def test_results_are_not_photos(tmp_path: Path, make_photo: MakePhoto, marks: tuple[str, ...]) -> None:
    make_photo(tmp_path / "tower" / "1.jpg", (2, 2))
    results = tmp_path / "tower" / "deep" / "boxes"
    make_photo(results / "overlays" / "1.jpg", (2, 2))
    for mark in marks:
        (results / mark).parent.mkdir(exist_ok=True)
        (results / mark).touch()
    assert names(tmp_path) == ["tower/1.jpg"] and not has_photos(results)
    assert messages(tmp_path) == {"tower/deep/boxes": "holds results of dips, no photos; it is left out"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_lost_links(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "in" / "1.jpg", (2, 2))
    os.mkfifo(tmp_path / "in" / "x.jpg")
    os.mkfifo(tmp_path / "in" / "y")
    (tmp_path / "in" / "z.jpg").symlink_to(tmp_path / "gone.jpg")
    assert names(tmp_path) == ["in/1.jpg", "in/z.jpg"]
    assert messages(tmp_path)["in"] == "2 files are left out; x.jpg, y: no real file (a pipe or a device), remove"


def test_of_many_files_kinds_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    for name in ("c.heic", "b.HEIC", "d.nef", "a.heic", "x.mkv"):
        (tmp_path / name).touch()
    (tmp_path / "y.rjpg").write_bytes(HEIC)
    (problem,) = find_images(tmp_path).problems
    assert problem.files == 6 and problem.message.startswith(
        "6 files are left out; 3 .heic, 1 .nef, 1 .rjpg (HEIC) (such as a.heic): convert to JPEG or PNG, "
    )
    assert problem.message.endswith("; x.mkv: give to 'dips stream'")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["a/1.heic", "b/1.heic"], "2 files are left out; 1.heic in a, 1.heic in b: convert to JPEG or PNG, "),
        (
            ["a/deep/1.NEF", "2.nef", "b/2.avif", "b/1.jxl"],
            "4 files are left out; 2 .nef, 1 .jxl, 1 .avif (such as 1.NEF in a): ",
        ),
        (["a/1.heic", "b/clip.mp4"], "2 files are left out; 1.heic in a: convert "),
    ],
)
def test_where_there_is_no_photo_at_all_one_list_says_why(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    (problem,) = find_images(tmp_path).problems
    assert problem.path == tmp_path and problem.files == len(files)
    assert problem.message.startswith(words) and "'magick IN OUT.jpg'" in problem.message
    assert list(find_images(tmp_path).left_out) == [""]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may open everything")
def test_a_folder_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0)
    assert "cannot be opened" in messages(tmp_path)["a"]


def test_stars_that_the_shell_left_alone(tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p/b.jpg", "p/a.jpg", "p/c.png", "p/deep/d.jpg", "p/[x].jpg"):
        make_photo(tmp_path / name, (2, 2))
    monkeypatch.chdir(tmp_path)
    for pattern, found in (
        ("p/[ab].jpg", ["a.jpg", "b.jpg"]),
        ("p\\?.png", ["c.png"]),
        ("**/d.*", ["d.jpg"]),
        ("p/[x].jpg", ["[x].jpg"]),
    ):
        assert [path.name for path in expand([Path(pattern)])] == found
    assert len(gather_images("p/*")) == 5
    with pytest.raises(DataError, match=r"no file fits p/\*\.tif; give photos"):
        gather_images(Path("p/*.tif"))
