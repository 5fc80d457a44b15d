"""``dips settings``: the settings for ``--set``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

__all__ = ["settings"]


def settings(
    name: Annotated[str, Parameter(name="NAME", help="A setting or a stage, e.g. train.epochs or train; all without it.")] = "",
    /,
) -> int:
    """List the settings for --set: name, default, range, meaning."""
    from dips.cli.tables import settings_text

    print(settings_text(name))
    return 0
