"""Where the golden numbers lie; tests that need them skip where they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder with ``boxes.npz``, ``boxes.json`` and ``pxap.npz``, made by running the field's own evaluator."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    folder = Path(os.environ.get("DIPS_TEST_GOLDEN") or default)
    if not (folder / "boxes.npz").is_file():
        pytest.skip(f"no golden numbers in {folder}; set DIPS_TEST_GOLDEN")
    return folder
