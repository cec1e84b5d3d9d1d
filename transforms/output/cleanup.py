"""Cleaning up: what a run that was killed left half-done, and reports that are older than need be."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.latest import BrokenReportError, in_force, newest_run
from transforms.output.pictures import remove_picture
from transforms.output.releases import releases, unnamed
from transforms.output.run import (
    WRITTEN,
    is_complete,
    is_partial,
    list_runs,
    read_run,
    record_of,
    report_of_run,
)

RECENT_S = 7 * 24 * 3600.0
"""What a report may be read for after a newer one is there, by a migration or comparison that started from it."""
PARTIAL_S = 3600.0
"""The same of a partial run, whose changes the next one's hold too."""


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
        newest = in_force(folder)
        counts = () if newest is None else (newest.run_id, newest.report.rpartition("=")[2])
        for run_id, files in list_runs(folder).items():
            if "run.json" not in files and run_id not in counts:
                _remove(folder, run_id)


def _remove(folder: str, run_id: str) -> None:
    for part in (report_of_run(run_id), report_of_run(run_id, partial=True), record_of(run_id)):
        storage.delete_folder(f"{folder}/{part}")


def retire(folder: str, keep: int) -> bool:
    """Remove what reports need not stay (see outdated). To be called by the holder of the folder's lease.

    Returns:
        whether there was one.

    Raises:
        NoReportError: there is no complete report. FatalError, PhotoError, OSError: something cannot be removed.
    """
    old = outdated(folder, keep)
    for run in old:
        remove_run(folder, run)
    return bool(old)


def remove_run(folder: str, run_id: str) -> None:
    """Remove the report and the record of a run; if it is interrupted, sweep removes the rest.

    Raises:
        FatalError, PhotoError: something cannot be removed.
    """
    for place in (record_of(run_id), report_of_run(run_id)):  # without it, it is a dead run's
        storage.delete(f"{folder}/{place}/run.json")
    _remove(folder, run_id)


def outdated(folder: str, keep: int) -> list[str]:
    """List the runs that are older than the newest so many complete ones, and what stopped runs of that time left.

    Complete ones that were the newest within RECENT_S stay too, and what stays has changes to. Partial runs, of which
    there may be one a second, count for themselves, and stay for PARTIAL_S.

    Raises:
        NoReportError: there is no complete report. PhotoError, OSError: the folder cannot be listed.
    """
    runs = list_runs(folder)
    complete = sorted(run for run, files in runs.items() if is_complete(files))
    whole = [run for run in complete if not is_partial(runs[run])]
    first = max(0, len(whole) - keep)
    while first and time.time() - _committed(folder, whole[first]) < RECENT_S:
        first -= 1  # it was the newest until the one behind it was committed
    newest = newest_run(folder)
    oldest = min({newest.run_id, newest.report.rpartition("=")[2], *whole[first : first + 1]})
    partial = [run for run in complete if is_partial(runs[run]) and run != newest.run_id]
    cut = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - PARTIAL_S))
    old = {run for run in runs if run < oldest} | {run for run in partial[:-keep] if run < cut}
    if not old.isdisjoint(whole):  # what had changes to them goes with them
        old |= {run for run in partial if run not in old and _stands_on(folder, run) in old}
    return sorted(old)


def _stands_on(folder: str, run_id: str) -> str | None:
    """Name the run to whose report a partial run has changes; None if that cannot be told."""
    with suppress(PhotoError, ValueError, KeyError, TypeError, AttributeError):
        return str(read_run(folder, run_id)["report"]).rpartition("=")[2]
    return None


def remove_unnamed(folder: str, run_id: str) -> None:
    """Remove the pictures and maps that no release of an output folder names. run_id: of whoever holds its lease.

    Raises:
        FatalError, DeadEndError, PhotoError, OSError, BrokenReportError: it cannot be told which, or one stays.
    """
    doomed = [name for name, _ in unnamed(folder, releases(folder))]
    with ThreadPoolExecutor(storage.parallel(folder)) as pool:
        for _ in pool.map(lambda name: remove_picture(folder, run_id, name, "unnamed"), doomed):
            pass


def _committed(folder: str, run_id: str) -> float:
    """Tell when a run was committed, in seconds since 1970; if that cannot be told, now."""
    try:
        said = read_run(folder, run_id)
        return float(said["started"] + said["seconds"])
    except (PhotoError, ValueError, KeyError, TypeError):
        return time.time()
