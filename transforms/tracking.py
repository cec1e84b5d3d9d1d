"""How far a run is, as its driver sees it: counted in this process, or by workers elsewhere (elsewhere.py)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW_S = 30.0
"""The rate is that of so long, so that a stall shows."""
PHASES = ("reading manifests and planning", "photos", "report")


class Progress:
    """Counts of one run at a time. Not begun, it counts nothing: then this process is a worker's, not the driver's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.begun = False
        self.source: Callable[[], dict[str, int]] | None = None
        self._reset()

    def _reset(self) -> None:
        self._phase, self._rows, self._to_do = 0, 0, 0
        self._done = self._failed = 0
        self._started = self._finished = self._clock()
        self._seen: deque[tuple[float, int]] = deque()
        self._last: dict[str, Any] = {}

    def begin(self) -> None:
        """Begin to count a run."""
        with self._lock:
            self._reset()
            self.begun, self.source = True, None

    def end(self) -> None:
        """Count no more."""
        self.begun, self.source = False, None

    def planned(self, rows: int, to_do: int) -> None:
        """Be told what is to be done: rows in all, and those of them that are not carried over."""
        with self._lock:
            self._rows, self._to_do, self._phase = rows, to_do, 1 if to_do else 2

    def row(self, failed: bool) -> None:
        """Count one finished row."""
        with self._lock:
            self._done += 1
            self._failed += failed
            self._finished = self._clock()

    def snapshot(self) -> dict[str, Any]:
        """Say how far the run is.

        Returns:
            phase; rows, to_do (rows that are not carried over), done, failed; rate (rows a second over the last half
            minute), seconds_left (None if that cannot be told), seconds, idle (seconds since a row was finished).
        """
        counts = None if self.source is None else self.source()
        with self._lock:
            now = self._clock()
            if counts:
                if counts.get("done", 0) != self._done:
                    self._finished = now
                self._rows, self._to_do = counts.get("rows", self._rows), counts.get("to_do", self._to_do)
                # A cluster may do a part again that was cut off.
                self._done, self._failed = min(counts.get("done", 0), self._to_do), counts.get("failed", 0)
                self._phase = max(self._phase, 1 if self._to_do else 0)
            if self._phase == 1 and self._done >= self._to_do > 0:
                self._phase = 2
            self._seen.append((now, self._done))
            while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
                self._seen.popleft()
            then, before = self._seen[0] if len(self._seen) > 1 else (self._started, 0)
            rate = (self._done - before) / (now - then) if now > then else 0.0
            left = self._to_do - self._done
            self._last = {
                "phase": PHASES[self._phase],
                "rows": self._rows,
                "to_do": self._to_do,
                "done": self._done,
                "failed": self._failed,
                "rate": round(rate, 2),
                "seconds_left": round(left / rate) if rate > 0 and self._phase == 1 else None,
                "seconds": round(now - self._started, 1),
                "idle": round(now - self._finished, 1),
            }
            return self._last

    def last(self) -> dict[str, Any]:
        """Give the last snapshot; before there was one, make it."""
        return self._last or self.snapshot()


PROGRESS = Progress()
"""This process's own."""


def in_words(said: dict[str, Any]) -> str:
    """Say a snapshot in one line."""
    if said["phase"] != "photos":
        return f"{said['phase']}: {_time(said['seconds'])} so far"
    share = said["done"] / said["to_do"]
    line = f"photos: {said['done']:,} of {said['to_do']:,} rows ({share:.1%}), {said['rate']:.1f} a second"
    line += f", {said['failed']:,} failed"
    if said["seconds_left"] is not None:
        return f"{line}, about {_time(said['seconds_left'])} left"
    return f"{line}; nothing finished for {_time(said['idle'])}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
