"""A host that fails all who ask is left alone for a while, and costs the photos of other hosts nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from webserver import Site, reset, serve, status, trickle

from transforms import storage
from transforms.errors import PhotoError
from transforms.stopping import STOP
from transforms.storage import hosts, web


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and little patience."""
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(web, "ANSWER_S", 1)
    monkeypatch.setattr(web, "AGAIN_S", 1)
    monkeypatch.setattr(web, "PROBE_S", 1)
    with serve() as site:
        yield site


def put(site: Site, count: int, trick: Any = None) -> list[str]:
    """Put photos on a server, or what answers for all of them."""
    paths = [f"/{n}" for n in range(count)]
    for path in paths:
        site.pages[path] = (b"x", f'"{path}"')
        if trick is not None:
            site.tricks[path] = [trick]
    site.always = set(paths)
    return [f"{site.url}{path}" for path in paths]


def read_all(uris: list[str], threads: int = 2) -> list[str]:
    """Read photos as workers do; give what became of each."""

    def read(uri: str) -> str:
        try:
            storage.read(uri, 1000, allow_private=True)
        except PhotoError as error:
            return error.code if error.message.startswith(f"{uri}: ") else error.message
        return "read"

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(read, uris))


def silent(_: Any) -> None:
    """Say nothing for longer than anybody waits."""
    time.sleep(30)


def refusing() -> str:
    """Give an address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("trick", "code", "most"),
    [
        (silent, "timeout", 5),
        (trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), "timeout", 5),
        (trickle(b"HTTP/1.1 200 OK\r\nX: "), "timeout", 5),
        (reset, "http_error", 5),
        (status(503), "http_error", 12),
        (status(429, Retry_After="0"), "http_error", 12),
        (status(429, Retry_After="3600"), "http_error", 12),
    ],
)
def test_a_host_that_fails_all_is_left_alone(site: Site, trick: Any, code: str, most: int) -> None:
    begun = time.monotonic()
    codes = Counter(read_all(put(site, 200, trick)))
    assert set(codes) == {code, "host_unavailable"}
    assert codes[code] <= most
    assert len(site.log) <= 5 * most
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("place", [refusing, lambda: "http://nowhere.invalid"], ids=["refusing", "no name"])
def test_a_host_that_is_not_there_is_left_alone(monkeypatch: pytest.MonkeyPatch, place: Callable[[], str]) -> None:
    where = place()
    hosts.known.cache_clear()
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.001)
    codes = Counter(read_all([f"{where}/{n}" for n in range(200)]))
    assert set(codes) == {"http_error", "host_unavailable"}
    assert codes["http_error"] < 6


def test_the_message_says_which_host_what_it_did_and_when_it_is_asked_again(site: Site) -> None:
    uris = put(site, 20, status(502))
    read_all(uris, threads=1)
    with pytest.raises(PhotoError) as caught:
        storage.read(uris[-1], None, True)
    assert caught.value.message == (
        f"{uris[-1]}: {site.url} is left alone: the server answered 502 Bad Gateway, 10 photos in a row; it is asked "
        "again after 10 s"
    )


def test_other_hosts_are_read_meanwhile(site: Site) -> None:
    with serve() as other:
        good = put(other, 200)
        bad = put(site, 200, silent)
        begun = time.monotonic()
        codes = read_all([uri for pair in zip(good, bad, strict=True) for uri in pair])
        assert codes[::2] == ["read"] * 200
        assert time.monotonic() - begun < 60


def test_a_host_is_asked_again_by_one_and_is_back_once_it_answers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "FIRST_PAUSE_S", 1.0)
    uris = put(site, 40, silent)
    assert read_all(uris)[-1] == "host_unavailable"
    time.sleep(1.1)
    site.log.clear()
    codes = Counter(read_all(uris, threads=8))
    assert codes == {"timeout": 1, "host_unavailable": 39}
    assert len(site.log) == 1
    site.tricks.clear()
    assert set(read_all(uris)) == {"host_unavailable"}  # the second pause is twice as long
    time.sleep(2.1)
    assert read_all(uris, threads=1) == ["read"] * 40


def test_a_short_outage_costs_no_row(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a server that is started anew: waiting within a photo is enough."""
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.1)
    uris = put(site, 50, reset)
    threading.Timer(0.4, site.tricks.clear).start()
    assert read_all(uris) == ["read"] * 50


def test_a_host_that_is_silent_now_and_then_is_never_left_alone(site: Site) -> None:
    uris = put(site, 300)
    for n in range(50, 300, 50):
        site.tricks[f"/{n}"] = [silent]
    assert Counter(read_all(uris)) == {"read": 295, "timeout": 5}


