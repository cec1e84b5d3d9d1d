"""Rows out: the report's schema, and shards of the same bytes for the same rows.

Not Beam's WriteToParquet: its shards depend on bundle ids, drop unknown columns in silence, and leave the shards of an
earlier run beside the new ones.
"""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.timing import StepTimes
from transforms.types import FatalError, MaskStatistics, Outcome, PhotoError, ReportRow

SCHEMA_VERSION = "2"
ROWS_PER_SHARD = 100_000
FIRST_FAILURES = 10
"""How many failures run.json quotes; the report holds them all."""
PARQUET = "application/vnd.apache.parquet"
JSON = "application/json"

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
        *(pa.field(name, _TEXT) for name in ("policy_sha256", "rule", "rule_sha256", "method")),
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
"""The report's columns (README, "Report"); the version in its metadata changes whenever a column does."""

_STATISTICS = [f.name for f in fields(MaskStatistics)]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run before it begins. started: seconds since 1970. settings, versions: for run.json."""

    run_id: str
    folder: str
    started: float
    settings: dict[str, Any]
    versions: dict[str, str]

    @property
    def report(self) -> str:
        """The folder of this run's report, relative to the output folder."""
        return f"report/run={self.run_id}"


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What one shard adds to run.json: counts by status, failure code and flag, seconds by step, its first failures."""

    shard: int
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    seconds: StepTimes = field(default_factory=StepTimes)
    failures: list[dict[str, str | None]] = field(default_factory=list)

    def add(self, other: ShardSummary) -> None:
        """Add another's counts."""
        for mine, theirs in ((self.statuses, other.statuses), (self.codes, other.codes), (self.flags, other.flags)):
            mine.update(theirs)
        self.seconds.add(other.seconds)
        self.failures.extend(other.failures)


def to_record(row: ReportRow) -> dict[str, Any]:
    """Flatten a row to the columns of SCHEMA."""
    record = asdict(row)
    statistics = record.pop("statistics") or dict.fromkeys(_STATISTICS)
    record["attributes"] = sorted(row.attributes.items())
    return {**record, **statistics}


def to_parquet(rows: Iterable[ReportRow]) -> bytes:
    """Write rows as one Parquet file: sorted, fixed schema, zstd. The same rows in any order give the same bytes."""
    records = sorted(map(to_record, rows), key=lambda record: json.dumps(record, sort_keys=True))
    records.sort(key=lambda record: record["id"])
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=10_000)
    return bytes(sink.getvalue())


def shard_count(rows: int) -> int:
    """Give the number of shards for a number of rows; at least one."""
    return max(1, -(-rows // ROWS_PER_SHARD))


def shard_name(shard: int, shards: int) -> str:
    """Name a shard's file."""
    return f"part-{shard:05d}-of-{shards:05d}.parquet"


def write_shard(info: RunInfo, shard: int, shards: int, outcomes: Iterable[Outcome]) -> ShardSummary:
    """Write one shard, and say what is in it."""
    summary, rows = ShardSummary(shard), []
    for outcome in outcomes:
        row = outcome.row
        rows.append(row)
        summary.statuses[row.status] += 1
        summary.seconds.add(outcome.seconds)
        if row.code:
            summary.codes[row.code] += 1
            summary.failures.append({"id": row.id, "uri": row.uri, "code": row.code, "message": row.message})
        if row.statistics:
            summary.flags.update(row.statistics.flags)
    _write(f"{info.folder}/{info.report}/{shard_name(shard, shards)}", to_parquet(rows), PARQUET)
    return replace(summary, failures=_first(summary.failures))


def commit(info: RunInfo, summaries: Iterable[ShardSummary], rows: int) -> None:
    """Complete the report: empty shards, run.json, _SUCCESS, and last of all latest.json, which makes it the newest.

    Raises:
        FatalError: the counts do not add up, or the report cannot be written.
    """
    shards, written = shard_count(rows), {summary.shard: summary for summary in summaries}
    for shard in range(shards):
        if shard not in written:
            written[shard] = write_shard(info, shard, shards, [])
    total = ShardSummary(-1)
    for summary in written.values():
        total.add(summary)
    if total.statuses.total() != rows:
        raise FatalError(f"{rows} rows were read and {total.statuses.total()} reported; the report is not published")
    run = {
        "run_id": info.run_id,
        "report_schema": SCHEMA_VERSION,
        "settings": info.settings,
        "versions": info.versions,
        "rows": rows,
        "statuses": dict(sorted(total.statuses.items())),
        "failures": dict(sorted(total.codes.items())),
        "first_failures": _first(total.failures),
        "flags": dict(sorted(total.flags.items())),
        "started": info.started,
        "seconds": time.time() - info.started,
        "step_seconds": dict(sorted(total.seconds.items())),
    }
    base = f"{info.folder}/{info.report}"
    _write(f"{base}/run.json", _json(run), JSON)
    _write(f"{base}/_SUCCESS", b"", "text/plain")
    _write(f"{info.folder}/report/latest.json", _json({"run_id": info.run_id, "report": info.report}), JSON)


def read_run(folder: str, run_id: str) -> dict[str, Any]:
    """Read the run.json of a complete run."""
    run: dict[str, Any] = json.loads(storage.read(f"{folder}/report/run={run_id}/run.json").data)
    return run


def _first(failures: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    return sorted(failures, key=lambda failure: (failure["id"] or "", failure["message"] or ""))[:FIRST_FAILURES]


def _write(uri: str, data: bytes, content_type: str) -> None:
    try:
        storage.write(uri, data, content_type)
    except PhotoError as error:  # of a photo it would cost one row; without the report there is no run
        raise FatalError(f"the report cannot be written: {error.message}") from error


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _key_by_shard(outcome: Outcome, rows: int) -> tuple[int, Outcome]:
    return zlib.crc32(outcome.row.id.encode()) % shard_count(rows), outcome


class WriteReport(beam.PTransform):
    """Write outcomes as Parquet shards, then commit the run. count: a PCollection of one int, the number of rows."""

    def __init__(self, info: RunInfo, count: beam.PCollection) -> None:
        super().__init__()
        self.info = info
        self.count = count

    def expand(self, outcomes: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of Outcome to one of the committed run's id."""
        info = self.info
        rows = beam.pvalue.AsSingleton(self.count)
        summaries = (
            outcomes
            | "KeyByShard" >> beam.Map(_key_by_shard, rows).with_output_types(tuple[int, Outcome])
            | "GroupByShard" >> beam.GroupByKey()
            | "WriteShard" >> beam.Map(lambda keyed, n: write_shard(info, keyed[0], shard_count(n), keyed[1]), rows)
        )

        def commit_run(_: None, summaries: Iterable[ShardSummary], rows: int) -> str:
            commit(info, summaries, rows)
            return info.run_id

        return (
            outcomes.pipeline
            | "Once" >> beam.Create([None], reshuffle=False)
            | "CommitRun" >> beam.Map(commit_run, beam.pvalue.AsList(summaries), rows)
        )
