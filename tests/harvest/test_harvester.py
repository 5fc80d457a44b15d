"""Which photos pass the transformer, and that what is stored is what it said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dips.data.images import read_image, resize_image
from dips.errors import DataError, StoreError
from dips.harvest import squares
from dips.harvest.attention import head_maps, join_attention
from dips.harvest.harvest import Harvest
from dips.harvest.harvester import Harvester
from dips.harvest.refine import refine_image
from dips.models.frozen import Look
from dips.models.inputs import resize_to, to_tensor
from dips.types import DataSet, Sample

pytestmark = pytest.mark.usefixtures("unfolded")  # passes are counted

Rig = Any
DataOf = Callable[..., DataSet]


def test_maps_are_those_of_the_photo(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    found = rig.run(data_of(photos), sizes=(32, 64), refine="image")
    assert [s.path for s in found.samples] == photos and found.problems == ()
    network = rig.transformer()
    for path, digest in zip(photos, found.digests, strict=True):
        photo = read_image(path)
        assert np.array_equal(found.square(digest), resize_image(photo, (32, 32)))
        image = to_tensor([resize_image(photo, (64, 64))])
        features = [network(resize_to(image, side)) for side in (32, 64)]
        expected = head_maps(join_attention(features), 2)[0]
        got = found.source_maps(digest, 2)
        assert got.shape == (3, 8, 8)
        np.testing.assert_allclose(got[1:], expected[1:], atol=2e-3)
        np.testing.assert_allclose(found.mean_attention(digest), expected[0], atol=2e-3)
        fine = refine_image(features[1].attention.mean(1), features[1].keys)[0]
        coarse = refine_image(features[0].attention.mean(1), features[0].keys)
        joined = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear")[0, 0] + fine
        np.testing.assert_allclose(got[0], joined / joined.max(), atol=4e-3)
    np.testing.assert_allclose(found.class_tokens(found.digests)[-1], features[-1].cls[0], atol=1e-2)


@pytest.mark.parametrize(("arch", "patch"), [("vit_tiny_patch16_224", 16), ("vit_small_patch14_reg4_dinov2", 14)])
def test_any_patch_and_no_register_tokens(rig: Rig, data_of: DataOf, photos: list[Path], arch: str, patch: int) -> None:
    rig.arch, rig.overrides["patch_size"] = arch, patch
    found = rig.run(data_of(photos[:3]), sizes=(50,), refine="image")
    grid = max(1, round(50 / patch))
    assert found.source_maps(found.digests[0], -1).shape == (4, grid, grid)


@pytest.mark.parametrize("refine", ["none", "image", "dataset"])
def test_a_second_run_loads_no_transformer(
    rig: Rig, data_of: DataOf, photos: list[Path], refine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = rig.run(data_of(photos), refine=refine)
    assert rig.loads == 1 and rig.shown == 6
    assert "the transformer runs on 6 photos; in the store: 0" in capsys.readouterr().err
    second = rig.run(data_of(photos), refine=refine)
    assert rig.loads == 0
    assert "6 photos are in the store" in (said := capsys.readouterr().err) and "transformer is not run" in said
    for digest in first.digests:
        assert np.array_equal(first.source_maps(digest, -1), second.source_maps(digest, -1))


@pytest.mark.parametrize("flip", [False, True])
def test_a_stopped_harvest_goes_on(rig: Rig, data_of: DataOf, photos: list[Path], flip: bool) -> None:
    rig.fail_after = 8 if flip else 4
    with pytest.raises(KeyboardInterrupt):
        rig.run(data_of(photos), flip=flip)
    rig.fail_after = None
    rig.run(data_of(photos), flip=flip)
    assert rig.shown == (4 if flip else 2)


def test_maps_of_a_data_set_are_made_of_one_look(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    """What makes them asks the networks that the harvest asks, about the same photos, and its maps are kept as they are."""
    found = rig.run(data_of(photos), refine="dataset")
    assert rig.shown == 6 and rig.passed == 0, "these maps need no CNN"
    for path, digest in zip(photos, found.digests, strict=True):
        image = to_tensor([resize_image(read_image(path), (64, 64))])
        expected = resize_to(image, 6).mean(1)[0]
        refined = found.refined(digest)
        assert refined is not None and refined.shape == (6, 6)
        np.testing.assert_allclose(refined, expected / expected.max(), atol=2e-3)
        sources = found.source_maps(digest, 2)  # single heads are brought to its grid
        assert sources.shape == (3, 6, 6) and np.array_equal(sources[0], refined)
        np.testing.assert_allclose(sources.max((1, 2)), 1)

    def maps(look: Look) -> Tensor:
        return look.stages[0].mean(1).sigmoid() * look.keys[0].mean().abs()

    config, cpu = rig.config(refine="dataset"), torch.device("cpu")
    other = Harvester(config, 32, 64, rig.store, {"linear": "another"}, rig.frozen, cpu, maps)
    rig.shown = 0
    again = other.run(data_of(photos))
    assert rig.shown == 6 and rig.passed == 6, "once each: attention and keys are of one pass"
    assert again.maps.folder != found.maps.folder
    assert {again.maps.require(d)["refined"].shape for d in again.digests} == {(8, 8)}


def test_photos_are_known_by_content(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    rig.run(data_of(photos))
    moved = photos[0].rename(photos[0].with_name("z.png"))
    rig.run(data_of([moved, *photos[1:]]))
    assert rig.loads == 0
    shutil.copy(photos[5], photos[4])  # now a copy of another
    rig.run(data_of([moved, *photos[1:]]))
    assert rig.loads == 0
    Image.fromarray(255 - read_image(photos[2])).save(photos[2])
    rig.run(data_of([moved, *photos[1:]]))
    assert rig.shown == 1


def test_maps_do_not_depend_on_who_came_first(
    rig: Rig, data_of: DataOf, tmp_path: Path, make_photo: Callable[..., Path]
) -> None:
    """Squares that are larger than what the networks see have photos decoded at another size."""
    data = data_of([make_photo(tmp_path / "a.jpg", (1600, 1200), box=(300, 300, 900, 700))])
    for resize, shown in ((32, 1), (48, 0), (700, 1), (32, 0)):
        rig.resize = resize
        rig.run(data, refine="dataset")
        assert rig.shown == shown, resize


def test_copies_count_once(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    copies = [Path(shutil.copy(p, p.with_name(f"copy {p.name}"))) for p in photos[:2]]
    found = rig.run(data_of([*photos, *copies]))
    assert rig.shown == 6 and len(found.samples) == 8
    assert found.digests[6:] == found.digests[:2]


@pytest.mark.parametrize("refine", ["none", "dataset"])
def test_broken_photos_are_reported_and_skipped(rig: Rig, data_of: DataOf, photos: list[Path], refine: str) -> None:
    photos[1].write_bytes(photos[1].read_bytes()[:100])
    photos[3].write_text("no photo")
    photos[4].unlink()
    rig.run(data_of(photos), refine=refine)
    found = rig.run(data_of(photos), refine=refine)
    assert rig.loads == 0  # also where some cannot be read
    assert [s.path for s in found.samples] == [photos[0], photos[2], photos[5]]
    assert {p.path for p in found.problems} == {photos[1], photos[3], photos[4]}
    assert all(p.message.startswith("is left out, as it ") for p in found.problems)
    for digest in found.digests:
        found.source_maps(digest, 0)


def test_nothing_can_be_read(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    for path in photos:
        path.write_text(path.name)
    for refine in ("none", "dataset"):
        with pytest.raises(DataError, match="can be read"):
            rig.run(data_of(photos), refine=refine)


def test_another_square_needs_no_transformer(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    for refine in ("none", "dataset"):
        rig.resize = 32
        rig.run(data_of(photos), refine=refine)
        rig.resize = 40
        found = rig.run(data_of(photos), refine=refine)
        assert rig.loads == 0
        assert {found.square(d).shape for d in found.digests} == {(40, 40, 3)}


@pytest.mark.parametrize("refine", ["none", "image", "dataset"])
def test_labels_do_not_matter(rig: Rig, data_of: DataOf, photos: list[Path], refine: str) -> None:
    rig.run(data_of(photos, [0, 0, 1, 1, 2, 2]), refine=refine)
    rig.run(data_of(photos, [2, 1, 1, 0, 2, 0], background=2), refine=refine)
    assert rig.loads == 0


@pytest.mark.parametrize(
    "change",
    [{"sizes": (40,)}, {"flip": True}, {"refine": "image"}, {"refine": "dataset"}],
)
def test_what_the_maps_depend_on(rig: Rig, data_of: DataOf, photos: list[Path], change: dict[str, Any]) -> None:
    rig.run(data_of(photos))
    rig.run(data_of(photos), **change)
    assert rig.shown == 6 * (2 if "flip" in change else 1)


def test_what_the_maps_do_not_depend_on(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    rig.run(data_of(photos))
    rig.run(data_of(photos), heads=3, map_power=0.5, levels=2, min_area=0.3, top_p=4, batch=5, score_on="box", refine_rounds=9)
    assert rig.loads == 0


def test_a_lost_record_is_named(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    found: Harvest = rig.run(data_of(photos))
    found.squares.close()
    shutil.rmtree(found.squares.folder)
    with pytest.raises(StoreError, match="lost a photo's record"):
        found.square(found.digests[0])


def test_flip_makes_the_harvest_symmetric(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    mirrored = [p.with_name(f"mirrored {p.name}") for p in photos]
    for there, back in zip(photos, mirrored, strict=True):
        Image.fromarray(read_image(there)[:, ::-1]).save(back)
    found = rig.run(data_of([*photos, *mirrored]), flip=True, refine="image")
    for there, back in zip(found.digests[:6], found.digests[6:], strict=True):
        # one byte of rounding when the photo is resized
        np.testing.assert_allclose(found.source_maps(back, -1)[..., ::-1], found.source_maps(there, -1), atol=0.05)


def test_memory_does_not_grow_with_the_photos(rig: Rig, data_of: DataOf, photos: list[Path]) -> None:
    """At most the batch that is worked on and the one read ahead are alive."""
    alive = most = 0
    harvest = rig.harvest(batch=1)

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def counted(sample: Sample, **arguments: Any) -> Any:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return read_image(sample.path, **arguments).view(Counted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squares, "read_sample", counted)
        patch.setattr(squares, "resize_image", lambda image, size: resize_image(np.asarray(image), size))
        harvest.run(data_of(photos))
    assert 1 <= most <= 3
