"""Kills of the review page while a person changes photos: every change that it confirmed must be there afterwards."""

from __future__ import annotations

import http.client
import json
import random
import re
import signal
import time
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from typing import Any

from forks import KILLED, Started, start

__all__ = ["view_round"]

MOMENTS = 60  # that pass while the person is at work


@dataclass
class Person:
    """Someone who changes boxes; ``confirmed`` has the boxes of each photo, ``open`` those whose change was not answered."""

    chance: random.Random
    confirmed: dict[int, Any] = field(default_factory=dict)
    open: dict[int, Any] = field(default_factory=dict)

    def work(self, started: Started, seconds: float) -> str | None:
        """Look at the page, change photos for some time; return what was lost, if anything.

        Raises:
            OSError: the page was killed.
        """
        port, token = _address(started)
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        line.request("GET", "/api/photos", headers=head)
        photos = json.loads(line.getresponse().read())["photos"]
        states = [photo["state"] for photo in photos]
        if lost := self._lost(states):
            return lost
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            index = self.chance.randrange(len(states))
            corner = [float(self.chance.randrange(40)), float(self.chance.randrange(30))]
            box = {"box": [*corner, corner[0] + 20, corner[1] + 20], "label": "tower", "of": None, "accepted": True}
            self.open[index] = [box]
            change = {"version": states[index]["version"], "reviewed": True, "boxes": [box]}
            line.request("POST", f"/api/photos/{index}", json.dumps(change), head)
            answer = line.getresponse()
            body = json.loads(answer.read())
            if answer.status != 200:
                return f"{answer.status}: {body}"
            self.confirmed[index] = self.open.pop(index)
            states[index] = body["state"]
        return None

    def _lost(self, states: list[Any]) -> str | None:
        """Compare what the page shows with what it confirmed; a change that was not answered may be there or not."""
        for index, boxes in self.open.items():
            if states[index]["boxes"] == boxes:
                self.confirmed[index] = boxes
        self.open.clear()
        for index, boxes in self.confirmed.items():
            if states[index]["boxes"] != boxes or not states[index]["reviewed"]:
                return f"photo {index}: {states[index]} in place of {boxes}"
        return None

    def lost_in(self, file: Path) -> str | None:
        """Compare the COCO file that the page leaves with what it confirmed."""
        coco = json.loads(file.read_text())
        found: dict[int, list[list[float]]] = {image["id"] - 1: [] for image in coco["images"]}
        for each in coco["annotations"]:
            x, y, width, height = each["bbox"]
            found[each["image_id"] - 1].append([x, y, x + width, y + height])
        for index, boxes in self.confirmed.items():
            if found.get(index) != [box["box"] for box in boxes]:
                return f"photo {index} of {file.name}: {found.get(index)} in place of {boxes}"
        return None


def view_round(folder: Path, chance: random.Random) -> tuple[list[str], str | None]:
    """Kill the page some times, as it starts, between changes or in the middle of one; then stop it as a person does.

    Returns:
        how each kill was chosen; and what was lost, if anything.
    """
    person = Person(chance)
    before = {path: path.read_bytes() for path in folder.rglob("*.json")}
    kills: list[str] = []
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(1, MOMENTS) if chance.random() < 0.5 else 0
        started = start("view", folder, "--no-open", kill_at=at)
        lost = None
        if not at and chance.random() < 0.3:
            time.sleep(chance.uniform(0, 0.3))
        else:
            try:
                lost = person.work(started, 5.0 if at else chance.uniform(0, 0.3))
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                if isinstance(error, TimeoutError) and not started.ended():
                    lost = "the page does not answer"
                # else it was killed
        started.kill()
        done = started.wait(10)
        if lost or done.code != KILLED:
            return kills, lost or done.err[-300:]
        kills.append(f"{'disk' if at else 'time'} {min(9, 10 * done.moments // MOMENTS)}")
    started = start("view", folder, "--no-open")
    lost = person.work(started, 0.05)
    kill(started.pid, signal.SIGINT)
    done = started.wait(30)
    if lost or done.code:
        return kills, lost or done.err[-300:]
    changed = [str(path) for path, data in before.items() if path.read_bytes() != data]
    left = [str(path) for path in folder.rglob(".*")]
    if changed or left:
        return kills, f"changed {changed[:3]}, left over {left[:3]}"
    return kills, person.lost_in(folder / "reviewed.coco.json")


def _address(started: Started) -> tuple[int, str]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", started.err())
        if found:
            return int(found[1]), found[2]
        if started.ended():
            raise ConnectionError("killed before it listened")
        time.sleep(0.01)
    raise RuntimeError(f"no page: {started.err()}")
