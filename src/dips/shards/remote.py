"""Files of an object store: whole objects below a prefix of ``s3://``, ``gs://``, ``az://`` and whatever else fsspec reads.

A store has no rename and no locks. A file is written by one request, and created by one that the store refuses where the file
is there; whether it does is tried once per output. Nothing is remembered of what a folder holds. Requests that fail for a
moment are repeated by the stores' own libraries, those to web servers here.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from dips.errors import RunError
from dips.system.files import as_text, scheme_of

if TYPE_CHECKING:
    import fsspec

__all__ = ["RemoteFiles", "each_name", "fetch", "has_file", "matching", "open_store", "open_url", "read_url"]

_READ_ONLY = ("hf", "http", "https")
_BLOCK = 8 << 20  # bytes that are asked for at a time
_HEAD = 64 << 10  # of which the beginning may be enough
_AT_ONCE = 16  # files that are sent
_PAUSES = (0.5, 2.0)  # seconds before a request to a web server is repeated
_RACES = 5  # that a store may report without saying who won
_ACCESS = {
    "s3": "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for another store than Amazon's AWS_ENDPOINT_URL, "
    "for a public bucket FSSPEC_S3_ANON=true",
    "gs": "call 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket "
    "FSSPEC_GCS_TOKEN=anon",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    "hf": "call 'hf auth login', or set HF_TOKEN",
}
_LOUD = ("adlfs", "fsspec", "gcsfs", "s3fs")
_SAME = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}
_OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": 1}}  # else it asks for the size of a file first
_Result = TypeVar("_Result")


class RemoteFiles:
    """Files below a URL. Can be pickled; each process opens the store for itself, when it first needs it.

    Args:
        url: with its scheme.

    Raises:
        RunError: such a place can only be read.

    >>> files = RemoteFiles("memory://bucket/out")
    >>> files.create("done/1", b"first"), files.create("done/1", b"second"), files.read("done/1"), files.names("done")
    (True, False, b'first', ['1'])
    """

    def __init__(self, url: str) -> None:
        self.place = url.rstrip("/")
        if scheme_of(url) in _READ_ONLY:
            raise RunError(
                f"{url} can be read, but not written by several workers; give a folder, or an address of s3://, gs:// or az://"
            )
        self._is_checked = False

    def read(self, name: str) -> bytes:
        with self._at(name) as (store, path):
            return bytes(store.cat_file(path))

    def lines(self, name: str) -> Iterator[bytes]:
        with self._at(name) as (store, path):
            file = store.open(path, "rb", block_size=_BLOCK)
        begun = b""
        with file:
            while block := self._block(file, name):
                *whole, begun = (begun + block).split(b"\n")
                yield from (line + b"\n" for line in whole)
        if begun:
            yield begun

    def _block(self, file: Any, name: str) -> bytes:
        with self._at(name):
            return bytes(file.read(_BLOCK))

    def write(self, name: str, data: bytes | Iterable[bytes]) -> None:
        if isinstance(data, bytes):
            with self._at(name, "written") as (store, path):
                store.pipe_file(path, data)
            return
        number, spooled = tempfile.mkstemp(prefix="dips-")
        try:
            with os.fdopen(number, "wb") as file:
                file.writelines(data)
            self.put(name, Path(spooled))
        finally:
            os.unlink(spooled)

    def put(self, name: str, file: Path) -> None:
        """Write a file of this machine, whole or not at all; a large one goes in parts that appear together."""
        with self._at(name, "written") as (store, path):
            store.put_file(str(file), path)

    def put_all(self, folder: Path, names: Sequence[str]) -> None:
        """Write files of a folder of this machine under the same names, several at a time."""
        with self._at("", "written") as (store, path):
            targets = [f"{path}/{as_text(name)}" for name in names]
            store.put([str(folder / name) for name in names], targets, batch_size=_AT_ONCE)

    def create(self, name: str, data: bytes) -> bool:
        if not self._is_checked:
            self._check()
        return self._create(name, data)

    def _create(self, name: str, data: bytes) -> bool:
        for _ in range(_RACES):
            with self._at(name, "written") as (store, path):
                try:
                    store.pipe_file(path, data, mode="create")
                    return True
                except Exception as error:
                    status = _status(error)
                    if status == 409 and not isinstance(error, FileExistsError):  # at the same time as another one
                        continue
                    if status != 412 and not isinstance(error, FileExistsError):
                        raise
            with suppress(FileNotFoundError):
                # the answer to a first request may have been lost, and that request be repeated
                return bool(data) and self.read(name) == data
        return False

    def _check(self) -> None:
        """Try whether the store refuses to create a file twice."""
        name = f"driver/check-{uuid.uuid4().hex}"
        try:
            answers = [self._create(name, data) for data in (b"1", b"2")]
        finally:
            self.remove(name)
        if answers != [True, False]:
            raise RunError(
                f"{self.place}: this store writes over files that are there when asked not to, so that two workers could take "
                "the same work; use one that knows conditional writes, such as Amazon S3, Google Cloud Storage, Azure, MinIO "
                "or Cloudflare R2, or a folder"
            )
        self._is_checked = True

    def names(self, folder: str) -> list[str]:
        with suppress(FileNotFoundError), self._at(folder) as (store, path):
            found = (entry["name"].rpartition("/")[2] for entry in store.ls(path, detail=True) if entry["type"] == "file")
            return sorted(filter(None, found))
        return []

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._at(name, "removed") as (store, path):
            store.rm_file(path)

    def discard(self, folder: str) -> None:
        with suppress(FileNotFoundError), self._at(folder, "removed") as (store, path):
            store.rm(path, recursive=True)
            if left := store.find(path):  # what a store refuses is not always an error of its library
                raise PermissionError(f"{left[0]} stays")

    @contextmanager
    def _at(self, name: str, verb: str = "read") -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
        with _at_store(f"{self.place}/{name}" if name else self.place, verb) as opened:
            yield opened


def open_store(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the store that a URL is of, and the path in it.

    Raises:
        RunError: a package is missing, or there is no store of this kind.
    """
    scheme = scheme_of(url)
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise RunError(f'{url} needs the package fsspec, which is not installed; pip install "dips-wsol[remote]"') from error
    for name in _LOUD:
        if not (logger := logging.getLogger(name)).handlers:
            logger.addHandler(logging.NullHandler())  # they show tracebacks of what is told here in a line
    try:
        store, path = fsspec.url_to_fs(url, use_listings_cache=False, **_OPTIONS.get(_SAME.get(scheme, scheme), {}))
    except ImportError as error:
        raise RunError(f'{url} needs a package that is not installed ({error}); pip install "dips-wsol[remote]"') from error
    except ValueError as error:
        if "rotocol" in str(error):
            raise RunError(
                f"{url}: addresses that begin so are not known; there are s3://, gs://, az://, hf:// and https://"
            ) from error
        raise
    return store, str(path)