def test_a_host_that_is_silent_on_every_other_photo_is_left_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ANSWER_S", 0.1)
    monkeypatch.setattr(web, "AGAIN_S", 0.1)
    uris = put(site, 200)
    for n in range(0, 200, 2):
        site.tricks[f"/{n}"] = [silent]
    codes = Counter(read_all(uris, threads=1))
    assert codes["timeout"] < 25
    assert codes["host_unavailable"] > 100


def test_single_photos_that_a_server_fails_on_do_not_make_it_unavailable(site: Site) -> None:
    uris = put(site, 300)
    for n in range(0, 300, 3):
        site.tricks[f"/{n}"] = [status(500)]
    assert Counter(read_all(uris)) == {"read": 200, "http_error": 100}


def test_it_is_the_host_behind_a_redirect_that_is_left_alone(site: Site) -> None:
    with serve() as other:
        put(other, 50, silent)
        uris = put(site, 50)
        for n in range(0, 50, 2):
            site.tricks[f"/{n}"] = [status(302, Location=f"{other.url}/{n}")]
        codes = read_all(uris)
        assert codes[1::2] == ["read"] * 25
        assert Counter(codes)["host_unavailable"] > 15


@pytest.mark.parametrize("trick", [silent, reset, status(503)])
def test_a_server_that_knows_no_head_loses_no_photo(site: Site, trick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = put(site, 60)

    def no_head(handler: Any) -> None:
        if handler.command == "HEAD":
            trick(handler)
            return
        time.sleep(0.05)
        status(404)(handler)

    for path in site.pages:
        site.tricks[path] = [no_head]
    monkeypatch.setattr(hosts, "FIRST_PAUSE_S", 0.1)
    assert set(storage.source_facts(uris[:30], True).values()) == {None}
    time.sleep(0.2)
    assert set(storage.source_facts(uris, True).values()) == {None}  # asked again, in vain
    assert len(site.asked("HEAD")) < 60
    assert set(read_all(uris, threads=8)) == {"not_found"}


def test_a_host_that_has_answered_no_head_gets_one_get(site: Site) -> None:
    uris = put(site, 60, silent)
    storage.source_facts(uris, True)
    assert Counter(read_all(uris, threads=8)) == {"timeout": 1, "host_unavailable": 59}


def test_a_host_is_asked_a_few_things_at_once_and_another_does_not_wait_for_it(site: Site) -> None:
    asking, most = [0], [0]
    lock = threading.Lock()

    def slow(handler: Any) -> None:
        with lock:
            asking[0] += 1
            most[0] = max(most[0], asking[0])
        time.sleep(0.05)
        with lock:
            asking[0] -= 1
        status(200, ETag='"v"')(handler)

    uris = put(site, 100, slow)
    with serve() as silent_one, serve() as other:
        uris += put(silent_one, 5000, silent) + put(other, 100)
        begun = time.monotonic()
        known = {uri for uri, facts in storage.source_facts(uris, True).items() if facts is not None}
        assert known == {uri for uri in uris if not uri.startswith(silent_one.url)}
        assert time.monotonic() - begun < 60
        assert len(silent_one.log) < 3 * hosts.REQUESTS_PER_HOST
        assert 1 < most[0] <= hosts.REQUESTS_PER_HOST
        read_all(uris[:100], threads=40)
    assert most[0] == hosts.REQUESTS_PER_HOST


def test_headers_that_were_cut_off_are_no_answer(site: Site) -> None:
    uris = put(site, 200, trickle(b"HTTP/1.1 200 OK\r\nX: "))
    assert set(storage.source_facts(uris, True).values()) == {None}
    assert len(site.log) < 3 * hosts.REQUESTS_PER_HOST


def test_a_run_that_is_stopped_does_not_wait_for_a_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FIRST_WAIT_S", 20)
    uris = put(site, 50, status(503))
    threading.Timer(0.3, STOP.set).start()
    begun = time.monotonic()
    try:
        read_all(uris)
        storage.source_facts(uris, True)
    finally:
        STOP.clear()
    assert time.monotonic() - begun < 15
    assert len(site.log) <= 50


def test_a_manifest_may_be_written_while_it_is_read(site: Site) -> None:
    """At a pace at which no photo would come."""

    def rows(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        for n in range(15):
            handler.wfile.write(f"{n}\n".encode())
            time.sleep(0.1)

    site.tricks["/feed.csv"] = [rows]
    with storage.open_read(f"{site.url}/feed.csv", 1 << 20) as stream:
        assert len(stream.read().splitlines()) == 15


def test_a_host_that_has_always_been_quick_is_not_waited_for_as_long() -> None:
    host = hosts.Host("http://quick")
    for _ in range(hosts.WELL_KNOWN - 1):
        host.took(0.01)
    assert host.expected(20, 5) == 20
    host.took(0.02)
    assert host.expected(20, 5) == 5
    host.took(1.5)
    assert host.expected(20, 5) == 15
    host.took(6)
    assert host.expected(20, 5) == 20
