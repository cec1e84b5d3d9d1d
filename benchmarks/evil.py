"""A catalog with one of every evil in it: every good photo is delivered, and each evil costs its own row.

    python -m benchmarks.evil --photos FOLDER [--rows 1850] [--skip silent_host …] [--only NAME …] [--workers N]

Runs the good photos alone, then the same with the evil ones among them, and compares: pictures byte for byte, codes,
the exit code, wall clock. The exit code is 1 if a good photo is missing or differs, an evil one has no right code, or
the run took more than 10 % longer than the good ones alone and the stated limits.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageCms

from transforms.output.earlier import newest_report
from transforms.pixels.formats.patience import SECONDS

PROCESSED, EMPTY = "processed", "no_subject"
READ = (PROCESSED, EMPTY)
HOSTS_S = 120.0
"""Seconds that hosts may take together that do not answer; and each `timeout` of a decoder patience.SECONDS."""

Found = dict[str, tuple[str, str]]
"""Of each id, its code (or `processed`) and the sha256 of its picture."""


@dataclass(frozen=True)
class Evil:
    """One evil row: its uri relative to the manifest's folder, and the codes that are right for it."""

    uri: str
    codes: tuple[str, ...]


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    """Encode a picture."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def repeated_scans(count: int, size: tuple[int, int]) -> bytes:
    """Write a progressive JPEG with its last scan over and over: some bytes, and once over all pixels, each."""
    data = encoded(Image.new("RGB", size, (120, 90, 30)), "jpeg", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def many_segments(content: bytes, count: int) -> bytes:
    """Write a JPEG with an APP1 segment over and over."""
    data = encoded(Image.new("RGB", (64, 48)), "jpeg")
    return data[:2] + (struct.pack(">BBH", 0xFF, 0xE1, len(content) + 2) + content) * count + data[2:]


def png(width: int, height: int, bits: int, chunks: bytes = b"", rows: int | None = None) -> bytes:
    """Write a black grey PNG; with fewer rows than it says, if wanted."""
    packer, line = zlib.compressobj(9), bytes((width * bits + 7) // 8 + 1)
    pixels = b"".join([packer.compress(line) for _ in range(height if rows is None else rows)] + [packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunks + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Write a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def directory(entries: int, size: int) -> bytes:
    """Write a TIFF directory whose every entry names all of the file."""
    tags = b"".join(struct.pack("<HHII", 1000 + number, 1, size, 0) for number in range(entries))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + tags + bytes(4)).ljust(size, b"\0")


def evil_files(photo: bytes) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Make the evil files: bytes, and the codes that are right for them."""
    with Image.open(io.BytesIO(photo)) as opened:
        rgb = opened.convert("RGB")
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    packed = zlib.compress(bytes(200_000_000), 9)
    whole = {name: encoded(rgb, name) for name in ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")}
    files: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "1x1.png": (encoded(Image.new("RGB", (1, 1)), "png"), READ),
        "1x1.gif": (encoded(Image.new("P", (1, 1)), "gif"), READ),
        "1x1.jpg": (encoded(Image.new("RGB", (1, 1)), "jpeg"), READ),
        "line.png": (encoded(Image.new("RGB", (3000, 1), "red"), "png"), READ),
        "post.png": (encoded(Image.new("RGBA", (1, 3000), "red"), "png"), READ),
        "long-line.png": (png(20_000_000, 1, 8), READ),
        "pixels.png": (png(9900, 9900, 1), READ),
        "deep-pixels.png": (png(9000, 9000, 16), READ),
        "too-many.png": (png(60_000, 60_000, 1, rows=1), ("too_many_pixels",)),
        "scans-300.jpg": (repeated_scans(300, (4000, 3000)), (*READ, "timeout")),
        "scans-3000.jpg": (repeated_scans(3000, (6000, 4000)), ("timeout",)),
        "exif.jpg": (many_segments(b"Exif\0\0" + bytes(65_000), 1500), ("timeout", *READ)),
        "directory.jpg": (many_segments(b"Exif\0\0" + directory(5000, 60_048), 1), (*READ, "corrupt")),
        "directory.png": (png(64, 48, 8, chunk(b"eXIf", directory(60_000, 30_000_000))), (*READ, "corrupt")),
        "directory.tif": (directory(60_000, 2_000_000), ("corrupt", "unsupported_format")),
        "chunks.png": (png(64, 48, 8, chunk(b"abCd", b"") * 3_000_000), ("timeout", *READ)),
        "text.png": (png(64, 48, 8, chunk(b"zTXt", b"a\0\0" + packed)), (*READ, "corrupt")),
        "deep.png": (encoded(deep, "png"), READ),
        "deep.tif": (encoded(deep, "tiff"), READ),
        "cmyk.jpg": (encoded(rgb.convert("CMYK"), "jpeg"), READ),
        "cmyk.tif": (encoded(rgb.convert("CMYK"), "tiff"), READ),
        "bad-icc.jpg": (encoded(rgb, "jpeg", icc_profile=b"\0\0\2\0nonsense" * 100), READ),
        "lab-icc.jpg": (encoded(rgb, "jpeg", icc_profile=lab), READ),
        "float.tif": (encoded(Image.new("F", (50, 50), 0.5), "tiff"), ("unsupported_format",)),
        "empty.jpg": (b"", ("not_an_image",)),
        "page.jpg": (b"<!doctype html><html>404</html>", ("not_an_image", "unsupported_format")),
        "drawing.svg": (b"<?xml version='1.0'?><svg/>", ("unsupported_format",)),
        "paper.pdf": (b"%PDF-1.7\n", ("unsupported_format",)),
        "zeros.jpg": (bytes(100_000), ("not_an_image",)),
        "is-a-png.jpg": (whole["png"], READ),
        "behind.jpg": (whole["jpeg"] + bytes(10_000_000), READ),
        "too-large.jpg": (whole["jpeg"] + bytes(140_000_000), ("too_large",)),
    }
    for name, data in whole.items():
        files[f"half.{name}"] = (data[: len(data) // 2], ("truncated", "corrupt"))
        files[f"begin.{name}"] = (data[:20], ("truncated", "corrupt", "not_an_image", "unsupported_format"))
    return files


@contextmanager
def host(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a port of this machine in a process of its own, and do this with every connection."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    child = os.fork()
    if not child:
        try:
            held = []
            while True:
                connection, _ = listening.accept()
                held.append(connection)
                behave(connection)
        finally:
            os._exit(0)
    port = listening.getsockname()[1]
    listening.close()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def reset(connection: socket.socket) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def make_evil(folder: Path, photo: bytes, stack: ExitStack) -> dict[str, Evil]:
    """Make all evil rows, by name."""
    folder.mkdir()
    found = {}
    for name, (data, codes) in evil_files(photo).items():
        (folder / name).write_bytes(data)
        found[name] = Evil(f"evil/{name}", codes)
    (folder / "directory").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "locked.jpg").write_bytes(photo)
    (folder / "locked.jpg").chmod(0)
    unread = ("read_failed", "not_found", "forbidden", "not_an_image", "bad_row")
    for name in ("directory", "fifo.jpg", "zero.jpg", "loop.jpg", "dangling.jpg"):
        found[name] = Evil(f"evil/{name}", (*unread, "too_large"))
    found["locked"] = Evil("evil/locked.jpg", ("forbidden", PROCESSED) if not os.geteuid() else ("forbidden",))
    found |= {
        "missing": Evil("evil/nothing.jpg", ("not_found",)),
        "nul": Evil("evil/a\0b/x.jpg", ("bad_row", "not_found")),
        "nul_escaped": Evil("file:///tmp/a%00b/x.jpg", ("bad_row", "not_found")),
        "long": Evil(f"evil/{'x' * 5000}.jpg", ("bad_row", "not_found", "read_failed")),
        "scheme": Evil("ftp://example.org/x.jpg", ("bad_row",)),
        "no_uri": Evil("", ("bad_row",)),
    }
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    dead.close()
    away = ("timeout", "host_unavailable", "http_error")
    found["refused_port"] = Evil(f"http://127.0.0.1:{port}/x.jpg", away)
    found["silent_host"] = Evil(f"{stack.enter_context(host(lambda connection: None))}/x.jpg", away)
    found["reset_host"] = Evil(f"{stack.enter_context(host(reset))}/x.jpg", away)
    return found


def run(folder: Path, name: str, rows: list[tuple[str, str]], workers: str) -> tuple[float, int, Found]:
    """Run a catalog; give seconds, the exit code, and what became of the rows."""
    manifest, output = folder / f"{name}.csv", folder / name
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "uri"), *rows])
    command = [sys.executable, "-m", "pipeline", "run", "--model", "u2netp", "--allow_private_addresses"]
    command += [
        "--manifest",
        str(manifest),
        "--output",
        str(output),
        *(["--direct_num_workers", workers] if workers else []),
    ]
    began = time.perf_counter()
    exit_code = subprocess.run(command).returncode
    seconds = time.perf_counter() - began
    found = {}
    for shard in newest_report(str(output)).shards:
        for row in pq.ParquetFile(shard).read().to_pylist():
            found[row["id"]] = (row["code"] or row["status"], row["output_sha256"])
    return seconds, exit_code, found


