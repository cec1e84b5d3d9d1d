"""Bytes in and out: local paths and gs://. The only module that opens files or talks to an object store.

A local file is written beside its final name and renamed; an object appears whole when its one upload ends. So nobody
ever sees half a file (and a rename on an object store, which is a copy and a delete, is never needed).
"""

from __future__ import annotations

import errno
import glob as local_glob
import io
import os
import posixpath
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from transforms.types import FatalError, PhotoError

GS = "gs://"
TIMEOUT_S = 60
TEMPORARY = ".whitesweep-tmp"
"""Ending of a file that is being written."""

STOPS_THE_RUN = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "read-only"}
"""Write errors that the next photo would meet too."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file or object as it was read. version: size and mtime_ns of a file, generation of an object."""

    data: bytes
    version: str


def scheme(uri: str) -> str:
    """Name the storage that a URI belongs to: `file`, `gs`, or the scheme as written."""
    head, colon, _ = uri.partition("://")
    return head.lower() if colon and head.isalnum() else "file"


def local_path(uri: str) -> str:
    """Turn a local URI into a path: `file:///a%20b` is unquoted, a plain path stays."""
    if uri.lower().startswith("file://"):
        return unquote(urlsplit(uri).path)
    return uri


def join(folder: str, name: str) -> str:
    """Resolve a name against a folder or bucket prefix; an absolute name or URI stays as it is."""
    if scheme(name) != "file" or name.lower().startswith("file://") or os.path.isabs(name):
        return name
    if scheme(folder) == "file":
        return os.path.normpath(os.path.join(local_path(folder), name))
    bucket, path = _split(folder)
    return f"{GS}{bucket}/{posixpath.normpath(posixpath.join('/', path, name)).lstrip('/')}"


def parent(uri: str) -> str:
    """Give the folder that a file or object lies in."""
    if scheme(uri) == "file":
        return os.path.dirname(os.path.abspath(local_path(uri)))
    return uri.rsplit("/", 1)[0]


def read(uri: str, max_bytes: int | None = None) -> Blob:
    """Read a whole file or object.

    Raises:
        PhotoError: not_found, forbidden, too_large, timeout, http_error or bad_row (a scheme that is not read).
    """
    kind = scheme(uri)
    if kind == "file":
        return _read_local(local_path(uri), max_bytes)
    if kind == "gs":
        return _read_gs(uri, max_bytes)
    raise PhotoError("bad_row", f"{uri}: cannot read {kind}:// addresses; give a path or a gs:// address")


def write(uri: str, data: bytes, content_type: str = "application/octet-stream") -> None:
    """Write a whole file or object; it appears complete or not at all.

    Raises:
        FatalError: the disk is full, or the whole file system cannot be written.
        PhotoError: write_failed, for this name alone.
    """
    if scheme(uri) == "gs":
        _write_gs(uri, data, content_type)
    else:
        _write_local(local_path(uri), data)


def exists(uri: str) -> bool:
    """Tell whether there is a file or object of this name."""
    if scheme(uri) == "gs":
        bucket, name = _split(uri)
        return bool(_client().bucket(bucket).blob(name).exists(timeout=TIMEOUT_S))
    return os.path.isfile(local_path(uri))


def is_folder(uri: str) -> bool:
    """Tell whether a URI names a folder: a local directory, or a prefix under which there is an object."""
    if scheme(uri) == "gs":
        return next(iter(list_files(uri)), None) is not None
    return os.path.isdir(local_path(uri))


def list_files(folder: str) -> Iterator[str]:
    """List every file below a folder or prefix, sorted by name, hidden ones and our temporary ones left out."""
    if scheme(folder) == "gs":
        bucket, prefix = _split(folder)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        for blob in _client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT_S):
            if not blob.name.endswith("/"):
                yield f"{GS}{bucket}/{blob.name}"
        return
    for root, folders, files in os.walk(local_path(folder)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(files) if not name.startswith("."))


def glob(pattern: str) -> list[str]:
    """List the files that match a pattern (`*`, `?`, `[…]`; `**` spans folders), sorted; a name matches itself."""
    if scheme(pattern) == "gs":
        bucket, name = _split(pattern)
        if not local_glob.has_magic(name):
            return [pattern] if exists(pattern) else []
        matcher = _glob_regex(name)
        prefix = name[: min(name.find(c) for c in "*?[" if c in name)]
        blobs = _client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT_S)
        return sorted(f"{GS}{bucket}/{blob.name}" for blob in blobs if matcher.fullmatch(blob.name))
    path = local_path(pattern)
    if os.path.isfile(path):  # a name may itself contain a bracket
        return [path]
    return sorted(found for found in local_glob.glob(path, recursive=True) if os.path.isfile(found))


def has_magic(pattern: str) -> bool:
    """Tell whether a name is a pattern rather than a plain name."""
    return local_glob.has_magic(pattern)


