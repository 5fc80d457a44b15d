"""Score maps of any method on disk: how they are found, and what is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dips.benchmark.mapfiles import MapFiles
from dips.errors import DataError, ProtocolError
from dips.scoremaps.levels import quantise


def smooth(seed: int = 0, shape: tuple[int, int] = (24, 32)) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((4, 4)).astype(np.float32)
    return np.clip(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), 0, 1)


def save(path: Path, score_map: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, smooth() if score_map is None else score_map)
    return path


def read(place: Path, id: str) -> np.ndarray:
    files = MapFiles(place)
    return files.read(found(files, [id])[id])


def found(files: MapFiles, ids: list[str]) -> dict[str, str]:
    """The photos that have a map, with its name."""
    names = {id: files.find(id) for id in ids}
    assert files.match(ids) == [name is not None for name in names.values()]
    return {id: name for id, name in names.items() if name is not None}


# --- kinds of files


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_are(tmp_path: Path, dtype: str, order: str) -> None:
    score_map = np.array(smooth(), dtype=dtype, order=order)  # type: ignore[call-overload]
    save(tmp_path / "a.npy", score_map)
    np.savez_compressed(tmp_path / "b.npz", anything=score_map)
    for id in ("a.jpg", "b.jpg"):
        back = read(tmp_path, id)
        assert back.dtype == dtype and np.array_equal(back, score_map)


def test_every_level_of_an_8_bit_png_survives(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert np.array_equal(quantise(read(tmp_path, "a.jpg")), levels)


def test_16_bit_png(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    cv2.imwrite(str(tmp_path / "a.PNG"), values)
    back = read(tmp_path, "a.jpg")
    assert np.array_equal(back, values / 65535) and back.max() == 1


def save_archive(path: Path, maps: dict[str, Any]) -> None:
    np.savez(path, **maps)


def test_one_archive_of_all(tmp_path: Path) -> None:
    maps = {"test/owl/1.jpg": smooth(1), "2": smooth(2), "Höhe über/ein Turm.JPEG": smooth(3)}
    save_archive(tmp_path / "maps.npz", maps)
    files = MapFiles(tmp_path / "maps.npz")
    ids = ["test/owl/1.jpg", "test/owl/2.jpg", "Höhe über/ein Turm.JPEG"]
    assert found(files, ids) == dict(zip(ids, maps, strict=True)) and files.others(ids) == []
    for name, score_map in maps.items():
        assert np.array_equal(files.read(name), score_map)


def test_an_archive_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of 50,000 arrays takes longer to read than a map."""
    save_archive(tmp_path / "maps.npz", {str(n): smooth(n) for n in range(9)})
    load, calls = np.load, []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(1)
        return load(*given, **named)

    monkeypatch.setattr(np, "load", counted)
    files = MapFiles(tmp_path / "maps.npz")
    assert np.array_equal(files.read("3"), smooth(3)) and np.array_equal(files.read("4"), smooth(4)) and len(calls) == 1
    there = pickle.loads(pickle.dumps(files))  # in another process
    assert np.array_equal(there.read("3"), smooth(3)) and np.array_equal(there.read("4"), smooth(4)) and len(calls) == 2


# --- names


@pytest.mark.parametrize(
    "name",
    ["test/owl/1.jpg.npy", "test/owl/1.npy", "owl/1.jpg.npy", "owl/1.npy", "1.jpg.npy", "1.npy", "owl/1.NPY", "1.jpg.NPZ"],
)
def test_names_that_fit(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "maps" / "a.npy")
    (tmp_path / "maps" / name).parent.mkdir(parents=True, exist_ok=True)
    path.rename(tmp_path / "maps" / name)
    assert found(MapFiles(tmp_path / "maps"), ["test/owl/1.jpg", "test/owl/2.jpg"]) == {"test/owl/1.jpg": name}


@pytest.mark.parametrize("id", ["grün & blau/ein Foto.jpg", "鳥/é.jpg", "a,b/c;d.jpg", "x/v1.2.final.jpg", "x/no_suffix"])
def test_any_characters(tmp_path: Path, id: str) -> None:
    save(tmp_path / f"{id}.npy")
    assert found(MapFiles(tmp_path), [id]) == {id: f"{id}.npy"}


