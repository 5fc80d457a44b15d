"""The command ``dips``: what a user types is parsed here and handed to the modules below; exit codes are in :mod:`dips.cli.app`."""

from __future__ import annotations

from dips.cli.app import main

__all__ = ["main"]
