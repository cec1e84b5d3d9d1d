"""A stream of manifests of changes: windows of fixed length, each with one commit of its own.

The rows of a window go the way of those of a partial run: planned, done in the same fused stage, and written as changes
to the report. A row is always done, from its stored map if there is one: whether it is unchanged could be told only
once the windows before are committed, and these may still be at work. A window that is committed after a later one
yields to it, id by id. What is known of windows is in the run.json of the release in force, so it is committed with it,
and a bundle that is replayed commits nothing twice.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.fileio import MatchContinuously
from apache_beam.transforms.window import FixedWindows

from transforms import storage
from transforms.changes import plan_changes
from transforms.errors import FatalError, PhotoError
from transforms.manifest import (
    ManifestError,
    ManifestFile,
    deletion,
    keep_apart,
    kind_of,
    order_of,
    pack_rows,
    read_manifest,
    unpack_rows,
)
from transforms.output.cleanup import retire
from transforms.output.commit import PARQUET, Gone, gone_table, read_gone, write_or_stop
from transforms.output.earlier import Report, report_of
from transforms.output.latest import NoReportError, in_force, move
from transforms.output.lease import lease_watch
from transforms.output.run import JSON, RunInfo, json_of, name_run, read_run, record_of, report_of_run
from transforms.output.schema import DELETED, ReportRow, shard_name
from transforms.plan import PlanConfig
from transforms.plan_rows import by_photo
from transforms.process import ProcessPhotos
from transforms.report import carry, placed, summarise, to_parquet, to_table
from transforms.steps import Effort
from transforms.types import Carried, ManifestRow, Outcome, Packed

EVERY_S = 5.0
"""How often it is looked for manifests."""
WINDOW_S = 10.0
"""What is dropped within it is committed together."""
REMEMBERED_S = 3600.0
"""How long it is known which window an id was last in: no window is so late."""
LOGGER = logging.getLogger("whitesweep")


def read_changes(path: str, output: str) -> Iterator[tuple[int, tuple[str, int, bytes]]]:
    """Read a manifest of changes that has appeared; one that cannot be read is passed over until it changes."""
    kind = kind_of(path)
    if kind is None or kind == "image":
        return
    file = ManifestFile(path, kind, storage.parent(path))
    facts = storage.source_facts([path])[path]
    written = int(facts.version.rpartition("-")[2] or 0) if facts is not None else 0
    try:
        rows = list(keep_apart(map(deletion, read_manifest(file)), output))
    except (FatalError, ManifestError, PhotoError, OSError) as error:
        LOGGER.warning("%s: passed over until it changes: %s", path, getattr(error, "message", None) or error)
        return
    yield 0, (order_of([file])[0], written, pack_rows(rows))


def plan_window(
    keyed: tuple[int, Iterable[tuple[str, int, bytes]]], info: RunInfo, decisions: str | None
) -> Iterator[Any]:
    """Plan the rows of a window; of an id that several manifests name, the one written last counts."""
    read = sorted(keyed[1], key=lambda one: (one[1], one[0]))
    rows = [row for _, _, packed in read for row in unpack_rows(packed, ManifestRow)]
    latest = in_force(info.folder)
    report = Report() if latest is None else report_of(info.folder, latest)
    order = tuple(dict.fromkeys(name for name, _, _ in read))
    before = "" if latest is None else latest.run_id
    plan = plan_changes(rows, PlanConfig(info.settings, report, decisions=decisions, order=order, run_before=before))
    yield from by_photo(plan.todo, len(plan.todo))
    named = {row.id for row in rows if row.deleted and row.failure is None}
    yield beam.pvalue.TaggedOutput("deleted", (0, tuple(sorted(named - {row.id for row in plan.todo}))))


def commit_window(
    keyed: tuple[int, Iterable[Packed | tuple[str, ...]]], info: RunInfo, window: Any = beam.DoFn.WindowParam
) -> None:
    """Commit a window: its rows become changes to the report that is in force, all at once.

    Raises:
        FatalError: the output is another run's by now, or cannot be written.
    """
    end = float(window.end)
    parts = list(keyed[1])
    packed = [part for part in parts if isinstance(part, Packed)]
    deleted = {id for part in parts if not isinstance(part, Packed) for id in part}
    outcomes = [row for part in packed for row in part.unpack()]
    effort = Effort()
    for one in packed:
        effort.add(one.effort)
    while True:
        lease_watch(info.folder, info.run_id).refuse_lost()
        latest = in_force(info.folder)
        before = {} if latest is None else _windows(info.folder, latest.run_id)
        rows = [row for row in outcomes if before.get(row.id, 0.0) < end]
        gone = {id for id in deleted if before.get(id, 0.0) < end}
        if not rows and not gone:
            return  # it is committed already, or all of it is newer there
        said = {row.id: end for row in rows} | dict.fromkeys(gone, end)
        windows = {id: at for id, at in {**before, **said}.items() if at > end - REMEMBERED_S}
        base = Report() if latest is None else report_of(info.folder, latest)
        made = placed(to_table([*rows, *(ReportRow(id, "", None, {}, DELETED) for id in sorted(gone) if len(base))]))
        changed = base.changed()
        others = [at for at, id in enumerate(changed["id"].to_pylist()) if id not in said]
        table = pa.concat_tables([carry(changed, Carried(tuple(others), {})), made])
        # In the order of its commits, and after the run that it is part of.
        run_id = name_run(time.time(), secrets.token_hex(3))
        place = report_of_run(run_id, partial=len(base) > 0)
        write_or_stop(f"{info.folder}/{place}/{shard_name(0, 1)}", to_parquet(table), PARQUET)
        summary = summarise(0, made, effort)
        count = _rows_of(info.folder, latest.run_id) if latest is not None else 0
        known = base.find({*said}).select(["id", "output_uri"]).to_pylist() if len(base) else []
        there = {row["id"] for row in known}
        left = [] if latest is None else [one for one in read_gone(info.folder, latest.run_id) if one.id not in said]
        left += [Gone(row["id"], row["output_uri"]) for row in known if row["id"] in gone]
        report = latest.report if latest is not None else place
        run = {
            "run_id": run_id,
            "stream": info.run_id,
            "exit_code": 0,
            "reason": None,
            "held": None,
            "report": report,
            "changes": place if latest is not None else None,
            "base": latest and latest.run_id,
            "settings": info.settings.record(),
            "versions": info.versions,
            "rows": count + len({row.id for row in rows if row.id} - there) - len(gone & there),
            "statuses": dict(sorted(summary.statuses.items())),
            "failures": dict(sorted(summary.codes.items())),
            "gone": len(gone & there),
            "work": dict(sorted(effort.counts.items())),
            "started": end - WINDOW_S,
            "seconds": max(0.001, time.time() - end + WINDOW_S),
            "step_seconds": dict(sorted(effort.seconds.items())),
            "windows": windows,
        }
        write_or_stop(f"{info.folder}/{record_of(run_id)}/run.json", json_of(run), JSON)
        if left and not info.settings.keeps_pictures:
            write_or_stop(f"{info.folder}/{record_of(run_id)}/gone.parquet", gone_table(left), PARQUET)
        storage.settle(info.folder)
        with storage.locked(f"{info.folder}/report"):
            if move(info.folder, latest, run_id, report, place if latest is not None else None, "run"):
                LOGGER.info("window %s: %s", time.strftime("%H:%M:%S", time.gmtime(end)), run["statuses"])
                break
        for part in (place, record_of(run_id)):  # another window was faster: upon that one
            storage.delete_folder(f"{info.folder}/{part}")
    with suppress(NoReportError, FatalError, PhotoError, OSError):  # the next window tries again
        retire(info.folder, info.settings.keep_reports)


def _windows(folder: str, run_id: str) -> dict[str, float]:
    try:
        return dict(read_run(folder, run_id).get("windows") or {})
    except (PhotoError, ValueError):
        return {}


def _rows_of(folder: str, run_id: str) -> int:
    try:
        return int(read_run(folder, run_id)["rows"])
    except (PhotoError, ValueError, KeyError, TypeError):
        return 0


class StreamChanges(beam.PTransform):
    """Watch for manifests of changes without end, and commit what they say, window by window."""

    def __init__(self, patterns: Iterable[str], info: RunInfo, decisions: str | None = None) -> None:
        super().__init__()
        self.patterns = list(patterns)
        self.info = info
        self.decisions = decisions

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Give a PCollection of nothing."""
        info, decisions = self.info, self.decisions
        found = [
            root | f"Match{number}" >> MatchContinuously(pattern, interval=EVERY_S, match_updated_files=True)
            for number, pattern in enumerate(self.patterns)
        ]
        rows = (
            found
            | "AllFiles" >> beam.Flatten()
            | "ReadChanges"
            >> beam.FlatMap(lambda file, folder: read_changes(file.path, folder), info.folder).with_output_types(
                tuple[int, tuple[str, int, bytes]]
            )
            | "Window" >> beam.WindowInto(FixedWindows(WINDOW_S))
            | "GroupByWindow" >> beam.GroupByKey()
        )
        todo, deleted = rows | "PlanWindow" >> beam.FlatMap(plan_window, info, decisions).with_output_types(
            tuple[int, bytes]
        ).with_outputs("deleted", main="todo")
        outcomes = todo | "ProcessPhotos" >> ProcessPhotos(info)
        packed = outcomes | "Pack" >> beam.Map(_pack)
        return (
            (packed, deleted)
            | "AllOutcomes" >> beam.Flatten()
            | "GroupOutcomes" >> beam.GroupByKey()
            | "CommitWindow" >> beam.Map(commit_window, info)
        )


def _pack(outcome: Outcome) -> tuple[int, Packed]:
    return 0, Packed.of([outcome])