def main() -> None:
    """Run both catalogs, compare, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="good photos, used over and over")
    parser.add_argument("--rows", type=int, default=1850, metavar="N", help="good rows (default: %(default)s)")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="evils to leave out")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="evils to have")
    parser.add_argument("--workers", default="", metavar="N", help="worker threads (default: one a core)")
    flags = parser.parse_args()
    photos = sorted(path for path in flags.photos.rglob("*") if path.suffix.lower() in (".jpg", ".png", ".webp"))
    with tempfile.TemporaryDirectory(prefix="whitesweep-evil-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        (folder / "good").mkdir()
        good = []
        for number in range(flags.rows):
            photo = photos[number % len(photos)]
            link = folder / "good" / f"{number}{photo.suffix}"
            link.write_bytes(photo.read_bytes())
            good.append((f"good-{number}", f"good/{link.name}"))
        evil = make_evil(folder / "evil", photos[0].read_bytes(), stack)
        evil = {n: e for n, e in evil.items() if n not in flags.skip and (not flags.only or n in flags.only)}
        alone, _, before = run(folder, "alone", good, flags.workers)
        rows = good + [(f"evil-{name}", row.uri) for name, row in evil.items()]
        random.Random(0).shuffle(rows)
        seconds, exit_code, after = run(folder, "among", rows, flags.workers)
    wrong = [name for name, row in evil.items() if after.get(f"evil-{name}", ("no row", ""))[0] not in row.codes]
    lost = [name for name, _ in good if before[name] != after.get(name)]
    failed = sum(code not in (PROCESSED, "unchanged") for code, _ in after.values())
    right_exit = int(failed > 0.05 * len(rows))
    print("\n| evil | ended as | right |\n|---|---|---|")
    for name, row in evil.items():
        print(f"| {name} | {after.get(f'evil-{name}', ('no row', ''))[0]} | {', '.join(row.codes)} |")
    slow = [name for name, row in evil.items() if after.get(f"evil-{name}", ("", ""))[0] == "timeout"]
    allowed = 1.1 * alone + SECONDS * len(slow) + HOSTS_S * any("host" in name for name in evil)
    print(f"\n{len(good)} good rows alone: {alone:.0f} s")
    print(f"with {len(evil)} evil ones: {seconds:.0f} s, {allowed:.0f} allowed")
    print(f"{len(rows)} rows, {len(after)} in the report; exit code {exit_code}, right is {right_exit}")
    print(f"good ones lost or different: {len(lost)} {lost[:5]}; wrong codes: {wrong}")
    right = not lost and not wrong and exit_code == right_exit and len(after) == len(rows) and seconds <= allowed
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
