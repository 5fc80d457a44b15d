"""Copies of photo files are found by their content, whatever they are called."""

from __future__ import annotations

import shutil
from pathlib import Path

from dips.data.copies import copy_problems, find_copies
from dips.types import Sample


def write(folder: Path, **contents: bytes) -> list[Path]:
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def test_copies_are_found_by_their_bytes(tmp_path: Path) -> None:
    long = bytes(range(256)) * 40
    start = b"x" + long[1:]  # differs from it before the end that is compared first
    a, b, c, d, e, f = write(tmp_path, a=long, b=long, c=start, d=long[:-1] + b"x", e=b"short", f=b"short")
    found = find_copies([a, b, c, d, e, f])
    assert list(found) == [a, b, e, f] and found[a] == found[b] != found[e] == found[f]


def test_files_without_content_are_no_copies(tmp_path: Path) -> None:
    empty = write(tmp_path, a=b"", b=b"")
    assert find_copies([*empty, tmp_path / "gone", tmp_path / "gone too", tmp_path]) == {}


def test_where_copies_lie(tmp_path: Path) -> None:
    (path,) = write(tmp_path, a=b"photo")
    copies = [Path(shutil.copy(path, tmp_path / name)) for name in ("b", "c", "d")]
    samples = [
        Sample(path, path.name, 0),
        *(Sample(copy, copy.name, label) for copy, label in zip(copies, (0, 1, 0), strict=True)),
    ]
    (leak, *_) = copy_problems({"val": samples[3:], "train": samples[:1]}, find_copies([path, *copies]))
    assert leak.path == path and "of the split val: a leak, which training leaves out of val; remove" in leak.message
    parts = {"train": samples[:3], "test": samples[3:]}
    problems = copy_problems(parts, find_copies([path, *copies]))
    assert [(problem.path, problem.message.split(f"{path} ")[-1].split(f"{path}, ")[-1]) for problem in problems] == [
        (copies[2], "of the split train: a leak, both are used; remove one of the two"),
        (copies[0], "both are used; remove one of the two"),
        (
            copies[1],
            "in another class, both are used; remove it where it does not belong, or, if it shows both, list it once with both "
            "classes in a CSV (path,label|label)",
        ),
    ]


def test_copies_with_the_same_labels_in_another_order(tmp_path: Path) -> None:
    (path,) = write(tmp_path, a=b"photo")
    copy = Path(shutil.copy(path, tmp_path / "b"))
    samples = [Sample(path, "a", 0, others=(1,)), Sample(copy, "b", 1, others=(0,))]
    (same,) = copy_problems({"train": samples}, find_copies([path, copy]))
    assert "in another class" not in same.message
    (other,) = copy_problems({"train": [samples[0], Sample(copy, "b", 1)]}, find_copies([path, copy]))
    assert "in another class" in other.message
