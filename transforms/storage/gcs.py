"""Objects in Google Cloud Storage: one client a process, its errors translated. An object appears whole."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from transforms.errors import PhotoError
from transforms.storage.hosts import AttemptError, Host
from transforms.storage.store import Blob, Buffered, ObjectStore, SourceFacts

GS = "gs://"
TIMEOUT_S = 60
PARALLEL_REQUESTS = 32
"""Requests at once where many small ones are due; an answer takes some 20 ms, most of it waiting."""
SERVICE = Host("Google Cloud Storage", 2 * PARALLEL_REQUESTS)
"""What it did lately; of photos alone, as a run cannot go on without its output."""
PATIENCE_S, SHORT_PATIENCE_S = {"GET": 120, "HEAD": 60}, 10
"""How long one is asked for, the client's own attempts together: at first, and once others were asked for in vain."""

_client_lock = threading.Lock()


def client() -> Any:
    """Give this process's one client."""
    with _client_lock:
        return make_client(os.getpid())


@lru_cache(maxsize=1)
def make_client(pid: int) -> Any:
    """Make this process's one client (Beam's own GCS filesystem makes a new one for each call, apache/beam#21255)."""
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    emulated = os.environ.get("STORAGE_EMULATOR_HOST")
    made = storage.Client.create_anonymous_client() if emulated else storage.Client()
    adapter = HTTPAdapter(pool_connections=64, pool_maxsize=64)  # the default of ten is fewer than our threads
    made._http.mount("https://", adapter)
    made._http.mount("http://", adapter)
    return made


def split(uri: str) -> tuple[str, str]:
    """Split gs://bucket/name."""
    bucket, _, name = uri[len(GS) :].partition("/")
    return bucket, name


def _blob(uri: str) -> Any:
    bucket, name = split(uri)
    return client().bucket(bucket).blob(name)


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


@contextmanager
def _photo(method: str, uri: str) -> Iterator[dict[str, Any]]:
    """Give how to ask for a photo, unless the store fails all that are asked for (see hosts)."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    try:
        with SERVICE.request(method, uri) as probe:
            short = probe or SERVICE.is_suspect(uri)
            seconds = SHORT_PATIENCE_S if short else PATIENCE_S[method]
            try:
                with _translated(uri):
                    yield {"timeout": min(seconds, TIMEOUT_S), "retry": DEFAULT_RETRY.with_timeout(seconds)}
            except PhotoError as error:
                if error.code not in ("timeout", "http_error"):
                    raise
                raise AttemptError(error.code, uri, error.message.removeprefix(f"{uri}: ")) from error
    except AttemptError as error:
        SERVICE.give_up(method, error)
        raise


def exists(uri: str) -> bool:
    """Tell whether there is an object of this name."""
    with _translated(uri):
        return bool(_blob(uri).exists(timeout=TIMEOUT_S))


def holds(uri: str, data: bytes) -> bool:
    """Tell whether there is an object of this name with these bytes, by size and MD5."""
    bucket, name = split(uri)
    with _translated(uri):
        blob = client().bucket(bucket).get_blob(name, timeout=TIMEOUT_S)
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    return blob is not None and blob.size == len(data) and blob.md5_hash == md5


def list_blobs(bucket: str, prefix: str, start: str | None = None, end: str | None = None) -> Iterator[Any]:
    """List the objects of a prefix, from a name on (inclusive) and up to a name (exclusive)."""
    with _translated(f"{GS}{bucket}/{prefix}"):
        listed = client().list_blobs(bucket, prefix=prefix, start_offset=start, end_offset=end, timeout=TIMEOUT_S)
        for blob in listed:
            if not blob.name.endswith("/") and (start is None or blob.name >= start) and (not end or blob.name < end):
                yield blob


def read(uri: str, max_bytes: int | None) -> Blob:
    """Read an object (see storage.read)."""
    bucket, name = split(uri)
    if not bucket or not name:
        raise PhotoError("not_found", f"{uri}: no such object")
    is_photo = max_bytes is not None
    with _translated(uri), _photo("GET", uri) if is_photo else nullcontext({"timeout": TIMEOUT_S}) as how:
        blob = client().bucket(bucket).get_blob(name, **how)
        if blob is None:
            raise PhotoError("not_found", f"{uri}: no such object")
        if max_bytes is not None and blob.size > max_bytes:
            raise PhotoError("too_large", f"{uri}: {blob.size} bytes, the limit is {max_bytes} (--max_bytes)")
        version = str(blob.generation)  # the one that is then downloaded; the download may forget it
        return Blob(blob.download_as_bytes(**how), version)


def source_facts(uris: Iterable[str]) -> dict[str, SourceFacts | None]:
    """Give of each object its generation, and a content key of size and MD5; None if it cannot be had."""

    def ask(uri: str) -> SourceFacts | None:
        bucket, name = split(uri)
        try:
            with _photo("HEAD", uri) as how:
                blob = client().bucket(bucket).get_blob(name, **how) if name else None
        except PhotoError:
            return None  # reading it will say why
        if blob is None:
            return None
        key = f"{blob.size}-{blob.md5_hash}" if blob.md5_hash else None  # a composed object has none
        return SourceFacts(str(blob.generation), lambda: key)

    uris = list(uris)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return dict(zip(uris, pool.map(ask, uris), strict=True))


def write(uri: str, data: bytes, content_type: str, generation: int | None = None) -> None:
    """Write an object; with a generation: fail unless it is the one that is there, 0 for none (see storage.swap)."""
    from google.api_core import exceptions
    from google.cloud.storage.retry import DEFAULT_RETRY

    try:
        with _translated(uri, "write"):
            # The same bytes to the same name twice do no harm, so the upload may be retried unconditionally.
            _blob(uri).upload_from_string(
                data,
                content_type=content_type,
                timeout=TIMEOUT_S,
                retry=DEFAULT_RETRY,
                if_generation_match=generation,
            )
    except PhotoError as error:
        if isinstance(error.__cause__, exceptions.PreconditionFailed):
            raise FileExistsError(uri) from error
        raise PhotoError("write_failed", error.message) from error


def link(source: str, uri: str) -> None:
    """Have an object copied, in as many steps as the store wants to take."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    token = None
    try:
        with _translated(source, "copy"):
            while True:
                token, *_ = _blob(uri).rewrite(_blob(source), token=token, timeout=TIMEOUT_S, retry=DEFAULT_RETRY)
                if token is None:
                    return
    except PhotoError as error:
        if error.code == "not_found":
            raise
        raise PhotoError("write_failed", error.message) from error


