"""A real web server over loopback that can be told to misbehave."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from transforms.storage import hosts


@dataclass
class Site:
    """What a server holds, what it was asked, and how it is to answer.

    pages: by path, body and ETag. tricks: by path, what answers instead, one for each request to come; the last one
    stays for good if `always` names the path. log: method and path of each request.
    """

    url: str = ""
    pages: dict[str, tuple[bytes, str | None]] = field(default_factory=dict)
    tricks: dict[str, list[Callable[[Any], None]]] = field(default_factory=lambda: defaultdict(list))
    always: set[str] = field(default_factory=set)
    log: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, method: str) -> list[str]:
        """Give the paths that were asked for by a method."""
        return [path for said, path in self.log if said == method]


@contextmanager
def serve() -> Iterator[Site]:
    """Serve a site until the end of the block."""
    site = Site()
    hosts.known.cache_clear()  # another server may have had this port

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            site.log.append((self.command, self.path))
            tricks = site.tricks[self.path]
            if tricks:
                trick = tricks[0] if self.path in site.always and len(tricks) == 1 else tricks.pop(0)
                trick(self)
                return
            data, etag = site.pages.get(self.path, (None, None))
            if data is None:
                status(404)(self)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that hangs up is part of the tests

    server = Server(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, **headers: str) -> Callable[[Any], None]:
    """Answer with a status and headers, and no body; `_` in a header's name stands for `-`."""

    def answer(handler: Any) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def reset(handler: Any) -> None:
    """Hang up without an answer."""
    handler.close_connection = True


def cut(handler: Any) -> None:
    """Promise a thousand bytes, send ten, and hang up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"0123456789")
    handler.close_connection = True


def chunked(*parts: bytes, whole: bool = True) -> Callable[[Any], None]:
    """Send parts of a length that nobody has said before; if not whole, hang up after the last."""

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True

    return answer


def trickle(begin: bytes, drop: bytes = b"x") -> Callable[[Any], None]:
    """Send the beginning of an answer, and then a few bytes a second for as long as anybody listens."""

    def answer(handler: Any) -> None:
        handler.close_connection = True
        handler.wfile.write(begin)
        while True:
            time.sleep(0.05)
            handler.wfile.write(drop)

    return answer
