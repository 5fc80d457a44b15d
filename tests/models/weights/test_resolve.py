"""The order of places, what each says of itself, and that no network means seconds. No test reaches the network."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import huggingface_hub as hub
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dips.errors import WeightsError
from dips.models.backbones import timm  # type: ignore[attr-defined]  # not by itself: torchvision is mended first
from dips.models.weights import resolve as module
from dips.models.weights.resolve import EMBEDDED, Embedded, Weights, resolve
from dips.system.files import file_sha256

STATE = {"x": torch.ones(2)}
VIT, CNN = "vit_small_patch16_224.dino", "tf_efficientnet_lite0"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No environment, an empty cache, no network, no embedded package."""
    monkeypatch.delenv("DIPS_WEIGHTS", raising=False)
    monkeypatch.setenv("DIPS_OFFLINE", "1")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(module, "_hub_down", "")
    monkeypatch.setattr(module, "EMBEDDED", tuple(missing(item) for item in EMBEDDED))
    monkeypatch.setattr(hub, "get_hf_file_metadata", forbidden)
    monkeypatch.setattr(hub, "hf_hub_download", forbidden)


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("a test reached for the network")


def missing(item: Embedded) -> Embedded:
    return Embedded(**(vars(item) | {"file": f"no_such_package_{item.role}/w.pth"}))