def delete(uri: str) -> None:
    """Delete an object; one that is gone already is well."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    try:
        with _translated(uri, "delete"):
            _blob(uri).delete(timeout=TIMEOUT_S, retry=DEFAULT_RETRY)
    except PhotoError as error:
        if error.code != "not_found":
            raise PhotoError("write_failed", error.message) from error


class ObjectReader(io.RawIOBase):
    """An object as a stream whose errors are OSErrors, as a file's are."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stream = _blob(uri).open("rb")

    def readable(self) -> bool:
        """A stream to read from."""
        return True

    def seekable(self) -> bool:
        """Parquet's end is read first."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset."""
        try:
            with _translated(self._uri):
                return int(self._stream.seek(offset, whence))
        except PhotoError as error:
            raise OSError(error.message) from error

    def tell(self) -> int:
        """Give the offset."""
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; give the number of bytes."""
        try:
            with _translated(self._uri):
                data = self._stream.read(len(buffer))
        except PhotoError as error:
            raise OSError(error.message) from error
        buffer[: len(data)] = data
        return len(data)


class _Gcs(ObjectStore):
    root = GS
    parallel = PARALLEL_REQUESTS

    def read(self, uri: str, max_bytes: int | None, allow_private: bool) -> Blob:
        return read(uri, max_bytes)

    def source_facts(self, uris: Iterable[str], allow_private: bool) -> dict[str, SourceFacts | None]:
        return source_facts(uris)

    def open_read(self, uri: str, largest_download: int) -> Buffered:
        return io.BufferedReader(ObjectReader(uri), buffer_size=1 << 20)

    def list_objects(self, bucket: str, prefix: str, start: str = "", end: str = "") -> Iterator[tuple[str, int]]:
        return ((blob.name, blob.size) for blob in list_blobs(bucket, prefix, start or None, end or None))

    def write(self, uri: str, data: bytes, content_type: str, below: str | None, durable: bool) -> None:
        write(uri, data, content_type)

    def link(self, source: str, uri: str, below: str | None) -> None:
        link(source, uri)

    def create(self, uri: str, data: bytes, content_type: str, durable: bool) -> bool:
        return self.swap(uri, data, content_type, "0", durable)

    def swap(self, uri: str, data: bytes, content_type: str, version: str, durable: bool) -> bool:
        try:
            write(uri, data, content_type, generation=int(version))
        except FileExistsError:
            return False
        return True

    def delete(self, uri: str, below: str | None) -> None:
        delete(uri)

    def exists(self, uri: str) -> bool:
        return exists(uri)

    def size(self, uri: str) -> int | None:
        bucket, name = split(uri)
        with _translated(uri):
            blob = client().bucket(bucket).get_blob(name, timeout=TIMEOUT_S)
        return None if blob is None else int(blob.size)

    def holds(self, uri: str, data: bytes) -> bool:
        return holds(uri, data)


STORE = _Gcs()
