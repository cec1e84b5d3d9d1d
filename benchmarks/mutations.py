"""Seeded mutations of files of every format that is read: each ends as a photo or as a failure of one line.

    python -m benchmarks.mutations [--seeds 0 10000] [--more FOLDER]

A seed chooses a file and damages it: bits, bytes, pieces cut, doubled, moved, or exchanged with another file's. Child
processes take a few hundred seeds each, so that a crash or a hang ends one of them, and names its seed.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from transforms.errors import PhotoError
from transforms.pixels.decode import decode

CHUNK = 250
HANG_S = 900.0
SIZE = (96, 72)
OPTIONS: dict[str, tuple[dict[str, object], ...]] = {
    "jpeg": ({"quality": 90}, {"progressive": True}, {"quality": 60, "restart_marker_blocks": 4}),
    "png": ({},),
    "webp": ({"quality": 80}, {"lossless": True}),
    "gif": ({},),
    "bmp": ({},),
    "tiff": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"}),
    "avif": ({"quality": 60, "speed": 10},),
    "heif": ({"quality": 60},),
}
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16")


def make_fixtures() -> dict[str, bytes]:
    """Write a small picture in every format, mode and way of packing that can be written here."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except ImportError:
        OPTIONS.pop("heif", None)
    rng = np.random.default_rng(1)
    rgb = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(SIZE)
    pictures = {mode: rgb.convert(mode) for mode in MODES if mode != "I;16"}
    pictures["I;16"] = Image.fromarray(np.asarray(pictures["L"]).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[274] = 6
    found = {}
    for name, ways in OPTIONS.items():
        for number, way in enumerate(ways):
            for mode, picture in pictures.items():
                file = io.BytesIO()
                try:
                    picture.save(file, name, exif=exif.tobytes(), **way)
                except (OSError, ValueError, KeyError):
                    continue
                found[f"{name}-{number}-{mode}"] = file.getvalue()
    return found


def mutate(seed: int, fixtures: list[bytes]) -> bytes:
    """Damage one of the files: one to six times, mostly near its beginning, where the headers are."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(fixtures))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        size = len(data)
        at = min(int(size * rng.random() ** rng.choice((1, 4))), max(0, size - 1))
        length = min(rng.choice((1, 2, 4, 16, 200, size // 3 + 1)), size - at)
        kind = rng.randrange(8)
        if kind == 0 and size:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            data[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 6:
            other = rng.choice(fixtures)
            data[at : at + length] = other[at : at + length]
        else:
            data[at : at + 4] = rng.choice((0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1)).to_bytes(
                4, rng.choice(("big", "little"))
            )
    return bytes(data)


def take(first: int, end: int, more: list[Path]) -> None:
    """Decode the mutations of some seeds; print a line of JSON for each, before it (its seed) and after it."""
    fixtures = [*make_fixtures().values(), *(path.read_bytes() for path in more)]
    for seed in range(first, end):
        data = mutate(seed, fixtures)
        print(json.dumps({"seed": seed}), flush=True)
        began = time.perf_counter()
        try:
            code = f"photo, {decode(data).format}"
        except MemoryError:
            code = "out_of_memory"
        except PhotoError as error:
            code = error.code if "\n" not in error.message else "more than one line"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        done = {"seed": seed, "code": code, "seconds": time.perf_counter() - began, "peak": peak}
        print(json.dumps(done), flush=True)


def main() -> None:
    """Take all seeds in chunks, and print Markdown. The exit code is 1 if a child crashed, hung or raised."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 10_000], metavar=("FIRST", "END"))
    parser.add_argument("--more", type=Path, metavar="FOLDER", help="files to mutate beside those made here")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    first, end = flags.seeds
    more = sorted(path for path in flags.more.rglob("*") if path.is_file()) if flags.more else []
    if flags.child:
        take(first, end, more)
        return
    codes: Counter[str] = Counter()
    slowest, peak, broken = (0.0, -1), 0.0, []
    while first < end:
        last = min(first + CHUNK, end)
        command = [sys.executable, "-m", "benchmarks.mutations", "--child", "--seeds", str(first), str(last)]
        command += ["--more", str(flags.more)] if flags.more else []
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
            said, why = child.stdout, f"exit code {child.returncode}: {child.stderr[-300:]}"
        except subprocess.TimeoutExpired as hung:
            said, why = (hung.stdout or b"").decode(), "hung"
        lines = [json.loads(line) for line in said.splitlines() if line.endswith("}")]
        for line in lines:
            if "code" in line:
                codes[line["code"]] += 1
                slowest, peak = max(slowest, (line["seconds"], line["seed"])), max(peak, line["peak"])
        reached = lines[-1]["seed"] if lines else first
        if not lines or "code" not in lines[-1]:
            broken.append(reached)
            print(f"seed {reached}: {why}", file=sys.stderr)
        first = reached + 1
    print("| ended as | mutations |\n|---|---|")
    for code, count in sorted(codes.items()):
        print(f"| {code} | {count} |")
    print(
        f"\n{codes.total()} mutations, {len(broken)} crashed, hung or raised; largest process {peak:.0f} MB; ", end=""
    )
    print(f"slowest {slowest[0]:.2f} s (seed {slowest[1]})")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
