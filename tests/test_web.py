"""Photos on web servers: read, retried, and never from where a manifest has no business."""

from __future__ import annotations

import gzip
import ipaddress
import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from urllib3.util import connection
from webserver import Site, chunked, cut, reset, serve, status

from transforms import storage
from transforms.errors import PhotoError
from transforms.storage import addresses, hosts, web


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server, and no patience."""
    monkeypatch.setattr(web, "FIRST_WAIT_S", 0.001)
    with serve() as site:
        yield site


def fail(uri: str, max_bytes: int | None = None, allow_private: bool = True) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        storage.read(uri, max_bytes, allow_private)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith(uri)
    return caught.value


def test_reads_a_photo_with_its_strong_etag(site: Site) -> None:
    site.pages |= {"/a": (b"strong", '"v1"'), "/b": (b"weak", 'W/"v1"'), "/c": (b"", None)}
    version = storage.read(f"{site.url}/a", allow_private=True).version
    assert re.fullmatch('"v1"@[0-9a-f]{12}', version)
    site.pages["/a2"] = site.pages["/a"]
    other = storage.read(f"{site.url}/a2", allow_private=True).version
    assert other != version  # an ETag promises nothing of two addresses
    assert storage.read(f"{site.url}/b", allow_private=True).version == ""
    assert storage.read(f"{site.url}/c", 0, allow_private=True).data == b""


def test_names_with_spaces_and_letters_of_other_alphabets_are_escaped(site: Site) -> None:
    site.pages["/%C3%A4%20b%25.jpg?w=1&x=%C3%B6"] = (b"x", None)
    assert storage.read(f"{site.url}/ä b%25.jpg?w=1&x=ö#top", allow_private=True).data == b"x"


def test_what_may_go_better_is_tried_again(site: Site) -> None:
    site.pages["/x"] = (b"x" * 1000, None)
    site.tricks["/x"] = [status(503), reset, cut, status(429, Retry_After="0")]
    assert storage.read(f"{site.url}/x", allow_private=True).data == b"x" * 1000
    assert len(site.log) == web.ATTEMPTS


def test_what_never_goes_better_is_given_up_after_five_attempts(site: Site) -> None:
    for trick, code, said in (
        (status(503), "http_error", "answered 503"),
        (cut, "http_error", ""),
        (reset, "http_error", ""),
        (chunked(b"abc", whole=False), "http_error", ""),
    ):
        site.log.clear()
        hosts.known.cache_clear()
        site.tricks["/x"], site.always = [trick], {"/x"}
        error = fail(f"{site.url}/x")
        assert error.code == code
        assert said in error.message
        assert len(site.log) == web.ATTEMPTS


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (404, "not_found"),
        (410, "not_found"),
        (401, "forbidden"),
        (403, "forbidden"),
        (400, "http_error"),
        (204, "http_error"),
    ],
)
def test_what_is_final_is_asked_once(site: Site, answer: int, code: str) -> None:
    site.tricks["/x"] = [status(answer)]
    assert fail(f"{site.url}/x").code == code
    assert len(site.log) == 1


def test_a_server_that_wants_more_patience_than_we_have_is_given_up_at_once(site: Site) -> None:
    site.tricks["/x"] = [status(429, Retry_After="3600")]
    assert fail(f"{site.url}/x").code == "http_error"
    assert len(site.log) == 1


def test_a_server_that_asks_to_wait_is_obeyed(site: Site) -> None:
    site.pages["/x"] = (b"x", None)
    site.tricks["/x"] = [status(503, Retry_After="1")]
    begun = time.monotonic()
    storage.read(f"{site.url}/x", allow_private=True)
    assert time.monotonic() - begun >= 1


def test_a_body_is_read_no_further_than_the_limit(site: Site) -> None:
    site.pages["/x"] = (b"x" * 10, None)
    assert fail(f"{site.url}/x", 9).code == "too_large"
    assert storage.read(f"{site.url}/x", 10, allow_private=True).data == b"x" * 10
    sent = []

    def flood(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65536)
            sent.append(65536)

    site.tricks["/y"] = [flood]
    assert fail(f"{site.url}/y", 1_000_000).code == "too_large"
    assert sum(sent) < 100_000_000


def test_a_packed_body_is_unpacked_within_the_limit(site: Site) -> None:
    def packed(handler: Any) -> None:
        data = gzip.compress(b"0" * 50_000_000)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    site.tricks["/x"], site.always = [packed], {"/x"}
    assert fail(f"{site.url}/x", 1_000_000).code == "too_large"
    assert len(storage.read(f"{site.url}/x", allow_private=True).data) == 50_000_000


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip,deflate,gzip", "br", "compress", "zstd, br"])
def test_a_body_is_unpacked_once_or_not_at_all(site: Site, coding: str) -> None:
    """A few bytes can be packed to unpack to terabytes, step by step; nobody needs that for a photo."""

    def packed(handler: Any) -> None:
        status(200, Content_Encoding=coding)(handler)

    site.tricks["/x"], site.always = [packed], {"/x"}
    error = fail(f"{site.url}/x")
    assert error.code == "http_error"
    assert "packed" in error.message
    assert len(site.log) == 1


def test_a_bomb_takes_the_memory_of_its_limit(site: Site) -> None:
    answer = chunked(gzip.compress(b"0" * 200_000_000))

    def packed(handler: Any) -> None:
        send = handler.end_headers
        handler.end_headers = lambda: (handler.send_header("Content-Encoding", "gzip"), send())
        answer(handler)

    site.tricks["/x"] = [packed]
    tracemalloc.start()
    try:
        assert fail(f"{site.url}/x", 1_000_000).code == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_a_coding_that_is_none_is_passed_over(site: Site) -> None:
    for said in ("binary", "utf-8", "identity", "image/jpeg"):
        site.tricks["/x"] = [status(200, Content_Encoding=said)]
        assert storage.read(f"{site.url}/x", allow_private=True).data == b""


def test_a_silent_server_and_one_that_trickles_time_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "ANSWER_S", 1)
    monkeypatch.setattr(web, "ATTEMPTS", 2)
    done = threading.Event()

    def trickle(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.close_connection = True
        while not done.wait(0.1):
            handler.wfile.write(b"x")

    def silent(_: Any) -> None:
        done.wait(20)

    site.tricks["/silent"], site.always = [silent], {"/silent"}
    assert fail(f"{site.url}/silent").code == "timeout"
    assert len(site.log) == 2
    monkeypatch.setattr(web, "PHOTO_S", 1)
    site.tricks["/slow"] = [trickle]
    assert fail(f"{site.url}/slow").code == "timeout"
    done.set()


def test_a_server_that_never_comes_to_an_end_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "PHOTO_S", 1)
    done = threading.Event()

    def drip(begin: bytes, drop: bytes) -> Any:
        def answer(handler: Any) -> None:
            handler.close_connection = True
            handler.wfile.write(begin)
            while not done.wait(0.05):
                handler.wfile.write(drop)

        return answer

    site.tricks["/continue"] = [drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")] * 2
    site.tricks["/header"] = [drip(b"HTTP/1.1 200 OK\r\nX: ", b"x")] * 2
    site.tricks["/trailer"] = [
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"T: x\r\n")
    ] * 2
    begun = time.monotonic()
    for path in ("/continue", "/header", "/trailer"):
        hosts.known.cache_clear()
        assert fail(f"{site.url}{path}").code == "timeout"
        assert storage.source_facts([f"{site.url}{path}"], True) == {f"{site.url}{path}": None}
    done.set()
    assert time.monotonic() - begun < 15


def test_redirects_are_followed_a_few_times(site: Site) -> None:
    site.pages["/x/y"] = (b"x", '"v"')
    site.tricks["/a"] = [status(302, Location="b")]
    site.tricks["/b"] = [status(308, Location=f"{site.url}/x/y")]
    assert storage.read(f"{site.url}/a", allow_private=True).version.startswith('"v"@')
    site.tricks["/loop"], site.always = [status(301, Location="/loop")], {"/loop"}
    assert "redirects" in fail(f"{site.url}/loop").message
    site.tricks["/nowhere"] = [status(302, Location="http://[")]
    assert fail(f"{site.url}/nowhere").code == "http_error"
    site.tricks["/file"] = [status(302, Location="file:///etc/passwd")]
    assert "file://" in fail(f"{site.url}/file").message


def test_the_body_of_a_redirect_is_not_read(site: Site) -> None:
    sent = []

    def flood(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/x")
        handler.end_headers()
        handler.close_connection = True
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65536)
            sent.append(65536)

    site.pages["/x"] = (b"x", None)
    site.tricks["/flood"] = [flood]
    assert storage.read(f"{site.url}/flood", allow_private=True).data == b"x"
    assert sum(sent) < 100_000_000


def test_a_private_server_must_be_allowed(site: Site) -> None:
    site.pages["/x"] = (b"x", '"v"')
    error = fail(f"{site.url}/x", allow_private=False)
    assert error.code == "blocked_address"
    assert "--allow_private_addresses" in error.message
    assert storage.source_facts([f"{site.url}/x"]) == {f"{site.url}/x": None}
    assert site.log == []
    assert storage.read(f"{site.url}/x", allow_private=True).data == b"x"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "10.1.2.3",
    ],
)
def test_no_other_spelling_of_a_private_address_is_let_through(site: Site, host: str) -> None:
    port = site.url.rpartition(":")[2]
    site.pages["/x"] = (b"x", None)
    assert fail(f"http://{host}:{port}/x", allow_private=False).code == "blocked_address"
    assert site.log == []


def test_the_address_that_was_looked_at_is_the_one_connected_to(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a public address first and to a private one then (DNS rebinding) gains nothing."""
    port, answers, reached = int(site.url.rpartition(":")[2]), ["93.184.215.14", "127.0.0.1"], []
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
        return real(answers.pop(0) if host == "rebinding.example" else host, *arguments, **named)

    def connect(address: Any, *_: Any, **__: Any) -> Any:
        reached.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(addresses, "create_connection", connect)
    monkeypatch.setattr(web, "ATTEMPTS", 1)
    assert fail(f"http://rebinding.example:{port}/x", allow_private=False).code == "http_error"
    assert reached == [("93.184.215.14", port)]


