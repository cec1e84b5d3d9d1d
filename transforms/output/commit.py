"""The commit of a run: run.json, and last of all latest.json, which makes its report the newest."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.brakes import Effect, sum_effects
from transforms.credentials import without_secrets
from transforms.errors import DeadEndError, FatalError, PhotoError
from transforms.output.latest import BrokenReportError, Latest, in_force, move
from transforms.output.lease_file import owner, standing
from transforms.output.run import JSON, RunInfo, json_of, read_record
from transforms.output.schema import SCHEMA_VERSION, missing_shards
from transforms.steps import Effort
from transforms.stopping import STOP

FIRST = 10
"""How many failures, gone rows and decisions without a row run.json quotes."""
PARQUET = "application/vnd.apache.parquet"
TRACES = 20
"""How many different tracebacks a run keeps."""
TRACES_FILE = "internal_errors.log"
"""Where it keeps them, beside run.json."""


@dataclass(frozen=True, slots=True)
class Gone:
    """What the manifest no longer names: a row of the earlier report, or a picture that no row claims.

    name: of the picture below the output folder, or None if there is none.
    """

    id: str
    name: str | None


def first_failures(failures: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Choose the failures that run.json quotes."""
    return sorted(failures, key=lambda failure: (failure["id"] or "", failure["message"] or ""))[:FIRST]


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What one shard adds to run.json: counts by status, failure code and flag, what it cost, its first failures.

    shard: -1 for the sum of several. pictures: rows that have one. left, traces: as in types.Packed.
    effect: what other settings made of rows that the report before knows.
    compliant, violations: pictures that are what the profile asks, and those that are not, by what is wrong.
    damaged: pictures that were read again and are not what was written.
    """

    shard: int = -1
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    mask_flags: Counter[str] = field(default_factory=Counter)
    effort: Effort = field(default_factory=Effort)
    failures: list[dict[str, str | None]] = field(default_factory=list)
    pictures: int = 0
    left: list[Gone] = field(default_factory=list)
    traces: list[tuple[str, str]] = field(default_factory=list)
    effect: Effect = field(default_factory=Effect)
    compliant: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)

    def plus(self, other: ShardSummary) -> ShardSummary:
        """Add two up."""
        effort = Effort()
        for part in (self, other):
            effort.add(part.effort)
        return ShardSummary(
            -1,
            self.statuses + other.statuses,
            self.codes + other.codes,
            self.mask_flags + other.mask_flags,
            effort,
            first_failures(self.failures + other.failures),
            self.pictures + other.pictures,
            self.left + other.left,
            (self.traces + other.traces)[:TRACES],
            sum_effects([self.effect, other.effect]),
            self.compliant + other.compliant,
            self.violations + other.violations,
            self.damaged + other.damaged,
        )


@dataclass(frozen=True, slots=True)
class Committed:
    """A run that is complete, or has stopped.

    run_id: empty if it has no lease, or has stopped. prune: whether what is gone may now be removed.
    """

    run_id: str
    prune: bool


def over_budget(failed: int, rows: int, max_failure_fraction: float) -> str | None:
    """Say so in one line if more of the report's rows failed than are allowed."""
    if failed <= max_failure_fraction * rows:
        return None
    return f"{failed} of {rows} rows failed, more than {max_failure_fraction:.2%} allowed"


