"""Kills of commands that several processes work for: workers, the command that started them, and the tasks of an array.

A worker that is killed must not be noticed in what the command leaves. A killed command, and a killed task, is repeated.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from forks import KILLED, Outcome, run, start

__all__ = ["many_round"]

TASKS, MOST_KILLS = 3, 2  # three kills of one shard would be taken for its fault
WAIT = 120.0


def many_round(
    command: Sequence[object], how: str, place: Path, usual: float, chance: random.Random
) -> tuple[list[str], Outcome, str | None]:
    """Do a command with workers, or as an array that is then merged, with one or two kills.

    Args:
        command: the words of the command for one process.
        how: ``workers`` or ``array``.
        place: what ``dips merge`` is given.
        usual: seconds of the command with one process.

    Returns:
        what was killed, how the last command ended, and what was wrong after a kill.
    """
    if how == "workers":
        return _with_workers([*command, "--workers", "2"], usual, chance)
    steps: list[list[object]] = []
    for _ in range(2 if command[0] == "harvest" else 1):  # a U-Net's maps are a second round
        tasks = [[*command, "--shard", f"{number}/{TASKS}"] for number in range(1, TASKS + 1)]
        steps += [*chance.sample(tasks, TASKS), ["merge", place]]
    victims = [chance.randrange(len(steps)) for _ in range(chance.randint(1, MOST_KILLS))]
    kills: list[str] = []
    for number, step in enumerate(steps):
        for _ in range(victims.count(number)):
            at = chance.randint(1, 60) if chance.random() < 0.5 else 0
            started = start(*step, kill_at=at)
            if not at:
                started.kill_after(chance.uniform(0, usual / TASKS), computing=True, alone=True)
            done = started.wait(WAIT)
            if done.code == KILLED:
                kills.append("merge" if step[0] == "merge" else "task")
            elif done.code:
                return kills, done, None
        done = run(*step, timeout=WAIT)
        merged = step[0] == "merge" and ("there is nothing to merge" in done.err or "holds no" in done.err)
        if done.code and not merged:  # killed after its last file
            return kills, done, None
    return kills, Outcome(0, done.out, done.err, done.late, done.seconds, done.cpu, done.moments), None


def _with_workers(command: Sequence[object], usual: float, chance: random.Random) -> tuple[list[str], Outcome, str | None]:
    kills: list[str] = []
    if chance.random() < 0.1:  # the one that started them
        started = start(*command, kill_at=chance.randint(1, 200) if chance.random() < 0.5 else 0)
        started.kill_after(chance.uniform(0, 3 * usual + 4), computing=False, alone=True)
        done = started.wait(WAIT)
        if started.leaves_children(15):
            return kills, done, "workers stay"
        if done.code != KILLED:
            return kills, done, None
        kills.append("driver")
    started = start(*command)
    for _ in range(chance.randint(1, MOST_KILLS)):
        if started.kill_worker(chance, usual + 2):
            kills.append("worker")
    return kills, started.wait(WAIT), None
