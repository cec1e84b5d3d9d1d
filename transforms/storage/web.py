"""Photos and manifests on web servers: read over http and https, from allowed addresses, retried in place."""

from __future__ import annotations

import hashlib
import os
import random
import re
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from itertools import count
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_auth_from_url
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from transforms.credentials import without_password
from transforms.errors import PhotoError
from transforms.stopping import STOP
from transforms.storage.addresses import CONNECT_S, CutOff, GuardedAdapter, cutting_off
from transforms.storage.hosts import REQUESTS_PER_HOST, AttemptError, Host, host_of
from transforms.storage.store import Blob, Buffered, SourceFacts, Store

SCHEMES = ("http", "https")
ANSWER_S, AGAIN_S, PROBE_S = 20, 5, 10
"""How long a server may be silent: at first; after it was; and when one that was left alone is asked again."""
LEAST_BYTES_A_SECOND = 4096
"""A server that sends less, for as long as it may be silent, might as well be."""
MANIFEST_ANSWER_S = 60
"""A manifest may be made while it is read."""
PHOTO_S, MANIFEST_S = 300, 3600
"""How long reading one may take, with all attempts."""
ATTEMPTS = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60
"""A server that asks for more patience than this, with all attempts, is given up."""
REDIRECTS = 5
CHUNK = 1 << 16
PARALLEL_REQUESTS = 64
LONGEST_MANIFEST = 16 << 30
"""Bytes, unpacked."""

GONE = (404, 410)
REFUSED = (401, 403, 407, 451)
BUSY = (408, 425, 429, 500, 502, 503, 504)

CODINGS = {"br", "zstd", "compress", "x-compress", *HTTPResponse.CONTENT_DECODERS}
"""Ways to pack a body that have a name. (There are servers that say `binary` or `utf-8` there.)"""

T = TypeVar("T")
_session_lock = threading.Lock()


@dataclass(slots=True)
class _Attempt:
    """One way to an answer: until when, and how long a server may be silent; of what is no photo, trickling is well."""

    uri: str
    allow_private: bool
    deadline: float
    patience: float
    photo: bool
    cut_off: CutOff

    def host(self, address: str) -> Host:
        """Give what is known of a host; a manifest is asked for wherever it is."""
        return host_of(address) if self.photo else Host(address)

    def silence(self, did: str = "no answer in time") -> AttemptError:
        return AttemptError("timeout", self.uri, did)


def read(uri: str, max_bytes: int | None, allow_private: bool) -> Blob:
    """Read a photo (see storage.read)."""

    def ask(attempt: _Attempt) -> Blob:
        with _answer("GET", attempt) as response:
            parts = list(_body(response, attempt, max_bytes))
            return Blob(b"".join(parts), _version(response, uri))

    return _patiently("GET", uri, allow_private, ask, ATTEMPTS, PHOTO_S)


def download(uri: str, allow_private: bool, max_bytes: int) -> Buffered:
    """Fetch a manifest into a temporary file that ends with the stream.

    Raises:
        PhotoError: as read does.
    """

    def ask(attempt: _Attempt) -> Buffered:
        stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            with _answer("GET", attempt) as response:
                for part in _body(response, attempt, LONGEST_MANIFEST):
                    stream.write(part)
                    if stream.tell() > max_bytes:
                        raise PhotoError("too_large", f"{uri}: more than {max_bytes} bytes; fetch it and give the file")
        except BaseException:
            stream.close()
            raise
        stream.seek(0)
        return stream

    return _patiently("GET", uri, allow_private, ask, ATTEMPTS, MANIFEST_S, photo=False)


def source_facts(uris: Iterable[str], allow_private: bool) -> dict[str, SourceFacts | None]:
    """Give of each photo its version, and its size as the content key; None if it has none, or cannot be had.

    Photos of the same size are then read one after the other, so that equal ones are predicted once.
    """
    facts: dict[str, SourceFacts | None] = {}

    def ask(attempt: _Attempt) -> SourceFacts | None:
        with _answer("HEAD", attempt) as response:
            version, size = _version(response, attempt.uri), response.headers.get("Content-Length")
            key = size if size != "0" else None  # as some servers say of whatever is asked by HEAD
            return SourceFacts(version, lambda: key) if version else None

    def ask_all(host: Host) -> None:
        while not STOP.is_set() and not host.rests():
            try:
                uri = waiting[host].pop()
            except IndexError:  # all of its photos have been asked for
                return
            with suppress(Exception):  # whatever it is, reading the photo will say it, and costs that photo alone
                facts[uri] = _patiently("HEAD", uri, allow_private, ask, 2, PHOTO_S)

    # Each host has a few threads of its own, so that one that takes its time keeps none from the others. Every host has
    # its first thread before any has its second.
    waiting: dict[Host, list[str]] = defaultdict(list)
    for uri in uris:
        facts[uri] = None
        waiting[host_of(uri)].append(uri)
    turns = [host for turn in range(REQUESTS_PER_HOST) for host, photos in waiting.items() if len(photos) > turn]
    if turns:
        with ThreadPoolExecutor(min(PARALLEL_REQUESTS, len(turns))) as pool:
            list(pool.map(ask_all, turns))
    return facts


