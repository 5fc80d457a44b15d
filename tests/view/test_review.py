"""What a person decides is on the disk at once, comes back, and can be taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dips.errors import RunError
from dips.view.predictions import Photo, PredictedBox, Predictions, read_predictions
from dips.view.review import JOURNAL, ConflictError, RefusedError, Review, State

A, B, C, D = range(4)  # the photos
FIRST = {"box": [20, 20, 60, 70], "label": "tower", "of": 0, "accepted": True}
SECOND = {"box": [100, 10, 180, 90], "label": "tower", "of": 1, "accepted": True}
MOVED = {**SECOND, "box": [101, 12, 150, 88.5]}
DRAWN = {"box": [1, 2, 30, 40], "label": "mast", "of": None, "accepted": True}


def done(*boxes: Any) -> dict[str, Any]:
    return {"reviewed": True, "boxes": list(boxes)}


def reopened(review: Review) -> Review:
    review.close()
    return Review(read_predictions(review.predictions.folder))


def test_an_untouched_photo_is_as_predicted(review: Review) -> None:
    state = review.state(A)
    assert not state.reviewed
    assert [(box.box, box.label, box.of, box.accepted) for box in state.boxes] == [
        ((20, 20, 60, 70), "tower", 0, False),
        ((100, 10, 180, 90), "tower", 1, False),
    ]
    assert review.counts() == (0, 0)


@pytest.mark.parametrize(
    "boxes",
    [[FIRST, SECOND], [SECOND], [FIRST, MOVED], [FIRST, SECOND, DRAWN], [DRAWN, DRAWN], []],
    ids=lambda boxes: len(boxes),
)
def test_a_change_is_there_when_it_is_opened_again(review: Review, boxes: Any) -> None:
    changed = review.change(A, done(*boxes), version=0)
    lines = review.path.read_text().splitlines()
    assert json.loads(lines[-1]) == {"photo": "a.jpg", **done(*boxes)}
    assert changed.version == 1 and review.counts() == (1, len(boxes))
    again = reopened(review)
    assert again.state(A) == changed
    assert again.counts() == (1, len(boxes))
    again.close()


def test_the_last_change_counts_and_is_where_it_goes_on(review: Review) -> None:
    assert review.resume_at() == A
    review.change(B, done(), version=0)
    assert review.resume_at() == A
    review.change(D, {"reviewed": False, "boxes": []}, version=0)
    assert review.resume_at() == D
    review.change(D, done(DRAWN), version=1)
    again = reopened(review)
    assert again.resume_at() == A
    assert again.state(D).boxes[0].box == (1, 2, 30, 40)
    for index in (A, C):
        again.change(index, done())
    assert again.resume_at() == C  # all are done: the last one
    again.close()


@pytest.mark.parametrize("boxes", [[], [FIRST], [FIRST, SECOND, DRAWN], [FIRST, MOVED], [{**FIRST, "label": "mast"}, SECOND]])
def test_a_changed_photo_that_is_not_reviewed_is_unfinished(review: Review, boxes: Any) -> None:
    review.change(C, {"reviewed": False, "boxes": [DRAWN]})
    review.change(A, {"reviewed": False, "boxes": boxes})
    review.change(B, done())
    assert review.unfinished() == [A, C] and review.resume_at() == A
    review.change(A, done(*boxes))
    again = reopened(review)
    assert again.unfinished() == [C] and again.resume_at() == C
    again.change(C, {"reviewed": False, "boxes": []})  # as predicted
    assert again.unfinished() == [] and again.resume_at() == C
    again.close()


def test_undo_goes_back_step_by_step_also_on_the_disk(review: Review) -> None:
    before = review.state(A)
    review.change(A, done(FIRST, SECOND))
    review.change(A, done(FIRST, MOVED))
    review.change(B, done())
    first, second = review.undo(), review.undo()
    assert first is not None and first[0] == B and second is not None
    index, state = second
    assert index == A and state.boxes[1].box == (100, 10, 180, 90) and state.version == 3
    assert review.undo() == (A, before)
    assert review.undo() is None
    again = reopened(review)
    assert again.states() == [again.state(index) for index in range(4)]
    assert again.state(A) == before and again.counts() == (0, 0)
    assert again.undo() is None  # what was done before is not taken back
    again.close()


def test_no_change_is_no_step(review: Review) -> None:
    review.change(A, done(FIRST))
    size = review.path.stat().st_size
    assert review.change(A, done(FIRST), version=1).version == 1
    assert review.path.stat().st_size == size
    review.undo()
    assert review.undo() is None


def test_a_change_of_an_old_state_is_a_conflict(review: Review) -> None:
    review.change(A, done(FIRST), version=0)
    with pytest.raises(ConflictError, match=r"a\.jpg"):
        review.change(A, done(), version=0)
    assert len(review.state(A).boxes) == 1


@pytest.mark.parametrize(
    "box",
    [
        {"box": [0, 0, 201, 10]},
        {"box": [0, 0, 10, 101]},
        {"box": [-1, 0, 10, 10]},
        {"box": [10, 10, 10, 20]},
        {"box": [20, 10, 10, 20]},
        {"box": [0, 0, float("nan"), 10]},
        {"box": [0, 0, float("inf"), 10]},
        {"box": [0, 0, 10**400, 10]},
        {"box": [0, 0, 10]},
        {"box": "abcd"},
        {"box": None},
        {"label": "none"},
        {"label": "other"},
        {"label": ["tower"]},
        {"of": 2},
        {"of": -1},
        {"of": True},
        {"of": "0"},
        {"accepted": 1},
    ],
)
def test_a_box_that_cannot_be_is_refused(review: Review, box: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=r"a\.jpg"):
        review.change(A, done({**FIRST, **box}))
    assert review.changes == 0


@pytest.mark.parametrize(
    "wanted",
    [{}, {"boxes": []}, {"reviewed": True}, {"reviewed": 1, "boxes": []}, {"reviewed": True, "boxes": 3}, done(1), done({}),
     done(FIRST, FIRST)],
)  # fmt: skip
def test_what_is_no_state_is_refused(review: Review, wanted: Any) -> None:
    with pytest.raises(RefusedError):
        review.change(A, wanted)


def test_a_killed_program_loses_nothing(predicted: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from dips.view.predictions import read_predictions\n"
        "from dips.view.review import Review\n"
        "review = Review(read_predictions(Path(sys.argv[1])))\n"
        "review.change(0, {'reviewed': True, 'boxes': []})\n"
        "review.change(1, {'reviewed': True, 'boxes': []})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(predicted)], timeout=60, env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    review = Review(read_predictions(predicted))
    assert review.counts() == (2, 0) and review.resume_at() == C
    review.close()


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_a_line_that_was_cut_short_is_left_out(review: Review, cut: int, capsys: pytest.CaptureFixture[str]) -> None:
    review.change(A, done(FIRST))
    review.change(B, done())
    review.close()
    text = review.path.read_bytes()
    review.path.write_bytes(text[:-cut])
    again = Review(review.predictions)
    assert "cut short" in capsys.readouterr().err
    assert again.state(A).reviewed and not again.state(B).reviewed
    again.change(C, done())
    last = reopened(again)
    assert last.counts() == (2, 1)
    last.close()


@pytest.mark.parametrize("line", ["{}", "no json", '{"photo":"a.jpg","reviewed":true,"boxes":[{}]}', "[]", '{"photo":["a"]}'])
def test_a_damaged_line_is_named(review: Review, line: str) -> None:
    review.close()
    with review.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=rf"{JOURNAL}, line 2, is damaged .* remove the line"):
        Review(review.predictions)
    with pytest.raises(RunError, match="line 2"):  # not "in use": the first try let it go
        Review(review.predictions)


def test_lines_of_photos_that_are_gone_are_kept(review: Review) -> None:
    review.change(A, done(FIRST))
    (review.predictions.folder / "json" / "a.json").unlink()
    again = reopened(review)
    assert again.counts() == (0, 0)
    assert '"photo":"a.jpg"' in review.path.read_text()
    again.close()


@pytest.mark.parametrize(
    ("key", "value", "word"), [("model", "ba9876543210", "another model"), ("schema_version", 2, "version")]
)
def test_a_journal_of_others_is_refused(review: Review, key: str, value: object, word: str) -> None:
    review.close()
    review.path.write_text(json.dumps({"schema_version": 1, "model": "0123456789ab", key: value}) + "\n")
    with pytest.raises(RunError, match=word):
        Review(review.predictions)


def test_two_programs_cannot_review_the_same_folder(review: Review) -> None:
    pytest.importorskip("fcntl", reason="this system has no such locks")
    with pytest.raises(RunError, match="is in use"):
        Review(review.predictions)


def test_a_disk_that_is_full_leaves_all_as_it_was(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    review.change(A, done(FIRST))
    before = review.path.read_bytes()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*review.jsonl"):
        review.change(A, done())
    with pytest.raises(RunError, match="cannot write"):
        review.undo()
    monkeypatch.undo()
    assert review.path.read_bytes() == before
    assert len(review.state(A).boxes) == 1 and review.state(A).version == 1
    undone = review.undo()
    assert undone is not None and undone[0] == A  # the step is still there


corner = st.tuples(*[st.floats(0, 50, width=32) for _ in range(2)])
drawn = st.builds(
    lambda at, size, label: {
        "box": [at[0], at[1], at[0] + 1 + size[0], at[1] + 1 + size[1]], "label": label, "of": None, "accepted": True
    }, corner, st.tuples(st.floats(0, 40), st.floats(0, 40)), st.sampled_from(["mast", "tower"]),
)  # fmt: skip
step = st.one_of(
    st.just("undo"),
    st.just("open again"),
    st.tuples(st.integers(0, 2), st.booleans(), st.lists(drawn, max_size=3)),
)


@settings(max_examples=40)
@given(st.lists(step, max_size=12))
def test_any_changes_survive_and_undo_is_their_inverse(steps: list[Any]) -> None:
    """The states in memory, those read back, and those of a plain model with a stack are the same after every step."""
    photos = tuple(
        Photo(
            f"{name}.jpg", Path(f"{name}.jpg"), Path(f"{name}.json"), 100, 100, "tower", 0.5, (PredictedBox((1, 1, 9, 9), 0.5),)
        )
        for name in "abc"
    )
    with tempfile.TemporaryDirectory() as folder:
        predictions = Predictions(Path(folder), photos, ("mast", "tower"), None, "")
        review = Review(predictions)
        expected: list[State] = review.states()
        stack: list[tuple[int, State]] = []
        for what in steps:
            if what == "undo":
                review.undo()
                if stack:
                    index, state = stack.pop()
                    expected[index] = state
            elif what == "open again":
                review.close()
                review, stack = Review(predictions), []
            else:
                index, reviewed, boxes = what
                state = review.change(index, {"reviewed": reviewed, "boxes": boxes})
                if state != expected[index]:
                    stack.append((index, expected[index]))
                expected[index] = state
            assert review.states() == expected
        review.close()
