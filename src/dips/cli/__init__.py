"""The command ``dips``: what a user types is parsed and handed to the modules below. Exit codes: :mod:`dips.cli.app`."""

from __future__ import annotations

from dips.cli.app import main

__all__ = ["main"]