def test_a_redirect_to_a_private_address_is_blocked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where private servers are allowed, a cloud's metadata server is not."""
    site.tricks["/x"] = [status(302, Location="http://169.254.169.254/computeMetadata/v1/")]
    assert fail(f"{site.url}/x", allow_private=True).code == "blocked_address"


@pytest.mark.parametrize(
    ("text", "public", "private"),
    [
        ("8.8.8.8", True, False),
        ("2001:4860:4860::8888", True, False),
        ("10.0.0.1", False, True),
        ("192.168.1.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd12::1", False, True),
        ("100.64.0.1", False, True),
        ("100.100.100.200", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("fd20:ce::254", False, False),
        ("168.63.129.16", False, False),
        ("fec0::1", False, False),
        ("64:ff9b:1::7f00:1", False, False),
        ("::127.0.0.1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::1", False, False),
        ("224.0.0.1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
    ],
)
def test_public_and_private_addresses(text: str, public: bool, private: bool) -> None:
    address = ipaddress.ip_address(text)
    assert (addresses.is_public(address), addresses.is_private(address)) == (public, private)


def test_versions_are_asked_for_without_reading(site: Site) -> None:
    site.pages |= {"/a": (b"12345", '"v1"'), "/b": (b"12345", 'W/"v1"'), "/c": (b"-", None)}
    site.tricks["/a"] = [status(503)]
    uris = [f"{site.url}/{name}" for name in "abcd"]
    facts = storage.source_facts(uris, allow_private=True)
    known = facts[uris[0]]
    assert known is not None
    assert known.version == storage.read(uris[0], allow_private=True).version
    assert known.content_key() == "5"
    assert [facts[uri] for uri in uris[1:]] == [None, None, None]
    assert site.asked("GET") == ["/a"]


def test_versions_behind_redirects_are_asked_for_on_one_connection(site: Site) -> None:
    uris: list[str] = []
    for n in range(20):
        site.pages[f"/x{n}"] = (b"x", f'"{n}"')
        site.tricks[f"/r{n}"], uris = [status(302, Location=f"/x{n}")], [*uris, f"{site.url}/r{n}"]
    assert None not in storage.source_facts(uris, allow_private=True).values()


def test_a_few_photos_that_fail_do_not_make_a_host_silent(site: Site) -> None:
    for n in range(200):
        site.pages[f"/{n}"] = (b"x", f'"{n}"')
    site.always = {f"/{n}" for n in range(0, 200, 8)}
    site.tricks |= {path: [status(503)] for path in site.always}
    facts = storage.source_facts([f"{site.url}{path}" for path in site.pages], allow_private=True)
    assert list(facts.values()).count(None) == 25


def test_passwords_of_the_machine_are_kept_and_those_of_the_address_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login all password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    said = []

    def ask(handler: Any) -> None:
        said.append(handler.headers["Authorization"])
        status(404)(handler)

    site.tricks["/x"] = [ask, ask]
    fail(f"{site.url}/x")
    with pytest.raises(PhotoError):
        storage.read(f"{site.url.replace('://', '://me:you@')}/x", allow_private=True)
    assert said == [None, "Basic bWU6eW91"]


def test_a_host_that_does_not_answer_is_not_asked_for_every_photo(site: Site) -> None:
    site.always = {f"/{n}" for n in range(500)}
    site.tricks |= {path: [reset] for path in site.always}
    assert set(storage.source_facts([f"{site.url}{path}" for path in site.always], True).values()) == {None}
    assert len(site.log) < 3 * hosts.REQUESTS_PER_HOST


def test_a_connection_serves_many_photos(site: Site) -> None:
    site.pages |= {f"/{n}": (b"x" * 100_000, '"v"') for n in range(20)}
    made = []
    original = connection.create_connection

    def count(*arguments: Any, **named: Any) -> Any:
        made.append(arguments)
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(addresses, "create_connection", count)
        for n in range(20):
            storage.read(f"{site.url}/{n}", 100_000, allow_private=True)
    assert len(made) == 1


def test_a_server_without_a_certificate_is_not_trusted(site: Site) -> None:
    error = fail(site.url.replace("http://", "https://") + "/x")
    assert error.code == "http_error"
    assert "secure" in error.message


def test_what_is_no_address_is_a_bad_row_and_an_unknown_host_an_error(site: Site) -> None:
    for uri in ("http://", "http://a b/x", "http://[::1/x", "https://x:99999999/", "http://\u2100.example/x"):
        assert fail(uri).code == "bad_row", uri
        assert storage.source_facts([uri], True) == {uri: None}
    assert fail("http://nowhere.invalid/x").code == "http_error"


def test_names_are_resolved_against_a_manifests_address() -> None:
    base = storage.parent("https://shop.example/feeds/today.csv?token=a/b#c")
    assert base == "https://shop.example/feeds"
    assert storage.join(base, "a/../b.jpg?v=1") == "https://shop.example/feeds/b.jpg?v=1"
    assert storage.join(base, "/b.jpg") == "https://shop.example/b.jpg"
    assert storage.join(base, "//cdn.example/b.jpg") == "https://cdn.example/b.jpg"
    assert storage.join(base, "//[b.jpg") == "https://shop.example/feeds///[b.jpg"
    assert storage.join(base, "gs://b/c.jpg") == "gs://b/c.jpg"
    assert storage.join("/data", "https://h/b.jpg") == "https://h/b.jpg"
