"""Cleaning up: what a run that was killed left half-done, and reports that are older than need be."""

from __future__ import annotations

import time

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.earlier import newest_run
from transforms.output.run import read_run

RECENT_S = 7 * 24 * 3600.0
"""What a report may be read for after a newer one is there, by a migration or comparison that started from it."""


def sweep(folder: str, everywhere: bool = True) -> None:
    """Remove from an output folder what a dead run left half-done. Pictures and maps that are whole stay.

    everywhere: look through the pictures and maps too, of which there may be millions, and not in the report only.

    Raises:
        FatalError, PhotoError, OSError: something cannot be listed or removed.
    """
    if storage.is_local(folder):  # an object that was not finished was never there
        for part in ("images", "maps", "report") if everywhere else ("report",):
            for name, _ in list(storage.list_sizes(f"{folder}/{part}")):
                if name.endswith(storage.TEMPORARY):
                    storage.delete(f"{folder}/{part}/{name}", below=folder)
    for run, files in list_runs(folder).items():
        if not {"_SUCCESS", "run.json"} & files:
            storage.delete_folder(f"{folder}/report/{run}")


def list_runs(folder: str) -> dict[str, set[str]]:
    """List the folders below `report` that runs have left (`run=…`), and the files in each.

    Raises:
        OSError, PhotoError: something cannot be listed.
    """
    runs: dict[str, set[str]] = {}
    for name, _ in storage.list_sizes(f"{folder}/report"):
        run, slash, file = name.partition("/")
        if slash and run.startswith("run="):
            runs.setdefault(run, set()).add(file)
    return runs


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
    oldest = min(newest_run(folder)["report"].removeprefix("report/"), *complete[first : first + 1])
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
