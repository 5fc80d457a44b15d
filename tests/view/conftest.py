"""A prediction folder as `dips predict` writes it, with its photos, and a server that shows it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dips.scoremaps.rle import encode
from dips.view.predictions import read_predictions
from dips.view.review import Review
from dips.view.server import Server

SIZE = (200, 100)  # of the photos, width and height
FOUND = {  # the boxes in each
    "a.jpg": [((20, 20, 60, 70), 0.9), ((100, 10, 180, 90), 0.4)],
    "b.jpg": [((50, 30, 90, 60), 0.6)],
    "c.jpg": [],
    "sub/d.jpg": [((0, 0, 200, 100), 0.2)],
}
PRIORITIES = {"a.jpg": 0.1, "b.jpg": 0.6, "c.jpg": 0.3, "sub/d.jpg": 0.6}
PLACES = {name: index for index, name in enumerate(sorted(FOUND))}


def record_of(photo: Path, name: str, found: list[tuple[tuple[int, int, int, int], float]]) -> dict[str, Any]:
    """The JSON about a photo; the mask of a box is its left half."""
    boxes = []
    for box, score in found:
        half = np.zeros((box[3] - box[1], box[2] - box[0]), bool)
        half[:, : half.shape[1] // 2] = True
        counts = encode(half, corner=(box[0], box[1]), size=SIZE)
        mask = {"size": [SIZE[1], SIZE[0]], "counts": counts}
        boxes.append({"box": [float(value) for value in box], "score": score, "mask": mask})
    label = "tower" if found else "none"
    return {
        "schema_version": 1,
        "path": photo.as_posix(),
        "name": name,
        "folder": "photos",
        "width": SIZE[0],
        "height": SIZE[1],
        "label": label,
        "label_score": 0.8,
        "class_scores": {"none": 0.1, "mast": 0.1, "tower": 0.8},
        "background": "none",
        "priority": PRIORITIES.get(name, 0.5),
        "boxes": boxes,
        "threshold": 0.4,
        "min_area": 0.005,
        "min_score": 0.0,
        "max_boxes": 100,
        "model": "0123456789ab",
    }


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    path = (folder / "json" / str(record["name"])).with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.fixture
def predicted(tmp_path: Path, make_photo: Callable[..., Path]) -> Path:
    """The folder with the predictions of :data:`FOUND`."""
    folder = tmp_path / "boxes"
    for name, found in FOUND.items():
        box = found[0][0] if found else None
        photo = make_photo(tmp_path / "photos" / name, SIZE, seed=PLACES[name], box=box, quality=95)
        write_record(folder, record_of(photo, name, found))
    return folder


@pytest.fixture
def without_priorities(predicted: Path) -> Path:
    """The same as an earlier version wrote it."""
    for file in predicted.rglob("*.json"):
        record = json.loads(file.read_text())
        del record["priority"]
        file.write_text(json.dumps(record))
    return predicted


@pytest.fixture
def review(predicted: Path) -> Iterator[Review]:
    opened = Review(read_predictions(predicted))
    yield opened
    opened.close()


@pytest.fixture
def server(review: Review) -> Iterator[Server]:
    """It answers in a thread."""
    with Server(review, title="tower · boxes") as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Reply]


@pytest.fixture
def ask(server: Server) -> Ask:
    """``ask(method, path, body=None, **headers)``: with the token and all that a page of ours sends, but for ``headers``.

    A header that is None is left out; ``_`` stands for ``-``.
    """

    def send(method: str, path: str, body: Any = None, **headers: str | None) -> Reply:
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        wanted: dict[str, str | None] = {
            "Host": f"127.0.0.1:{server.server_port}",
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json" if data is not None else None,
            "Content-Length": str(len(data)) if data is not None else None,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in wanted.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    return send
