"""What a comparison keeps: whole, readable again, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dips.baselines.method import Fit
from dips.comparison.folder import MethodFolder, claim_folder, require_comparison
from dips.comparison.source import OTHER_VERSION
from dips.config import Config
from dips.errors import RunError


def test_a_fit_is_read_back(tmp_path: Path, kinds: Any) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "learner")
    method.net, type(method).caveat = nn.Conv2d(3, 1, 1), "after its abstract"
    fit = Fit(4, 1.5, 2.5, chosen="step 4", curve=({"step": 4, "v2": 50.0},), fixed=1.5, limit="5 minutes")
    assert folder.fit_file() is None and folder.outdated(method) == ""
    folder.begin(method, anew=False)
    assert folder.outdated(method) == "", "begun by this code"
    folder.save_fit(method, fit)
    written = json.loads((tmp_path / "learner" / "fit.json").read_text())
    assert next(iter(written.items())) == ("schema_version", 1) and fit.record().items() <= written.items()
    found = folder.fit_file()
    assert found is not None and (found.steps, found.epochs, found.seconds, found.fixed) == (4, 1.5, 2.5, 1.5)
    assert (found.chosen, found.curve, found.limit) == ("step 4", [{"step": 4, "v2": 50.0}], "5 minutes")
    assert (found.method.name, found.method.labels, found.method.needs) == ("learner", "image", [])
    assert found.method.caveat == "after its abstract"
    assert torch.equal(folder.state()["weight"], method.net.weight) and folder.outdated(method) == ""


def test_a_fit_of_a_method_that_diverged_is_kept(tmp_path: Path, kinds: Any) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "learner")
    method.net = nn.Conv2d(3, 1, 1)
    folder.save_fit(method, Fit(curve=({"loss": float("nan"), "v2": np.float64(40.0)},)))
    found = folder.fit_file()
    assert found is not None and found.curve == [{"loss": None, "v2": 40.0}]


def test_a_result_is_read_back_with_its_maps(tmp_path: Path, result: dict[str, Any]) -> None:
    folder, maps = MethodFolder(tmp_path / "m"), {"a/b.jpg": np.eye(3, dtype=np.float32)}
    assert folder.result("test") is None and folder.maps("test") == {}
    folder.save_result("test", result, maps)
    assert json.loads((tmp_path / "m" / "test.json").read_text()) == {"schema_version": 1, **result}
    found = folder.result("test")
    assert found is not None and found.boxes == result["boxes"] and found.skipped[0].why == "cut short"
    np.testing.assert_array_equal(folder.maps("test")["a/b.jpg"], maps["a/b.jpg"])


def test_files_of_before_have_no_version(tmp_path: Path, kinds: Any, result: dict[str, Any]) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "m")
    method.net = nn.Conv2d(3, 1, 1)
    folder.begin(method, anew=False)
    folder.save_fit(method, Fit(steps=4))
    folder.save_result("test", result, {})
    for file in ("fit.json", "test.json", "source.json"):
        record = json.loads((tmp_path / "m" / file).read_text())
        del record["schema_version"]
        (tmp_path / "m" / file).write_text(json.dumps(record))
    assert folder.outdated(method) == "" and folder.fit_file() and folder.result("test") is not None


@pytest.mark.parametrize("there", ["fit.json", "run/config.toml", "recipe.toml"])
def test_what_an_early_version_left_is_not_continued(tmp_path: Path, kinds: Any, there: str) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "learner")
    (tmp_path / "learner" / there).parent.mkdir(parents=True)
    (tmp_path / "learner" / there).write_text("{}")
    assert folder.outdated(method) == OTHER_VERSION
    folder.begin(method, anew=True)
    assert [path.name for path in folder.folder.iterdir()] == ["source.json"] and folder.outdated(method) == ""


def test_an_interrupted_fit_goes_on_unless_it_is_anew(tmp_path: Path, kinds: Any) -> None:
    learner, above = MethodFolder(tmp_path / "learner"), MethodFolder(tmp_path / "above")
    for folder, method in ((learner, kinds.Learner()), (above, kinds.Above())):
        folder.begin(method, anew=False)
        (folder.folder / "run").mkdir()
    above.begin(kinds.Above(), anew=False)
    assert (above.folder / "run").is_dir()
    learner.begin(kinds.Learner(), anew=False)
    assert (learner.folder / "run").is_dir() and not above.folder.exists(), "what builds on it is not gone on with"
    learner.begin(kinds.Learner(), anew=True)
    assert not (learner.folder / "run").exists()


@pytest.mark.parametrize("file", ["source.json", "fit.json", "state.safetensors", "test.json", "test.maps.safetensors"])
@pytest.mark.parametrize(
    "content", [b"\x00damaged", b"[]", b'{"schema_version": 2}', b'{"boxes": 1, "steps": "many", "package": 2}']
)
def test_a_damaged_or_foreign_file_is_named(
    tmp_path: Path, kinds: Any, result: dict[str, Any], file: str, content: bytes
) -> None:
    method, folder = kinds.Learner(), MethodFolder(tmp_path / "m")
    method.net = nn.Conv2d(3, 1, 1)
    folder.begin(method, anew=False)
    folder.save_fit(method, Fit())
    folder.save_result("test", result, {"a": np.eye(3, dtype=np.float32)})
    (tmp_path / "m" / file).write_bytes(content)
    with pytest.raises(RunError, match=rf"{file} .*remove"):
        folder.source(), folder.fit_file(), folder.state(), folder.result("test"), folder.maps("test")


def test_a_comparison_is_known_again(tmp_path: Path) -> None:
    identity: dict[str, Any] = {"data": "/photos", "budget": 3.0, "photos": "1f", "transformer": "2e", "cnn": "3d"}
    claim_folder(tmp_path / "out", identity, Config())
    claim_folder(tmp_path / "out", identity, Config())
    with pytest.raises(RunError, match=r"budget 3\.0, now 4\.0"):
        claim_folder(tmp_path / "out", {**identity, "budget": 4.0}, Config())
    with pytest.raises(
        RunError, match="other photos or labels; other weights of the transformer; other weights of the CNN; repeat"
    ):
        claim_folder(tmp_path / "out", {**identity, "photos": "a", "transformer": "b", "cnn": None}, Config())
    with pytest.raises(RunError, match=r"train\.epochs"):
        claim_folder(tmp_path / "out", identity, Config().replace(**{"train.epochs": 9}))


@pytest.mark.parametrize("left", [(), (".config.toml.dips_tmp",), (".config.toml.dips_tmp", ".config.toml.a1b2c3d4.dips_tmp")])
def test_a_comparison_that_was_killed_before_its_settings_were_written_starts(tmp_path: Path, left: tuple[str, ...]) -> None:
    for name in left:
        (tmp_path / name).write_text("[harv")
    require_comparison(tmp_path)
    claim_folder(tmp_path, {"data": "/photos"}, Config())
    require_comparison(tmp_path)


@pytest.mark.parametrize("there", ["notes.txt", ".notes.markdown", "seed-0/x"])
def test_another_folder_is_no_comparison(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    with pytest.raises(RunError, match="is not a comparison; nothing was changed"):
        require_comparison(tmp_path)
    with pytest.raises(RunError, match="is not a comparison; nothing was changed"):
        require_comparison(tmp_path / there)


def test_a_comparison_of_an_earlier_version_is_known_again(tmp_path: Path) -> None:
    identity: dict[str, Any] = {"data": "/photos", "--photos": 6}
    claim_folder(tmp_path, identity, Config())
    mark = tmp_path / "compare.json"
    assert next(iter(json.loads(mark.read_text()).items())) == ("schema_version", 1)
    mark.write_text('{"data": "/photos"}')
    claim_folder(tmp_path, identity, Config())
    mark.write_text('{"schema_version": 2, "data": "/photos", "--photos": 6}')
    with pytest.raises(RunError, match=r"schema_version 2, now 1.*another --out"):
        claim_folder(tmp_path, identity, Config())
