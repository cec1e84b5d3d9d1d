"""A sign of life: each worker process logs now and then how far it is. Beam forwards logs from wherever it runs."""

from __future__ import annotations

import logging
import threading
import time

PERIOD_S = 30.0
LOGGER = logging.getLogger("whitesweep")


class Heartbeat:
    """Counts finished rows of this process, and logs the count and the rate at most once a period."""

    def __init__(self, period: float = PERIOD_S) -> None:
        self.period = period
        self._lock = threading.Lock()
        self._rows = self._failed = 0
        self._began = self._said = time.monotonic()

    def row(self, failed: bool) -> None:
        """Count one finished row."""
        with self._lock:
            if not self._rows:  # the process may have idled, or run something else, before
                self._began = self._said = time.monotonic()
            self._rows += 1
            self._failed += failed
            now = time.monotonic()
            if now - self._said < self.period:
                return
            self._said = now
            rows, rate, lost = self._rows, self._rows / (now - self._began), self._failed
        LOGGER.info("%d rows done, %.2f a second, %d failed", rows, rate, lost)


HEARTBEAT = Heartbeat()
"""This process's own."""
