"""What a change of a hundred rows costs, beside reports of ten thousand, a hundred thousand and a million rows.

    python -m benchmarks.partial [--sizes 10000 100000 1000000] [--rows 100] [--rounds 3]

The report is that of a real run, its rows repeated under other ids; the changes name other photos for a hundred of
them. Prints Markdown for RESULTS.md: seconds of the whole command, what of them is the photos' (the same manifest as a
catalog of its own), and what a reader of the one state takes.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.latest import newest_run
from transforms.output.schema import shard_count, shard_name, shard_of
from transforms.report import to_parquet

READER = """
SELECT count(*), sum(output_bytes) FROM (
    SELECT * FROM read_parquet('{report}/part-*.parquet', hive_partitioning = false)
        WHERE id NOT IN (SELECT id FROM read_parquet('{changes}/part-*.parquet', hive_partitioning = false))
    UNION ALL BY NAME
    SELECT * FROM read_parquet('{changes}/part-*.parquet', hive_partitioning = false) WHERE status <> 'deleted')
"""


def run(manifest: Path, output: Path, *more: str) -> float:
    """Run the command line on a manifest; give its seconds of wall clock."""
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(manifest), "--output", str(output)]
    began = time.perf_counter()
    subprocess.run([*command, "--model", "u2netp", *more], check=True, capture_output=True)
    return time.perf_counter() - began


def write_manifest(file: Path, ids: list[str], photos: list[Path]) -> Path:
    """Write a manifest that names a photo for each id, and another one at each call."""
    start = random.randrange(len(photos))
    lines = [f"{id},{photos[(start + n) % len(photos)]}" for n, id in enumerate(ids)]
    file.write_text("\n".join(["id,uri", *lines]) + "\n")
    return file


def enlarge(output: Path, rows: int) -> None:
    """Repeat the rows of an output's report under other ids, until there are so many."""
    latest = newest_run(str(output))
    (source,) = (output / latest.report).glob("part-*.parquet")
    real, count = pq.read_table(source, partitioning=None), shard_count(rows)
    source.unlink()
    parts: list[list[str]] = [[] for _ in range(count)]
    for n in range(rows):
        id = f"brand{n // 1000:04}/sku{n:07}"
        parts[shard_of(id, count)].append(id)
    for shard, ids in enumerate(parts):
        table = real.take(pa.array([n % len(real) for n in range(len(ids))]))
        table = table.set_column(real.schema.get_field_index("id"), real.schema.field("id"), pa.array(ids))
        names = pa.array([f"images/{id}.jpg" for id in ids])
        at = real.schema.get_field_index("output_uri")
        table = table.set_column(at, real.schema.field("output_uri"), names)
        (source.parent / shard_name(shard, count)).write_bytes(to_parquet(table.cast(real.schema)))
    record = output / "runs" / latest.run_id / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "rows": rows}))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    photos = sorted(path.resolve() for path in flags.photos.rglob("*.jpg"))
    print("| rows of the report | 100 changed rows, s | without the report, s | beyond the photos, s | DuckDB, s |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=".", prefix=".benchmark-") as temporary:
        for size in flags.sizes:
            folder = Path(temporary).resolve() / str(size)
            folder.mkdir()
            output = folder / "out"
            run(write_manifest(folder / "first.csv", [f"p{n}" for n in range(len(photos))], photos), output)
            enlarge(output, size)
            chosen = random.Random(0).sample(range(size), flags.rows)
            ids = [f"brand{n // 1000:04}/sku{n:07}" for n in chosen]
            changed, alone, read = [], [], []
            for number in range(flags.rounds):
                manifest = write_manifest(folder / "changes.csv", ids, photos)
                changed.append(run(manifest, output, "--partial", "--force"))
                alone.append(run(manifest, folder / f"alone{number}", "--force"))
                latest = newest_run(str(output))
                began = time.perf_counter()
                query = READER.format(report=output / latest.report, changes=output / str(latest.changes))
                found = duckdb.query(query).fetchall()[0]  # type: ignore[union-attr]
                read.append(time.perf_counter() - began)
                if found[0] != size:
                    raise RuntimeError(f"{found[0]} rows, not {size}")
            beyond = median(one - other for one, other in zip(changed, alone, strict=True))
            print(f"| {size} | {median(changed):.1f} | {median(alone):.1f} | {beyond:.1f} | {median(read):.2f} |")


if __name__ == "__main__":
    main()
