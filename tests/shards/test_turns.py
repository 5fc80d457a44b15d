"""Which of several tasks this process is: as the user says, or all variables of a scheduler together."""

from __future__ import annotations

import pytest

from dips.errors import ConfigError
from dips.shards.turns import Turn, parse_turn, scheduled_turn, unnumbered_task


def array(task: int, low: int, step: int, count: int) -> dict[str, str]:
    """What Slurm tells a task of ``--array=LOW-...:STEP``."""
    names = {"ID": task, "MIN": low, "STEP": step, "COUNT": count, "MAX": low + step * (count - 1)}
    return {"SLURM_ARRAY_JOB_ID": "77", **{f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}}


# what Slurm sets for a batch script, which runs once, whatever it has been given
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}
TORCHRUN = {"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "n1"}


@pytest.mark.parametrize(
    ("environment", "turn"),
    [
        ({}, None),
        (array(0, 0, 1, 8), (0, 8)),
        (array(7, 0, 1, 8), (7, 8)),
        (array(1, 1, 1, 400), (0, 400)),
        (array(31, 10, 7, 4), (3, 4)),
        (array(5, 5, 1, 1), None),  # alone
        ({"SLURM_ARRAY_TASK_ID": "3"}, None),
        ({**array(2, 1, 1, 8), **STEP}, (1, 8)),
        (BATCH, None),
        (STEP, (0, 4)),
        ({**STEP, "SLURM_PROCID": "3"}, (3, 4)),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, None),  # srun --ntasks=1
        ({**STEP, "SLURM_PTY_PORT": "40000"}, None),  # srun --pty bash
        ({**STEP, "SLURM_STEP_ID": "4294967290"}, None),  # the shell of salloc
        (TORCHRUN, (2, 3)),
        ({**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"RANK": "2", "WORLD_SIZE": "3"}, None),  # left by another program
        ({**TORCHRUN, **STEP}, (2, 3)),  # srun starts a torchrun per node
        ({"SGE_TASK_ID": "9", "SGE_TASK_FIRST": "1", "SGE_TASK_LAST": "10", "SGE_TASK_STEPSIZE": "2"}, (4, 5)),
        (dict.fromkeys(("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"), "undefined"), None),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "9", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, (9, 10)),
        ({"BATCH_TASK_INDEX": "0", "BATCH_TASK_COUNT": "2"}, (0, 2)),
        ({"BATCH_TASK_INDEX": "0", "BATCH_TASK_COUNT": "1"}, None),
        ({"CLOUD_RUN_TASK_INDEX": "1", "CLOUD_RUN_TASK_COUNT": "2"}, (1, 2)),
        ({"JOB_COMPLETION_INDEX": "3"}, None),  # of how many?
    ],
)
def test_what_a_scheduler_says(environment: dict[str, str], turn: tuple[int, int] | None) -> None:
    found = scheduled_turn(environment)
    assert (None if found is None else found[:2]) == turn
    if found is not None:
        name, _, value = found.source.partition("=")
        assert environment[name] == value.split()[0]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (array(9, 1, 1, 4), "SLURM_ARRAY_TASK_ID=9 is no place in a range of 4 tasks from 1; submit a range, e.g. --array=1-4"),
        (array(6, 1, 2, 4), "is no place in a range"),
        (
            {**array(1, 1, 1, 4), "SLURM_ARRAY_TASK_COUNT": "many"},
            "SLURM_ARRAY_TASK_COUNT=many is no number .* --shard I/N, or 1/1",
        ),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "10", "AWS_BATCH_JOB_ARRAY_SIZE": "10"}, "INDEX=10 is no task of 10; .* --shard I/10"),
    ],
)
def test_variables_that_make_no_sense_are_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        scheduled_turn(environment)


@pytest.mark.parametrize(
    ("text", "environment", "turn"),
    [
        ("1/1", STEP, (0, 1)),
        (" 17 / 400 ", {}, (16, 400)),
        ("400/400", array(2, 1, 1, 8), (399, 400)),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, (7, 8)),
        ("auto/8", array(2, 1, 1, 8), (1, 8)),
        ("auto/1", {}, (0, 1)),
    ],
)
def test_what_the_user_says(text: str, environment: dict[str, str], turn: tuple[int, int]) -> None:
    assert parse_turn(text, environment)[:2] == turn


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("3", {}, "--shard takes I/N, the I-th of N tasks, e.g. 17/400, or auto/N, not '3'"),
        ("-1/8", {}, "takes I/N"),
        ("1/8/2", {}, "takes I/N"),
        ("٣/8", {}, "takes I/N"),
        ("0/8", {}, "counted from 1 to 8"),
        ("9/8", {}, "counted from 1 to 8"),
        ("1/0", {}, "counted from 1 to 0"),
        ("auto/8", {}, "no scheduler says which task this is; give its number, --shard I/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "8"}, "JOB_COMPLETION_INDEX=8 is no task of 8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": ""}, "JOB_COMPLETION_INDEX= is no number"),
        ("auto/9", array(2, 1, 1, 8), "SLURM_ARRAY_TASK_ID=2 is no task of 9"),
    ],
)
def test_what_means_nothing_is_refused(text: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_turn(text, environment)


def test_a_task_without_a_count_is_seen() -> None:
    assert unnumbered_task({"JOB_COMPLETION_INDEX": "3"}) == "JOB_COMPLETION_INDEX=3" and unnumbered_task({}) == ""
    assert Turn(0, 1).source == ""
