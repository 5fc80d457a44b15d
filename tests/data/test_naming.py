"""Names of photos and stems of their results, of few and of many."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dips.data import naming
from dips.data.naming import NamedPhotos, Place, place_of, stem_of
from dips.shards.plan import Item


def named(uris: Iterable[str]) -> NamedPhotos:
    photos = NamedPhotos()
    for uri in uris:
        photos.add(uri)
    photos.finish()
    return photos


def ids(uris: Iterable[str]) -> list[str]:
    return [item.id for item in named(uris)]


def stems(names: Iterable[str]) -> list[str]:
    return [item.stem for item in named(f"s3://b/x/{name}" for name in names)]


def test_names_begin_below_the_deepest_common_folder() -> None:
    assert ids(["/p/a/1.jpg", "/p/b/1.jpg"]) == ["a/1.jpg", "b/1.jpg"]
    assert ids(["s3://b/p/2.jpg", "s3://b/p/1.jpg"]) == ["1.jpg", "2.jpg"]
    assert ids(["s3://b/pq/2.jpg", "s3://b/p/1.jpg"]) == ["p/1.jpg", "pq/2.jpg"]
    assert ids(["s3://b/1.jpg", "s3://c/1.jpg"]) == ["b/1.jpg", "c/1.jpg"]
    assert ids(["s3://b/p/1.jpg", "/p/1.jpg", "https://h/1.jpg"]) == ["b/p/1.jpg", "h/1.jpg", "p/1.jpg"]
    assert [
        named(uris).folder for uris in (["/p/q/1.jpg"], ["s3://b/1.jpg"], ["s3://b/1.jpg", "s3://c/1"], ["/1", "s3://b/1"])
    ] == [*("q", "b", "", "")]


def test_order_is_that_of_folders_and_not_of_what_was_given() -> None:
    uris = ["/p/b.jpg", "/p/a/z.jpg", "/p/a.jpg", "/p/a b/1.jpg", "/p/a-/1.jpg"]
    assert ids(uris) == ids(reversed(uris)) == ["a/z.jpg", "a b/1.jpg", "a-/1.jpg", "a.jpg", "b.jpg"]


def test_a_place_counts_once() -> None:
    photos = named(["p/1.jpg", "s3://b/p/1.jpg", "./p//1.jpg", "s3://b/p/1.jpg", "p/1.jpg"])
    assert photos.count == 2 and photos.doubled == (3, "s3://b/p/1.jpg")
    assert {item.uri for item in photos} == {"p/1.jpg", "s3://b/p/1.jpg"}


def test_places_with_one_path_have_names_of_their_own() -> None:
    photos = list(named(["https://h/1.jpg?key=1", "https://h/1.jpg?key=2", "s3://h/1.jpg"]))
    assert photos[0].id == "h/1.jpg" and len({photo.id for photo in photos}) == len({photo.stem for photo in photos}) == 3
    assert all(photo.id.startswith("h/1-") and photo.id.endswith(".jpg") for photo in photos[1:])
    one, other = ids(["https://h/image?id=1", "https://h/image?id=2"])
    assert one.startswith("image-") and one != other
    assert ids(["s3://b/a//1.jpg", "s3://b/a/2.jpg", "s3://b/a/1.jpg"])[0] == "1.jpg"


@pytest.mark.parametrize("key", ["../../x.jpg", "a/../../x.jpg", "..\\..\\x.jpg", "./x.jpg", "%2e%2e/x.jpg", "a\0b.jpg"])
def test_no_name_leads_out_of_the_results(key: str) -> None:
    for scheme in ("s3", "https"):
        place = place_of(f"{scheme}://host/{key}")
        assert not {"..", ".", ""} & set(place.path.split("/")) and "\\" not in place.path and "\0" not in place.path


def test_stems_differ() -> None:
    assert stems(["a.jpg", "a.png", "b.jpg"]) == ["a.jpg", "a.png", "b"]
    assert stems(["A.jpg", "a.png"]) == ["A.jpg", "a.png"]
    assert stems(["\u00e4.jpg", "a\u0308.png"]) == ["a\u0308.png", "\u00e4.jpg"]
    one, two, three = stems(["a.jpg", "a.jpg.png", "a.png"])
    assert one == "a.jpg" and two.startswith("a.jpg-") and three == "a.png"
    long = stems([f"{'x' * 200}.jpg", f"{'x' * 200}.png"])
    assert len(set(long)) == 2 and all(stem.startswith("x" * 40 + "-") for stem in long)
    assert stem_of("a/b.c.jpg") == "a/b.c" and len(stem_of(f"a/{'x' * 200}.jpg")) == len("a/") + 40 + len("-") + 12


def test_names_that_are_no_text_are_spelled() -> None:
    photos = named(f"/p/{name}" for name in ("M%FC.jpg", "M\udcfc.jpg", "a/M\udcfc.jpg", "M\udce4.jpg"))
    texts = {item.uri: item.id for item in photos}
    assert texts["/p/M%FC.jpg"] == "M%FC.jpg" and texts["/p/a/M\udcfc.jpg"] == "a/M%FC.jpg"
    assert texts["/p/M\udce4.jpg"] == "M%E4.jpg" and len(set(texts.values())) == 4
    assert photos.spelled == (3, "M%E4.jpg")
    assert sorted(item.stem for item in photos) == ["M%FC", "M\udce4", "M\udcfc", "a/M\udcfc"]


@given(st.lists(st.sampled_from(["a.jpg", "A.png", "a.jpg.png", "b/a.jpg", "b/c.jpg", "B/c.jpg", "M\udcfc.jpg", "M%FC.jpg"])))
def test_many_are_named_as_few_are(names: list[str]) -> None:
    uris = [f"/p/{name}" for name in names]
    few = named(uris)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "_CHUNK", 2)
        patch.setattr(naming, "_RUNS", 2)
        patch.setattr(naming, "_READ", 20)
        many = named(uris)
        both = list(zip(many, many, strict=True))  # gone through twice at once
    assert [one for one, _ in both] == [other for _, other in both] == list(few)
    assert (many.count, many.doubled, many.spelled) == (few.count, few.doubled, few.spelled)
    assert many.count == len(set(names))


def test_folders_and_photos_that_do_not_count() -> None:
    photos = NamedPhotos()
    photos.add_folder(Place("s3", "b/p"))
    for name in ("x/1.jpg", "out/maps/1.png"):
        photos.add(f"s3://b/p/{name}", Place("s3", f"b/p/{name}"))
    photos.finish(lambda path: path.startswith("b/p/out/"))
    assert list(photos) == [Item("x/1.jpg", "s3://b/p/x/1.jpg", "x/1")] and photos.folder == "p"
