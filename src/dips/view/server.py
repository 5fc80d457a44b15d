"""The page and its API over HTTP, only reachable from this computer.

It listens on 127.0.0.1. Every request must name that host, which rejects names that an attacker points at it, and carry the
token: the page's own address as ``?token=``, all other requests as ``Authorization: Bearer``. There are no cookies, which a
browser would send to every other port of the machine. No external text becomes a path: a photo is requested by its index in the
list.

    GET  /?token=T                the page
    GET  /?launch=L               redirects there, once
    GET  /api/photos              all photos and their boxes
    GET  /api/photos/7/large      a photo as JPEG; small: for the list
    POST /api/photos/7            new boxes of a photo: {"version": 3, "reviewed": true, "boxes": [...]}
    POST /api/undo                undo the last change
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from dips.errors import ImageError, RunError
from dips.system.console import log
from dips.system.records import Record, parse_record
from dips.view.page import page
from dips.view.pictures import LARGE_SIDE, SMALL_SIDE, Pictures
from dips.view.review import ConflictError, PhotoReview, RefusedError, Review

__all__ = ["Server"]

R = TypeVar("R", bound=Record)

HOST = "127.0.0.1"
MAX_BODY_BYTES = 1 << 20
_PHOTO = re.compile(r"/api/photos/(\d{1,9})(?:/(large|small))?", re.ASCII)


class PhotoChange(PhotoReview, frozen=True, kw_only=True):
    """The body of a change: the new state, and the version of the state that it is based on."""

    version: int


class Server(ThreadingHTTPServer):
    """The HTTP server; listens as soon as it is created, and handles requests in ``serve_forever``.

    Args:
        review: the review to show and change.
        title: names the model and the folder.
        order: initial order of the photos on the page: ``name``, ``score`` or ``informative``.
        port: port to listen on; 0 selects any free one.

    Attributes:
        address: address of the page, for the user.
        once: address to start a browser with; it works only once.

    Raises:
        RunError: the port is taken or not allowed.

    .. code-block:: python

        with Server(review, title="masts") as server:
            print(server.address)
            server.serve_forever()
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # on Windows it would let two programs share a port

    def __init__(self, review: Review, *, title: str, order: str = "name", port: int = 0) -> None:
        self.review = review
        self.title = title
        self.order = order
        self.pictures = Pictures(review.predictions.folder)
        self.token = secrets.token_urlsafe(32)
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(f"cannot listen on port {port} of this computer ({reason}); choose another --port") from error
        self.origin = f"http://{HOST}:{self.server_port}"
        self.address = f"{self.origin}/?token={self.token}"
        self._launch = secrets.token_urlsafe(32)
        self.once = f"{self.origin}/?launch={self._launch}"

    def launched(self, code: str) -> bool:
        """Return whether ``code`` opens the page: only once, as all users of the machine can read a program's arguments."""
        expected, self._launch = self._launch, ""
        if expected and secrets.compare_digest(code.encode("utf-8", "replace"), expected.encode()):
            return True
        self._launch = expected
        return False

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would look up the machine's name on the network
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):  # the browser closed the connection
            log(f"a request failed: {type(error).__name__}: {error}")


