"""``dips completion``: the script with which a shell completes commands and options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from cyclopts import App, Parameter

__all__ = ["command_of"]

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL", help="bash, zsh or fish.")]


def command_of(app: App) -> Callable[[Shell], int]:
    """Return the command that prints the script for all commands of ``app``."""

    def completion(shell: Shell, /) -> int:
        """Print the script that completes commands and options in a shell; the shell's manual says where to save it.

        For bash: dips completion bash > ~/.local/share/bash-completion/completions/dips
        """
        print(app.generate_completion(shell=shell))
        return 0

    return completion
