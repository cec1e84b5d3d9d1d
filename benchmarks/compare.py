"""Measure a comparison of two policies on a large catalog: a folder of many maps, made without the network.

    python -m benchmarks.compare --from OUT --work FOLDER [--rows 100000] [--policy 0.7 --policy otsu]

OUT is the output folder of a run on real photos. Its maps are turned, mirrored, shifted around and changed in a few
cells, so that no two are the same and all look like maps; its report rows are repeated beside them. What was made lies
in FOLDER/out and is used again. Measured is the command as a user starts it, interpreter and picture sheet included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.process import measured
from model.machine import available_cpus
from transforms.output.earlier import newest_report
from transforms.output.maps import load_map, store_map
from transforms.pixels.types import SaliencyMap

ROWS_PER_SHARD = 100_000  # as a run writes them
CHANGED_CELLS = 100  # of 102,400, by one level of 255


def vary(pixels: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Make another map of one: turned or mirrored, shifted around, and changed in a few cells."""
    rng = np.random.default_rng(number)
    varied = np.rot90(pixels, int(rng.integers(4)))
    varied = np.roll(varied[:, :: rng.choice([-1, 1])], rng.integers(0, 320, 2), axis=(0, 1)).copy()
    cells = rng.integers(0, varied.size, CHANGED_CELLS)
    varied.flat[cells] = np.clip(varied.flat[cells].astype(int) + rng.choice([-1, 1], CHANGED_CELLS), 0, 255)
    return varied


def make_maps(numbers: range, keys: list[str], source: str, output: str) -> list[str]:
    """Store a map for each number; give their keys."""
    made = []
    for number in numbers:
        known = load_map(f"{source}/maps", keys[number % len(keys)])
        if known is None:
            raise SystemExit(f"{source}: the map {keys[number % len(keys)]} is gone")
        made.append(hashlib.sha256(f"{known.key} {number}".encode()).hexdigest())
        store_map(f"{output}/maps", SaliencyMap(vary(known.pixels, number), made[-1]))
    return made


def make_output(source: str, output: Path, rows: int) -> None:
    """Make an output folder of many rows and maps from that of a run."""
    real = pa.concat_tables(pq.read_table(shard, partitioning=None) for shard in newest_report(source).shards)
    real = real.filter(pc.is_valid(real["map_key"]))
    work = partial(make_maps, keys=real["map_key"].to_pylist(), source=source, output=str(output))
    with ProcessPoolExecutor(available_cpus(), get_context("spawn")) as pool:
        parts = [range(first, min(first + 1000, rows)) for first in range(0, rows, 1000)]
        keys = [key for part in pool.map(work, parts) for key in part]
    shards = -(-rows // ROWS_PER_SHARD)
    earlier = json.loads((Path(source) / "report/latest.json").read_text())
    report = output / earlier["report"]
    report.mkdir(parents=True)
    for shard in range(shards):
        numbers = range(shard, rows, shards)
        table = real.take([number % len(real) for number in numbers])
        columns: dict[str, list[Any]] = {
            "id": [f"{id}-{number:07d}" for id, number in zip(table["id"].to_pylist(), numbers, strict=True)],
            "map_key": [keys[number] for number in numbers],
        }
        for name, values in columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(name), pa.array(values, pa.string()))
        name = f"part-{shard:05d}-of-{shards:05d}.parquet"
        pq.write_table(table.sort_by("id"), report / name, compression="zstd", row_group_size=10_000)
    record = f"runs/{earlier['run_id']}/run.json"
    (output / record).parent.mkdir(parents=True)
    (output / record).write_text((Path(source) / record).read_text())
    (output / "report/latest.json").write_text(json.dumps(earlier))


def main() -> None:
    """Make the output folder unless it is there, compare, and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="source", required=True, help="the output folder of a run on real photos")
    parser.add_argument("--work", type=Path, required=True, help="a scratch folder")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--policy", action="append", help="give it twice (default: 0.7 and otsu)")
    flags = parser.parse_args()
    output = flags.work / "out"
    if not (output / "report/latest.json").exists():
        make_output(os.path.abspath(flags.source), output, flags.rows)
    rows = sum(pq.read_metadata(shard).num_rows for shard in newest_report(str(output)).shards)
    policies = [part for policy in flags.policy or ["0.7", "otsu"] for part in ("--policy", policy)]
    command = [sys.executable, "-m", "pipeline", "compare", "--from", str(output), *policies]
    took = measured([*command, "--output", str(flags.work / "comparison")])
    print(
        f"{rows} rows: {took.seconds:.0f} s, {rows / took.seconds:.0f} rows a second, "
        f"{took.busy:.0f} processor seconds on {available_cpus()} cores, peak resident memory {took.peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
