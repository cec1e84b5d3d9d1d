"""Cleaning up: what a run that was killed left half-done, and reports that are older than need be."""

from __future__ import annotations

import time
from contextlib import suppress

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.earlier import BrokenReportError, NoReportError, newest_run
from transforms.output.run import read_run, record_of

WRITTEN = ("report", "runs")
"""What a run writes of itself, below the output folder."""

RECENT_S = 7 * 24 * 3600.0
"""What a report may be read for after a newer one is there, by a migration or comparison that started from it."""


def sweep(folder: str, everywhere: bool = True) -> None:
    """Remove from an output folder what a dead run left half-done. Pictures and maps that are whole stay.

    everywhere: look through the pictures and maps too, of which there may be millions, and not in the report only.

    Raises:
        FatalError, PhotoError, OSError: something cannot be listed or removed.
    """
    if storage.is_local(folder):  # an object that was not finished was never there
        for part in ("images", "maps", *WRITTEN) if everywhere else WRITTEN:
            for name, _ in list(storage.list_sizes(f"{folder}/{part}")):
                if name.endswith(storage.TEMPORARY):
                    storage.delete(f"{folder}/{part}/{name}", below=folder)
    with suppress(BrokenReportError):  # which report counts cannot be told: then all stay
        newest = _newest(folder)
        for run_id, files in list_runs(folder).items():
            if "run.json" not in files and run_id != newest:
                _remove(folder, run_id)


def list_runs(folder: str) -> dict[str, set[str]]:
    """List the runs that have left anything, and the files of each, in its report and in its record.

    Raises:
        OSError, PhotoError: something cannot be listed.
    """
    runs: dict[str, set[str]] = {}
    for part, prefix in zip(WRITTEN, ("run=", ""), strict=True):
        for name, _ in storage.list_sizes(f"{folder}/{part}"):
            run, slash, file = name.partition("/")
            if slash and run.startswith(prefix):
                runs.setdefault(run.removeprefix(prefix), set()).add(file)
    return runs


def is_complete(files: set[str]) -> bool:
    """Tell of a run's files whether it got as far as a report; what stopped has a run.json, and no report."""
    return "run.json" in files and any(name.startswith("part-") for name in files)


def _newest(folder: str) -> str | None:
    try:
        return str(newest_run(folder)["run_id"])
    except BrokenReportError:
        raise
    except NoReportError:
        return None


def _remove(folder: str, run_id: str) -> None:
    for part in (f"report/run={run_id}", record_of(run_id)):
        storage.delete_folder(f"{folder}/{part}")


def retire(folder: str, keep: int) -> None:
    """Remove all reports older than the newest so many complete ones, and what stopped runs of that time left.

    Complete reports that were the newest within RECENT_S stay too. To be called by the holder of the folder's lease.

    Raises:
        NoReportError: there is no complete report. FatalError, PhotoError, OSError: something cannot be removed.
    """
    runs = list_runs(folder)
    complete = sorted(run for run, files in runs.items() if is_complete(files))
    first = max(0, len(complete) - keep)
    while first and time.time() - _committed(folder, complete[first]) < RECENT_S:
        first -= 1  # it was the newest until the one behind it was committed
    oldest = min(newest_run(folder)["run_id"], *complete[first : first + 1])
    for run_id in sorted(run_id for run_id in runs if run_id < oldest):
        for place in (record_of(run_id), f"report/run={run_id}"):  # without it, sweep removes the rest
            storage.delete(f"{folder}/{place}/run.json")
        _remove(folder, run_id)


def _committed(folder: str, run_id: str) -> float:
    """Tell when a run was committed, in seconds since 1970; if that cannot be told, now."""
    try:
        said = read_run(folder, run_id)
        return float(said["started"] + said["seconds"])
    except (PhotoError, ValueError, KeyError, TypeError):
        return time.time()