@contextmanager
def _at_store(url: str, verb: str = "read") -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """Give the store of a URL and the path in it to a block; what goes wrong there is told in a line.

    Args:
        verb: what is done there; where something is ``written``, only the place itself can be missing.

    Raises:
        FileNotFoundError: a file to be read is not there.
        RunError: anything else.
    """
    try:
        yield open_store(url)
    except RunError:
        raise
    except FileNotFoundError as error:
        if verb != "written":
            raise
        raise RunError(f"{url} cannot be written: there is no such bucket; make it, or mend the address") from error
    except Exception as error:  # the libraries of stores raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{url} cannot be {verb}: {reason}; {_remedy(url, error)}") from error


def _remedy(url: str, error: Exception) -> str:
    text = f"{type(error).__name__} {error}".lower()
    scheme = scheme_of(url)
    access = _ACCESS.get(_SAME.get(scheme, scheme))
    is_refused = isinstance(error, PermissionError) or _status(error) in (401, 403)
    if access and (is_refused or any(word in text for word in ("credential", "forbidden", "account_name", "signature"))):
        return access
    return "it may not be asked for without permission" if is_refused else "check the address and the network, then repeat"


def _status(error: BaseException) -> int | None:
    """Return the status of the answer that an error is about, wherever the library keeps it."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return None if status is None else int(status)
        for holder, name in ((each, "status"), (each, "status_code"), (each, "code"), (response, "status_code")):
            if isinstance(status := getattr(holder, name, None), int):
                return status
    return None


def read_url(url: str) -> bytes:
    """Return what is behind a URL.

    Raises:
        FileNotFoundError: nothing.
        RunError: it cannot be read.
    """
    with _at_store(url) as (store, path):
        return bytes(_patiently(url, lambda: store.cat_file(path)))


def open_url(url: str) -> IO[bytes]:
    """Return what is behind a URL as an open file, of which a store sends no more than is read.

    Raises:
        FileNotFoundError: there is nothing.
        RunError: it cannot be read.
    """
    if scheme_of(url) in ("http", "https"):  # not every web server sends parts
        return BytesIO(read_url(url))
    with _at_store(url) as (store, path):
        return cast(IO[bytes], store.open(path, "rb", block_size=_HEAD))


def fetch(url: str, file: Path) -> None:
    """Copy what is behind a URL into a file of this machine.

    Raises:
        FileNotFoundError: there is nothing.
        RunError: it cannot be read.
    """
    with _at_store(url) as (store, path):
        _patiently(url, lambda: store.get_file(path, str(file)))


def each_name(url: str) -> Iterator[str]:
    """Yield the names of all files below a URL, relative to it, in any order.

    Amazon's and Google's stores are asked page by page, so that few names are in memory; of others all are.

    Raises:
        RunError: it cannot be read.
    """
    with suppress(FileNotFoundError), _at_store(url) as (store, path):
        start = f"{path.rstrip('/')}/"
        for name in _listed(store, start):
            if name.startswith(start) and not name.endswith("/"):  # such names stand for folders
                yield name[len(start) :]


def _listed(store: Any, start: str) -> Iterator[str]:
    bucket, _, prefix = start.partition("/")
    token: dict[str, str] = {}
    if hasattr(store, "call_s3"):
        while True:
            page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **token)
            yield from (f"{bucket}/{entry['Key']}" for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}
    elif "gs" in store.protocol:
        while True:
            page = store.call("GET", "b/{}/o", bucket, prefix=prefix, fields="items/name,nextPageToken", json_out=True, **token)
            yield from (f"{bucket}/{entry['name']}" for entry in page.get("items", ()))
            if not page.get("nextPageToken"):
                return
            token = {"pageToken": page["nextPageToken"]}
    else:
        yield from store.find(start)


def matching(url: str) -> list[str]:
    """Return the URLs of the files and folders that fit a pattern with stars, sorted.

    Raises:
        RunError: it cannot be read.
    """
    with _at_store(url) as (store, path):
        return [f"{scheme_of(url)}://{found.lstrip('/')}" for found in sorted(store.glob(path))]


def has_file(url: str) -> bool:
    """Return whether there is a file, and not what only begins so.

    Raises:
        RunError: it cannot be read.
    """
    with _at_store(url) as (store, path):
        return bool(store.isfile(path))


def _patiently(url: str, ask: Callable[[], _Result]) -> _Result:
    """Return what a function returns, called again after pauses where a web server does not answer for the moment.

    The libraries of the stores do so themselves.
    """
    for pause in _PAUSES if scheme_of(url) in ("http", "https") else ():
        try:
            return ask()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            status = _status(error)
            if status is not None and status < 500 and status not in (408, 425, 429):
                raise
            time.sleep(pause)
    return ask()
