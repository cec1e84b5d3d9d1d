"""Rows out: shards of the same bytes for the same rows, then the commit.

Not Beam's WriteToParquet: its shards depend on bundle ids, drop unknown columns in silence, and leave the shards of an
earlier run beside the new ones.
"""

from __future__ import annotations

import io
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from model.machine import give_back
from transforms import storage
from transforms.beam_faults import sole_output
from transforms.brakes import Effect
from transforms.decisions import is_meant
from transforms.elsewhere import all_work
from transforms.ending import end_run, told_of
from transforms.errors import FatalError, PhotoError
from transforms.network import release_engine
from transforms.output.commit import (
    PARQUET,
    TRACES,
    Committed,
    Gone,
    ShardSummary,
    commit,
    first_failures,
    write_or_stop,
)
from transforms.output.earlier import Report, load_table
from transforms.output.lease import lease_watch
from transforms.output.pictures import look_at, remove_picture
from transforms.output.run import RunInfo
from transforms.output.schema import (
    DELETED,
    SCHEMA,
    ReportRow,
    shard_count,
    shard_name,
    shard_of,
    sorted_order,
    to_record,
)
from transforms.pixels.statistics import NO_SUBJECT_BELOW
from transforms.steps import Effort
from transforms.types import Carried, Outcome, Packed

PACKED_ROWS = 1000
COMPARED = ["id", "settings_sha256", "category", "foreground_fraction", "decision"]
STANDING = ("failed", "dropped", DELETED)
"""Statuses that a row keeps when it is carried over; any other becomes `unchanged`."""
ROW_GROUP = 10_000
PLACELESS = ("bad_row", "bad_id", "duplicate_id")


def to_table(rows: Iterable[ReportRow]) -> pa.Table:
    """Make a table of SCHEMA of rows."""
    return pa.Table.from_pylist([to_record(row) for row in rows], schema=SCHEMA)


def placed(made: pa.Table) -> pa.Table:
    """Leave out the rows of a manifest of changes that have no place of their own: run.json alone tells of them."""
    codes = made["code"].to_pylist()
    return made.take(pa.array([at for at, code in enumerate(codes) if code not in PLACELESS], pa.int64()))


def packed_table(table: pa.Table) -> bytes:
    """Pack a table of SCHEMA for the way to another stage."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpacked_table(data: bytes) -> pa.Table:
    """Give the table again."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()


def to_parquet(table: pa.Table) -> bytes:
    """Write a table as one Parquet file: sorted, fixed schema, zstd. The same rows in any order give the same bytes."""
    sink, order = io.BytesIO(), sorted_order(table)
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        for start in range(0, max(len(order), 1), ROW_GROUP):  # a sorted copy of no more than one group at a time
            writer.write_table(table.take(order[start : start + ROW_GROUP]).combine_chunks(), ROW_GROUP)
    return sink.getvalue()


def carry(table: pa.Table, carried: Carried) -> pa.Table:
    """Take rows of the earlier report into the new one: what was finished is unchanged, all else is as it was."""
    rows = table.take(pa.array(carried.positions, pa.int64()))
    status = [before if before in STANDING else "unchanged" for before in rows["status"].to_pylist()]
    rows = _set(rows, "status", pa.array(status, SCHEMA.field("status").type))
    rows = _set(rows, "picture_changed", pa.array([False] * len(rows), pa.bool_()))
    for name in {name for changed in carried.changes.values() for name in changed}:
        values = rows[name].to_pylist()
        for at, position in enumerate(carried.positions):
            if name in carried.changes.get(position, ()):
                value = carried.changes[position][name]
                values[at] = sorted(value.items()) if isinstance(value, dict) else value
        rows = _set(rows, name, pa.array(values, SCHEMA.field(name).type))
    return rows


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), values)


