"""Names of files that are not text, and paths that lead to other computers."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest

from dips.system.names import as_text, is_remote, named_so

NAMES = {
    b"M\xfchle.jpg": "M%FChle.jpg",
    b"M\xe4\xf6hle.jpg": "M%E4%F6hle.jpg",
    b"\xe5\xa1\x94\xff.jpg": "\u5854%FF.jpg",
    b"\xed\xa0\x80.jpg": "%ED%A0%80.jpg",
    b"50%\xfc.jpg": "50%%FC.jpg",
    b"%FC\xfc.jpg": "%25FC%FC.jpg",
    b"a%25\xfc": "a%2525%FC",
    "M\u00fchle 50%.jpg".encode(): "M\u00fchle 50%.jpg",
    b"M%FChle.jpg": "M%FChle.jpg",
}


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
@pytest.mark.parametrize(("name", "text"), NAMES.items())
def test_a_name_of_any_bytes_is_text_and_comes_back(name: bytes, text: str) -> None:
    assert as_text(os.fsdecode(name)) == text
    assert name in [os.fsencode(each) for each in named_so(text)]
    # in a locale that knows ASCII alone, Python has the same name otherwise
    assert as_text(name.decode("ascii", "surrogateescape")) == text


def test_what_is_no_name_of_a_file_is_text_too() -> None:
    assert as_text("94.7% of a\ud800b") == "94.7% of a\\ud800b" and as_text("") == ""


def test_another_computer_is_known_by_its_path() -> None:
    def remote(path: str, here: str) -> bool:
        folder: Any = PureWindowsPath(here)
        folder_class: Any = type("Here", (PureWindowsPath,), {"absolute": lambda self: self})
        any_path: Any = PureWindowsPath(path)
        return is_remote(any_path, folder_class(folder))

    for path in (
        r"\\evil\share\a.jpg",
        "//evil/share/a.jpg",
        r"\\?\UNC\evil\share\a.jpg",
        r"\\evil@80\x\a.jpg",
        r"\\.\pipe\a.jpg",
    ):
        assert remote(path, r"C:\out")
    for path, here in (
        (r"C:\photos\a.jpg", r"D:\out"),
        (r"photos\a.jpg", "."),
        (r"\\nas\photos\a.jpg", r"\\NAS\photos\out"),
        (r"\photos\a.jpg", "C:"),
    ):
        assert not remote(path, here)
    assert is_remote(Path(r"\\evil\share\a.jpg"), Path("out")) and not is_remote(Path("/photos/a.jpg"), Path("out"))
