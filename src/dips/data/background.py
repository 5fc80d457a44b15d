"""A class whose name says that its photos show no object, though it is not called none: it would be learned as an object."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dips.data.labels import BACKGROUND_NAMES
from dips.system.environment import quoted
from dips.types import DataSet, Problem, Severity

__all__ = ["background_problems", "likely_background"]

_NOT = frozenset(("no", "not", "non", "none", "without", "ohne", "kein", "keine", "sin", "sans", "senza", "sem", "zonder"))
_EMPTY = BACKGROUND_NAMES | frozenset(
    ("nothing", "empty", "blank", "negative", "neg", "absent", "bg", "other", "rest", "leer", "hintergrund", "vide", "rien")
)
_FILLING = frozenset(("object", "photo", "image", "picture", "sample", "scene", "tile"))
_FINE = frozenset(("ok", "okay", "good"))  # "not ok" is what is searched for, not the background


def background_problems(train: DataSet, setting: str) -> list[Problem]:
    """Report that a class of the training photos looks like the background class, if there is none.

    Args:
        train: the photos.
        setting: ``data.background_class``; only with ``auto`` has nobody specified which class it is.
    """
    if train.background is not None or setting != "auto":
        return []
    name = likely_background(train.classes)
    if name is None:
        return []
    what = "folder" if train.layout == "folder" else "class"
    message = (
        f"if photos of '{name}' show no object, rename the {what} to none, or --set data.background_class={quoted(name)}; now "
        "it is learned as an object, and gets boxes"
    )
    return [Problem(train.root, message, Severity.SPOILS)]


def likely_background(classes: Sequence[str]) -> str | None:
    """Return the class whose name says that it shows no object; None if none does, or several do.

    >>> likely_background(["insulator", "no insulator"]), likely_background(["tower", "empty"]), likely_background(["a", "b"])
    ('no insulator', 'empty', None)
    >>> likely_background(["no entry", "no parking", "stop"]) is None
    True
    """
    words = {name: _words(name) for name in classes}
    others = {_singular("".join(words[name])): name for name in classes}
    sure = [name for name in classes if _is_empty(words[name]) or _negates(words[name], others, name)]
    found = sure or [name for name in classes if _begins_with_not(words[name])]
    return found[0] if len(found) == 1 else None


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case, without numbers: those of ``NoTower_2`` are ``no`` and ``tower``."""
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", parted.casefold())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _is_empty(words: Sequence[str]) -> bool:
    """Return whether a name says that there is nothing: ``empty``, ``negative samples``, ``no object``."""
    said = [word for word in map(_singular, words) if word not in _FILLING]
    return bool(said) and all(word in _EMPTY | _NOT for word in said)


def _negates(words: Sequence[str], others: dict[str, str], name: str) -> bool:
    """Return whether a name negates another class's name, before or after it: ``no tower``, ``nontower``, ``tower_neg``."""
    joined = "".join(words)
    rests = [joined.removeprefix(no) for no in _NOT if joined.startswith(no)]
    rests += ["".join(words[:-1])] if len(words) > 1 and words[-1] in _EMPTY | _NOT else []
    return any(rest not in _FINE and others.get(_singular(rest), name) != name for rest in rests)


def _begins_with_not(words: Sequence[str]) -> bool:
    return len(words) > 1 and words[0] in _NOT and words[1] not in _FINE
