"""Processes that measure score maps: none outlives the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from dips.benchmark.workers import run_chunks
if __name__ == "__main__":
    list(run_chunks(exec, sys.argv[1:], 2))
"""
WORK = {
    "computes": "while True: pass",
    "waits": "time.sleep(600)",
    "is idle": "",
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("other", WORK)
def test_processes_end_with_the_one_that_was_killed(tmp_path: Path, other: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    marks = [tmp_path / "one", tmp_path / "two"]
    chunks = [
        f"import pathlib, time; pathlib.Path({str(mark)!r}).touch()\n{work}"
        for mark, work in zip(marks, (WORK["waits"], WORK[other]), strict=True)
    ]
    started = subprocess.Popen([sys.executable, program, *chunks], start_new_session=True)
    while not all(mark.exists() for mark in marks):
        assert started.poll() is None
        time.sleep(0.01)
    started.kill()
    started.wait()
    end = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(started.pid, 0)
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGKILL)