def write_shard(
    info: RunInfo, earlier: Report, shard: int, shards: int, parts: Iterable[Packed | Carried]
) -> ShardSummary:
    """Write one shard of new rows and of rows carried from the earlier report, and say what is in it."""
    release_engine()  # no photo is left; the report is written in its room
    give_back()
    effort, tables = Effort(), [SCHEMA.empty_table()]
    fresh: list[pa.Table] = []
    left: list[Gone] = []
    traces: list[tuple[str, str]] = []
    for part in parts:
        if isinstance(part, Carried) and part.rows:
            tables.append(unpacked_table(part.rows))
            fresh.append(to_table(ReportRow(id, "", None, {}, DELETED) for id in part.deleted))
        elif isinstance(part, Carried):
            if part.links:
                make_links(part.links, info)
                effort.counts["files_linked"] += len(part.links)
            tables.append(carry(load_table(earlier, shard, shards), part))
        else:
            fresh.append(to_table(part.unpack()))
            effort.add(part.effort)
            left += part.left
            traces += part.traces
    made = pa.concat_tables([SCHEMA.empty_table(), *fresh])
    table = pa.concat_tables([*tables, placed(made) if info.settings.partial else made])
    lease_watch(info.folder, info.run_id if info.leased else "").refuse_lost()
    write_or_stop(f"{info.folder}/{info.report}/{shard_name(shard, shards)}", to_parquet(table), PARQUET)
    is_layer = info.stands_on is not None
    return replace(
        summarise(shard, made if is_layer else table, effort),
        left=left,
        traces=traces[:TRACES],
        effect=compare_rules(
            made, (lambda ids: earlier.find(ids)) if is_layer else (lambda _: load_table(earlier, shard, shards))
        ),
        damaged=find_damaged(made, info) if info.settings.keeps_pictures else [],
    )


def make_links(links: Sequence[tuple[str, str]], info: RunInfo) -> None:
    """Give files of carried rows the names that they have in this output.

    Raises:
        FatalError: a picture is gone since the plan was made; the same command renders it.
    """

    def make(one: tuple[str, str]) -> None:
        try:
            storage.link(one[0], f"{info.folder}/{one[1]}", below=info.folder)
        except PhotoError as error:
            if error.code == "not_found" and one[1].startswith("maps/"):  # `verify` says so, of either folder
                return
            raise FatalError(f"{error.message}; it was there when the plan was made") from error

    lease_watch(info.folder, info.run_id if info.leased else "").refuse_lost()
    with ThreadPoolExecutor(storage.parallel(info.folder)) as pool:
        for _ in pool.map(make, links):
            pass


def find_damaged(made: pa.Table, info: RunInfo) -> list[str]:
    """Read again what was written for new rows, and name the pictures that are not what their rows say."""
    rows = [
        row
        for row in made.select(["status", "output_uri", "output_sha256"]).to_pylist()
        if row["status"] == "processed"
    ]

    def is_whole(row: dict[str, Any]) -> bool:
        try:
            return look_at(info.folder, row["output_uri"]).sha256 == row["output_sha256"]
        except PhotoError:
            return False

    with ThreadPoolExecutor(storage.parallel(info.folder)) as pool:
        return [row["output_uri"] for row, whole in zip(rows, pool.map(is_whole, rows), strict=True) if not whole]


def compare_rules(fresh: pa.Table, load: Callable[[Collection[str]], pa.Table]) -> Effect:
    """Compare the foregrounds of new rows with those of the report before, where the settings of the picture differ.

    Rows that are decided one by one do not count: that is meant. load: gives that report's rows, those of ids at least.
    """
    effect, rows = Effect(), {}
    for row in fresh.select([*COMPARED, "status"]).to_pylist():
        if row["status"] == "dropped":
            row["foreground_fraction"] = 0.0
        if row["foreground_fraction"] is not None:
            rows[row["id"]] = row
    if not rows:
        return effect
    before = load(rows.keys()).select([*COMPARED, "output_uri"])
    found = [at for at, id in enumerate(before["id"].to_pylist()) if id in rows]
    for old in before.take(pa.array(found, pa.int64())).to_pylist():
        row = rows[old["id"]]
        if not old["output_uri"] or old["foreground_fraction"] is None or is_meant(old["decision"], row["decision"]):
            continue
        if old["settings_sha256"] != row["settings_sha256"]:
            foreground = row["foreground_fraction"]
            effect.compare(row["category"], old["foreground_fraction"], foreground, foreground < NO_SUBJECT_BELOW)
    return effect


def summarise(shard: int, table: pa.Table, effort: Effort) -> ShardSummary:
    """Count what is in a table of SCHEMA."""
    failed = [at for at, status in enumerate(table["status"].to_pylist()) if status == "failed"]
    failures = table.select(["id", "uri", "code", "message"]).take(pa.array(failed, pa.int64())).to_pylist()
    violations = [{said.partition(":")[0] for said in found or ()} for found in table["violations"].to_pylist()]
    return ShardSummary(
        shard,
        _counts(table["status"]),
        _counts(table["code"]),
        _counts(table["mask_flags"].combine_chunks().flatten()),
        effort,
        first_failures(failures),
        len(table) - len(failures),
        compliant=table["compliant"].to_pylist().count(True),
        violations=Counter(word for words in violations for word in words),
    )


