"""What a user sees before any photo: names, cost of an import, recipes, README and the commands of the checks."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import dips
from dips import errors
from dips.config import Adaptation, Config, adapt_config, load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HEAVY = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "lightning_fabric", "sklearn", "matplotlib", "jinja2")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def shell_lines(text: str) -> list[str]:
    return [line for block in blocks(text, "sh") for line in block.splitlines()]


# --- names


def test_every_public_name_resolves_and_is_listed() -> None:
    for name in dips.__all__:
        assert getattr(dips, name) is not None
        assert name in dir(dips)
    assert list(dips.__all__) == sorted(set(dips.__all__))


def test_public_names_are_these() -> None:
    usage = {"Config", "DataSet", "Model", "Prediction", "Sample", "__version__", "compare", "fit", "load", "load_config"}
    assert set(dips.__all__) == usage | set(errors.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        _ = dips.fti


def test_all_exceptions_share_one_base() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(dips, name), dips.DipsError)


@pytest.mark.parametrize(
    ("module", "banned"), [("dips", (*HEAVY, "numpy")), ("dips.evaluate", HEAVY), ("dips.cli", HEAVY), ("dips.demo", HEAVY)]
)
def test_import_stays_cheap(module: str, banned: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*sorted({{*sys.modules}} & {{*{banned!r}}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize(("given", "policy"), [("", "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait(given: str, policy: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    environment |= {"OMP_DISPLAY_ENV": "TRUE", **({"OMP_WAIT_POLICY": given} if given else {})}
    code = "import os, dips.cli, torch; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [policy]
    said = re.findall(r"OMP_WAIT_POLICY ?= ?'(\w+)'", done.stderr)  # by the library itself, or by each of several
    assert set(map(str.lower, said)) <= {policy} and (said or sys.platform != "linux")


# --- distribution


def test_versions_agree() -> None:
    assert f"\nversion: {dips.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    try:
        installed = importlib.metadata.version("dips-wsol")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed, only its source is on the path")
    assert installed == dips.__version__


def test_package_data_is_there() -> None:
    package = resources.files("dips")
    assert (package / "py.typed").is_file()
    recipes = {entry.name for entry in (package / "recipes").iterdir()}
    assert {"default.toml", "drone.toml", "paper.toml", "paper-text.toml"} <= recipes


def test_every_folder_of_modules_is_a_package() -> None:
    # without __init__.py a folder works, but the checks of types and imports pass over it
    folders = {path.parent for path in Path(dips.__path__[0]).rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("recipe", ["default", "demo", "drone", "paper", "paper-text"])
def test_recipe_says_what_it_is(recipe: str) -> None:
    head = (resources.files("dips") / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")
    assert head.startswith(f"# {recipe}: ")
    assert "# Source: " in head
    assert "# Time and expected numbers: " in head


@pytest.mark.parametrize(
    ("recipe", "epochs", "mode"),
    [("default", 0, "fast"), ("demo", 0, "fast"), ("drone", 3, "unet"), ("paper", 50, "unet"), ("paper-text", 50, "unet")],
)
def test_recipe_trains_what_it_predicts_with(recipe: str, epochs: int, mode: str) -> None:
    config = load_config(recipe)
    config.check()
    assert (config.train.epochs, config.predict.mode) == (epochs, mode)
    unet_alone = ("train", "localizer", "predict.size", "harvest.min_area", "harvest.top_p", "harvest.heads")
    changed = {name for name in config.differences(Config()) if name.startswith(unet_alone)}
    assert epochs or changed <= {"train.select_on"}, "settings that mean nothing without a U-Net"


# --- README and docs


def test_readme_opens_with_the_two_commands() -> None:
    demo, tests = shell_lines(README)[:2]
    assert demo.startswith("python3 -m venv .venv && ") and demo.endswith("dips demo")
    assert tests.startswith("python3 -m venv .venv && ") and tests.endswith("-m pytest")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    function = next(line for line in script.splitlines() if line.startswith("readme_command()"))
    for number, line in enumerate(shell_lines(README)[:2], start=1):
        done = subprocess.run(
            ["bash", "-c", f"{function}; readme_command {number}"], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout == f"{line}\n"
    for number, variable in ((1, "demo"), (2, "tests")):
        assert f"{variable}=$(readme_command {number})" in script
        assert f'bash -euo pipefail -c "${variable}"' in script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = re.findall(r"--set\s+([a-z]+\.[a-z_]+=[^\s`]+)", text)
    load_config(None, [item for item in written if not item.startswith("adapt.")])
    adapt_config([item for item in written if item.startswith("adapt.")])
    sections = {**vars(Config()), **vars(Adaptation())}
    for name in re.findall(r"`([a-z]+\.[a-z_]+)`", text):
        stage, setting = name.split(".")
        if stage in sections and setting not in ("py", "md", "yaml"):
            assert hasattr(sections[stage], setting), f"{page.name} names {name}"


def test_python_in_the_readme_uses_public_names() -> None:
    for block in blocks(README, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dips":
                assert node.attr in dips.__all__
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_commands_in_the_text_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"^dips ([a-z]+)", text, flags=re.MULTILINE)) | set(re.findall(r"`dips ([a-z]+)", text))
    assert {"check", "train", "predict", "report"} <= named
    done = subprocess.run([sys.executable, "-m", "dips", "--help"], capture_output=True, text=True, check=True)
    assert named <= set(re.findall(r"[a-z]+", done.stdout))


def test_settings_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_settings", ROOT / "docs" / "make_settings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert module.page(text) == text, "run `make docs`"


# --- Makefile


@pytest.mark.skipif(shutil.which("make") is None, reason="make is missing")
def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name.replace("%", "NAME") for name in re.findall(r"^([a-z%-]+):(?!=)", makefile, flags=re.MULTILINE)}
    done = subprocess.run(["make", "--no-print-directory", "help"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(re.findall(r"^  make (\S+)", done.stdout, flags=re.MULTILINE)) == targets
    assert {"check", "demo", "install", "test"} <= targets


def test_make_check_and_ci_run_the_same_checks() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"^check: ([a-z -]+?)  ##", makefile, flags=re.MULTILINE)
    assert found is not None
    *checks, last = found[1].split()
    assert last == "test"
    assert f"make --no-print-directory {' '.join(checks)}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
