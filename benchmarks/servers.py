"""Photos on web servers that are dead, silent or die: what they cost the photos of others.

    python -m benchmarks.servers --photos FOLDER [--rows 500] [--half 186] [--only NAME …]

A catalog of so many photos on a good server, alone and with as many on a bad one; and one whose only server dies after
half of its photos. It is the whole pipeline, with u2netp, and servers on this machine.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

DEATHS = ("stops", "silent", "resets", "503")
HELD: list[socket.socket] = []


class Good(ThreadingHTTPServer):
    """A server of photos, which dies in one way or another after so many."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, photos: list[bytes], death: str = "", after: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.photos, self.death, self.after, self.given = photos, death, after, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Say nothing of connections that end."""


class Handler(BaseHTTPRequestHandler):
    """Gives photo N for /N, with an ETag."""

    protocol_version = "HTTP/1.1"
    server: Good

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer, or die."""
        server = self.server
        with server.lock:
            server.given += self.command == "GET"
            dead = server.death and server.given > server.after
        if dead:
            self.close_connection = True
            if server.death == "503":
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif server.death == "silent":
                time.sleep(3600)
            else:
                if server.death == "stops":
                    server.socket.close()
                with suppress(OSError):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
            return
        data = server.photos[int(self.path[1:]) % len(server.photos)]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{self.path}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815


def listen(answer: bytes | None) -> str:
    """Accept and never answer; or begin to, and go on byte by byte."""
    door = socket.create_server(("127.0.0.1", 0), backlog=512)

    def trickle(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.recv(4096)
            connection.sendall(answer or b"")
            while True:
                time.sleep(0.5)
                connection.sendall(b"x")

    def accept() -> None:
        while True:
            connection, _ = door.accept()
            HELD.append(connection)
            if answer is not None:
                threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"127.0.0.1:{door.getsockname()[1]}"


def refusing() -> str:
    """Give an address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return f"127.0.0.1:{door.getsockname()[1]}"


BAD: dict[str, Callable[[], str]] = {
    "refused": refusing,
    "silent": lambda: listen(None),
    "trickling body": lambda: listen(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "trickling headers": lambda: listen(b"HTTP/1.1 200 OK\r\nX: "),
    "no such name": lambda: "nowhere.invalid",
}


def measure(name: str, addresses: list[str], folder: Path) -> float:
    """Run a catalog, print a row of Markdown, and give the seconds."""
    random.Random(1).shuffle(addresses)
    manifest, output = folder / f"{name}.csv", folder / name
    manifest.write_text("uri\n" + "".join(f"{address}\n" for address in addresses))
    command = ["run", "--manifest", str(manifest), "--output", str(output), "--model", "u2netp"]
    more = ["--allow_private_addresses", "--max_failure_fraction", "1"]
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "pipeline", *command, *more], capture_output=True, text=True)
    seconds = time.monotonic() - began
    latest = json.loads((output / "report/latest.json").read_text())["run_id"]
    run = json.loads((output / "runs" / latest / "run.json").read_text())
    codes = Counter({"good": run["rows"] - run["statuses"].get("failed", 0), **run["failures"]})
    said = ", ".join(f"{count} {code}" for code, count in codes.items())
    print(f"| {name} | {done.returncode} | {seconds:.1f} s | {said} |", flush=True)
    return seconds


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--half", type=int, default=186)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    flags = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(flags.photos.rglob("*.jpg"))]
    print("| catalog | exit | wall clock | rows |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="whitesweep-") as temporary:
        folder = Path(temporary)
        good = Good(photos)
        own = [f"http://127.0.0.1:{good.server_port}/{n}" for n in range(flags.rows)]
        for name, make in {"good alone": None, **BAD}.items():
            if not flags.only or name in flags.only:
                place = make() if make is not None else ""
                measure(name, [*own, *([f"http://{place}/{n}" for n in range(flags.rows)] if place else [])], folder)
        for death in DEATHS:
            if not flags.only or f"dies: {death}" in flags.only:
                dying = Good(photos, death, flags.half // 2)
                port = dying.server_port
                measure(f"dies: {death}", [f"http://127.0.0.1:{port}/{n}" for n in range(flags.half)], folder)


if __name__ == "__main__":
    main()