def _patiently(
    method: str,
    uri: str,
    allow_private: bool,
    ask: Callable[[_Attempt], T],
    attempts: int,
    seconds: float,
    photo: bool = True,
) -> T:
    """Try again what may go better the next time, after waits that double and that no two workers share."""
    deadline = time.monotonic() + seconds
    patience: float = ANSWER_S if photo else MANIFEST_ANSWER_S
    waited = 0.0
    for number in count(1):
        try:
            with cutting_off() as cut_off:
                return ask(_Attempt(uri, allow_private, deadline, patience, photo, cut_off))
        except AttemptError as error:
            if STOP.is_set():  # the run ends; this photo is the next one's
                raise
            wait = error.after + FIRST_WAIT_S * 2 ** (number - 1) * random.uniform(0.5, 1.5)
            waited += wait
            over = time.monotonic() + wait > deadline or waited > error.host.patience(LONGEST_WAIT_S)
            most = 1 if error.silent and method == "HEAD" else error.host.attempts(attempts, uri, error)
            if over or number >= most:
                error.host.give_up(method, error)
                raise
            if error.silent and photo:
                patience = min(patience, AGAIN_S)
            if STOP.wait(wait):
                raise
    raise AssertionError("unreachable")


@contextmanager
def _answer(method: str, attempt: _Attempt) -> Iterator[requests.Response]:
    """Ask, follow redirects, and give an answer whose body has not been read.

    Redirects are followed here, as requests would first read the whole body of each, however long; and as each host on
    the way may be one that is left alone.
    """
    address = attempt.uri
    for _ in range(REDIRECTS + 1):
        with _translated(attempt, "bad_row" if address == attempt.uri else "http_error"):
            request = _session(attempt.allow_private).prepare_request(
                requests.Request(method, address, auth=_auth(address))
            )
            address = str(request.url)
        host = attempt.host(address)
        with host.request(method, attempt.uri) as probe:
            if probe:
                attempt.patience = min(PROBE_S, ANSWER_S)
            elif attempt.photo:
                expected = AGAIN_S if host.is_suspect(attempt.uri) else host.expected(ANSWER_S, AGAIN_S)
                attempt.patience = min(attempt.patience, expected)
            began = time.monotonic()
            response = _send(request, attempt)
            if method == "GET":
                host.took(time.monotonic() - began)
            try:
                if not response.is_redirect:
                    _check(response, attempt.uri)
                    yield response
                    return
                with _translated(attempt):
                    address = urljoin(address, response.headers["Location"])
                    scheme = urlsplit(address).scheme
            finally:
                if method == "GET":
                    response.close()  # what has been read to its end has gone back to its pool already
                else:
                    response.raw.drain_conn()  # of no bytes; but it ends the answer, so that the next may come
                    response.raw.release_conn()
        if scheme not in SCHEMES:
            raise PhotoError("http_error", f"{attempt.uri}: redirects to {scheme}://")
    raise PhotoError("http_error", f"{attempt.uri}: more than {REDIRECTS} redirects")


def _send(request: requests.PreparedRequest, attempt: _Attempt) -> requests.Response:
    """Send a request, and read what comes before the body."""
    session, address = _session(attempt.allow_private), str(request.url)
    now = time.monotonic()
    patience = max(0.05, min(attempt.patience, attempt.deadline - now))
    connect = min(CONNECT_S, patience)
    # A timeout of a socket begins anew with every byte, and headers of a few bytes a minute have no end.
    attempt.cut_off.at(min(attempt.deadline, now + 1.25 * patience))
    with _translated(attempt):
        environment = session.merge_environment_settings(address, {}, True, None, None)  # proxies, certificates
        response = session.get_adapter(address).send(request, timeout=(connect, patience), **environment)
    if attempt.cut_off.has_cut:  # then headers seem to be at their end
        response.close()
        raise attempt.silence()
    return response


def _auth(address: str) -> Any:
    """Give user and password if the address has them; never those that a .netrc has for whatever server it is."""
    user, password = get_auth_from_url(address)
    return (user, password) if user else lambda request: request


def _check(response: requests.Response, uri: str) -> None:
    status = response.status_code
    if status == 200:
        _check_packing(response, uri)
        return
    meaning = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    said = f"the server answered {status} {meaning}".rstrip()
    if status in GONE:
        raise PhotoError("not_found", f"{uri}: {said}")
    if status in REFUSED:
        raise PhotoError("forbidden", f"{uri}: {said}")
    if status in BUSY:
        raise AttemptError("http_error", uri, said, _asked_wait(response), answered=True)
    raise PhotoError("http_error", f"{uri}: {said}")


def _check_packing(response: requests.Response, uri: str) -> None:
    """Make sure that the body is packed once at most (it was asked for as it is), and in a way that can be undone."""
    said = [coding.strip().lower() for coding in response.headers.get("Content-Encoding", "").split(",")]
    packed = [coding for coding in said if coding in CODINGS]
    if len(packed) > 1 or not set(packed) <= set(HTTPResponse.CONTENT_DECODERS):
        raise PhotoError("http_error", f"{uri}: the server sends it packed ({', '.join(packed)[:80]}), unasked")


