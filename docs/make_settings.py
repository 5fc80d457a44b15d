"""Write the tables of ``docs/settings.md`` from the settings in the code, or check that they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from dips.config import Adaptation, Config, all_settings

PAGE = Path(__file__).with_name("settings.md")
START = "<!-- tables: written by `make docs` -->"
END = "<!-- end of tables -->"


def tables() -> str:
    """Return one Markdown table per stage: name, default, range or choices, meaning."""
    lines: list[str] = []
    for stage, section in {**vars(Config()), **vars(Adaptation())}.items():
        lines += ["", f"## {stage}", "", (type(section).__doc__ or "").strip(), ""]
        lines += ["| setting | default | values | meaning |", "|---|---|---|---|"]
        for name, setting in all_settings().items():
            if name.startswith(f"{stage}."):
                lines.append(f"| `{name}` | `{setting.argument}` | {setting.accepts} | {setting.meaning} |")
    return "\n".join([*lines, ""])


def page(text: str) -> str:
    """Return ``text`` with fresh tables between the markers."""
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{PAGE} has lost its markers: {START} and {END}")
    return f"{head}{START}\n{tables()}\n{END}{tail}"


def main() -> int:
    """Write the page, or with ``--check`` only compare; return the exit code."""
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        print(f"{PAGE} is out of date: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
