"""The report's schema, and how its rows are spread over shards."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

import pyarrow as pa

from transforms.pixels.types import MaskStatistics

SCHEMA_VERSION = "5"
ROWS_PER_SHARD = 100_000
DELETED = "deleted"
"""The status of what stands among changes for a row that is no more."""


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What became of one manifest row (docs/reference.md). Neither host nor run is in it, and no clock but one.

    picture_changed: whether the picture is another one than in the report before, is new, or is no longer there.
    failing_since: the start of the first run of the unbroken series in which the row has failed, UTC.
    compliant, violations: whether the written picture is what the profile asks, and in what it is not.
    sharpen: of the rule, None where the run's holds. decision: what was decided on this row alone.
    """

    id: str
    uri: str
    category: str | None
    attributes: dict[str, str]
    status: str
    stage: str | None = None
    code: str | None = None
    message: str | None = None
    failing_since: str | None = None
    source_version: str | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_format: str | None = None
    width: int | None = None
    height: int | None = None
    output_uri: str | None = None
    output_sha256: str | None = None
    output_bytes: int | None = None
    picture_changed: bool | None = False
    compliant: bool | None = None
    violations: tuple[str, ...] | None = None
    map_key: str | None = None
    model: str | None = None
    weights_sha256: str | None = None
    precision: str | None = None
    policy_sha256: str | None = None
    rule: str | None = None
    rule_sha256: str | None = None
    settings_sha256: str | None = None
    decision: str | None = None
    method: str | None = None
    sharpen: int | None = None
    threshold: float | None = None
    statistics: MaskStatistics | None = None
    mask_flags: tuple[str, ...] | None = None


_COLUMN_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    dict[str, str]: pa.map_(pa.string(), pa.string()),
}


def columns(row: type, optional: bool = False) -> list[pa.Field]:
    """Derive the columns of a dataclass, and those of a dataclass in it. What is optional may be null."""
    found: list[pa.Field] = []
    for name, hint in get_type_hints(row).items():
        kinds = [kind for kind in get_args(hint) if kind is not NoneType] if NoneType in get_args(hint) else [hint]
        may_be_null = optional or kinds != [hint]
        if is_dataclass(kinds[0]):
            found += columns(cast(type, kinds[0]), may_be_null)
        else:
            found.append(pa.field(name, _COLUMN_TYPES[kinds[0]], nullable=may_be_null))
    return found


def _for_pandas(fields: list[pa.Field]) -> str:
    """Tell pandas which columns are of whole numbers, some of them missing: it would make floats of these."""
    whole = [
        {"name": f.name, "field_name": f.name, "pandas_type": "int64", "numpy_type": "Int64", "metadata": None}
        for f in fields
        if f.type == pa.int64() and f.nullable
    ]
    return json.dumps({"index_columns": [], "column_indexes": [], "columns": whole, "pandas_version": "1.0.0"})


_COLUMNS = columns(ReportRow)
SCHEMA = pa.schema(_COLUMNS, metadata={"whitesweep.report": SCHEMA_VERSION, "pandas": _for_pandas(_COLUMNS)})
"""The report's columns: ReportRow's, in its order. The version in its metadata changes whenever a column does.

(In rows that are carried over a new one is null, until render.OUTPUT_VERSION is raised and every row is done again.)
"""

_STATISTICS = [f.name for f in fields(MaskStatistics)]


def to_record(row: ReportRow) -> dict[str, Any]:
    """Flatten a row to the columns of SCHEMA."""
    record = asdict(row)
    statistics = record.pop("statistics") or dict.fromkeys(_STATISTICS)
    record["attributes"] = sorted(row.attributes.items())
    return {**record, **statistics}


HISTORY = ("failing_since", "picture_changed")
"""Columns that tell of the runs before. All others follow from the catalog and the settings alone."""


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
