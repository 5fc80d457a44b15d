"""``dips settings``: the settings for ``--set``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from dips.errors import ConfigError
from dips.system.suggestions import closest

__all__ = ["settings"]


def settings(
    name: Annotated[
        str, Parameter(name="NAME", help="A setting, a stage or a part of a name, e.g. train.epochs, train, lr; default: all.")
    ] = "",
    /,
) -> int:
    """List the settings for --set: name, default, accepted values, meaning."""
    from dips.config import all_settings

    known = all_settings()
    names = [key for key in known if name in ("", key, key.partition(".")[0])] or [key for key in known if name in key]
    if not names:
        hint = closest(name, (word for key in known for word in (key, *key.split("."))))
        raise ConfigError(f"there is no setting or stage '{name}'{hint}; 'dips settings' lists all of them")
    for key in names:
        print(f"{key} = {known[key].argument}    ({known[key].accepts})\n    {known[key].meaning}")
    return 0
