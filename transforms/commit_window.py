"""The commit of a window of a stream: its rows become changes to the report in force, by exactly one committer.

Pictures have fingerprints in their names, or windows might write over each other's. What is older than what is
committed yields to it, id by id: an object in a bucket is as old as it is there, a file as the window that it was found
in. What is known of that is in the run.json of the release in force, so it is committed with it, and what is replayed,
or delivered twice, commits nothing twice.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.output.cleanup import retire
from transforms.output.commit import PARQUET, write_or_stop
from transforms.output.earlier import Report, report_of
from transforms.output.latest import NoReportError, in_force, move
from transforms.output.lease import lease_watch
from transforms.output.run import JSON, RunInfo, json_of, name_run, read_run, record_of, report_of_run
from transforms.output.schema import DELETED, ReportRow, shard_name
from transforms.report import carry, placed, summarise, to_parquet, to_table
from transforms.steps import Effort
from transforms.types import Carried, Packed

WINDOW_S = 10.0
"""What is found within it is committed together."""
REMEMBERED_S = 3600.0
"""How long it is known since when what is said of an id is so: nothing older comes so late."""
LOGGER = logging.getLogger("whitesweep")

Named = tuple[tuple[str, float, bool], ...]
"""Ids, since when what is said of each is so, and whether it is to go."""


def commit_window(
    keyed: tuple[int, Iterable[Packed | Named]], info: RunInfo, window: Any = beam.DoFn.WindowParam
) -> None:
    """Commit a window: its rows become changes to the report that is in force, all at once.

    Raises:
        FatalError: the output is another run's by now, or cannot be written.
    """
    end = float(window.end)
    parts = list(keyed[1])
    packed = [part for part in parts if isinstance(part, Packed)]
    named = [one for part in parts if not isinstance(part, Packed) for one in part]
    deleted = {id for id, _, is_gone in named if is_gone}
    outcomes = [row for part in packed for row in part.unpack()]
    since = {row.id: end for row in outcomes} | {id: at for id, at, _ in named}
    effort = Effort()
    for one in packed:
        effort.add(one.effort)
    while True:
        lease_watch(info.folder, info.run_id).refuse_lost()
        latest = in_force(info.folder)
        record = {} if latest is None else _record(info.folder, latest.run_id)
        before: dict[str, tuple[float, float]] = record.get("known_of") or {}
        news = {id for id, at in since.items() if id not in before or before[id][0] < at}
        rows = [row for row in outcomes if row.id in news]
        gone = deleted & news
        if not rows and not gone:
            return  # it is committed already, or all of it is newer there
        said = {row.id for row in rows} | gone
        known_of = {id: one for id, one in before.items() if one[1] > end - REMEMBERED_S}
        known_of |= {id: (since[id], end) for id in said}
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
        there = set(base.find(said)["id"].to_pylist()) if len(base) else set()
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
            "rows": (record.get("rows") or 0) + len({row.id for row in rows if row.id} - there) - len(gone & there),
            "statuses": dict(sorted(summary.statuses.items())),
            "failures": dict(sorted(summary.codes.items())),
            "gone": len(gone & there),
            "work": dict(sorted(effort.counts.items())),
            "started": end - WINDOW_S,
            "seconds": max(0.001, time.time() - end + WINDOW_S),
            "step_seconds": dict(sorted(effort.seconds.items())),
            "known_of": known_of,
        }
        write_or_stop(f"{info.folder}/{record_of(run_id)}/run.json", json_of(run), JSON)
        storage.settle(info.folder)
        with storage.locked(f"{info.folder}/report"):
            if move(info.folder, latest, run_id, report, place if latest is not None else None, "run"):
                LOGGER.info("window %s: %s", time.strftime("%H:%M:%S", time.gmtime(end)), run["statuses"])
                break
        for part in (place, record_of(run_id)):  # another window was faster: upon that one
            storage.delete_folder(f"{info.folder}/{part}")
    with suppress(NoReportError, FatalError, PhotoError, OSError):  # the next window tries again
        retire(info.folder, info.settings.keep_reports)


def _record(folder: str, run_id: str) -> dict[str, Any]:
    """Read the run.json of the release in force; nothing if it is lost or damaged.

    Raises:
        FatalError: it cannot be read just now. Without it, what is older would win.
    """
    try:
        return read_run(folder, run_id)
    except ValueError:
        return {}
    except PhotoError as error:
        if error.code == "not_found":
            return {}
        raise FatalError(error.message) from error
