"""How far a run is whose rows other processes finish: each writes it into the run's record, and the driver adds it up.

Metrics would be Beam's way. Flink's job server tells of them only when a job has ended.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from transforms import storage
from transforms.output.run import JSON, RunInfo, json_of, record_of
from transforms.tracking import PROGRESS

PERIOD_S = 5.0
SOON_S = 1.0
READERS = 16
PLANNED = ("plan", "rows", "to_do")


def folder_of(folder: str, run_id: str) -> str:
    """Place what the worker processes of a run write, below its output folder."""
    return f"{folder}/{record_of(run_id)}/progress"


class Reporter:
    """Writes what this process has done of a run, at most once a period. What cannot be written is not missed."""

    def __init__(self, folder: str, run_id: str) -> None:
        self.uri = f"{folder_of(folder, run_id)}/{socket.gethostname()}-{os.getpid()}.json"
        self._lock = threading.Lock()
        self._plan: dict[str, Any] | None = None
        self._done = self._failed = self._told = 0
        self._work: Counter[str] = Counter()
        self._due = time.monotonic() + SOON_S

    def planned(self, plan: dict[str, Any], rows: int, to_do: int) -> None:
        """Tell what is to be done: what run.json says of the plan, rows in all, and those that are not carried over."""
        with self._lock:
            self._plan = {"plan": plan, "rows": rows, "to_do": to_do}
            self._write()

    def row(self, failed: bool, work: Mapping[str, int]) -> None:
        """Count one finished row, and what was done for it."""
        with self._lock:
            self._done += 1
            self._failed += failed
            self._work.update(work)
            if time.monotonic() >= self._due:
                self._write()

    def pause(self) -> None:
        """Tell of the last rows, as there may be no more."""
        with self._lock:
            if self._done > self._told and time.monotonic() >= self._due - PERIOD_S + SOON_S:
                self._write()

    def _write(self) -> None:
        self._due, self._told = time.monotonic() + PERIOD_S, self._done
        with suppress(Exception):
            said = {"done": self._done, "failed": self._failed, "work": self._work, **(self._plan or {})}
            storage.write(self.uri, json_of(said), JSON)


@lru_cache(maxsize=2)
def reporter(folder: str, run_id: str) -> Reporter:
    """Give the one of this process for a run."""
    return Reporter(folder, run_id)


def row_done(info: RunInfo, failed: bool, work: Mapping[str, int]) -> None:
    """Count one finished row, and what was done for it, for the driver, which is this process or another one."""
    if PROGRESS.begun:
        PROGRESS.row(failed)
    elif info.leased:  # or nobody looks
        reporter(info.folder, info.run_id).row(failed, work)


def pause(info: RunInfo) -> None:
    """Let the driver know of the last rows."""
    if not PROGRESS.begun and info.leased:
        reporter(info.folder, info.run_id).pause()


def all_work(info: RunInfo, reported: Counter[str]) -> Counter[str]:
    """Count what a run did, at least: a cluster does again what was cut off, and rows tell of their last time only."""
    work = Counter(reported)
    if not PROGRESS.begun and info.leased:
        with suppress(Exception):
            work |= read_reports(info.folder, info.run_id).get("work", Counter())
    return work


def read_reports(folder: str, run_id: str) -> dict[str, Any]:
    """Add up what the worker processes of a run have written: done, failed, work; and plan, rows, to_do, if it is made.

    Raises:
        PhotoError, OSError, ValueError: something cannot be read just now.
    """
    place = folder_of(folder, run_id)
    names = [name for name, _ in storage.list_sizes(place) if name.endswith(".json")]
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda name: json.loads(storage.read(f"{place}/{name}").data), names))
    total: Counter[str] = Counter()
    said: dict[str, Any] = {"work": Counter()}
    for one in found:
        said["work"].update(one.pop("work"))
        said |= {name: one.pop(name) for name in PLANNED if name in one}  # after a restart, another process plans too
        total.update(one)
    return {**said, **total}
