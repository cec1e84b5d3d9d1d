"""The earlier report: which one it is, and what it says of each row."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.errors import DeadEndError, PhotoError
from transforms.output.maps import map_key
from transforms.output.pictures import OutputFile
from transforms.output.schema import SCHEMA, missing_shards, shards_before
from transforms.pixels.policy import Rule
from transforms.settings import MapOrigin, MapSettings, RunSettings


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier report says of a row: which photo it was, its map and what made it, its picture, its failure.

    failing_since, sharpen: as in ReportRow.
    """

    source_sha256: str | None
    map_key: str | None
    origin: MapOrigin | None
    output: OutputFile | None
    code: str | None
    failing_since: str | None = None
    sharpen: int | None = None


class NoReportError(Exception):
    """There is no complete report under a folder; one line for the user."""


class BrokenReportError(NoReportError):
    """There is a report under a folder, but it cannot be read or is not whole; one line for the user."""


def newest_run(folder: str) -> dict[str, Any]:
    """Read latest.json of an output folder: `run_id`, and `report`, the folder of the newest complete report.

    Raises:
        NoReportError: there is none. BrokenReportError: it cannot be read.
    """
    uri = f"{folder}/report/latest.json"
    try:
        latest = json.loads(storage.read(uri).data)
        return {"run_id": str(latest["run_id"]), "report": str(latest["report"])}
    except PhotoError as error:
        kind = NoReportError if error.code == "not_found" else BrokenReportError
        raise kind(f"{folder}: no complete report in it ({error.message})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenReportError(f"{uri}: cannot be read ({error})") from error


def newest_report(folder: str) -> list[str]:
    """List the shards of the newest complete report under an output folder, in order.

    Raises:
        NoReportError: there is none. BrokenReportError: it is not whole.
    """
    return shards_of(f"{folder}/{newest_run(folder)['report']}")


def shards_of(base: str) -> list[str]:
    """List the shards of a report, in order. base: its folder.

    Raises:
        BrokenReportError: it is not whole.
    """
    try:
        listed = list(storage.list_sizes(base))  # not a glob: the folder's own name may have brackets
    except (PhotoError, OSError) as error:
        raise BrokenReportError(f"{base}: cannot be listed ({getattr(error, 'message', error)})") from error
    shards = sorted(name for name, _ in listed if re.fullmatch(r"part-\d+-of-\d+\.parquet", name))
    if not shards or missing_shards(listed, len(shards)):
        raise BrokenReportError(f"{base}: some of its part-*.parquet are missing or empty")
    for shard in shards:
        if not _ends_well(f"{base}/{shard}"):
            raise BrokenReportError(f"{base}/{shard}: breaks off")
    return [f"{base}/{shard}" for shard in shards]


def _ends_well(shard: str) -> bool:
    """Tell whether a local file ends as a Parquet file does; objects appear whole."""
    if not storage.is_local(shard):
        return True
    with suppress(OSError), storage.open_read(shard, 0) as stream:
        stream.seek(-4, io.SEEK_END)
        return stream.read() == b"PAR1"
    return False


def read_mapped(shard: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Read from a report's shard some columns of the rows that have a map.

    Raises:
        DeadEndError: the shard cannot be read.
    """
    with _translated(shard):
        for batch in _open(shard).iter_batches(columns=columns):
            yield from (row for row in batch.to_pylist() if row["map_key"] is not None)


def read_table(shard: str, columns: list[str] | None = None) -> pa.Table:
    """Read a report's shard, or some of its columns.

    Raises:
        DeadEndError: the shard cannot be read.
    """
    with _translated(shard):
        return _open(shard).read(columns)


def load_table(shards: Sequence[str], shard: int, count: int) -> pa.Table:
    """Load what a report says of the rows that belong in one shard of a new report of so many shards.

    Returns:
        a table of SCHEMA, always in the same order; it may hold rows of other shards too. Columns that an older
        whitesweep did not write are null.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    tables = [SCHEMA.empty_table()]
    for before in shards_before(len(shards), shard, count):
        table = read_table(shards[before])
        missing = [f for f in SCHEMA if f.name not in table.column_names]
        for missed in missing:
            table = table.append_column(missed, pa.nulls(len(table), missed.type))
        table = table.select(SCHEMA.names)
        # Arrow's cast would bring in its compute functions: 7 MB that photos may rather have until the report.
        tables.append(table if table.schema.equals(SCHEMA) else table.cast(SCHEMA))
    return pa.concat_tables(tables)


def _open(shard: str) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(storage.read(shard).data))


@contextmanager
def _translated(shard: str) -> Iterator[None]:
    try:
        yield
    except (PhotoError, OSError, ValueError) as error:
        report = storage.parent(storage.parent(shard))
        advice = f"restore it, or remove {report} to start afresh, from maps and pictures"
        reason = str(error).strip().partition("\n")[0]
        raise DeadEndError(f"{shard}: cannot be read: {reason}; {advice}") from error


def earlier_of(record: dict[str, Any]) -> Earlier:
    """Give what a record of a report says for a later run."""
    origin = output = None
    if record["map_key"] is not None:
        origin = MapOrigin(record["model"], record["weights_sha256"], record["precision"])
    if record["output_uri"] is not None:
        output = OutputFile(record["output_uri"], record["output_sha256"], record["output_bytes"])
    failing_since = record.get("failing_since")  # before version 4 of the report nobody knew
    sharpen = record.get("sharpen")
    return Earlier(record["source_sha256"], record["map_key"], origin, output, record["code"], failing_since, sharpen)


def kept_unseen(record: dict[str, Any]) -> bool:
    """Tell whether a record is of a photo that was kept as it is, and of which no map was needed."""
    return record["status"] in ("processed", "unchanged") and record["map_key"] is None


def reported_key(earlier: Earlier, rule: Rule, settings: RunSettings) -> str | None:
    """Name the map of a photo that an earlier report knows, for a run that takes whatever map that names.

    It is the one that is named, unless the rule wants the photo sharpened otherwise, or the rule before did.
    """
    if earlier.map_key is None or earlier.sharpen == rule.sharpen:
        return earlier.map_key
    assert earlier.source_sha256 is not None
    assert earlier.origin is not None  # as there is a map
    return map_key(earlier.source_sha256, MapSettings(earlier.origin, settings.sharpening_of(rule)))
