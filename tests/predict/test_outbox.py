"""Files of a prediction on their way to a store."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from dips.errors import RunError
from dips.predict.outbox import Outbox
from dips.shards import stores


def write(outbox: Outbox, *names: str) -> None:
    for name in names:
        (outbox.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (outbox.folder / name).write_text(name)


def test_a_folder_of_this_machine_has_them_already(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    write(outbox, "json/a.json")
    outbox.send()
    assert (tmp_path / "json" / "a.json").read_text() == "json/a.json"
    outbox.remove("json/a.json")
    outbox.remove("json/a.json")
    assert os.listdir(tmp_path / "json") == []


def test_a_store_gets_what_is_whole(bucket: str) -> None:
    place = f"{bucket}/{uuid.uuid4().hex}"
    outbox = Outbox(place)
    outbox.flush()
    assert list(stores.each_name(place)) == []
    write(outbox, "json/a b.json", "maps/\u00fc.png", ".coco.json.dips_tmp", "c.json")
    outbox.flush()
    assert sorted(stores.each_name(place)) == ["c.json", "json/a b.json", "maps/\u00fc.png"]
    assert stores.read_url(f"{place}/json/a b.json") == b"json/a b.json"
    assert [path.name for path in outbox.folder.rglob("*") if path.is_file()] == [".coco.json.dips_tmp"], (
        "the rest is gone here"
    )
    write(outbox, "json/a b.json")
    outbox.remove("json/a b.json")
    outbox.remove("json/none.json")
    assert sorted(stores.each_name(place)) == ["c.json", "maps/\u00fc.png"]


def test_files_are_sent_while_others_are_written(bucket: str) -> None:
    place = f"{bucket}/{uuid.uuid4().hex}"
    outbox = Outbox(place)
    for number in range(12):
        write(outbox, f"json/{number}/a.json")
        outbox.send()
        assert list(outbox.folder.rglob("*")) == [], "a folder for each photo would be looked through again and again"
    outbox.flush()
    top = outbox.folder.parent
    assert len(list(stores.each_name(place))) == 12 and [path for path in top.rglob("*") if path.is_file()] == []
    del outbox
    assert not top.exists()


def test_what_cannot_be_sent_is_told(bucket: str) -> None:
    outbox = Outbox("s3://no-such-bucket/out")
    write(outbox, "a.json")
    with pytest.raises(RunError, match=r"s3://no-such-bucket/out cannot be written: there is no such bucket"):
        outbox.flush()
