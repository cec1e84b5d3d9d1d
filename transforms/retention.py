"""Retention: old reports are removed, or every night would leave one for ever."""

from __future__ import annotations

import time

from transforms import storage
from transforms.commit import read_run
from transforms.earlier import latest_run
from transforms.sweep import list_runs
from transforms.types import PhotoError

RECENT_S = 7 * 24 * 3600.0
"""What a report may be read for after a newer one is there, by a migration or comparison that started from it."""


def retire(folder: str, keep: int) -> None:
    """Remove all reports older than the newest so many complete ones, and what stopped runs of that time left.

    Complete reports that were the newest within RECENT_S stay too. To be called by the holder of the folder's lease.

    Raises:
        NoReportError: there is no complete report. FatalError, PhotoError, OSError: something cannot be removed.
    """
    runs = list_runs(folder)
    complete = sorted(run for run, files in runs.items() if "_SUCCESS" in files)
    first = max(0, len(complete) - keep)
    while first and time.time() - _committed(folder, complete[first]) < RECENT_S:
        first -= 1  # it was the newest until the one behind it was committed
    oldest = min(latest_run(folder)["report"].removeprefix("report/"), *complete[first : first + 1])
    for run in sorted(run for run in runs if run < oldest):
        for mark in ("_SUCCESS", "run.json"):  # first, it is no longer complete; then, sweep removes the rest
            storage.delete(f"{folder}/report/{run}/{mark}")
        storage.delete_folder(f"{folder}/report/{run}")


def _committed(folder: str, run: str) -> float:
    """Tell when a run was committed, in seconds since 1970; if that cannot be told, now."""
    try:
        said = read_run(folder, run.removeprefix("run="))
        return float(said["started"] + said["seconds"])
    except (PhotoError, ValueError, KeyError, TypeError):
        return time.time()
