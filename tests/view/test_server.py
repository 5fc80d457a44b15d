"""Who is served and what is asked for; nothing else is."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dips.errors import RunError
from dips.view.review import Review
from dips.view.server import Server

from .conftest import Ask

CHANGE = {"version": 0, "reviewed": True, "boxes": []}


def test_the_page_comes_with_its_token_and_a_strict_policy(server: Server, ask: Ask) -> None:
    page = ask("GET", f"/?token={server.token}", Authorization=None)

    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = page.headers["Content-Security-Policy"]
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    text = page.body.decode()
    assert text.count(f'<script nonce="{nonce}">') == text.count("<script") > 0
    assert server.token not in text  # the page reads it from its address
    assert page.headers["Cache-Control"] == "no-store" and page.headers["Referrer-Policy"] == "no-referrer"
    again = ask("GET", f"/?token={server.token}", Authorization=None)
    assert again.headers["Content-Security-Policy"] != policy


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/?token="),
        ("GET", "/?token=wrong"),
        ("GET", "/?token=%FF%FE"),
        ("GET", "/api/photos"),
        ("GET", "/api/photos/0/large"),
        ("GET", "/favicon.ico"),
        ("POST", "/api/photos/0"),
        ("POST", "/api/undo"),
        ("DELETE", "/api/photos/0"),
    ],
)
@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic wrong", "Bearer \xe4\xff"])
def test_without_the_token_everything_is_refused(ask: Ask, method: str, path: str, given: str | None) -> None:
    body = CHANGE if method == "POST" else None
    assert ask(method, path, body, Authorization=given).status == 403


def test_the_token_in_an_address_opens_the_page_alone(server: Server, ask: Ask) -> None:
    for path in ("/api/photos", "/api/photos/0/large"):
        assert ask("GET", f"{path}?token={server.token}", Authorization=None).status == 403
    assert ask("POST", f"/api/undo?token={server.token}", {}, Authorization=None).status == 403
    assert ask("POST", f"/?token={server.token}", {}, Authorization=None).status == 403


@pytest.mark.parametrize(
    "host", [None, "", "localhost", "localhost:{}", "evil.example", "evil.example:{}", "127.0.0.1", "0.0.0.0:{}"]
)
def test_another_host_is_refused(server: Server, ask: Ask, host: str | None) -> None:
    named = host.format(server.server_port) if host is not None else None
    assert ask("GET", "/api/photos", Host=named).status == 403
    assert ask("GET", f"/?token={server.token}", Host=named, Authorization=None).status == 403


def test_two_hosts_are_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as line:
        host = f"Host: 127.0.0.1:{server.server_port}\r\n"
        line.sendall(f"GET /?token={server.token} HTTP/1.1\r\n{host}Host: evil.example\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:{}", "https://127.0.0.1:{}", "http://127.0.0.1:1"]
)
def test_a_page_from_elsewhere_changes_nothing(server: Server, review: Review, ask: Ask, origin: str) -> None:
    assert ask("POST", "/api/photos/0", CHANGE, Origin=origin.format(server.server_port)).status == 403
    assert not review.state(0).reviewed
    assert ask("POST", "/api/photos/0", CHANGE, Origin=server.origin).status == 200
    assert review.state(0).reviewed


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/static/../view.js",
        "/api/photos/../../etc/passwd/large",
        "/api/photos/%2e%2e/large",
        "/api/photos/a.jpg/large",
        "/api/photos/-1/large",
        "/api/photos/4/large",
        "/api/photos/999999999/large",
        "/api/photos/9999999999999999999/large",
        "/api/photos/0/huge",
        "/api/photos/0/large/",
        "//127.0.0.1/api/photos/0/large/x",
        "/json/a.json",
        "/review.jsonl",
    ],
)
def test_no_path_leads_to_a_file(ask: Ask, path: str) -> None:
    reply = ask("GET", path)
    assert reply.status == 404, reply
    assert "error" in reply.json


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/api/photos", "/api/photos/0"])
def test_other_methods_are_refused(ask: Ask, method: str, path: str) -> None:
    reply = ask(method, path)
    assert reply.status == 405
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_the_right_path_by_the_wrong_method_says_which(ask: Ask) -> None:
    assert ask("GET", "/api/undo").headers["Allow"] == "POST"
    assert ask("GET", "/api/photos/0").headers["Allow"] == "POST"
    reply = ask("POST", "/api/photos", {})
    assert reply.status == 405 and reply.headers["Allow"] == "GET"
    assert ask("POST", "/nothing", {}).status == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"reviewed=true", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": None}, 415),
        (b"{", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff\xff", {}, 400),
        (b"[]", {}, 400),
        (b"{}", {}, 400),
        (json.dumps({**CHANGE, "version": "0"}).encode(), {}, 400),
        (b"{}", {"Content-Length": None}, 411),
        (b"{}", {"Content-Length": "-1"}, 411),
        (b"", {"Content-Length": str(1 << 30)}, 413),
    ],
)
def test_a_body_that_is_no_change_is_refused(
    review: Review, ask: Ask, body: bytes, headers: dict[str, str | None], status: int
) -> None:
    assert ask("POST", "/api/photos/0", body, **headers).status == status
    assert review.changes == 0


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"
    base: Any = socket.socket.__base__  # ours in the tests knows 127.0.0.1 alone
    with socket.socket() as line:
        line.settimeout(5)
        with pytest.raises(OSError, match=r"refused|timed out|unreachable"):
            base.connect(line, ("127.0.0.2", server.server_port))  # also this machine, but not what is listened on


def test_the_list_has_every_photo_and_no_path(predicted: Path, ask: Ask) -> None:
    listing = ask("GET", "/api/photos").json
    assert [photo["name"] for photo in listing["photos"]] == ["a.jpg", "b.jpg", "c.jpg", "sub/d.jpg"]
    assert listing["classes"] == ["mast", "tower"]
    assert listing["start"] == 0
    first = listing["photos"][0]
    assert first["found"][1] == [100, 10, 180, 90, 0.4, "tower"]
    assert first["state"] == {
        "reviewed": False,
        "version": 0,
        "boxes": [
            {"box": [20, 20, 60, 70], "label": "tower", "of": 0, "accepted": False},
            {"box": [100, 10, 180, 90], "label": "tower", "of": 1, "accepted": False},
        ],
    }
    assert str(predicted.parent) not in json.dumps(listing)


def test_a_photo_comes_as_jpeg(ask: Ask) -> None:
    for kind, size in (("large", (200, 100)), ("small", (160, 80))):
        reply = ask("GET", f"/api/photos/0/{kind}")
        assert reply.status == 200 and reply.headers["Content-Type"] == "image/jpeg"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        with Image.open(io.BytesIO(reply.body)) as image:
            assert image.size == size


def test_a_photo_that_is_gone_or_changed_says_so(predicted: Path, make_photo: Callable[..., Path], ask: Ask) -> None:
    (predicted.parent / "photos" / "b.jpg").unlink()
    make_photo(predicted.parent / "photos" / "c.jpg", (64, 48))
    gone, changed = ask("GET", "/api/photos/1/large"), ask("GET", "/api/photos/2/large")
    assert gone.status == 422 and "does not exist" in gone.json["error"]
    assert changed.status == 422 and "64 x 48" in changed.json["error"]


def test_changes_and_undo_over_http(review: Review, ask: Ask) -> None:
    box = {"box": [10, 10, 30, 40], "label": "mast", "of": None, "accepted": True}
    done = ask("POST", "/api/photos/2", {"version": 0, "reviewed": True, "boxes": [box]})
    assert done.json == {"state": {"reviewed": True, "boxes": [box], "version": 1}}
    late = ask("POST", "/api/photos/2", {"version": 0, "reviewed": False, "boxes": []})
    assert late.status == 409
    assert late.json["state"]["version"] == 1 and review.state(2).reviewed
    undone = ask("POST", "/api/undo", {}).json
    assert undone == {"photo": 2, "state": {"reviewed": False, "boxes": [], "version": 2}}
    assert ask("POST", "/api/undo", {}).json == {"photo": None}


def test_a_journal_that_cannot_be_written_is_told(review: Review, ask: Ask) -> None:
    review.close()
    reply = ask("POST", "/api/photos/0", CHANGE)
    assert reply.status == 500 and "review.jsonl" in reply.json["error"]
    assert not review.state(0).reviewed


def test_a_connection_serves_several_requests(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    ports = set()
    for _ in range(3):
        connection.request("GET", "/api/photos/0/small", headers={"Authorization": f"Bearer {server.token}"})
        reply = connection.getresponse()
        assert reply.status == 200 and reply.read()
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1


def test_a_port_that_is_taken_names_the_option(server: Server, review: Review) -> None:
    with pytest.raises(RunError, match=f"port {server.server_port} .*choose another --port"):
        Server(review, title="", port=server.server_port)
    with pytest.raises(RunError, match="choose another --port"):
        Server(review, title="", port=99999)


def test_a_browser_is_led_to_the_page_once(server: Server, ask: Ask) -> None:
    path = server.once.removeprefix(server.origin)
    assert ask("GET", "/?launch=wrong", Authorization=None).status == 403
    assert ask("GET", path, Host="evil.example", Authorization=None).status == 403
    assert ask("POST", path, {}, Authorization=None).status == 403
    led = ask("GET", path, Authorization=None)
    assert led.status == 303 and led.headers["Location"] == f"/?token={server.token}"
    assert ask("GET", path, Authorization=None).status == 403
    assert ask("GET", f"/api/photos{path[1:]}", Authorization=None).status == 403


def test_boxes_of_an_earlier_review_have_their_class_and_no_score_of_a_person(
    predicted: Path, request: pytest.FixtureRequest
) -> None:
    """So that the page takes none for a change."""
    file = predicted / "json" / "a.json"
    record = json.loads(file.read_text())
    drawn = {"box": [1, 2, 31, 42], "label": "mast", "review": "drawn"}
    kept = {**record["boxes"][0], "label": "tower", "review": "accepted"}
    file.write_text(json.dumps({**record, "reviewed": True, "boxes": [kept, drawn]}))
    listed = request.getfixturevalue("ask")("GET", "/api/photos").json["photos"]  # reads the folder now
    assert listed[0]["found"] == [[20, 20, 60, 70, 0.9, "tower"], [1, 2, 31, 42, None, "mast"]]
    assert [box["label"] for box in listed[0]["state"]["boxes"]] == ["tower", "mast"] and listed[0]["label"] == "tower"
    assert [found[5] for photo in listed[1:] for found in photo["found"]] == ["tower", "tower"]