class _RequestError(Exception):
    """Ends a request with a status and a reason for the user."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """A connection from a browser."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True  # head and body are sent separately

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _other(self) -> None:
        self._answer(self._refuse_method)

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _other

    def _answer(self, work: Any) -> None:
        try:
            try:
                url = urlsplit(self.path)
            except ValueError as error:
                raise _RequestError(HTTPStatus.BAD_REQUEST, "this is not an address") from error
            if self._launches(url.path, url.query):
                return
            self._require_allowed(url.path, url.query)
            work(url.path)
        except _RequestError as error:
            self._send_error(error.status, str(error))
        except ImageError as error:
            self._send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except RunError as error:
            log(str(error))
            self._send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def _launches(self, path: str, query: str) -> bool:
        code = parse_qs(query).get("launch", [""])[0]
        if path != "/" or self.command != "GET" or not code:
            return False
        self._require_host()
        if not self.server.launched(code):
            raise _RequestError(HTTPStatus.FORBIDDEN, "open the address that 'dips view' printed")
        self._send(b"", "text/plain", {"Location": f"/?token={self.server.token}"}, HTTPStatus.SEE_OTHER)
        return True

    def _require_host(self) -> None:
        if self.headers.get_all("Host") != [f"{HOST}:{self.server.server_port}"]:
            raise _RequestError(HTTPStatus.FORBIDDEN, f"open the address that 'dips view' printed, which begins with {HOST}")

    def _require_allowed(self, path: str, query: str) -> None:
        self._require_host()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path == "/" and self.command == "GET" and not token:
            token = parse_qs(query).get("token", [""])[0]
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _RequestError(HTTPStatus.FORBIDDEN, "open the address that 'dips view' printed")
        if self.headers.get("Origin", self.server.origin) != self.server.origin:
            raise _RequestError(HTTPStatus.FORBIDDEN, "wrong origin")

    def _get(self, path: str) -> None:
        if path == "/":
            text, policy = page()
            self._send(text.encode(), "text/html; charset=utf-8", {"Content-Security-Policy": policy})
        elif path == "/api/photos":
            self._send_json(self._listing())
        elif (match := _PHOTO.fullmatch(path)) and match[2]:
            photo = self.server.review.predictions.photos[self._index(match[1])]
            self._send(self.server.pictures.jpeg(photo, LARGE_SIDE if match[2] == "large" else SMALL_SIDE), "image/jpeg")
        elif path == "/api/undo" or match:
            self._refuse_method(path, "POST")
        else:
            raise _RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _post(self, path: str) -> None:
        match = _PHOTO.fullmatch(path)
        if path != "/api/undo" and (not match or match[2]):
            if path in ("/", "/api/photos") or match:
                self._refuse_method(path, "GET")
            raise _RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")
        body = self._body()
        if match:
            self._change(self._index(match[1]), body)
        else:
            self._parse(body, Record)
            undone = self.server.review.undo()
            self._send_json({"photo": None} if undone is None else {"photo": undone[0], "state": undone[1].as_json()})

    def _change(self, index: int, body: bytes) -> None:
        review = self.server.review
        try:
            change = self._parse(body, PhotoChange)
            self._send_json({"state": review.change(index, change, version=change.version).as_json()})
        except RefusedError as error:
            raise _RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except ConflictError as error:
            self._send_json({"error": str(error), "state": review.state(index).as_json()}, HTTPStatus.CONFLICT)

    def _listing(self) -> dict[str, Any]:
        predictions = self.server.review.predictions
        photos = [
            {
                "name": photo.name,
                "size": [photo.width, photo.height],
                "label": photo.label,
                "label_score": photo.label_score,
                "priority": photo.priority,
                "found": [[*found.box, found.score, found.label or photo.label] for found in photo.boxes],
                "state": state.as_json(),
            }
            for photo, state in zip(predictions.photos, self.server.review.states(), strict=True)
        ]
        return {
            "title": self.server.title,
            "classes": predictions.object_classes,
            "order": self.server.order,
            "start": self.server.review.resume_at(),
            "photos": photos,
        }

    def _index(self, text: str) -> int:
        index = int(text)
        if index >= len(self.server.review.predictions.photos):
            raise _RequestError(HTTPStatus.NOT_FOUND, "there is no such photo")
        return index

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise _RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "only JSON is accepted")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
            raise _RequestError(HTTPStatus.LENGTH_REQUIRED, "the length is missing")
        if int(length) > MAX_BODY_BYTES:
            raise _RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too large")
        return self.rfile.read(int(length))

    @staticmethod
    def _parse(body: bytes, kind: type[R]) -> R:
        try:
            return parse_record(body, kind, source="the request", remedy="reload the page", error=RefusedError)
        except RefusedError as error:
            raise _RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error

    def _refuse_method(self, path: str, allowed: str = "GET, POST") -> None:
        self._send_error(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} is not allowed here", {"Allow": allowed})

    def _send_json(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content, separators=(",", ":")).encode(), "application/json", status=status)

    def _send_error(self, status: HTTPStatus, reason: str, more: dict[str, str] | None = None) -> None:
        self.close_connection = True  # an unread body would be taken for the next request
        body = json.dumps({"error": reason}).encode()
        self._send(body, "application/json", {"Connection": "close", **(more or {})}, status)

    def _send(self, body: bytes, kind: str, more: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            **(more or {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "dips"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the terminal is for the user, and addresses contain the token."""
