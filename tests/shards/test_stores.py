"""What goes wrong with object stores and web servers, and what is asked again."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from dips.errors import RunError
from dips.shards.stores import _patiently, at_store, open_store
from dips.system.names import scheme_of

fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")


class Answered(OSError):
    """An error of a store's library, with the status of the answer."""

    def __init__(self, status: int, text: str = "no") -> None:
        super().__init__(text)
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def test_missing_credentials_are_told_with_where_to_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dips.shards.stores.open_store", lambda url: (None, url))
    NoCredentialsError = type("NoCredentialsError", (Exception,), {})
    for url, error, remedy in (
        ("s3://b/a", NoCredentialsError("Unable to locate credentials"), "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"),
        ("gcs://b/a", Answered(401), "call 'gcloud auth application-default login'"),
        ("abfs://b/a", PermissionError(), "set AZURE_STORAGE_ACCOUNT_NAME, and"),
        ("hf://b/a", Answered(403), "call 'hf auth login', or set HF_TOKEN"),
    ):
        with pytest.raises(RunError, match=f"{url} cannot be read: .*; {remedy}"), at_store(url):
            raise error


def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", refuse)
    with pytest.raises(RunError, match=r'needs a package .*\(Install s3fs to access S3\); pip install "dips-wsol\[remote\]"'):
        open_store("s3://a/b")
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "fsspec":
            raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RunError, match=r's3://a/b needs the package fsspec.*; pip install "dips-wsol\[remote\]"'):
        open_store("s3://a/b")


def test_web_servers_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    told = [Answered(503), ConnectionResetError(), "data"]

    def ask() -> Any:
        said = told.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    assert _patiently("https://host/a", ask) == "data" and pauses == [0.5, 2.0]
    for url, error in (("https://host/a", FileNotFoundError()), ("https://host/a", Answered(404)), ("s3://b/a", Answered(503))):
        told = [error, "data"]
        with pytest.raises(type(error)):
            _patiently(url, ask)
    told = [Answered(500)] * 3
    with pytest.raises(Answered):
        _patiently("http://host/a", ask)
    assert len(pauses) == 4


def test_schemes() -> None:
    assert [scheme_of(place) for place in ("gs://b", "a/b", "C://a", "://a", "a b://c", "HTTPS://h")] == [
        *("gs", "", "", "", "", "https")
    ]