def write(path: Path, state: dict[str, Tensor] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(state or STATE, path)
    return path


def package(monkeypatch: pytest.MonkeyPatch, root: Path, role: str, *, right: bool = True) -> Path:
    """An installed package whose code must not run."""
    folder = root / "site" / f"embedded_{role}"
    path = write(folder / "models" / "w.safetensors", {"embedded": torch.ones(1)})
    (folder / "__init__.py").write_text("raise SystemExit('the package was imported')")
    items = []
    for item in module.EMBEDDED:
        if item.role == role:
            digest = file_sha256(path) if right else "0" * 64
            item = Embedded(**(vars(item) | {"file": f"embedded_{role}/models/w.safetensors", "sha256": digest}))
        items.append(item)
    monkeypatch.setattr(module, "EMBEDDED", tuple(items))
    monkeypatch.syspath_prepend(str(root / "site"))
    importlib.invalidate_caches()
    return path


def test_file_for_the_transformer(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.safetensors")
    found = resolve("vit_tiny_patch16_224", role="transformer", given=(str(path),))
    assert (found.arch, found.source, found.origin) == ("vit_tiny_patch16_224", "file", str(path))
    assert torch.equal(found.state["x"], STATE["x"])
    with pytest.raises(WeightsError, match=r"mine.*harvest\.sst"):
        resolve("auto", role="transformer", given=(str(path),))


def test_name_of_the_file_tells_whose_it_is(tmp_path: Path) -> None:
    vit, cnn = write(tmp_path / f"{VIT}.safetensors"), write(tmp_path / f"{CNN}.safetensors")
    given_files = (str(cnn), str(vit))
    assert resolve("auto", role="transformer", given=given_files).arch == VIT
    assert resolve(CNN, role="cnn", given=given_files[::-1]).origin == str(cnn)


def test_file_of_another_kind_is_named_before_its_architecture_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no weights")
    with pytest.raises(WeightsError, match=r"notes\.txt: unknown kind of weight file; there are \.safetensors"):
        resolve("auto", role="transformer", given=[str(path)])


def test_name_equals_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    assert resolve(f"{CNN}.in1k", role="cnn", given=(f"{CNN}={path}",)).arch == f"{CNN}.in1k"
    assert resolve(CNN, role="cnn", given=(f"{CNN}.in1k={path}",)).arch == f"{CNN}.in1k"
    auto = resolve("auto", role="transformer", given=(f"{CNN}={path}", f"vit_base_patch14_dinov2.lvd142m={path}"))
    assert auto.arch == "vit_base_patch14_dinov2.lvd142m"
    with pytest.raises(WeightsError, match="did you mean 'tf_efficientnet_lite0'"):
        resolve(CNN, role="cnn", given=(f"tf_eficientnet_lite0={path}",))
    with pytest.raises(WeightsError, match=r"no file or folder .*gone"):
        resolve(CNN, role="cnn", given=(f"{CNN}={tmp_path / 'gone.pth'}",))
    with pytest.raises(WeightsError, match=r"no file or folder .*gone"):
        resolve(CNN, role="cnn", given=(str(tmp_path / "gone.pth"),))


def test_what_is_given_must_be_there_also_where_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsError, match=r"no file or folder gone\.pth"):
        resolve("embedded", role="cnn", given=("gone.pth",))
    monkeypatch.setenv("DIPS_WEIGHTS", "/nix")
    with pytest.raises(WeightsError, match="no file or folder /nix"):
        resolve("embedded", role="cnn")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_folder(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"vit_small_patch16_224{suffix}"
    if suffix == ".safetensors":
        write(path)
    else:
        torch.save(STATE, path)
    assert resolve("auto", role="transformer", given=(str(tmp_path),)).arch == VIT
    assert resolve("vit_small_patch16_224.dino", role="transformer", given=(str(tmp_path),)).origin == str(path)
    with pytest.raises(WeightsError, match="no weights of resnet18"):
        resolve("resnet18", role="cnn", given=(str(tmp_path),))


def test_folder_with_tagged_names(tmp_path: Path) -> None:
    write(tmp_path / "resnet18.a1_in1k.safetensors")
    assert resolve("resnet18", role="cnn", given=(str(tmp_path),)).arch == "resnet18.a1_in1k"
    write(tmp_path / "resnet18.tv_in1k.safetensors")
    assert resolve("resnet18.tv_in1k", role="cnn", given=(str(tmp_path),)).arch == "resnet18.tv_in1k"
    with pytest.raises(WeightsError, match=r"several.*a1_in1k.*tv_in1k"):
        resolve("resnet18", role="cnn", given=(str(tmp_path),))


def test_environment_comes_after_the_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = write(tmp_path / "1" / f"{CNN}.safetensors"), write(tmp_path / "2" / f"{CNN}.safetensors")
    monkeypatch.setenv("DIPS_WEIGHTS", f"{tmp_path / '2'}{os.pathsep}{tmp_path / '1'}")
    assert resolve(CNN, role="cnn").origin == str(second)
    assert resolve(CNN, role="cnn", given=(str(tmp_path / "1"),)).origin == str(first)


def test_embedded_is_the_last_resort_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WeightsError, match=r"offline \(DIPS_OFFLINE\).*dips-wsol\[demo\]"):
        resolve("auto", role="transformer")
    package(monkeypatch, tmp_path, "transformer")
    found = resolve("auto", role="transformer")
    assert found.source == "embedded"
    assert found.arch == "vit_small_patch14_dinov2"
    assert found.title == "DINOv2-S, saliency-tuned (embedded)"
    assert found.title in found.line()
    assert "embedded_transformer" not in sys.modules
    local = write(tmp_path / f"{VIT}.safetensors")
    assert resolve("auto", role="transformer", given=(str(local),)).source == "file"
    assert resolve("embedded", role="transformer", given=(str(local),)).source == "embedded"


def test_embedded_does_not_stand_in_for_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, tmp_path, "transformer")
    assert resolve("vit_small_patch14_dinov2", role="transformer").source == "embedded"
    for name in ("vit_small_patch14_dinov2.lvd142m", VIT, "vit_base_patch16_224"):
        with pytest.raises(WeightsError, match=f"no weights of {name}"):
            resolve(name, role="transformer")
    package(monkeypatch, tmp_path, "cnn")
    assert resolve(f"{CNN}.in1k", role="cnn").source == "embedded"
    with pytest.raises(WeightsError, match="no weights of resnet18"):
        resolve("resnet18", role="cnn")


def test_changed_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, tmp_path, "cnn", right=False)
    with pytest.raises(WeightsError, match=r"w\.safetensors is not the file of efficientnet.*force-reinstall"):
        resolve(CNN, role="cnn")


def test_cache_of_the_hub_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "cache" / "model.safetensors")
    asked = []

    def cached(repository: str, file: str) -> str | None:
        asked.append((repository, file))
        return str(path) if file == path.name else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    package(monkeypatch, tmp_path, "transformer")
    found = resolve("auto", role="transformer")
    assert (found.arch, found.source, found.licence) == (VIT, "hub", "apache-2.0")
    assert found.origin == f"timm/{VIT}/model.safetensors"
    assert asked == [(f"timm/{VIT}", "model.safetensors")]
    assert resolve("auto", role="transformer", allow_hub=False).source == "embedded"


