"""Read and list files in object stores and on web servers: ``s3://``, ``gs://``, ``az://``, ``hf://``, ``https://``.

Listings are not cached. Requests that fail temporarily are retried by the stores' own libraries, those to web servers here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from dips.errors import RunError
from dips.system.names import scheme_of

if TYPE_CHECKING:
    import fsspec

__all__ = ["at_store", "each_name", "fetch", "has_file", "matching", "open_store", "open_url", "read_url", "status_of"]

_HEAD = 64 << 10  # bytes requested at a time, as the beginning may be enough
_PAUSES = (0.5, 2.0)  # seconds before a request to a web server is retried
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
_WEB_SECONDS = {"total": 300.0, "sock_connect": 10.0, "sock_read": 30.0}  # until a request to a web server times out
_Result = TypeVar("_Result")


def open_store(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the store of a URL, and the path in it.

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
            logger.addHandler(logging.NullHandler())  # they log tracebacks of errors reported here in one line
    try:
        store, path = fsspec.url_to_fs(url, use_listings_cache=False, **_options(_SAME.get(scheme, scheme)))
    except ImportError as error:
        raise RunError(f'{url} needs a package that is not installed ({error}); pip install "dips-wsol[remote]"') from error
    except ValueError as error:
        if "rotocol" in str(error):
            raise RunError(
                f"{url}: addresses that begin so are not known; there are s3://, gs://, az://, hf:// and https://"
            ) from error
        raise
    return store, str(path)


def _options(scheme: str) -> dict[str, Any]:
    if scheme == "s3":
        return {"max_concurrency": 1}  # otherwise it requests the size of a file before reading it
    if scheme in ("http", "https"):
        import aiohttp

        return {"client_kwargs": {"timeout": aiohttp.ClientTimeout(**_WEB_SECONDS)}}
    return {}


@contextmanager
def at_store(url: str, verb: str = "read") -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """Yield the store of a URL and the path in it, and turn errors in the block into one-line messages.

    Args:
        verb: what the block does; if something is ``written``, only the bucket itself can be missing.

    Raises:
        FileNotFoundError: a file to be read does not exist.
        RunError: any other error.
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
    is_refused = isinstance(error, PermissionError) or status_of(error) in (401, 403)
    if access and (is_refused or any(word in text for word in ("credential", "forbidden", "account_name", "signature"))):
        return access
    return "it may not be asked for without permission" if is_refused else "check the address and the network, then repeat"


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of the response behind an error, wherever the library stores it."""
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
    """Return the contents of a URL.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it cannot be read.
    """
    with at_store(url) as (store, path):
        return bytes(_patiently(url, lambda: store.cat_file(path)))


def open_url(url: str) -> IO[bytes]:
    """Return the contents of a URL as an open file, of which a store sends no more than is read.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it cannot be read.
    """
    if scheme_of(url) in ("http", "https"):  # not every web server supports range requests
        return BytesIO(read_url(url))
    with at_store(url) as (store, path):
        return cast(IO[bytes], store.open(path, "rb", block_size=_HEAD))


def fetch(url: str, file: Path) -> None:
    """Download a URL to a local file.

    Raises:
        FileNotFoundError: there is no such file.
        RunError: it cannot be read.
    """
    with at_store(url) as (store, path):
        _patiently(url, lambda: store.get_file(path, str(file)))


def each_name(url: str) -> Iterator[str]:
    """Yield the names of all files below a URL, relative to it, in any order.

    Amazon's and Google's stores are listed page by page, so that few names are in memory; for others all names are.

    Raises:
        RunError: it cannot be read.
    """
    with suppress(FileNotFoundError), at_store(url) as (store, path):
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
    """Return the URLs of the files and folders that match a glob pattern, sorted.

    Raises:
        RunError: it cannot be read.
    """
    with at_store(url) as (store, path):
        return [f"{scheme_of(url)}://{found.lstrip('/')}" for found in sorted(store.glob(path))]


def has_file(url: str) -> bool:
    """Return whether there is a file at this URL, not only files whose names start with it.

    Raises:
        RunError: it cannot be read.
    """
    with at_store(url) as (store, path):
        return bool(store.isfile(path))


def _patiently(url: str, ask: Callable[[], _Result]) -> _Result:
    """Return the result of ``ask``, retried after pauses if a web server temporarily does not respond.

    The libraries of the stores retry by themselves.
    """
    for pause in _PAUSES if scheme_of(url) in ("http", "https") else ():
        try:
            return ask()
        except (FileNotFoundError, PermissionError):
            raise
        except Exception as error:
            status = status_of(error)
            if status is not None and status < 500 and status not in (408, 425, 429):
                raise
            time.sleep(pause)
    return ask()
