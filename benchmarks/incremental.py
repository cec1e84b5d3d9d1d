"""What an unchanged row costs: a nightly run over catalogs of two sizes in which nothing changed.

    .venv/bin/python -m benchmarks.incremental --photos ../shared/data/catalog/images

The catalogs are made without the network: photos and pictures are links to the given ones, and the report says of each
that it has been processed. The rate is of the difference between the two sizes, so that what a run costs once (starting
Python, Beam and torch) is left out; it is printed beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from transforms import storage
from transforms.output.commit import ShardSummary, commit
from transforms.output.earlier import Report
from transforms.output.maps import map_key
from transforms.output.naming import output_name
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow, shard_count, shard_of
from transforms.pixels.render import OutputSettings, settings_sha256
from transforms.pixels.sharpen import Sharpening
from transforms.report import write_shard
from transforms.settings import MapOrigin, MapSettings, RunSettings
from transforms.steps import Effort
from transforms.types import Outcome, Packed
from weights.files import locate


def make_catalog(folder: Path, photos: list[Path], rows: int) -> None:
    """Make a catalog of so many rows, and the output of a run over it."""
    origin = MapOrigin("u2netp", locate("u2netp").sha256, "fp32")
    settings, output = MapSettings(origin, Sharpening()), OutputSettings()
    rule = output.policy.default
    digests = [hashlib.sha256(photo.read_bytes()).hexdigest() for photo in photos]
    outcomes: dict[int, list[Outcome]] = {}
    lines = ["id,uri,category,price"]
    for n in range(rows):
        photo, sha256 = photos[n % len(photos)], digests[n % len(photos)]
        id, uri = f"brand{n // 1000:04}/sku{n:07}", f"photos/{n // 1000:04}/{n:07}.jpg"
        lines.append(f"{id},{uri},{('hat', 'shoe', 'coat')[n % 3]},{n % 97}.90")
        name = output_name(id, "jpg")
        for link in (folder / uri, folder / "out" / name):
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(photo, link)
        facts = storage.source_facts([str(folder / uri)])[str(folder / uri)]
        assert facts is not None
        row = ReportRow(
            id,
            uri,
            ("hat", "shoe", "coat")[n % 3],
            {"price": f"{n % 97}.90"},
            "processed",
            source_version=facts.version,
            source_sha256=sha256,
            output_uri=name,
            output_sha256=sha256,
            output_bytes=photo.stat().st_size,
            map_key=map_key(sha256, settings),
            model=origin.model,
            weights_sha256=origin.weights_sha256,
            precision=origin.precision,
            settings_sha256=settings_sha256(rule, output),
        )
        outcomes.setdefault(shard_of(id, shard_count(rows)), []).append(Outcome(row, Effort()))
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    info = RunInfo(RunSettings(str(folder / "out")), "made")
    for shard, rows_of_it in outcomes.items():
        write_shard(info, Report(), shard, shard_count(rows), [Packed.of(rows_of_it)])
    commit(info, ShardSummary(0, Counter(processed=rows)), rows, [], shard_count(rows))


def time_run(folder: Path) -> tuple[float, float]:
    """Run over a catalog; give seconds of wall clock and of processor."""
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(folder / "manifest.csv")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    arguments = ["--output", str(folder / "out"), "--model", "u2netp", "--precision", "fp32"]
    said = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if "processed" in said.splitlines()[0]:
        raise RuntimeError(said)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make, run, and print rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", type=int, default=100_000, metavar="N", help="rows of the larger catalog")
    flags = parser.parse_args()
    photos = sorted(flags.photos.rglob("*.jpg"))
    sizes = (flags.rows // 10, flags.rows)
    with tempfile.TemporaryDirectory(dir=".", prefix=".benchmark-") as temporary:
        times = []
        for rows in sizes:
            folder = Path(temporary).resolve() / str(rows)
            linked = folder / "linked"  # links stay within one file system
            linked.mkdir(parents=True)
            copies = [linked / f"{n}.jpg" for n in range(len(photos))]
            for photo, copy in zip(photos, copies, strict=True):
                copy.write_bytes(photo.read_bytes())
            make_catalog(folder, copies, rows)
            times.append([time_run(folder) for _ in range(3)])
            wall, processor = min(times[-1])
            print(f"{rows:8d} rows unchanged: {wall:6.1f} s, {processor:6.1f} s of processor", flush=True)
    more = sizes[1] - sizes[0]
    wall = min(t[0] for t in times[1]) - min(t[0] for t in times[0])
    processor = min(t[1] for t in times[1]) - min(t[1] for t in times[0])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"each further row: {more / wall:.0f} a second, {more / processor:.0f} a second of processor")
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