def _asked_wait(response: requests.Response) -> float:
    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, ValueError, OverflowError):
        return 0


def _body(response: requests.Response, attempt: _Attempt, max_bytes: int | None) -> Iterator[bytes]:
    """Give the body in pieces, each what has arrived, so that a server that trickles is seen to."""
    uri, patience = attempt.uri, attempt.patience
    announced = response.raw.length_remaining
    if max_bytes is not None and announced is not None and announced > max_bytes:
        raise PhotoError("too_large", f"{uri}: {announced} bytes, the limit is {max_bytes} (--max_bytes)")
    received = arrived = 0
    look_at = 0.0
    while True:
        now = time.monotonic()
        if now >= look_at:
            if look_at and attempt.photo and response.raw.tell() - arrived < LEAST_BYTES_A_SECOND * patience:
                raise attempt.silence("no answer in time, but a few bytes")
            arrived, look_at = response.raw.tell(), now + patience
            if attempt.cut_off.time < look_at:
                attempt.cut_off.at(min(attempt.deadline, look_at + patience))
        with _translated(attempt):
            part = response.raw.read1(CHUNK, decode_content=True)
        if attempt.cut_off.has_cut or time.monotonic() > attempt.deadline:  # what seems to be the end may be the cut
            raise attempt.silence("not read to its end in time")
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
    address = hashlib.blake2b(without_password(uri).encode(), digest_size=6).hexdigest()  # a digest can be guessed
    return f"{etag}@{address}" if re.fullmatch(r'"[^"\x00-\x20\x7f]+"', etag) else ""


@contextmanager
def _translated(attempt: _Attempt, no_address: str = "http_error") -> Iterator[None]:
    """Translate whatever requests and urllib3 raise to a PhotoError of one line.

    no_address: the code if what was to be asked is no address at all.
    """
    uri = attempt.uri
    try:
        yield
    except PhotoError as error:
        raise PhotoError(error.code, f"{uri}: {error.message}") from None
    except requests.exceptions.InvalidHeader as error:
        raise PhotoError("http_error", f"{uri}: {_line(error)}") from error
    except ValueError as error:  # requests' InvalidURL and its like, and what IDNA refuses; they may quote a password
        raise PhotoError(no_address, f"{uri}: not an address, or it leads to what is none") from error
    except requests.exceptions.SSLError as error:
        raise PhotoError("http_error", f"{uri}: no secure connection: {_line(_cause(error))}") from error
    # urllib3 trips over a connection that is closed between two of its steps (AttributeError of its socket).
    except (requests.RequestException, HTTPError, OSError, AttributeError) as error:
        cause = _cause(error)
        if attempt.cut_off.has_cut or isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
            raise attempt.silence() from error
        said = _line(cause) if isinstance(cause, OSError) else f"no proper answer: {_line(cause)}"
        raise AttemptError("http_error", uri, said) from error


def _cause(error: BaseException) -> BaseException:
    """Give what an exception came of at first."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _line(error: BaseException) -> str:
    said = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or str(error).strip()
    line = str(said or type(error).__name__).splitlines()[0].lower()
    return "".join(character if character.isprintable() else "?" for character in line)


def _session(allow_private: bool) -> requests.Session:
    with _session_lock:
        return make_session(os.getpid(), allow_private)


@lru_cache(maxsize=2)
def make_session(pid: int, allow_private: bool) -> requests.Session:
    """Make this process's one session. It keeps no cookies: each photo is asked for as if it were the first."""
    session = requests.Session()
    session.headers.clear()
    session.headers.update({"User-Agent": "whitesweep", "Accept": "*/*", "Accept-Encoding": "identity"})
    for prefix in ("http://", "https://"):
        session.mount(prefix, GuardedAdapter(allow_private, PARALLEL_REQUESTS))
    return session


class _Web(Store):
    takes_outputs = False

    def read(self, uri: str, max_bytes: int | None, allow_private: bool) -> Blob:
        return read(uri, max_bytes, allow_private)

    def source_facts(self, uris: Iterable[str], allow_private: bool) -> dict[str, SourceFacts | None]:
        return source_facts(uris, allow_private)

    def open_read(self, uri: str, largest_download: int) -> Buffered:
        return download(uri, allow_private=True, max_bytes=largest_download)

    def join(self, folder: str, name: str) -> str:
        with suppress(ValueError):  # not an address, as reading it will say
            return urljoin(f"{folder}/", name)
        return f"{folder}/{name}"

    def path_of(self, uri: str) -> str:
        return re.split("[?#]", uri, maxsplit=1)[0]

    def glob(self, pattern: str) -> list[str]:
        return [pattern]

    def split_pattern(self, pattern: str) -> tuple[str, str]:
        return self.parent(pattern), pattern.rpartition("/")[2]


STORE = _Web()
