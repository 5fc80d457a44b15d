"""The available methods, and the order in which they can be fitted.

In: what a user typed after ``--methods``. Out: choices, checked before any work, then methods, starting with those that others
build on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from dips.baselines.acol import ACoL
from dips.baselines.adl import Adl
from dips.baselines.bas import Bas
from dips.baselines.bgc import Bgc
from dips.baselines.blocks import ScmBlocks, TsCamBlocks
from dips.baselines.c2am import C2am
from dips.baselines.cam import Cam, CamFrozen, CamIvr, CamMax, CamPas
from dips.baselines.cream import Cream
from dips.baselines.cutmix import CutMix
from dips.baselines.fcam import FCam, FCamLayerCam
from dips.baselines.gradients import GradCam, GradCamPlus, LayerCam
from dips.baselines.has import Has
from dips.baselines.icl import Icl
from dips.baselines.lost import Lost
from dips.baselines.method import ScoreMapMethod
from dips.baselines.pdm import Pdm
from dips.baselines.sat import Sat
from dips.baselines.scm import Scm
from dips.baselines.spg import Spg
from dips.baselines.tokencut import TokenCut
from dips.baselines.tokens import C2amTokens, CamTokens
from dips.baselines.trilite import TriLite
from dips.baselines.trt import Trt
from dips.baselines.tscam import TsCam
from dips.baselines.untrained import Centre, Head, MeanAttention
from dips.baselines.vitol import VitolGar, VitolLrp
from dips.comparison.dips_method import Accurate, Dips, Joined, JoinedCnn, JoinedKeys
from dips.errors import ConfigError
from dips.system.suggestions import closest

__all__ = ["METHODS", "Choice", "choose_methods", "create_methods", "sort_key"]

METHODS: dict[str, type[ScoreMapMethod]] = {
    kind.name: kind
    for kind in (
        *(Dips, Accurate, Joined, JoinedKeys, JoinedCnn),
        *(Cam, CamMax, CamPas, CamIvr, LayerCam, GradCam, GradCamPlus, CamFrozen, CamTokens),
        *(Has, ACoL, Spg, Adl, CutMix, Icl, Pdm, Bgc, Bas, Cream),
        *(TsCam, TsCamBlocks, Scm, ScmBlocks, Trt, Sat, VitolGar, VitolLrp, TriLite),
        *(FCam, FCamLayerCam, C2am, C2amTokens),
        *(Centre, MeanAttention, Lost, TokenCut),
    )
}
"""Methods by name; single attention heads are named ``head1``, ``head2`` and so on."""


Choice = ScoreMapMethod | type[ScoreMapMethod] | int | Literal["heads"]
"""A method, a class of methods, the number of a single head from 1 on, or every head."""


def choose_methods(names: Iterable[str | ScoreMapMethod]) -> list[Choice]:
    """Return what the names stand for; the user's own files are imported.

    Args:
        names: case-insensitive; ``heads`` stands for every head, ``all`` for everything, ``FILE.py:CLASS`` for the user's own
            method; or methods.

    Raises:
        ConfigError: there is no such method.

    >>> [getattr(choice, "name", choice) for choice in choose_methods(["CAM", "head3"])]
    ['cam', 3]
    """
    choices: list[Choice] = []
    unknown: list[str] = []
    for name in names:
        if isinstance(name, ScoreMapMethod):
            _require_attributes(type(name).__name__, name)
            choices.append(name)
        elif name.lower() == "all":
            choices += [*METHODS.values(), "heads"]
        elif (choice := _choice(name)) is not None:
            choices.append(choice)
        else:
            unknown.append(f"'{name.lower()}'{closest(name, [*METHODS, 'heads', 'all'])}")
    if unknown:  # report all of them at once
        known = ", ".join([*METHODS, "heads", "head1, head2 and so on", "all"])
        raise ConfigError(f"--methods: unknown method(s): {', '.join(unknown)}; known: {known}, or FILE.py:CLASS")
    return choices


def create_methods(choices: Iterable[Choice], heads: Callable[[], int]) -> list[ScoreMapMethod]:
    """Create methods and those that they need, each once, in an order in which they can be fitted.

    Args:
        choices: see :func:`choose_methods`.
        heads: returns the number of heads of the transformer; called only if a head is chosen.

    Raises:
        ConfigError: the transformer has no such head, a method needs one that does not exist, or two share a name.
    """
    methods: dict[str, ScoreMapMethod] = {}

    def add(method: ScoreMapMethod) -> None:
        if method.name in methods:
            # a file is imported again for each name, so its classes are known by their names
            if _place(methods[method.name]) != _place(method):
                raise ConfigError(f"--methods: two of them are called '{method.name}'; rename one")
            return
        for need in method.needs:
            if need not in methods:
                if (choice := _choice(need)) is None:
                    raise ConfigError(f"--methods: {method.title} needs '{need}', and there is no such method")
                create(choice)
        methods[method.name] = method

    def create(choice: Choice) -> None:
        if choice == "heads":
            for number in range(1, heads() + 1):
                add(Head(number))
        elif isinstance(choice, int):
            if choice > heads():
                raise ConfigError(f"--methods: there is no head{choice}; this transformer has head1 to head{heads()}")
            add(Head(choice))
        else:
            add(choice if isinstance(choice, ScoreMapMethod) else choice())

    for choice in choices:
        create(choice)
    return list(methods.values())


def sort_key(name: str) -> tuple[int, str]:
    """Return a key that sorts names in catalogue order: single heads after the others, unknown methods last."""
    names = list(METHODS)
    if name in METHODS:
        return names.index(name), ""
    number = name.removeprefix("head")
    return (len(names), number.zfill(4)) if number != name and number.isdigit() else (len(names) + 1, name)


def _choice(name: str) -> Choice | None:
    """Return what a single name stands for; None if it is unknown."""
    if ".py:" in name or name.endswith(".py"):
        return _own_class(name)
    name = name.lower()
    number = name.removeprefix("head")
    if number != name and number.isdigit() and int(number) > 0:
        return int(number)
    return "heads" if name == "heads" else METHODS.get(name)


def _place(method: ScoreMapMethod) -> tuple[str, str]:
    return type(method).__module__, type(method).__qualname__


def _require_attributes(kind: str, method: ScoreMapMethod) -> None:
    """Check that a method defines what the table needs.

    Raises:
        ConfigError: an attribute is missing or invalid.
    """
    if missing := [name for name in ("name", "title", "paper") if not isinstance(getattr(method, name, None), str)]:
        raise ConfigError(f'--methods: {kind} lacks {", ".join(missing)}; write it into the class, e.g. {missing[0]} = "..."')
    if method.labels not in ("none", "image"):
        raise ConfigError(f'--methods: {kind} has labels = {method.labels!r}; it is "none" or "image"')
    if isinstance(method.needs, str):
        raise ConfigError(f"--methods: {kind} has needs = {method.needs!r}; it is a tuple of names, ({method.needs!r},)")
    if METHODS.get(method.name, type(method)) is not type(method) or not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", method.name):
        raise ConfigError(
            f"--methods {kind}: its name, {method.name!r}, must be different from those of other methods, and consist of small "
            "letters, digits and + . _ -"
        )


def _own_class(item: str) -> type[ScoreMapMethod]:
    """Return a method class from a file named by the user."""
    file, _, name = item.rpartition(":") if ".py:" in item else (item, "", "")
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError(f"--methods {item}: there is no file {path}")
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    module_name = f"dips_method_{path.stem}_{digest}"  # a file of the same name elsewhere is another module
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look up their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"--methods {item}: the file cannot be imported ({type(error).__name__}: {error})") from error
    kind = getattr(module, name, None)
    if not (isinstance(kind, type) and issubclass(kind, ScoreMapMethod)):
        kinds = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, ScoreMapMethod)]
        own = [each.__name__ for each in kinds if each.__module__ == module_name]
        if not name and own:
            raise ConfigError(f"--methods {item}: add the class: {' or '.join(f'{file}:{each}' for each in own)}")
        derive = "derive one from it (docs/compare.md)"
        if not name:
            raise ConfigError(f"--methods {item}: {path.name} has no class that is a ScoreMapMethod; {derive}")
        there = f"there is {', '.join(own)}" if own else f"there is none; {derive}"
        raise ConfigError(
            f"--methods {item}: {path.name} has no class {name} that is a ScoreMapMethod{closest(name, own)}; {there}"
        )
    try:
        method = kind()
    except TypeError as error:  # abstract, or it requires arguments
        raise ConfigError(f"--methods {item}: {name} cannot be made ({error})") from error
    _require_attributes(item, method)
    return kind
