"""What is written of each photo: whole groups, results in their order, and nothing that an earlier attempt left wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dips.formats.records import PredictionRecord
from dips.predict.folder import parse_formats
from dips.predict.prediction import Prediction
from dips.predict.writing import PhotoWriter
from dips.shards.files import LocalFiles
from dips.shards.lease import take_alone
from dips.shards.plan import Item, make_plan
from dips.shards.work import Shards, Skipped, Work
from dips.system.records import parse_record

Made = Callable[..., Prediction]
STEP = 2


@pytest.fixture
def photos(tmp_path: Path, make_photo: Callable[..., Path]) -> list[Path]:
    return [make_photo(tmp_path / "p" / f"{number}.png", (120, 90), seed=number) for number in range(5)]


def planned(photos: Sequence[Path], out: Path, formats: str = "masks,overlays") -> tuple[PhotoWriter, Shards]:
    """One shard of all photos, in groups of two."""
    files = LocalFiles(out / ".unfinished")
    items = [Item(path.name, str(path), path.stem) for path in photos]
    identity = {"formats": list(parse_formats(formats)), "model": "0123456789abcdef"}
    lease = take_alone(files)
    plan = make_plan(files, lambda: items, identity, size=len(items), step=STEP, context={"folder": "p"})
    lease.give_back()
    return PhotoWriter.of(out, plan), Shards(files, plan)


class Predicts:
    """Predicts photos and notes which; some cannot be read."""

    def __init__(self, make_prediction: Made, *, lost: Sequence[int] = (), kill_at: int = 99) -> None:
        self.asked: list[str] = []
        self._made, self._lost, self._kill_at = make_prediction, {f"{number}.png" for number in lost}, kill_at

    def __call__(self, items: Sequence[Item], skipped: Callable[[Path, str], None]) -> Iterator[Prediction]:
        for item in items:
            if len(self.asked) == self._kill_at:
                raise KeyboardInterrupt
            self.asked.append(item.id)
            if item.id in self._lost:
                skipped(Path(item.uri), f"{item.uri} is no photo")
            else:
                yield self._made(path=Path(item.uri))


def results(work: Work, shards: Shards) -> list[bytes | Skipped]:
    (shard,) = shards.plan.shards()
    attempt = shards.begin(shard)
    assert attempt is not None
    with attempt:
        return list(work(attempt))


def names(found: Sequence[bytes | Skipped]) -> list[str]:
    return [each.id if isinstance(each, Skipped) else json.loads(each)["name"] for each in found]


def test_each_photo_has_one_result_in_the_order_of_the_items(photos: list[Path], tmp_path: Path, make_prediction: Made) -> None:
    writer, shards = planned(photos, tmp_path / "out")
    found = results(writer.work(Predicts(make_prediction, lost=[0, 3])), shards)
    assert names(found) == [path.name for path in photos]
    assert [type(each) for each in found] == [Skipped, bytes, bytes, Skipped, bytes]
    assert "is no photo" in str(found[0]) and not any(each.has_result for each in found if isinstance(each, Skipped))
    line = found[1]
    assert isinstance(line, bytes) and json.loads((tmp_path / "out/json/1.json").read_text()) == json.loads(line)
    record = parse_record(line, PredictionRecord, source="", remedy="")
    assert (record.folder, record.model, record.path) == ("p", "0123456789ab", photos[1].as_posix())


@pytest.mark.parametrize("kill_at", range(5))
def test_of_a_group_that_was_not_ended_all_photos_are_predicted_again(
    photos: list[Path], tmp_path: Path, make_prediction: Made, kill_at: int
) -> None:
    writer, shards = planned(photos, tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        results(writer.work(Predicts(make_prediction, kill_at=kill_at)), shards)
    again = Predicts(make_prediction)
    found = results(writer.work(again), shards)
    assert again.asked == [path.name for path in photos[kill_at // STEP * STEP :]]
    assert found == results(planned(photos, tmp_path / "whole")[0].work(Predicts(make_prediction)), shards)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("json/1.json", None),
        ("json/1.json", ""),
        ("json/1.json", "{"),
        ("maps/0.png", ""),
        ("masks/1.png", None),
        ("overlays/1.jpg", ""),
    ],
)
def test_a_photo_of_which_a_file_is_missing_or_empty_is_predicted_again(
    photos: list[Path], tmp_path: Path, make_prediction: Made, file: str, content: str | None
) -> None:
    """As after a power failure."""
    writer, shards = planned(photos, tmp_path / "out")
    before = results(writer.work(Predicts(make_prediction)), shards)
    whole = (tmp_path / "out" / file).read_bytes()
    (tmp_path / "out" / file).unlink()
    if content is not None:
        (tmp_path / "out" / file).write_text(content)
    again = Predicts(make_prediction)
    assert results(writer.work(again), shards) == before and again.asked == ["0.png", "1.png"]
    assert (tmp_path / "out" / file).read_bytes() == whole


def test_a_photo_that_can_no_longer_be_read_leaves_no_files(photos: list[Path], tmp_path: Path, make_prediction: Made) -> None:
    writer, shards = planned(photos, tmp_path / "out")
    results(writer.work(Predicts(make_prediction)), shards)
    (tmp_path / "out/json/1.json").unlink()
    found = results(writer.work(Predicts(make_prediction, lost=[0])), shards)
    assert isinstance(found[0], Skipped) and not list((tmp_path / "out").rglob("0.*"))


def test_what_cannot_be_drawn_on_is_a_result_and_told(photos: list[Path], tmp_path: Path, make_prediction: Made) -> None:
    writer, shards = planned(photos, tmp_path / "out")
    photos[2].unlink()
    found = results(writer.work(Predicts(make_prediction)), shards)
    assert names(found) == ["0.png", "1.png", "2.png", "2.png", "3.png", "4.png"]
    assert isinstance(found[3], Skipped) and found[3].has_result and "only the overlay is missing" in found[3].reason


def test_a_photo_without_any_answer_is_a_fault(photos: list[Path], tmp_path: Path, make_prediction: Made) -> None:
    writer, shards = planned(photos, tmp_path / "out")

    def forgets(items: Sequence[Item], _: object) -> Iterator[Prediction]:
        return (make_prediction(path=Path(item.uri)) for item in items if item.id != "3.png")

    with pytest.raises(RuntimeError, match=r"3\.png was neither predicted nor skipped"):
        results(writer.work(forgets), shards)