def open_read(uri: str) -> IO[bytes]:
    """Open a file or object for reading in pieces.

    Raises:
        OSError: it cannot be opened.
    """
    if scheme(uri) == "gs":
        bucket, name = _split(uri)
        return io.BufferedReader(_client().bucket(bucket).blob(name).open("rb"))
    return open(local_path(uri), "rb")


def _read_local(path: str, max_bytes: int | None) -> Blob:
    try:
        with open(path, "rb") as stream:
            facts = os.fstat(stream.fileno())
            if max_bytes is not None and facts.st_size > max_bytes:
                raise PhotoError("too_large", f"{path}: {facts.st_size} bytes, the limit is {max_bytes} (--max_bytes)")
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
    except PermissionError:
        raise PhotoError("forbidden", f"{path}: permission denied") from None
    except OSError as error:
        missing = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
        if error.errno in missing:
            raise PhotoError("not_found", f"{path}: {os.strerror(error.errno).lower()}") from None
        raise PhotoError("corrupt", f"{path}: cannot be read: {error.strerror}") from error
    return Blob(data, f"{facts.st_size}-{facts.st_mtime_ns}")


def _write_local(path: str, data: bytes) -> None:
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}{TEMPORARY}")
    try:
        try:
            stream = open(temporary, "xb")  # noqa: SIM115 - closed below, on a name that may be unlinked
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            stream = open(temporary, "xb")  # noqa: SIM115
        with stream:
            stream.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            if error.errno in STOPS_THE_RUN:
                raise FatalError(f"{path}: cannot write, {STOPS_THE_RUN[error.errno]}") from error
            raise PhotoError("write_failed", f"{path}: {error.strerror or error}") from error
        raise


_client_lock = threading.Lock()


def _client() -> Any:
    with _client_lock:
        return _make_client(os.getpid())


@lru_cache(maxsize=1)
def _make_client(pid: int) -> Any:
    """Make this process's one client (Beam's own GCS filesystem makes a new one for each call, apache/beam#21255)."""
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    emulated = os.environ.get("STORAGE_EMULATOR_HOST")
    client = storage.Client.create_anonymous_client() if emulated else storage.Client()
    adapter = HTTPAdapter(pool_connections=64, pool_maxsize=64)  # the default of ten is fewer than our threads
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    return client


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri[len(GS) :].partition("/")
    return bucket, name


def _gs_failure(uri: str, error: Exception) -> PhotoError:
    """Translate what the client raised after its own retries."""
    from google.api_core import exceptions
    from requests import exceptions as transport

    if isinstance(error, exceptions.NotFound):
        return PhotoError("not_found", f"{uri}: no such object")
    if isinstance(error, (exceptions.Forbidden, exceptions.Unauthorized)):
        return PhotoError("forbidden", f"{uri}: the account in use may not read it")
    if isinstance(error, (exceptions.RetryError, exceptions.DeadlineExceeded, transport.Timeout)):
        return PhotoError("timeout", f"{uri}: no answer in time")
    status = f" {error.code}" if isinstance(error, exceptions.GoogleAPICallError) else ""
    return PhotoError("http_error", f"{uri}: the object store answered{status}: {str(error).splitlines()[0]}")


def _gs_errors() -> tuple[type[Exception], ...]:
    from google.api_core.exceptions import GoogleAPIError
    from requests.exceptions import RequestException

    return GoogleAPIError, RequestException, ConnectionError


def _read_gs(uri: str, max_bytes: int | None) -> Blob:
    bucket, name = _split(uri)
    if not bucket or not name:
        raise PhotoError("not_found", f"{uri}: no such object")
    try:
        blob = _client().bucket(bucket).get_blob(name, timeout=TIMEOUT_S)
        if blob is None:
            raise PhotoError("not_found", f"{uri}: no such object")
        if max_bytes is not None and blob.size > max_bytes:
            raise PhotoError("too_large", f"{uri}: {blob.size} bytes, the limit is {max_bytes} (--max_bytes)")
        version = str(blob.generation)  # the one that is then downloaded; the download may forget it
        data = blob.download_as_bytes(timeout=TIMEOUT_S)
    except _gs_errors() as error:
        raise _gs_failure(uri, error) from error
    return Blob(data, version)


def _write_gs(uri: str, data: bytes, content_type: str) -> None:
    bucket, name = _split(uri)
    try:
        # A retried upload of the same bytes to the same name is harmless, so it need not be conditional to be retried.
        from google.cloud.storage.retry import DEFAULT_RETRY

        blob = _client().bucket(bucket).blob(name)
        blob.upload_from_string(data, content_type=content_type, timeout=TIMEOUT_S, retry=DEFAULT_RETRY)
    except _gs_errors() as error:
        raise PhotoError("write_failed", _gs_failure(uri, error).message) from error


def _glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob for object names, with the same meaning as for local files: `*` stays within a folder."""
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and token.endswith("]"):
            return token.replace("[!", "[^", 1)
        return wild.get(token) or re.escape(token)

    return re.compile("".join(map(translate, re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern))))
