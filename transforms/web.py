"""Photos and manifests on web servers: read over http and https, from allowed addresses, retried in place."""

from __future__ import annotations

import hashlib
import os
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from http import HTTPStatus
from typing import IO, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_auth_from_url
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from transforms.addresses import GuardedAdapter, cut_off_at
from transforms.stopping import STOP
from transforms.types import Blob, PhotoError, SourceFacts

SCHEMES = ("http", "https")
CONNECT_S = 10
ANSWER_S = 30
"""How long a server may be silent."""
PHOTO_S, MANIFEST_S = 300, 3600
"""How long reading one may take, with all attempts."""
ATTEMPTS = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60
"""A server that asks for more patience than this is given up."""
REDIRECTS = 5
CHUNK = 1 << 16
PARALLEL_REQUESTS = 32
GIVE_UP_A_HOST = 10
"""So many requests for versions without an answer, and no more are sent to that host."""

GONE = (404, 410)
REFUSED = (401, 403, 407, 451)
BUSY = (408, 425, 429, 500, 502, 503, 504)

T = TypeVar("T")
_session_lock = threading.Lock()


class _TransientError(PhotoError):
    """May go better the next time. after: seconds that the server asks to wait. answered: whether it said anything."""

    def __init__(self, code: str, message: str, after: float = 0, answered: bool = False) -> None:
        super().__init__(code, message)
        self.after, self.answered = after, answered


def read(uri: str, max_bytes: int | None, private: bool) -> Blob:
    """Read a photo (see storage.read)."""

    def attempt(deadline: float) -> Blob:
        with _answer("GET", uri, private, deadline) as response:
            parts = list(_body(response, uri, max_bytes, deadline))
            return Blob(b"".join(parts), _version(response, uri))

    return _patiently(attempt, ATTEMPTS, PHOTO_S)


def download(uri: str, private: bool, max_bytes: int) -> IO[bytes]:
    """Fetch a manifest into a temporary file that ends with the stream.

    Raises:
        PhotoError: as read does.
    """

    def attempt(deadline: float) -> IO[bytes]:
        stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            with _answer("GET", uri, private, deadline) as response:
                for part in _body(response, uri, None, deadline):
                    stream.write(part)
                    if stream.tell() > max_bytes:
                        raise PhotoError("too_large", f"{uri}: more than {max_bytes} bytes; fetch it and give the file")
        except BaseException:
            stream.close()
            raise
        stream.seek(0)
        return stream

    return _patiently(attempt, ATTEMPTS, MANIFEST_S)


def source_facts(uris: Iterable[str], private: bool) -> dict[str, SourceFacts | None]:
    """Give of each photo its version, and its size as the content key; None if it has none, or cannot be had.

    Photos of the same size are then read one after the other, so that equal ones are predicted once.
    """
    silent: Counter[str] = Counter()

    def ask(uri: str) -> SourceFacts | None:
        host = uri.split("/", 3)[2]
        if silent[host] >= GIVE_UP_A_HOST or STOP.is_set():
            return None  # reading it will say why

        def attempt(deadline: float) -> SourceFacts | None:
            with _answer("HEAD", uri, private, deadline) as response:
                version, size = _version(response, uri), response.headers.get("Content-Length")
                key = size if size != "0" else None  # as some servers say of whatever is asked by HEAD
                return SourceFacts(version, lambda: key) if version else None

        try:
            found = _patiently(attempt, 2, PHOTO_S)
        except PhotoError as error:
            found = None
            if isinstance(error, _TransientError) and not error.answered:
                silent[host] += 1
                return None
        silent[host] = 0
        return found

    uris = list(uris)
    with ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return dict(zip(uris, pool.map(ask, uris), strict=True))


def _patiently(attempt: Callable[[float], T], attempts: int, seconds: float) -> T:
    """Try again what may go better the next time, after waits that double and that no two workers share."""
    deadline = time.monotonic() + seconds
    for number in range(1, attempts + 1):
        try:
            return attempt(deadline)
        except _TransientError as error:
            if time.monotonic() > deadline:
                raise PhotoError("timeout", f"{error.message} (cut off after {seconds:.0f} s)") from error
            wait = error.after + FIRST_WAIT_S * 2 ** (number - 1) * random.uniform(0.5, 1.5)
            if number == attempts or wait > LONGEST_WAIT_S or time.monotonic() + wait > deadline:
                raise
            if STOP.wait(wait):  # the run ends; this photo is the next one's
                raise
    raise AssertionError("unreachable")


@contextmanager
def _answer(method: str, uri: str, private: bool, deadline: float) -> Iterator[requests.Response]:
    """Give an answer whose body has not been read, and break the connection if that is not done in time."""
    with cut_off_at(deadline), _followed(method, uri, private, deadline) as response:
        yield response


