"""What users name as photos: folders, files, patterns and lists, here and behind URLs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from dips.data.deep import read_values
from dips.data.images import image_size
from dips.data.sources import Fetcher, key_of, read_source
from dips.errors import DataError, ImageError, RunError
from dips.shards import remote
from dips.shards.plan import Item

MakePhoto = Callable[..., Path]
OUT = "/nowhere/out"


def names(*photos: str | Path, leave_out: str | Path = OUT) -> list[str]:
    return [item.id for item in read_source(photos, leave_out=leave_out).each()]


def put(url: str, *names: str, data: bytes = b"") -> str:
    store, path = remote.open_store(url)
    for name in names:
        store.pipe_file(f"{path}/{name}", data)
    return url


def test_names_of_several_places(tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make_photo(tmp_path / "p/a/1.jpg"), make_photo(tmp_path / "p/b/1.jpg")
    source = read_source([b, a], leave_out=OUT)
    assert list(source.each()) == list(source.each()) == [Item("a/1.jpg", str(a), "a/1"), Item("b/1.jpg", str(b), "b/1")]
    assert (source.count, source.folder, source.problems) == (2, "p", ())
    assert names(a.parent, a, b.parent) == ["a/1.jpg", "b/1.jpg"] and names(a) == ["1.jpg"]
    (again,) = read_source([a.parent, a], leave_out=OUT).problems
    assert again.path == a and again.message == "is named more than once, and counts once (1 photo in all)"
    monkeypatch.chdir(tmp_path / "p")
    assert [item.uri for item in read_source(["."], leave_out=OUT).each()] == ["a/1.jpg", "b/1.jpg"]
    assert [item.uri for item in read_source(["./a/", "../p/b"], leave_out=OUT).each()] == ["a/1.jpg", "../p/b/1.jpg"]
    assert [item.id for item in source.spread(1)] == ["a/1.jpg"] and len(source.spread(5)) == 2


def test_results_inside_the_photos_do_not_count(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "1.jpg")
    out = tmp_path / "out"
    make_photo(out / "overlays/1.jpg")
    assert names(tmp_path, leave_out=out) == ["1.jpg"]
    (out / ".unfinished").mkdir()
    (out / ".unfinished" / "plan.json").touch()
    source = read_source([tmp_path], leave_out=out)
    assert [item.id for item in source.each()] == ["1.jpg"] and source.problems == ()
    source = read_source([tmp_path], leave_out=OUT)
    (problem,) = source.problems
    assert source.count == 1 and problem.path == out and "holds results of dips" in problem.message


def test_files_of_other_kinds_are_named(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "p" / "1.jpg")
    for name in ("DJI_1.HEIC", "sub/DJI_1.DNG", "notes.txt", ".hidden.heic"):
        (tmp_path / "p" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "p" / name).touch()
    said = [problem.message for problem in read_source([tmp_path / "p"], leave_out=OUT).problems]
    assert said[0].startswith("1 file is left out; DJI_1.HEIC: convert to JPEG or PNG")
    assert said[1].startswith("1 file is left out; DJI_1.DNG: convert to JPEG or PNG")
    with pytest.raises(DataError, match=r"there are no photos in .*PPM; 1 file is left out; DJI_1\.DNG: [^\n]*magick[^\n]*$"):
        names(tmp_path / "p" / "sub")
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "2.avif").touch()
    with pytest.raises(DataError, match=r"PPM; \S*sub: 1 file is left out; DJI_1.*; \S*q: 1 file is left out; 2\.avif: "):
        names(tmp_path / "p" / "sub", tmp_path / "q")
    assert names(tmp_path / "p" / "*.jp*") == ["1.jpg"]
    (tmp_path / "clip.MP4").touch()
    with pytest.raises(DataError, match="is a video; 'dips stream'"):
        names(tmp_path / "clip.MP4")


def test_a_pattern_that_the_shell_left_alone(tmp_path: Path, make_photo: MakePhoto) -> None:
    for name in ("1.jpg", "2.jpg", "3.png", "[1].jpg"):
        make_photo(tmp_path / "p" / name)
    for pattern, found in (
        ("*.jpg", ["1.jpg", "2.jpg", "[1].jpg"]),
        ("?.*", ["1.jpg", "2.jpg", "3.png"]),
        ("[1].jpg", ["[1].jpg"]),
    ):
        assert names(tmp_path / "p" / pattern) == found
    with pytest.raises(DataError, match=r"no file fits .*\*\.bmp; give photos"):
        names(tmp_path / "p" / "*.bmp")
    with pytest.raises(DataError, match=r"4\.jpg does not exist; give photos"):
        names(tmp_path / "p" / "4.jpg")


def test_lists_name_photos_that_need_not_be_there(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo(tmp_path / "p/1.jpg")
    (tmp_path / "list.txt").write_text("p/1.jpg\np/2.jpg\np/1.jpg\n\ns3://b/3.jpg\n")
    source = read_source([tmp_path / "list.txt"], leave_out=OUT)
    assert [item.id for item in source.each()] == ["b/3.jpg", *(f"{tmp_path}/p/{name}"[1:] for name in ("1.jpg", "2.jpg"))]
    assert [problem.path for problem in source.problems] == [tmp_path / "p/1.jpg"]
    (tmp_path / "list.csv").write_text("path,label\np/1.jpg,a\np/q/2.jpg,b\n")
    assert names(tmp_path / "list.csv") == ["1.jpg", "q/2.jpg"]
    assert names(f"file://{tmp_path}/list.csv", tmp_path / "p/1.jpg") == ["1.jpg", "q/2.jpg"]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match=r"there are no photos in .*empty\.txt; these kinds are read"):
        names(tmp_path / "empty.txt")


def test_a_folder_of_a_store_is_searched_by_names(bucket: str) -> None:
    top = put(
        f"{bucket}/photos",
        "b/1.jpg",
        "a.JPG",
        "notes.txt",
        ".x/1.jpg",
        "@eaDir/1.jpg",
        "c/raw.nef",
        "c/IMG",
        "b/",
        "b/clip.mp4",
    )
    put(f"{bucket}/photos2", "1.jpg")
    source = read_source([f"{top}/"], leave_out=OUT)
    assert list(source.each()) == [Item("a.JPG", f"{top}/a.JPG", "a"), Item("b/1.jpg", f"{top}/b/1.jpg", "b/1")]
    assert source.folder == "photos" and key_of([f"{top}/", "a"]) == [f"{top}/", str(Path("a").absolute())]
    said = [problem.message for problem in source.problems]
    assert said[0].startswith("1 file is left out; clip.mp4: give to 'dips stream'")
    assert (
        said[1].startswith("2 files are left out; raw.nef: convert")
        and "IMG: convert to JPEG or PNG if it is a photo" in said[1]
    )
    assert names(f"{top}/a.JPG") == ["a.JPG"] and names(f"{top}/c/IMG") == ["IMG"]
    assert names(f"{top}/*/*.jpg") == ["1.jpg"] and names(f"{bucket}/photo*") == [
        "photos/a.JPG",
        "photos/b/1.jpg",
        "photos2/1.jpg",
    ]
    with pytest.raises(DataError, match=r"no file fits s3://.*\*\.bmp; give photos, folders of photos, or lists"):
        names(f"{top}/*.bmp")
    with pytest.raises(DataError, match=r"there is nothing at s3://bucket-\w+/other; give photos"):
        names(f"{bucket}/other")
    with pytest.raises(DataError, match=r"there are no photos in s3://bucket-\w+/photos/c; .*2 files are left out"):
        names(f"{top}/c")
    with pytest.raises(DataError, match=r"clip\.mp4 is a video"):
        names(f"{top}/b/clip.mp4")


def test_results_in_a_store_do_not_count(bucket: str) -> None:
    top = put(
        f"{bucket}/work",
        "1.jpg",
        "old/predictions.json",
        "old/maps/1.png",
        "old/json/1.json",
        "older/1.png",
        "new/overlays/1.jpg",
    )
    source = read_source([top], leave_out=f"{top}/new")
    assert [item.id for item in source.each()] == ["1.jpg", "older/1.png"]
    (problem,) = source.problems
    assert problem.message == "holds results of dips, no photos; it is left out" and problem.path.name == "old"
    assert read_source([top], leave_out=f"{top}/old").problems == ()
    put(f"{top}/half", ".unfinished/plan.json", "overlays/1.jpg")
    assert [item.id for item in read_source([top], leave_out=f"{top}/new").each()] == ["1.jpg", "older/1.png"]


def test_many_names_come_in_pages(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    top = put(f"{bucket}/many", *(f"{number}.jpg" for number in range(7)))
    store, _ = remote.open_store(bucket)
    original, asked = store.call_s3, []

    def call(method: str, **options: Any) -> Any:
        asked.append(options)
        return original(method, MaxKeys=3, **options)

    monkeypatch.setattr(store, "call_s3", call)
    assert names(top) == [f"{number}.jpg" for number in range(7)] and len(asked) == 3


def test_lists_in_a_store(bucket: str) -> None:
    put(f"{bucket}/lists", "a.txt", data=b"../p/1.jpg\nsub/2.jpg\n")
    assert names(f"{bucket}/lists/a.txt") == ["lists/sub/2.jpg", "p/1.jpg"]
    with pytest.raises(DataError, match=r"b\.csv does not exist; give photos"):
        names(f"{bucket}/lists/b.csv")


class Web(BaseHTTPRequestHandler):
    """A web server that is busy now and then, and one of Google's for the names in a bucket."""

    busy: ClassVar[dict[str, int]] = {}
    known: ClassVar[dict[str, bytes]] = {"/l/list.txt": b"1.jpg\n/2.jpg\n", "/l/1.jpg": b"photo", "/closed.jpg": b""}

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/storage/v1/b/bucket/o":
            page = int(parse_qs(parts.query).get("pageToken", ["0"])[0])
            items = [{"name": f"photos/{page}{letter}.jpg"} for letter in "ab"]
            return self.answer(json.dumps({"items": items, **({"nextPageToken": str(page + 1)} if page < 2 else {})}).encode())
        left = self.busy.get(parts.path, 0)
        if left:
            self.busy[parts.path] = left - 1
            return self.answer(b"", 503)
        status = 403 if parts.path == "/closed.jpg" else 200 if parts.path in self.known else 404
        return self.answer(self.known.get(parts.path, b""), status)

    do_HEAD = do_GET

    def answer(self, data: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a web server on this machine."""
    for name in ("fsspec", "aiohttp"):
        pytest.importorskip(name, reason="needs the extra remote")
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_lists_and_photos_of_a_web_server(web: str) -> None:
    Web.busy = {"/l/list.txt": 1, "/l/1.jpg": 2}
    one, two = read_source([f"{web}/l/list.txt"], leave_out=OUT).each()
    assert (one.id, two.id) == ("2.jpg", "l/1.jpg") and two.uri == f"{web}/l/1.jpg"
    fetch = Fetcher()
    assert fetch(two.uri) == b"photo"
    with pytest.raises(ImageError, match=r"/2\.jpg does not exist; mend the list"):
        fetch(one.uri)
    with pytest.raises(ImageError, match=r"/closed\.jpg cannot be read: .*403.*; it may not be asked for without permission"):
        fetch(f"{web}/closed.jpg")
    assert names(f"{web}/image?id=3", f"{web}/1.jpg")[0] == "1.jpg"
    with pytest.raises(DataError, match=r"/l/: a web server does not say what lies there; give a list"):
        names(f"{web}/l/")
    with pytest.raises(DataError, match=r"/l/b\.txt does not exist"):
        names(f"{web}/l/b.txt")


def test_the_names_of_a_bucket_of_google_come_in_pages(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec: Any = pytest.importorskip("fsspec")
    pytest.importorskip("gcsfs", reason="needs the extra remote")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setattr(fsspec.config, "conf", {"gs": {"token": "anon", "endpoint_url": web}})
    assert sorted(remote.each_name("gs://bucket/photos")) == ["0a.jpg", "0b.jpg", "1a.jpg", "1b.jpg", "2a.jpg", "2b.jpg"]


def test_what_was_fetched_last_is_kept(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(url: str) -> bytes:
        asked.append(url)
        return b"12345"

    monkeypatch.setattr("dips.data.sources.read_url", read)
    fetch = Fetcher(keep=12)
    for name in "aababcab":
        fetch(f"{web}/{name}")
    assert [url[-1] for url in asked] == list("abcab")
    assert [Fetcher()(f"{web}/a") for _ in range(2)] == [b"12345"] * 2 and len(asked) == 7


def test_sizes_are_read_from_the_beginning_of_a_file(web: str, bucket: str, make_photo: MakePhoto, tmp_path: Path) -> None:
    photo = make_photo(tmp_path / "1.png", (40, 30))
    put(bucket, "1.png", data=photo.read_bytes())
    Web.known["/1.png"] = photo.read_bytes()
    assert image_size(f"{bucket}/1.png") == image_size(f"{web}/1.png") == (40, 30)
    assert read_values(f"{bucket}/1.png") is None
    for missing in (f"{bucket}/2.png", f"{web}/2.png"):
        with pytest.raises(ImageError, match=r"2\.png"):
            image_size(missing)


def test_other_stores_are_searched_by_their_library(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra remote")
    top = put("memory://other/photos", "b/1.jpg", "a.png", "notes.txt")
    assert names(top) == ["a.png", "b/1.jpg"]


def test_many_that_cannot_be_had_in_a_row_end_the_work(web: str) -> None:
    fetch = Fetcher()
    for _ in range(2):
        for _ in range(19):
            with pytest.raises(ImageError):
                fetch(f"{web}/closed.jpg")
        assert fetch(f"{web}/l/1.jpg") == b"photo"
    with pytest.raises(RunError, match=r"20 photos in a row could not be read, the last one: .*closed\.jpg"):
        for _ in range(20):
            try:
                fetch(f"{web}/closed.jpg")
            except ImageError:
                continue


def test_photos_of_this_machine_and_of_stores_are_read(bucket: str, make_photo: MakePhoto, tmp_path: Path) -> None:
    path = make_photo(tmp_path / "1.jpg")
    put(bucket, "1.jpg", data=b"data")
    assert Fetcher()(str(path)) == path.read_bytes() and Fetcher()(f"{bucket}/1.jpg") == b"data"
    for missing in (str(tmp_path / "2.jpg"), f"{bucket}/2.jpg"):
        with pytest.raises(ImageError, match=r"2\.jpg"):
            Fetcher()(missing)
