"""Names in annotation files and files on the disk."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from dips.data.locate import Located, locate, photo_id
from dips.data.photo_files import list_images

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Türme/Mühle ä.jpg") for form in ("NFC", "NFD"))


def find(top: Path, *names: str, whole: bool = False) -> tuple[dict[str, str], Located]:
    located = locate(names, (top,), lambda: list_images(top), whole=whole)
    return {name: photo_id(file, top) for name, file in located.files.items()}, located


def touch(top: Path, *names: str) -> Path:
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top


@pytest.mark.parametrize(
    "name",
    [
        "tower/a0.jpg",
        "./tower/../tower/a0.jpg",
        "tower\\a0.jpg",
        r"C:\Users\me\data\tower\a0.jpg",
        r"\\server\share\tower\a0.jpg",
        "/home/me/data/tower/a0.jpg",
        "data/tower/a0.jpg",
    ],
)
def test_paths_of_any_system(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "tower/a0.jpg", "none/a0.jpg")
    assert find(tmp_path, name)[0] == {name: "tower/a0.jpg"}


def test_found_twice(tmp_path: Path) -> None:
    touch(tmp_path, "tower/a0.jpg", "none/a0.jpg", "none/b.jpg")
    names = ("a0.jpg", r"D:\crane\a0.jpg", "b.jpg", "gone.jpg")
    found, located = find(tmp_path, *names)
    assert found == {"b.jpg": "none/b.jpg"} and list(located.missing) == ["gone.jpg"]
    missing, twice = (p.message for p in located.problems(tmp_path / "x.csv", tmp_path))
    assert "1 listed photo does not exist" in missing and "gone.jpg" in missing and "a0.jpg" not in missing
    assert "2 listed photos are in" in twice and "more than once" in twice
    assert "a0.jpg (none/a0.jpg, tower/a0.jpg)" in twice


def test_a_photo_belongs_to_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "tower/a.jpg", "none/b.jpg")
    names = ("tower/a.jpg", "crane/a.jpg", "x/b.jpg", "y/b.jpg")
    found, located = find(tmp_path, *names)
    assert found == {"tower/a.jpg": "tower/a.jpg"} and list(located.missing) == list(names[1:])


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("listed", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_accents(tmp_path: Path, listed: str, stored: str, whole: bool) -> None:
    touch(tmp_path, stored)
    if (tmp_path / listed).exists():
        pytest.skip("this file system takes both names for one")
    assert find(tmp_path, listed, whole=whole)[0] == {listed: stored}
    touch(tmp_path, listed)
    assert find(tmp_path, listed, stored, whole=whole)[0] == {listed: listed, stored: stored}, "the exact name comes first"


def test_the_whole_path(tmp_path: Path) -> None:
    touch(tmp_path, "test/a.jpg", "c\u00f4te/b.jpg")
    found, located = find(tmp_path, "train/a.jpg", "a.jpg", "co\u0302te/b.jpg", whole=True)
    assert found == {"co\u0302te/b.jpg": "c\u00f4te/b.jpg"} and list(located.missing) == ["train/a.jpg", "a.jpg"]


def test_near_misses_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "x/a0.jpg", "x/b.png", "x/M\u00fcHLE.jpg")
    if (tmp_path / "X/A0.JPG").exists():
        pytest.skip("upper and lower case are one on this file system")
    _, located = find(tmp_path, "x/A0.JPG", "b.jpg", "c.jpg", "mu\u0308hle.jpg")
    assert located.missing == {"x/A0.JPG": "a0.jpg", "b.jpg": "b.png", "c.jpg": "", "mu\u0308hle.jpg": "M\u00fcHLE.jpg"}
    message = located.problems(tmp_path / "x.csv", tmp_path)[0].message
    assert "4 listed photos do not exist" in message and "x/A0.JPG (there is a0.jpg), b.jpg (there is b.png), c.jpg" in message


def test_ids_without_suffix_and_backslashes_in_names(tmp_path: Path) -> None:
    touch(tmp_path, "images/ISIC_07.jpg")
    assert find(tmp_path, "ISIC_07", "ISIC_7")[0] == {"ISIC_07": "images/ISIC_07.jpg"}
    touch(tmp_path, "odd\\name.jpg")  # as archives of Windows are unpacked by some programs
    assert find(tmp_path, "odd\\name.jpg")[0] == {"odd\\name.jpg": "odd\\name.jpg"}
