"""Measure a migration against a bare loop that reads, decodes, resizes, composites, encodes and writes the same photos.

    python -m benchmarks.migrate [--photos 600] [--megapixels 1.08] [--rounds 3]

Both use all cores and start from the same photos and stored maps; each round runs one after the other, so that noise
meets both. Compared are seconds without the start of the interpreter, and the process's peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.process import measured
from model.machine import available_cpus

DIFFERENT = 20  # photos that differ; the others are copies under other names, which cost a migration just as much
POLICY = "0.5"


def make_catalog(folder: Path, count: int, megapixels: float) -> None:
    """Make photos of round things on noise, and a manifest."""
    (folder / "photos").mkdir(parents=True)
    side = round((megapixels * 1e6) ** 0.5)
    rows = ["id,uri"]
    for number in range(count):
        path = folder / "photos" / f"{number:05d}.jpg"
        if number < DIFFERENT:
            rng = np.random.default_rng(number)
            image = Image.fromarray(rng.normal(170, 8, (side, side, 3)).clip(0, 255).astype(np.uint8))
            box = tuple(side * share for share in (0.25, 0.2, 0.75, 0.85))
            ImageDraw.Draw(image).ellipse(box, fill=tuple(int(c) for c in rng.integers(0, 255, 3)))
            image.filter(ImageFilter.GaussianBlur(1)).save(path, quality=92)
        else:
            path.write_bytes((folder / "photos" / f"{number % DIFFERENT:05d}.jpg").read_bytes())
        rows.append(f"{number:05d},photos/{path.name}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def bare_loop(folder: Path, output: Path) -> float:
    """Migrate with nothing but Pillow and a thread pool; give the seconds.

    It names the maps itself: importing our own module for that would bring OpenCV into the memory it is measured by.
    """
    import pyarrow.parquet as pq

    shards = sorted((folder / "out").glob("report/run=*/part-*.parquet"))[:1]
    rows = pq.read_table(shards[0], columns=["id", "uri", "map_key"]).to_pylist()
    output.mkdir()
    table = [255 if level >= 0.5 * 255 else 0 for level in range(256)]

    def one(row: dict[str, str]) -> None:
        saliency = folder / "out/maps" / row["map_key"][:2] / f"{row['map_key']}.png"
        with Image.open(folder / row["uri"]) as photo, Image.open(saliency) as map_:
            mask = map_.resize(photo.size, Image.Resampling.BILINEAR).point(table)
            white = Image.new("RGB", photo.size, "white")
            picture = Image.composite(photo.convert("RGB"), white, mask)
        picture.save(output / f"{row['id']}.jpg", "JPEG", quality=95, subsampling=0)

    began = time.perf_counter()
    with ThreadPoolExecutor(available_cpus()) as pool:
        list(pool.map(one, rows))
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print each round and the medians of the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--megapixels", type=float, default=1.08)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True, help="an empty scratch folder")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.bare:
        print(bare_loop(flags.work, flags.bare))
        return
    make_catalog(flags.work, flags.photos, flags.megapixels)
    here = [sys.executable, "-m"]
    common = ["--manifest", str(flags.work / "manifest.csv")]
    first = flags.work / "out"
    measured([*here, "pipeline", "run", *common, "--output", str(first), "--model", "u2netp"])
    ratios = []
    for number in range(flags.rounds):
        output = flags.work / f"migrated{number}"
        migrate = ["migrate", *common, "--from", str(first), "--output", str(output), "--policy", POLICY]
        our_memory = measured([*here, "pipeline", *migrate]).peak
        latest = json.loads((output / "report/latest.json").read_text())["run_id"]
        ours = json.loads((output / "runs" / latest / "run.json").read_text())["seconds"]
        bare = ["benchmarks.migrate", "--work", str(flags.work), "--bare", str(flags.work / f"bare{number}")]
        loop = measured([*here, *bare])
        theirs, bare_memory = float(loop.said), loop.peak
        ratios.append((ours / theirs, our_memory / bare_memory))
        print(
            f"migrate {flags.photos / ours:.1f} photos a second, {our_memory:.0f} MB; "
            f"bare loop {flags.photos / theirs:.1f} photos a second, {bare_memory:.0f} MB"
        )
    time_ratio, memory_ratio = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"migrate / bare loop, median of {flags.rounds}: time {time_ratio:.2f}, memory {memory_ratio:.2f}")


if __name__ == "__main__":
    main()