def commit(
    info: RunInfo, total: ShardSummary, rows: int, gone: Iterable[Gone], shards: int, plan: dict[str, Any] | None = None
) -> Committed:
    """Complete the report: the list of what is gone, run.json, and last of all latest.json.

    All that it names is on the disk before latest.json names it. Of a run that was asked to stop nothing is published,
    and nothing raised: a cluster would try again what fails.

    Raises:
        DeadEndError: a brake holds.
        FatalError: the counts do not add up, a shard is missing, the output is another run's by now, or the report
            cannot be written.
    """
    _refuse_taken_over(info)
    if STOP.is_set() or (info.leased and standing(info.folder, info.run_id) == "stopping"):
        return Committed("", prune=False)
    if total.statuses.total() != rows:
        raise FatalError(f"{rows} rows were read and {total.statuses.total()} reported; the report is not published")
    held = [info.doubt, info.settings.brakes.on_effect(total.effect)]
    if held[1] and not info.settings.keeps_pictures:
        raise DeadEndError(f"the report is not published, but pictures have been written: {held[1]}")
    base = f"{info.folder}/{info.report}"
    if missing := missing_shards(storage.list_sizes(base), shards):
        raise FatalError(f"{base}/{missing[0]}: is not there any more; the report is not published")
    gone = list(gone)
    files = sum(one.name is not None for one in gone)  # what is left of failed rows is not pruned, but told of
    ordered = sorted([*gone, *total.left], key=lambda one: (one.id, one.name or ""))
    prune = info.settings.prune and (files <= total.pictures or info.stands_on is not None)  # of changes, few stay
    failed, statuses, whole = total.statuses["failed"], total.statuses, rows
    if plan is not None and info.settings.partial:
        whole = rows - plan["to_do"].get("unusable", 0)  # which have no place in a report of other rows
        if info.stands_on is not None:
            whole = plan["rows_after"]
            statuses = statuses + Counter(unchanged=plan["unchanged"])
    reasons = [over_budget(failed, whole, info.settings.max_failure_fraction)]
    if info.settings.prune and not prune:
        reasons.append(
            f"{files} pictures would be pruned and {total.pictures} stay; nothing was pruned: is the "
            "manifest whole? If so, remove images/ or use another --output"
        )
    if info.settings.keeps_pictures:  # nobody sees the release before it is published: then it may be judged first
        if total.damaged:
            held.append(f"{len(total.damaged)} pictures are not what was written, such as {total.damaged[0]}")
        held, reasons = [*held, *reasons], []
        if any(held):
            advice = f"look at it by `review --run {info.run_id}`, then give `publish` or `discard`"
            reasons = [f"the release is left as a candidate: {'; '.join(filter(None, held))}; {advice}"]
    reason = "; ".join(filter(None, reasons)) or None
    try:
        before = in_force(info.folder)
    except BrokenReportError as error:
        raise FatalError(f"the report is not published: {error}") from error
    run = {
        "run_id": info.run_id,
        "report_schema": SCHEMA_VERSION,
        "exit_code": 1 if reason else 0,
        "reason": reason,
        "held": "; ".join(filter(None, held)) or None,
        "report": info.stands_on or info.report,
        "changes": info.report if info.stands_on else None,
        "base": before and before.run_id,
        "settings": (info.repairs or info.settings).record(),
        "versions": info.versions,
        "plan": plan,
        "rows": whole,
        "statuses": dict(sorted(statuses.items())),
        "failures": dict(sorted(total.codes.items())),
        "first_failures": total.failures,
        "mask_flags": dict(sorted(total.mask_flags.items())),
        "compliant": total.compliant,
        "violations": dict(sorted(total.violations.items())),
        "gone": len(ordered),
        "pruned": files if prune else 0,
        "first_gone": [one.id for one in ordered[:FIRST]],
        "work": dict(sorted(total.effort.counts.items())),
        "started": info.started,
        "internal_errors": f"{info.record}/{TRACES_FILE}" if total.traces else None,
        "seconds": max(0.001, time.time() - info.started),
        "step_seconds": dict(sorted(total.effort.seconds.items())),
    }
    record = f"{info.folder}/{info.record}"
    if total.traces:
        told = "\n".join(f"{id}:\n{trace}" for id, trace in total.traces)
        data = without_secrets(told).encode("utf-8", "backslashreplace")
        write_or_stop(f"{record}/{TRACES_FILE}", data, "text/plain")
    if ordered:
        write_or_stop(f"{record}/gone.parquet", gone_table(ordered), PARQUET)
    write_or_stop(f"{record}/run.json", json_of(run), JSON)
    storage.settle(info.folder)
    if not any(held):
        _publish(info, before)
    return Committed(info.run_id if info.leased else "", prune)


def _publish(info: RunInfo, before: Latest | None) -> None:
    """Make latest.json name this run, unless the output is another one's by now."""
    try:
        with storage.locked(f"{info.folder}/report"):  # of a local folder: nobody takes it over in between
            _refuse_taken_over(info)
            # Whoever took over objects since, and was done, has let latest.json say something else.
            published = move(
                info.folder,
                before,
                info.run_id,
                info.stands_on or info.report,
                info.report if info.stands_on else None,
                "run",
            )
    except PhotoError as error:
        raise FatalError(f"the report cannot be written: {error.message}") from error
    if not published:
        raise FatalError(f"{info.folder}/report/latest.json: another run was faster; the report is not published")


def _refuse_taken_over(info: RunInfo) -> None:
    if info.leased and (holder := owner(info.folder)) != info.run_id:
        raise FatalError(f"{info.folder}: taken over by {holder or 'nobody we know'}; the report is not published")


def write_or_stop(uri: str, data: bytes, content_type: str) -> None:
    """Write a part of the report.

    Raises:
        FatalError: it cannot be written. (Of a photo it would cost one row; without the report there is no run.)
    """
    try:
        storage.write(uri, data, content_type, durable=True)
    except PhotoError as error:
        raise FatalError(f"the report cannot be written: {error.message}") from error


def read_gone(folder: str, run_id: str) -> list[Gone]:
    """Read what a run has named as gone.

    Raises:
        PhotoError: it cannot be read.
    """
    try:
        data = read_record(folder, run_id, "gone.parquet")
    except PhotoError as error:
        if error.code == "not_found":
            return []
        raise
    table = pq.ParquetFile(io.BytesIO(data)).read(["id", "output_uri"])
    return [Gone(row["id"], row["output_uri"]) for row in table.to_pylist()]


def gone_table(gone: list[Gone]) -> bytes:
    """Write gone.parquet."""
    table = pa.table({"id": [one.id for one in gone], "output_uri": pa.array([one.name for one in gone], pa.string())})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
