"""A run that plainly fails stops early: a wrong bucket or a dead server should not cost a night."""

from __future__ import annotations

import threading
from collections import Counter, deque
from functools import lru_cache

from transforms.errors import FatalError, in_one_line
from transforms.output.earlier import Earlier
from transforms.output.schema import ReportRow

WINDOW = 30
"""Finished rows that are looked back on. Photos come in no order, so a bad folder does not fill it."""
CLEAR_MAJORITY = 0.6
ENOUGH = 1000
"""Failures after which a clear majority stops a run of any size, or of a size that is not known."""


class EarlyStop:
    """Watches the rows that the threads of a process finish.

    A run stops when more rows have failed than it may have in all, so that it could not end well any more, and most of
    the last ones did. Rows that failed in the same way in the report before do not count: of a nightly run's few rows
    they may be most.
    """

    def __init__(self, max_failure_fraction: float) -> None:
        self.fraction = max_failure_fraction
        self.budget = ENOUGH
        self._lock = threading.Lock()
        self._last: deque[str | None] = deque(maxlen=WINDOW)
        self._failed = 0

    def expect(self, rows: int) -> None:
        """Be told how many rows there are in all."""
        self.budget = min(ENOUGH, int(self.fraction * rows))

    def row(self, row: ReportRow, earlier: Earlier | None) -> None:
        """Count one finished row.

        Raises:
            FatalError: the run plainly fails.
        """
        if self.fraction >= 1 or (earlier is not None and row.code is not None and earlier.code == row.code):
            return
        with self._lock:
            self._last.append(row.code)
            self._failed += row.code is not None
            codes = Counter(code for code in self._last if code is not None)
            if row.code is None or self._failed <= self.budget or len(self._last) < WINDOW:
                return
            if codes.total() <= max(CLEAR_MAJORITY, self.fraction) * WINDOW:
                return
            failed = self._failed
        code, count = codes.most_common(1)[0]
        raise FatalError(
            f"{failed} rows failed, {codes.total()} of the last {WINDOW} and {count} of these {code}, the last "
            f"{told_once(row.uri, row.message)}; to go on regardless, give --max_failure_fraction 1"
        )


def told_once(uri: str, message: str | None) -> str:
    """Say what is wrong with a photo; the message mostly begins with its address."""
    message = message or ""
    return in_one_line(message if uri in message else f"{uri}: {message}")


@lru_cache(maxsize=4)
def early_stop(run_id: str, max_failure_fraction: float) -> EarlyStop:
    """Give the one of this process for a run."""
    return EarlyStop(max_failure_fraction)
