"""A run: its name, what it is asked for, and its record, the folder with the run.json that says how it went.

A report's folder (`report/run=ID`) holds its rows and nothing else, so that whatever reads folders of Parquet reads it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from transforms import storage
from transforms.credentials import without_password
from transforms.errors import PhotoError
from transforms.settings import RunSettings

JSON = "application/json"
CHANGES = "changes/"
WRITTEN = ("report", "runs")
"""What a run writes of itself, below the output folder."""


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run: its name, what it is asked for, and what it found out before it began.

    started: seconds since 1970. versions: of what its output's bytes depend on.
    leased: whether the run holds a lease on the output folder, without which it may not commit.
    outlives: whether it is a job on a cluster, which goes on without the process that started it; detached: whether
    nobody waits for its end.
    repairs: of a repair, what the run that it repairs was asked for; run.json says that again.
    doubt: why the release is not to be published before somebody has looked at it.
    stands_on: of a partial run the report, relative to the output folder, that it has changes to.
    """

    settings: RunSettings
    run_id: str = ""
    started: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    leased: bool = False
    outlives: bool = False
    detached: bool = False
    repairs: RunSettings | None = None
    doubt: str | None = None
    stands_on: str | None = None

    @property
    def folder(self) -> str:
        """The output folder."""
        return self.settings.output

    @property
    def report(self) -> str:
        """The folder of this run's report, relative to the output folder."""
        return report_of_run(self.run_id, self.stands_on is not None)

    @property
    def since(self) -> str | None:
        """When the run began: UTC to the second, as ISO 8601 has it; None of what is no run."""
        return None if not self.started else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started))

    @property
    def record(self) -> str:
        """The folder of what else there is to say of this run, relative to the output folder."""
        return record_of(self.run_id)


def name_run(now: float, ending: str) -> str:
    """Name a run. Names stand in the order of their starts; to the second, two short runs would not."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z-{ending}"


def report_of_run(run_id: str, partial: bool = False) -> str:
    """Place the report of a run, or its changes to another report, relative to its output folder."""
    return f"report/{'changes' if partial else 'run'}={run_id}"


def record_of(run_id: str) -> str:
    """Place the record of a run, relative to its output folder."""
    return f"runs/{run_id}"


def record_stop(info: RunInfo, reason: str, exit_code: int) -> None:
    """Say in run.json why a run has no report."""
    run = {
        "run_id": info.run_id,
        "exit_code": exit_code,
        "reason": reason,
        "settings": (info.repairs or info.settings).record(),
        "versions": info.versions,
        "started": info.started,
        "seconds": max(0.001, time.time() - info.started),
    }
    storage.write(f"{info.folder}/{info.record}/run.json", json_of(run), JSON)


def discard_shards(info: RunInfo) -> None:
    """Remove what a run that did not complete has written of its report."""
    for part in (info.report, info.record):
        storage.delete_folder(f"{info.folder}/{part}")


def read_run(folder: str, run_id: str) -> dict[str, Any]:
    """Read the run.json of a run.

    Raises:
        PhotoError: it cannot be read.
    """
    run: dict[str, Any] = json.loads(read_record(folder, run_id, "run.json"))
    return run


def read_record(folder: str, run_id: str, name: str) -> bytes:
    """Read a file of a run's record. Before version 4 of the report it lay beside the report's shards.

    Raises:
        PhotoError: it cannot be read.
    """
    try:
        return storage.read(f"{folder}/{record_of(run_id)}/{name}").data
    except PhotoError as error:
        if error.code != "not_found":
            raise
    return storage.read(f"{folder}/report/run={run_id}/{name}").data


def is_candidate(folder: str, run_id: str) -> bool:
    """Tell whether a run has a whole report that was left as a candidate."""
    try:
        run = read_run(folder, run_id)
    except (PhotoError, ValueError):
        return False
    return isinstance(run, dict) and run.get("rows") is not None and run.get("held") is not None


def json_of(value: object) -> bytes:
    """Write JSON for people too; no password gets into it."""
    return (without_password(json.dumps(value, indent=2, ensure_ascii=False)) + "\n").encode()


def list_runs(folder: str) -> dict[str, set[str]]:
    """List the runs that have left anything, and the files of each, in its report and in its record.

    Of a partial run they have the names of the folder before them, `changes=…/`.

    Raises:
        OSError, PhotoError: something cannot be listed.
    """
    runs: dict[str, set[str]] = {}
    for part in WRITTEN:
        for name, _ in storage.list_sizes(f"{folder}/{part}"):
            run, slash, file = name.partition("/")
            kind, equals, run_id = run.rpartition("=")
            if slash and bool(equals) == (part == "report"):
                runs.setdefault(run_id, set()).add(f"{CHANGES}{file}" if kind == "changes" else file)
    return runs


def is_partial(files: set[str]) -> bool:
    """Tell of a run's files whether it has changes to another report, and none of its own."""
    return any(name.startswith(CHANGES) for name in files)


def is_complete(files: set[str]) -> bool:
    """Tell of a run's files whether it got as far as a report; what stopped has a run.json, and no report."""
    return "run.json" in files and any(name.removeprefix(CHANGES).startswith("part-") for name in files)