def test_download_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DIPS_OFFLINE")
    path = tmp_path / "pytorch_model.bin"
    torch.save(STATE, path)

    class Gone(hub.errors.EntryNotFoundError):
        def __init__(self) -> None:
            Exception.__init__(self, "404")

    def metadata(url: str, timeout: float) -> None:
        if url.endswith(".safetensors"):
            raise Gone

    monkeypatch.setattr(hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(hub, "hf_hub_download", lambda _repository, _file: str(path))
    assert resolve("resnet18.a1_in1k", role="cnn").origin == "timm/resnet18.a1_in1k/pytorch_model.bin"
    assert "downloading timm/resnet18.a1_in1k/pytorch_model.bin" in capsys.readouterr().err


@pytest.mark.parametrize("silent", [True, False])
def test_no_network_costs_seconds_once(
    silent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DIPS_OFFLINE")
    monkeypatch.setattr(module, "_HUB_SECONDS", 0.2)
    asked = []

    def metadata(url: str, timeout: float) -> None:
        asked.append(url)
        if not silent:
            raise ConnectionError("no route")
        time.sleep(3)

    monkeypatch.setattr(hub, "get_hf_file_metadata", metadata)
    package(monkeypatch, tmp_path, "transformer")
    start = time.monotonic()
    assert resolve("auto", role="transformer").source == "embedded"
    assert resolve("auto", role="transformer").source == "embedded"
    assert time.monotonic() - start < 2
    assert len(asked) == 1
    said = capsys.readouterr().err
    assert "the embedded weights are used, as the model hub cannot be reached" in said and "Error" not in said


def test_gated_weights_do_not_stop_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIPS_OFFLINE")

    class Gated(hub.errors.GatedRepoError):
        def __init__(self) -> None:
            Exception.__init__(self, "401")

    def metadata(url: str, timeout: float) -> None:
        raise Gated

    monkeypatch.setattr(hub, "get_hf_file_metadata", metadata)
    with pytest.raises(WeightsError, match="hub: does not give it"):
        resolve("vit_small_patch16_dinov3.lvd1689m", role="transformer")
    assert module._hub_down == ""


def test_embedded_file_keeps_its_note_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "renamed.safetensors"
    copy.write_bytes(package(monkeypatch, tmp_path, "transformer").read_bytes())
    found = resolve("vit_small_patch14_dinov2", role="transformer", given=(str(copy),))
    assert (found.source, found.title) == ("file", "DINOv2-S, saliency-tuned (embedded)")


def test_offline_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(monkeypatch, tmp_path, "cnn")
    assert resolve(CNN, role="cnn").source == "embedded"
    with pytest.raises(WeightsError, match=r"hub: not in the cache, and offline \(DIPS_OFFLINE\)"):
        resolve("resnet18", role="cnn")
    monkeypatch.delenv("DIPS_OFFLINE")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert resolve(CNN, role="cnn").source == "embedded"


def test_unknown_names() -> None:
    with pytest.raises(WeightsError, match="did you mean 'tf_efficientnet_lite0'"):
        resolve("tf_efficientnet_lite00", role="cnn")
    with pytest.raises(WeightsError, match="no 'auto'"):
        resolve("auto", role="cnn")


def test_record_is_without_tensors() -> None:
    found = Weights("resnet18", "file", "/w/x.pth", "ab" * 32, state=dict(STATE))
    assert found.record() == {
        "arch": "resnet18",
        "source": "file",
        "origin": "/w/x.pth",
        "sha256": "ab" * 32,
        "note": "",
        "licence": "",
    }
    assert found.line() == "resnet18; file: /w/x.pth (sha256 abababababab)"
    assert "tensor" not in repr(found)


NAMES = st.builds(
    lambda base, tag: base + tag, st.sampled_from(["resnet18", "resnet34"]), st.sampled_from(["", ".a1_in1k", ".tv_in1k"])
)


@given(NAMES, NAMES)
def test_names_are_compared_both_ways(left: str, right: str) -> None:
    assert module._same(left, right) == module._same(right, left)
    assert module._same(left, left)
    if module._same(left, right):
        assert timm.is_model(module._tagged(left, right))
        assert left.partition(".")[0] == right.partition(".")[0]
