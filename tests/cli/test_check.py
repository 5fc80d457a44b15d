"""``dips check``: the report and the exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

from .conftest import Dips, Tiny


def test_the_column_of_the_class(class_folders: Path, dips: Dips) -> None:
    table = class_folders / "list.csv"
    table.write_text("photo,place,kind\ntrain/tower/0.jpg,here,x\ntrain/none/0.jpg,there,y\n")
    said = dips("check", table)
    assert said.code == 1 and "--label-column NAME" in said.out
    said = dips("check", table, "--label-column", "kind")
    assert said.code == 0 and "2 photos, 2 classes, understood as csv" in said.out
    lines = [f"train/tower/{n}.jpg,here,x\ntrain/none/{n}.jpg,there,y" for n in range(3)]
    table.write_text("\n".join(["photo,place,kind", *lines]))
    said = dips("check", table, "--label-column", "kind", "--background", "x")
    settings = "--set data.background_class=x --set data.label_column=kind"
    assert said.out.endswith(f"next    dips train {table} {settings} --out RUN\n")


def test_check(class_folders: Path, dips: Dips) -> None:
    said = dips("check", class_folders)
    assert said.code == 0
    assert "usable for training" in said.out and "(background: no object)" in said.out
    assert said.out.splitlines()[-1] == f"next    dips train {class_folders} --out RUN"
    assert "(background: no object)" not in dips("check", class_folders, "--background", "").out
    for photo in class_folders.rglob("*.jpg"):
        photo.write_text("no photo")
    said = dips("check", class_folders)
    assert said.code == 1 and "not usable" in said.out and "next" not in said.out


def test_a_run_inside_the_photos(tiny: Tiny, dips: Dips, class_folders: Path) -> None:
    shutil.copytree(tiny.run, class_folders / "train" / "run")
    said = dips("check", class_folders)
    assert said.code == 0 and "- train/run: holds results of dips, no photos; it is left out" in said.out
