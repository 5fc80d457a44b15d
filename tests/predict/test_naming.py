"""Names of photos: below which folder, and what is told of other files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dips.errors import DataError
from dips.predict.naming import name_photos, texts_of

MakePhoto = Callable[..., Path]


def test_names_of_several_places(tmp_path: Path, make_photo: MakePhoto) -> None:
    a, b = make_photo(tmp_path / "p/a/1.jpg"), make_photo(tmp_path / "p/b/1.jpg")
    assert name_photos([a, b], leave_out=tmp_path / "o") == ({a: "a/1.jpg", b: "b/1.jpg"}, "p", [])
    assert list(name_photos([a.parent, a, b.parent], leave_out=tmp_path / "o")[0].values()) == ["a/1.jpg", "b/1.jpg"]
    assert name_photos([a], leave_out=tmp_path / "o") == ({a: "1.jpg"}, "a", [])


def test_results_inside_the_photos_do_not_count(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "1.jpg")
    out = tmp_path / "out"
    make_photo(out / "overlays/1.jpg")
    assert list(name_photos([tmp_path], leave_out=out)[0].values()) == ["1.jpg"]
    (out / ".unfinished").mkdir()
    (out / ".unfinished" / "plan.json").touch()
    assert list(name_photos([tmp_path], leave_out=out)[0].values()) == ["1.jpg"]
    assert name_photos([tmp_path], leave_out=out)[2] == []
    names, _, (problem,) = name_photos([tmp_path], leave_out=tmp_path / "other")
    assert list(names.values()) == ["1.jpg"] and problem.path == out and "holds results of dips" in problem.message


def test_files_of_other_kinds_are_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "p" / "1.jpg")
    for name in ("DJI_1.HEIC", "sub/DJI_1.DNG", "notes.txt", ".hidden.heic"):
        (tmp_path / "p" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "p" / name).touch()
    said = [problem.message for problem in name_photos([tmp_path / "p"], leave_out=tmp_path / "out")[2]]
    assert said[0].startswith("1 file is left out; DJI_1.HEIC: convert to JPEG or PNG")
    assert said[1].startswith("1 file is left out; DJI_1.DNG: convert to JPEG or PNG")
    with pytest.raises(DataError, match=r"there are no photos in .*PPM; 1 file is left out; DJI_1\.DNG: [^\n]*magick[^\n]*$"):
        name_photos([tmp_path / "p" / "sub"], leave_out=tmp_path / "out")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "2.avif").touch()
    with pytest.raises(DataError, match=r"PPM; \S*sub: 1 file is left out; DJI_1.*; \S*q: 1 file is left out; 2\.avif: "):
        name_photos([tmp_path / "p" / "sub", tmp_path / "q"], leave_out=tmp_path / "out")
    assert list(name_photos([tmp_path / "p" / "*.jp*"], leave_out=tmp_path / "out")[0].values()) == ["1.jpg"]
    (tmp_path / "clip.MP4").touch()
    with pytest.raises(DataError, match="is a video; 'dips stream'"):
        name_photos([tmp_path / "clip.MP4"], leave_out=tmp_path / "out")


def test_a_pattern_that_the_shell_left_alone(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("1.jpg", "2.jpg", "3.png", "[1].jpg"):
        make_photo(tmp_path / "p" / name)
    for pattern, names in (
        ("*.jpg", ["1.jpg", "2.jpg", "[1].jpg"]),
        ("?.*", ["1.jpg", "2.jpg", "3.png"]),
        ("[1].jpg", ["[1].jpg"]),
    ):
        assert sorted(name_photos([tmp_path / "p" / pattern], leave_out=tmp_path / "o")[0].values()) == names
    with pytest.raises(DataError, match=r"no file fits .*\*\.bmp; give photos"):
        name_photos([tmp_path / "p" / "*.bmp"], leave_out=tmp_path / "o")
    with pytest.raises(DataError, match=r"4\.jpg does not exist; give photos"):
        name_photos([tmp_path / "p" / "4.jpg"], leave_out=tmp_path / "o")


def test_texts_stay_different() -> None:
    names = {Path(str(n)): name for n, name in enumerate(["M%FC.jpg", "M\udcfc.jpg", "a/M\udcfc.jpg", "M\udce4.jpg"])}
    texts = list(texts_of(names).values())
    assert texts[0] == "M%FC.jpg" and texts[2:] == ["a/M%FC.jpg", "M%E4.jpg"] and len(set(texts)) == 4