def _counts(column: Any) -> Counter[str]:
    found = column.drop_null().value_counts()
    return Counter({str(one["values"]): one["counts"] for one in found.to_pylist()})


def write_empty_shards(info: RunInfo, summaries: Iterable[ShardSummary], shards: int) -> ShardSummary:
    """Write the shards that no row fell into, and add the others up."""
    summaries = list(summaries)
    for shard in set(range(shards)) - {summary.shard for summary in summaries}:
        write_shard(info, Report(), shard, shards, [])
    return reduce(ShardSummary.plus, summaries, ShardSummary())


class _PackByShard(beam.DoFn):
    """Pack outcomes by shard, a thousand at a time and what is left of each bundle."""

    def start_bundle(self) -> None:
        self._waiting: dict[int, list[Outcome]] = defaultdict(list)
        self._count = 0

    def process(self, outcome: Outcome, rows: int) -> Iterable[tuple[int, Packed | Carried]]:
        self._waiting[shard_of(outcome.row.id, shard_count(rows))].append(outcome)
        self._count += 1
        if self._count >= PACKED_ROWS:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        return map(GlobalWindows.windowed_value, self._flush())

    def _flush(self) -> Iterator[tuple[int, Packed | Carried]]:
        waiting, self._waiting, self._count = self._waiting, defaultdict(list), 0
        for shard, outcomes in waiting.items():
            yield shard, Packed.of(outcomes)


def _remove(gone: Gone, committed: Committed, folder: str) -> None:
    if committed.prune and gone.name is not None:
        try:
            remove_picture(folder, committed.run_id, gone.name, "pruned")
        except PhotoError as error:  # it is listed again the next time
            logging.getLogger("whitesweep").warning("not pruned: %s", error.message)


class WriteReport(beam.PTransform):
    """Write outcomes and carried rows as Parquet shards, commit the run, then prune what is gone if that was asked.

    earlier: the report that rows are carried from. count: a PCollection of one int, the number of rows.
    planned: one of one dict, what run.json says of the plan.
    """

    def __init__(
        self,
        info: RunInfo,
        earlier: Report,
        count: beam.PCollection,
        carried: beam.PCollection,
        gone: beam.PCollection,
        planned: beam.PCollection,
    ) -> None:
        super().__init__()
        self.info = info
        self.earlier = earlier
        self.count = count
        self.carried = carried
        self.gone = gone
        self.planned = planned

    def expand(self, outcomes: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of Outcome to one of nothing."""
        info, earlier = self.info, self.earlier
        rows = beam.pvalue.AsSingleton(self.count)
        part = tuple[int, Packed | Carried]
        packed = outcomes | "PackByShard" >> beam.ParDo(_PackByShard(), rows).with_output_types(part)
        summaries = (
            (packed, self.carried)
            | "AddCarried" >> beam.Flatten()
            | "GroupByShard" >> beam.GroupByKey()
            | "WriteShard"
            >> beam.Map(lambda keyed, n: write_shard(info, earlier, keyed[0], shard_count(n), keyed[1]), rows)
        )

        def commit_run(
            plan: dict[str, Any], summaries: Iterable[ShardSummary], gone: Iterable[Gone], rows: int
        ) -> Committed:
            shards = shard_count(rows)
            expected = plan["rows_reported"] if info.settings.stays else rows
            total = write_empty_shards(info, summaries, shards)
            total.effort.counts = all_work(info, total.effort.counts)
            with told_of(info):
                return commit(info, total, expected, gone, shards, plan)

        gone = sole_output(self.gone, "CollectGone")
        committed = self.planned | "CommitRun" >> beam.Map(
            commit_run, beam.pvalue.AsList(summaries), beam.pvalue.AsList(gone), rows
        )
        pruned = gone | "Prune" >> beam.Map(_remove, beam.pvalue.AsSingleton(committed), info.folder)
        if not info.outlives:
            return pruned
        over = pruned | "WhenPruned" >> beam.combiners.Count.Globally()
        return over | "EndRun" >> beam.Map(lambda _, ended: end_run(ended, info), beam.pvalue.AsSingleton(committed))
