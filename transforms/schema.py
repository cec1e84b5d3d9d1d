"""The report's schema, and how its rows are spread over shards."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa

from transforms.types import MaskStatistics, ReportRow

SCHEMA_VERSION = "3"
ROWS_PER_SHARD = 100_000

_TEXT, _INT, _REAL = pa.string(), pa.int64(), pa.float64()

SCHEMA = pa.schema(
    [
        pa.field("id", _TEXT, nullable=False),
        pa.field("uri", _TEXT, nullable=False),
        pa.field("category", _TEXT),
        pa.field("attributes", pa.map_(_TEXT, _TEXT), nullable=False),
        pa.field("status", _TEXT, nullable=False),
        *(pa.field(name, _TEXT) for name in ("stage", "code", "message", "source_version", "source_sha256")),
        pa.field("source_bytes", _INT),
        pa.field("source_format", _TEXT),
        *(pa.field(name, _INT) for name in ("width", "height")),
        *(pa.field(name, _TEXT) for name in ("output_uri", "output_sha256")),
        pa.field("output_bytes", _INT),
        *(pa.field(name, _TEXT) for name in ("map_key", "model", "weights_sha256", "precision")),
        *(pa.field(name, _TEXT) for name in ("policy_sha256", "rule", "rule_sha256", "settings_sha256", "method")),
        pa.field("threshold", _REAL),
        pa.field("foreground_fraction", _REAL),
        *(pa.field(f"bbox_{side}", _INT) for side in ("left", "top", "right", "bottom")),
        pa.field("fill_fraction", _REAL),
        pa.field("edge_contact", pa.list_(_TEXT)),
        *(pa.field(name, _REAL) for name in ("probability_max", "probability_mean", "uncertain_fraction")),
        *(pa.field(f"coverage_{percent}", _REAL) for percent in range(10, 100, 10)),
        pa.field("otsu_threshold", _REAL),
        *(pa.field(name, _INT) for name in ("components", "holes")),
        pa.field("flags", pa.list_(_TEXT)),
    ],
    metadata={"whitesweep.report": SCHEMA_VERSION},
)
"""The report's columns (docs/reference.md); the version in its metadata changes whenever a column does."""

_STATISTICS = [f.name for f in fields(MaskStatistics)]


def to_record(row: ReportRow) -> dict[str, Any]:
    """Flatten a row to the columns of SCHEMA."""
    record = asdict(row)
    statistics = record.pop("statistics") or dict.fromkeys(_STATISTICS)
    record["attributes"] = sorted(row.attributes.items())
    return {**record, **statistics}


def sorted_order(table: pa.Table) -> pa.Array:
    """Give the positions of a table of SCHEMA's rows by id, and of rows of one id by all they say."""
    ids = table.column("id").to_pylist()
    order = sorted(range(len(ids)), key=ids.__getitem__)
    start = 0
    for end in range(1, len(order) + 1):
        if end < len(order) and ids[order[end]] == ids[order[start]]:
            continue
        if end - start > 1:
            said = {at: json.dumps(table.slice(at, 1).to_pylist(), sort_keys=True) for at in order[start:end]}
            order[start:end] = sorted(order[start:end], key=said.__getitem__)
        start = end
    return pa.array(order, pa.int64())


def shard_count(rows: int) -> int:
    """Give the number of shards for a number of rows: a power of two, so that shards are split or joined whole."""
    count = 1
    while count * ROWS_PER_SHARD < rows:
        count *= 2
    return count


def shard_of(id: str, shards: int) -> int:
    """Give the shard that an id's rows belong in."""
    return zlib.crc32(id.encode()) % shards


def shards_before(before: int, shard: int, shards: int) -> list[int]:
    """List the shards of an earlier report, of so many, that can hold the rows of one of the new shards."""
    if before & (before - 1) or shards & (shards - 1):  # not of our making
        return list(range(before))
    return [shard % before] if shards >= before else list(range(shard, before, shards))


def missing_shards(listed: Iterable[tuple[str, int]], shards: int) -> list[str]:
    """Name the shards of a report of so many that are not among the files (name, size in bytes) of its folder."""
    there = {name for name, size in listed if size}
    return [name for shard in range(shards) if (name := shard_name(shard, shards)) not in there]


def shard_name(shard: int, shards: int) -> str:
    """Name a shard's file."""
    return f"part-{shard:05d}-of-{shards:05d}.parquet"
