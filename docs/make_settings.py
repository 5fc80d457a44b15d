"""Write the tables of ``docs/settings.md`` from the settings in the code, or check that they are what it would write."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from dips.config import Config

PAGE = Path(__file__).with_name("settings.md")
START = "<!-- tables: written by `make docs` -->"
END = "<!-- end of tables -->"


def tables() -> str:
    """One Markdown table per stage: name, default, range or choices, meaning."""
    lines: list[str] = []
    for stage in dataclasses.fields(Config):
        section = getattr(Config(), stage.name)
        lines += ["", f"## {stage.name}", "", (type(section).__doc__ or "").strip(), ""]
        lines += ["| setting | default | values | meaning |", "|---|---|---|---|"]
        for setting in dataclasses.fields(section):
            limits = setting.metadata
            shown = getattr(section, setting.name)
            default = _toml(shown) or "(empty)"
            row = (f"`{stage.name}.{setting.name}`", f"`{default}`", _values(shown, limits), limits["doc"].replace("|", "\\|"))
            lines.append("| " + " | ".join(row).rstrip() + " |")
    return "\n".join([*lines, ""])


def page(text: str) -> str:
    """``text`` with what stands between the markers replaced by the tables."""
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not (start and end):
        raise SystemExit(f"{PAGE} has lost its markers: {START} and {END}")
    return f"{head}{START}\n{tables()}\n{END}{tail}"


def _toml(value: object) -> str:
    """The value as one would write it after ``--set name=``."""
    if isinstance(value, tuple):
        return "[" + ",".join(map(_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(value: object, limits: dict[str, object]) -> str:
    if isinstance(value, bool):
        return "true, false"
    if limits["choices"] is not None:
        return ", ".join(f"`{choice}`" for choice in limits["choices"])  # type: ignore[attr-defined]
    low, high = limits["low"], limits["high"]
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return "text" if low is None else f"{low:g} or more"


def main() -> int:
    """Entry: write the page, or with ``--check`` only compare."""
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            print(f"{PAGE} is out of date: run `make docs`", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
