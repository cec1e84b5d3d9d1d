"""The earlier report: which one it is, and what it says of each row."""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.errors import DeadEndError, PhotoError
from transforms.output.latest import BrokenReportError, Latest, newest_run
from transforms.output.maps import map_key
from transforms.output.pictures import OutputFile
from transforms.output.schema import DELETED, SCHEMA, missing_shards, shard_of, shards_before
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


@dataclass(frozen=True, slots=True)
class Report:
    """The files of a report, in order. changes: of rows that hold in the place of all rows of their ids in the shards.

    Both are spread over their files by schema.shard_of. A row of `changes` with the status `deleted` is no row.
    """

    shards: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Count the shards."""
        return len(self.shards)

    def read(self, at: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the rows of one shard, or some of their columns, always in the same order.

        Raises:
            DeadEndError: it cannot be read.
        """
        if not self.changes:
            return read_table(self.shards[at], columns)
        wanted = None if columns is None else list(dict.fromkeys([*columns, "id", "status"]))
        changed = pa.concat_tables(
            [read_table(self.changes[one], wanted) for one in shards_before(len(self.changes), at, len(self))]
        )
        ids = changed["id"].to_pylist()
        stated = zip(ids, changed["status"].to_pylist(), strict=True)
        count = len(self)
        holds = [n for n, (id, said) in enumerate(stated) if said != DELETED and shard_of(id, count) == at]
        replaced, before = set(ids), read_table(self.shards[at], wanted)
        stays = [n for n, id in enumerate(before["id"].to_pylist()) if id not in replaced]
        parts = (before.take(pa.array(stays, pa.int64())), changed.take(pa.array(holds, pa.int64())))
        table = pa.concat_tables([fill_in(part) if columns is None else part for part in parts])
        return table if columns is None else table.select(list(columns))

    def changed(self) -> pa.Table:
        """Read all changes, as a table of SCHEMA, those that delete a row too."""
        return pa.concat_tables([SCHEMA.empty_table(), *(fill_in(read_table(one)) for one in self.changes)])

    def find(self, ids: Collection[str]) -> pa.Table:
        """Read the rows of some ids, as a table of SCHEMA.

        Of shards only the row groups are read in which an id may be: the cost is that of the ids, and of a look at all.

        Raises:
            DeadEndError: a shard cannot be read.
        """
        changed = self.changed()
        replaced = set(changed["id"].to_pylist())
        states = zip(changed["id"].to_pylist(), changed["status"].to_pylist(), strict=True)
        held = [n for n, (id, said) in enumerate(states) if id in ids and said != DELETED]
        found = [changed.take(pa.array(held, pa.int64()))]
        asked: dict[int, set[str]] = defaultdict(set)
        for id in ids:
            if self.shards and id not in replaced:
                asked[shard_of(id, len(self))].add(id)
        with ThreadPoolExecutor(storage.parallel(self.shards[0]) if self.shards else 1) as pool:
            found += pool.map(lambda at: fill_in(_find(self.shards[at], asked[at])), sorted(asked))
        return pa.concat_tables(found)


def newest_report(folder: str) -> Report:
    """List the files of the newest complete report under an output folder.

    Raises:
        NoReportError: there is none. BrokenReportError: it is not whole.
    """
    return report_of(folder, newest_run(folder))


def report_of(folder: str, latest: Latest) -> Report:
    """List the files of the report of a release.

    Raises:
        BrokenReportError: it is not whole.
    """
    changes = () if latest.changes is None else shards_of(f"{folder}/{latest.changes}")
    return Report(shards_of(f"{folder}/{latest.report}"), changes)


def shards_of(base: str) -> tuple[str, ...]:
    """List the shards in a folder, in order.

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
    return tuple(f"{base}/{shard}" for shard in shards)


def _ends_well(shard: str) -> bool:
    """Tell whether a local file ends as a Parquet file does; objects appear whole."""
    if not storage.is_local(shard):
        return True
    with suppress(OSError), storage.open_read(shard, 0) as stream:
        stream.seek(-4, io.SEEK_END)
        return stream.read() == b"PAR1"
    return False


def read_table(shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a report's shard, or some of its columns.

    Raises:
        DeadEndError: the shard cannot be read.
    """
    with _translated(shard):
        return _open(shard).read(None if columns is None else list(columns))


def load_table(report: Report, shard: int, count: int) -> pa.Table:
    """Load what a report says of the rows that belong in one shard of a new report of so many shards.

    Returns:
        a table of SCHEMA, always in the same order; it may hold rows of other shards too. Columns that an older
        whitesweep did not write are null.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    befores = shards_before(len(report), shard, count) if report.shards else []
    return pa.concat_tables([SCHEMA.empty_table(), *(fill_in(report.read(before)) for before in befores)])


def _find(shard: str, ids: Collection[str]) -> pa.Table:
    """Read the rows of some ids from a shard, which is sorted by id."""
    ordered = sorted(ids)
    with _translated(shard), storage.open_read(shard, 0) as stream:
        file = pq.ParquetFile(stream)
        place = file.schema_arrow.get_field_index("id")
        parts = [file.schema_arrow.empty_table()]
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group).column(place).statistics
            if about is not None and about.has_min_max:
                first = bisect_left(ordered, about.min)
                if first == len(ordered) or ordered[first] > about.max:
                    continue
            at = [n for n, id in enumerate(file.read_row_group(group, ["id"])["id"].to_pylist()) if id in ids]
            if at:
                parts.append(file.read_row_group(group).take(pa.array(at, pa.int64())))
        return pa.concat_tables(parts)


def fill_in(table: pa.Table) -> pa.Table:
    """Give a report's table all columns of SCHEMA."""
    for missed in (f for f in SCHEMA if f.name not in table.column_names):
        table = table.append_column(missed, pa.nulls(len(table), missed.type))
    table = table.select(SCHEMA.names)
    # Arrow's cast would bring in its compute functions: 7 MB that photos may rather have until the report.
    return table if table.schema.equals(SCHEMA) else table.cast(SCHEMA)


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
