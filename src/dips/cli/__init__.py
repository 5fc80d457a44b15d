"""The command ``dips``: one module per command, put together in :mod:`dips.cli.app`, which also explains the exit codes."""

from __future__ import annotations

from dips.cli.app import main

__all__ = ["main"]