def test_the_longest_name_wins(tmp_path: Path) -> None:
    for name in ("test/owl/1.npy", "owl/1.npy", "1.npy", "1.jpg.npy"):
        save(tmp_path / name)
    files = MapFiles(tmp_path)
    ids = ["test/owl/1.jpg", "test/1.jpg"]
    assert found(files, ids) == {"test/owl/1.jpg": "test/owl/1.npy", "test/1.jpg": "1.jpg.npy"}
    assert files.others(ids) == ["1.npy", "owl/1.npy"]


def test_ids_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.npy")
    save(tmp_path / "maps" / "a.npy")
    ids = ["../secret.jpg", "x/../../secret.jpg", str(tmp_path / "secret.jpg"), "a.jpg"]
    assert MapFiles(tmp_path / "maps").match(ids) == [False, False, False, True]


def test_two_photos_share_no_map(tmp_path: Path) -> None:
    save(tmp_path / "1.npy")
    for ids in (["owl/1.jpg", "kite/1.jpg"], ["1.jpg", "1.png"]):
        with pytest.raises(DataError, match=rf"1\.npy fits both {ids[0]} and {ids[1]}; keep the photos' folders"):
            MapFiles(tmp_path).match(ids)
    save(tmp_path / "1.png.npy")
    assert found(MapFiles(tmp_path), ["1.jpg", "1.png"]) == {"1.jpg": "1.npy", "1.png": "1.png.npy"}


def test_one_photo_has_one_map(tmp_path: Path) -> None:
    save(tmp_path / "owl" / "a.npy")
    Image.new("L", (4, 4)).save(tmp_path / "owl" / "a.png")
    with pytest.raises(DataError, match=r"owl/a\.(npy|png) and owl/a\.(npy|png) for the same photo; remove one"):
        MapFiles(tmp_path).match(["owl/a.jpg"])


@pytest.mark.parametrize("id", ["..", ".", "/", "a/..", "../../etc/a.jpg", "/etc/a.jpg", "./a.jpg", "a.jpg/"])
def test_odd_ids_reach_nothing_outside(tmp_path: Path, id: str) -> None:
    save(tmp_path / "a.npy")  # the outermost one
    save(tmp_path / "maps" / "b.npy")
    assert found(MapFiles(tmp_path / "maps"), [id]) == {}


def test_hidden_files_and_others_are_no_maps(tmp_path: Path) -> None:
    save(tmp_path / "a.npy")
    save(tmp_path / ".b.npy")
    save(tmp_path / ".cache" / "c.npy")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder.npy").mkdir()
    assert len(list(MapFiles(tmp_path).names())) == 1


def test_links_to_a_folder_above_end(tmp_path: Path) -> None:
    save(tmp_path / "maps" / "a.npy")
    save(tmp_path / "elsewhere" / "b.npy")
    try:
        os.symlink(tmp_path / "maps", tmp_path / "maps" / "again", target_is_directory=True)
        os.symlink(tmp_path / "elsewhere", tmp_path / "maps" / "owl", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert found(MapFiles(tmp_path / "maps"), ["a.jpg", "owl/b.jpg"]) == {"a.jpg": "a.npy", "owl/b.jpg": "owl/b.npy"}


# --- what is refused


class Fired(Exception):
    """Something was unpickled."""


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return exec, (f"from {__name__} import Fired; raise Fired",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    objects = np.empty((2, 2), object)
    objects[:] = Bomb()
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "b.npz", a=objects)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Bomb()))
    for id in ("a.jpg", "b.jpg", "c.jpg"):
        with pytest.raises(ProtocolError, match=rf"{id[0]}\.np[yz] cannot be read.*as an array of numbers") as caught:
            read(tmp_path, id)
        assert "load it unsafely" not in str(caught.value)
    with pytest.raises(ProtocolError, match=r"b\.npz, array 'a' cannot be read"):
        read(tmp_path / "b.npz", "a.jpg")