@contextmanager
def _followed(method: str, uri: str, private: bool, deadline: float) -> Iterator[requests.Response]:
    """Ask, and follow redirects.

    Redirects are followed here, as requests would first read the whole body of each, however long.
    """
    session, address = _session(private), uri
    for _ in range(REDIRECTS + 1):
        with _translated(uri, "bad_row" if address == uri else "http_error"):
            request = session.prepare_request(requests.Request(method, address, auth=_auth(address)))
            address = str(request.url)
            environment = session.merge_environment_settings(address, {}, True, None, None)  # proxies, certificates
            timeout = (CONNECT_S, max(1, min(ANSWER_S, deadline - time.monotonic())))
            response = session.get_adapter(address).send(request, timeout=timeout, **environment)
        try:
            if not response.is_redirect:
                _check(response, uri)
                yield response
                return
            with _translated(uri, "http_error"):
                address = urljoin(address, response.headers["Location"])
                scheme = urlsplit(address).scheme
        finally:
            if method == "GET":
                response.close()  # what has been read to its end has gone back to its pool already
            else:
                response.raw.drain_conn()  # of no bytes; but it ends the answer, so that the next may come
                response.raw.release_conn()
        if scheme not in SCHEMES:
            raise PhotoError("http_error", f"{uri}: redirects to {scheme}://")
    raise PhotoError("http_error", f"{uri}: more than {REDIRECTS} redirects")


def _auth(address: str) -> Any:
    """Give user and password if the address has them; never those that a .netrc has for whatever server it is."""
    user, password = get_auth_from_url(address)
    return (user, password) if user else lambda request: request


def _check(response: requests.Response, uri: str) -> None:
    status = response.status_code
    if status == 200:
        return
    meaning = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    said = f"{uri}: the server answered {status} {meaning}".rstrip()
    if status in GONE:
        raise PhotoError("not_found", said)
    if status in REFUSED:
        raise PhotoError("forbidden", said)
    if status in BUSY:
        raise _TransientError("http_error", said, _asked_wait(response), answered=True)
    raise PhotoError("http_error", said)


def _asked_wait(response: requests.Response) -> float:
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0


def _body(response: requests.Response, uri: str, max_bytes: int | None, deadline: float) -> Iterator[bytes]:
    """Give the body in pieces. Each is what has arrived, so that a server that trickles meets the deadline."""
    announced = response.raw.length_remaining
    if max_bytes is not None and announced is not None and announced > max_bytes:
        raise PhotoError("too_large", f"{uri}: {announced} bytes, the limit is {max_bytes} (--max_bytes)")
    received = 0
    while True:
        with _translated(uri):
            part = response.raw.read1(CHUNK, decode_content=True)
        if time.monotonic() > deadline:  # also if it seems to be at its end: it may have been cut off
            raise PhotoError("timeout", f"{uri}: not read to its end in time")
        if not part:
            return
        received += len(part)
        if max_bytes is not None and received > max_bytes:
            raise PhotoError("too_large", f"{uri}: more bytes than the limit of {max_bytes} (--max_bytes)")
        yield part


def _version(response: requests.Response, uri: str) -> str:
    """Give the ETag by which a server promises equal bytes, or nothing: a weak one (`W/…`) promises less.

    It promises them of one address, so a digest of that stands behind it: the same row of a manifest may be another's.
    """
    etag = response.headers.get("ETag", "").strip()
    address = hashlib.blake2b(uri.encode(), digest_size=6).hexdigest()
    return f"{etag}@{address}" if re.fullmatch(r'"[^"\x00-\x20\x7f]+"', etag) else ""


@contextmanager
def _translated(uri: str, no_address: str = "http_error") -> Iterator[None]:
    """Translate whatever requests and urllib3 raise to a PhotoError of one line.

    no_address: the code if what was to be asked is no address at all.
    """
    try:
        yield
    except PhotoError as error:
        raise PhotoError(error.code, f"{uri}: {error.message}") from None
    except requests.exceptions.InvalidHeader as error:
        raise PhotoError("http_error", f"{uri}: {_line(error)}") from error
    except ValueError as error:  # requests' InvalidURL and its like, and what IDNA refuses
        raise PhotoError(no_address, f"{uri}: not an address: {_line(error)}") from error
    except requests.exceptions.SSLError as error:
        raise PhotoError("http_error", f"{uri}: no secure connection: {_line(_cause(error))}") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        cause = _cause(error)
        if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
            raise _TransientError("timeout", f"{uri}: no answer in time") from error
        said = _line(cause) if isinstance(cause, OSError) else f"no proper answer: {_line(cause)}"
        raise _TransientError("http_error", f"{uri}: {said}") from error


def _cause(error: BaseException) -> BaseException:
    """Give what an exception came of at first."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _line(error: BaseException) -> str:
    said = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error).strip()
    line = str(said or type(error).__name__).splitlines()[0].lower()
    return "".join(character if character.isprintable() else "?" for character in line)


def _session(private: bool) -> requests.Session:
    with _session_lock:
        return make_session(os.getpid(), private)


@lru_cache(maxsize=2)
def make_session(pid: int, private: bool) -> requests.Session:
    """Make this process's one session. It keeps no cookies: each photo is asked for as if it were the first."""
    session = requests.Session()
    session.headers.clear()
    session.headers.update({"User-Agent": "whitesweep", "Accept": "*/*", "Accept-Encoding": "identity"})
    for prefix in ("http://", "https://"):
        session.mount(prefix, GuardedAdapter(private, 2 * PARALLEL_REQUESTS))
    return session
