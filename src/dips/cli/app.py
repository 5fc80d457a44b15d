"""The command line: lists the commands, turns errors into messages and exit codes.

Exit codes: 0 done; 1 done, but photos were skipped, a method failed or the data is not usable; 2 not done, for the reason
printed in one line (also for a wrong command line); 130 interrupted. Results go to stdout, progress and messages to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError, Parameter

from dips.cli import (
    adapt,
    boxes,
    check,
    compare,
    completion,
    demo,
    doctor,
    evaluate,
    export,
    harvest,
    merge,
    predict,
    report,
    score,
    settings,
    stream,
    train,
    view,
)
from dips.cli.messages import expected, fail, interrupted, usage
from dips.system.environment import __version__

__all__ = ["app", "main"]

app = App(
    name="dips",
    help="Boxes and masks from photos that are only sorted into folders. Start with 'dips demo', or with 'dips check' on your "
    "own photos; 'dips COMMAND --help' explains a command.",
    help_epilogue="Add --debug to any command to see where in the program an error was raised.",
    version=f"dips {__version__}",
    help_format="plaintext",
    version_format="plaintext",
    default_parameter=Parameter(negative=(), json_list=False),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app["--help"].group = app["--version"].group = "Other"

for command in (
    demo.demo,
    check.check,
    harvest.harvest,
    train.train,
    adapt.adapt,
    predict.predict,
    stream.stream,
    merge.merge,
    boxes.boxes,
    view.view,
    export.export,
    evaluate.evaluate,
    score.score,
    compare.compare,
    report.report,
    settings.settings,
    doctor.doctor,
):
    app.command(command)
app.command(completion.command_of(app), name="completion")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit code.

    Args:
        argv: the words after ``dips``; default: those of this process. With ``--debug`` among them, errors are raised.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    for output in (sys.stdout, sys.stderr):  # a file name may contain what the terminal cannot show
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")
    try:
        code = app(tokens, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as error:
        return fail(usage(error, tokens, app))
    except BrokenPipeError:  # whoever reads our output, e.g. head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return fail(interrupted(tokens), kind="interrupted", code=130)
    except Exception as error:
        message = expected(error)
        if debug or message is None:
            raise
        return fail(message)