def whole(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    noise = np.random.default_rng(0).random((64, 64))
    if path.suffix == ".png":
        Image.fromarray((noise * 255).astype(np.uint8)).save(path)
    else:
        (np.save if path.suffix == ".npy" else np.savez_compressed)(path, noise)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.png"])
@pytest.mark.parametrize("damage", ["cut", "short", "text", "empty", "flipped"])
def test_damaged_files_are_named(tmp_path: Path, name: str, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = whole(tmp_path, name)
    data = path.read_bytes()
    flipped = bytearray(data)
    for place in range(60, 120):
        flipped[place] ^= 0xFF
    changed = {"cut": data[:-40], "short": data[:60], "text": b"hello\n", "empty": b"", "flipped": bytes(flipped)}
    path.write_bytes(changed[damage])
    with pytest.raises(ProtocolError, match=rf"{name}.*save it again"):
        read(tmp_path, "a.jpg")


def test_a_header_that_claims_too_much_is_named(tmp_path: Path) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**7)})
    with pytest.raises(ProtocolError, match=r"a\.npy cannot be read.*save it again"):
        read(tmp_path, "a.jpg")


@pytest.mark.parametrize(
    ("score_map", "message"),
    [
        (np.zeros((3, 24, 32)), r"shape \(height, width\), not \(3, 24, 32\)"),
        (np.zeros(9), "shape"),
        (np.zeros((0, 0)), "shape"),
        (np.full((4, 4), np.nan), "without NaN"),
        (np.array([[0.5, np.inf]]), r"\[0, 1\]"),
        (np.array([[0.0, 1.001]]), r"\[0, 1\].*divide it by its maximum"),
        (np.array([[0.2, 1.00049]], np.float16), "divide it by its maximum"),
        (np.array([[-0.1, 1.0]]), r"\[-0\.1, 1\]"),
        (np.arange(256, dtype=np.uint8).reshape(16, 16), r"not in \[0, 255\]; divide it by its maximum"),
        (np.ones((4, 4), bool), r"not bool; convert it with astype\(float\)"),
        (np.ones((4, 4), complex), "complex"),
        (np.array([["a", "b"]]), "numbers between 0 and 1"),
    ],
)
def test_arrays_that_are_no_score_maps(tmp_path: Path, score_map: np.ndarray, message: str) -> None:
    save(tmp_path / "owl" / "a.npy", score_map)
    np.savez(tmp_path / "all.npz", a=score_map)
    with pytest.raises(ProtocolError, match=rf"owl/a\.npy: .*{message}"):
        read(tmp_path / "owl", "a.jpg")
    with pytest.raises(ProtocolError, match=rf"all\.npz, array 'a': .*{message}"):
        read(tmp_path / "all.npz", "a.jpg")


def test_pictures_that_are_no_score_maps(tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA", "LA", "P"):
        Image.new(mode, (8, 8)).save(tmp_path / "a.png")
        with pytest.raises(ProtocolError, match=r"a\.png: it is a colour picture; save the score map as grey"):
            read(tmp_path, "a.jpg")
    for suffix in (".jpg", ".tiff"):
        (tmp_path / "a.png").write_bytes(cv2.imencode(suffix, smooth() * 255 if suffix == ".jpg" else smooth())[1].tobytes())
        with pytest.raises(ProtocolError, match=r"a\.png: it is not a PNG"):
            read(tmp_path, "a.jpg")


def test_a_photos_own_archive_holds_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=smooth(), two=smooth())
    with pytest.raises(ProtocolError, match=r"a\.npz: it holds 2 arrays; a photo has one map"):
        read(tmp_path, "a.jpg")


def test_places_without_maps(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no score map; it needs a \.npy, \.npz or \.png per photo"):
        MapFiles(tmp_path / "empty")
    with pytest.raises(DataError, match=r"gone does not exist; give the folder, or the \.npz"):
        MapFiles(tmp_path / "gone")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(DataError, match=r"none\.npz holds no score map"):
        MapFiles(tmp_path / "none.npz")


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,map\n")
    save(tmp_path / "b.npy")
    Image.new("L", (4, 4)).save(tmp_path / "c.png")
    cut = whole(tmp_path, "d.npz")
    cut.write_bytes(cut.read_bytes()[:-40])
    for name in ("a.csv", "b.npy", "c.png", "d.npz"):
        with pytest.raises(DataError, match=rf"{name} is not an archive of score maps .*; give a folder, or a \.npz") as caught:
            MapFiles(tmp_path / name)
        assert "pickle" not in str(caught.value) and "context manager" not in str(caught.value)
