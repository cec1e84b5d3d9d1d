"""Bytes in and out: local paths and gs://. The only module that opens files or talks to an object store.

A local file is written beside its final name and renamed; an object appears whole when its one upload ends. So nobody
ever sees half a file (and a rename on an object store, which is a copy and a delete, is never needed).
"""

from __future__ import annotations

import base64
import errno
import glob as local_glob
import hashlib
import io
import os
import posixpath
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any
from urllib.parse import unquote

from transforms.types import FatalError, PhotoError

GS = "gs://"
TIMEOUT_S = 60
TEMPORARY = ".whitesweep-tmp"
"""Ending of a file that is being written."""

STOPS_THE_RUN = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "read-only"}
"""Write errors that the next photo would meet too."""


EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Read errors that say something of this process rather than of the file."""


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
        _, slash, path = uri[len("file://") :].partition("/")  # before the slash stands the host: none, or this one
        return unquote(slash + path)
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
        with _translated(uri):
            return bool(_client().bucket(bucket).blob(name).exists(timeout=TIMEOUT_S))
    return os.path.isfile(local_path(uri))


def holds(uri: str, data: bytes) -> bool:
    """Tell whether there is a file or object of this name with exactly these bytes (of an object, by size and MD5)."""
    if scheme(uri) == "gs":
        bucket, name = _split(uri)
        with _translated(uri):
            blob = _client().bucket(bucket).get_blob(name, timeout=TIMEOUT_S)
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return blob is not None and blob.size == len(data) and blob.md5_hash == md5
    path = local_path(uri)
    try:
        with open(path, "rb") as stream:
            return os.fstat(stream.fileno()).st_size == len(data) and stream.read() == data
    except OSError:
        return False


def is_folder(uri: str) -> bool:
    """Tell whether a URI names a folder: a local directory, or a prefix under which there is an object."""
    if scheme(uri) == "gs":
        return next(iter(list_files(uri)), None) is not None
    return os.path.isdir(local_path(uri))


def list_files(folder: str) -> Iterator[str]:
    """List every file below a folder or prefix, hidden ones left out, in the order of their names.

    Raises:
        OSError, PhotoError: a folder in it cannot be listed; nothing is passed over in silence.
    """
    if scheme(folder) == "gs":
        bucket, prefix = _split(folder)
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in _list_objects(bucket, prefix):
            if not any(part.startswith(".") for part in name[len(prefix) :].split("/")):
                yield f"{GS}{bucket}/{name}"
        return

    def refuse(error: OSError) -> None:
        raise error

    seen = set()  # symbolic links are followed, but not in circles
    for root, folders, files in os.walk(local_path(folder), onerror=refuse, followlinks=True):
        here = os.path.realpath(root)
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(files) if not name.startswith("."))


def glob(pattern: str) -> list[str]:
    """List the files that match a pattern (`*`, `?`, `[…]`; `**` spans folders), sorted; a name matches itself.

    Raises:
        PhotoError: an object store cannot be asked.
    """
    if scheme(pattern) == "gs":
        bucket, name = _split(pattern)
        if not local_glob.has_magic(name):
            return [pattern] if exists(pattern) else []
        matcher = _glob_regex(name)
        prefix = name[: min(name.find(c) for c in "*?[" if c in name)]
        return sorted(f"{GS}{bucket}/{found}" for found in _list_objects(bucket, prefix) if matcher.fullmatch(found))
    path = local_path(pattern)
    if os.path.isfile(path):  # a name may itself contain a bracket
        return [path]
    return sorted(found for found in local_glob.glob(path, recursive=True) if os.path.isfile(found))


def has_magic(pattern: str) -> bool:
    """Tell whether a name is a pattern rather than a plain name."""
    return local_glob.has_magic(pattern)


def same_file(one: str, other: str) -> bool:
    """Tell whether two URIs name the same file or object."""
    if scheme(one) != "file" or scheme(other) != "file":
        return one == other
    return os.path.realpath(local_path(one)) == os.path.realpath(local_path(other))


def open_read(uri: str) -> IO[bytes]:
    """Open a file or object for reading in pieces.

    Raises:
        OSError: it cannot be opened, or later, read to its end.
    """
    if scheme(uri) == "gs":
        return io.BufferedReader(_GsReader(uri), buffer_size=1 << 20)
    return open(local_path(uri), "rb")


class _GsReader(io.RawIOBase):
    """An object as a stream whose errors are OSErrors, as a file's are."""

    def __init__(self, uri: str) -> None:
        bucket, name = _split(uri)
        self._uri = uri
        self._stream = _client().bucket(bucket).blob(name).open("rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            with _translated(self._uri):
                return int(self._stream.seek(offset, whence))
        except PhotoError as error:
            raise OSError(error.message) from error

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        try:
            with _translated(self._uri):
                data = self._stream.read(len(buffer))
        except PhotoError as error:
            raise OSError(error.message) from error
        buffer[: len(data)] = data
        return len(data)


def _read_local(path: str, max_bytes: int | None) -> Blob:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise PhotoError("not_found", f"{path}: not a file")
        with open(path, "rb") as stream:
            facts = os.fstat(stream.fileno())
            data = stream.read() if max_bytes is None else stream.read(max_bytes + 1)
        if max_bytes is not None and len(data) > max_bytes:
            size = max(facts.st_size, len(data))
            raise PhotoError("too_large", f"{path}: {size} bytes, the limit is {max_bytes} (--max_bytes)")
    except ValueError:  # a NUL in the name
        raise PhotoError("not_found", f"{path!r}: not a file name") from None
    except PermissionError:
        raise PhotoError("forbidden", f"{path}: permission denied") from None
    except OSError as error:
        missing = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
        if error.errno in missing:
            raise PhotoError("not_found", f"{path}: {os.strerror(error.errno).lower()}") from None
        if error.errno in EXHAUSTED:
            raise FatalError(f"{path}: cannot be read, {os.strerror(error.errno).lower()}") from error
        raise PhotoError("read_failed", f"{path}: {error.strerror or error}") from error
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


@contextmanager
def _translated(uri: str, doing: str = "read") -> Iterator[None]:
    """Translate whatever the client raises, after its own retries, to a PhotoError."""
    from google.api_core import exceptions
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests import exceptions as transport

    try:
        yield
    except exceptions.NotFound:
        raise PhotoError("not_found", f"{uri}: no such object or bucket") from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise PhotoError("forbidden", f"{uri}: the account in use may not {doing} it") from error
    except (exceptions.RetryError, exceptions.DeadlineExceeded, transport.Timeout) as error:
        raise PhotoError("timeout", f"{uri}: no answer in time") from error
    except GoogleAuthError as error:
        raise PhotoError("forbidden", f"{uri}: no Google credentials: {str(error).splitlines()[0]}") from error
    except (exceptions.GoogleAPIError, transport.RequestException, ConnectionError, DataCorruption) as error:
        raise PhotoError("http_error", f"{uri}: {str(error).splitlines()[0]}") from error


def _list_objects(bucket: str, prefix: str) -> Iterator[str]:
    with _translated(f"{GS}{bucket}/{prefix}"):
        for blob in _client().list_blobs(bucket, prefix=prefix, timeout=TIMEOUT_S):
            if not blob.name.endswith("/"):
                yield blob.name


def _read_gs(uri: str, max_bytes: int | None) -> Blob:
    bucket, name = _split(uri)
    if not bucket or not name:
        raise PhotoError("not_found", f"{uri}: no such object")
    with _translated(uri):
        blob = _client().bucket(bucket).get_blob(name, timeout=TIMEOUT_S)
        if blob is None:
            raise PhotoError("not_found", f"{uri}: no such object")
        if max_bytes is not None and blob.size > max_bytes:
            raise PhotoError("too_large", f"{uri}: {blob.size} bytes, the limit is {max_bytes} (--max_bytes)")
        version = str(blob.generation)  # the one that is then downloaded; the download may forget it
        return Blob(blob.download_as_bytes(timeout=TIMEOUT_S), version)


def _write_gs(uri: str, data: bytes, content_type: str) -> None:
    from google.cloud.storage.retry import DEFAULT_RETRY

    bucket, name = _split(uri)
    try:
        with _translated(uri, "write"):
            blob = _client().bucket(bucket).blob(name)
            # The same bytes to the same name twice do no harm, so the upload may be retried unconditionally.
            blob.upload_from_string(data, content_type=content_type, timeout=TIMEOUT_S, retry=DEFAULT_RETRY)
    except PhotoError as error:
        raise PhotoError("write_failed", error.message) from error


def _glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob for object names, with the same meaning as for local files: `*` stays within a folder."""
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and token.endswith("]"):
            return token.replace("[!", "[^", 1)
        return wild.get(token) or re.escape(token)

    try:
        return re.compile("".join(map(translate, re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern))))
    except re.error as error:
        raise ValueError(f"{pattern}: not a pattern: {error}") from error
