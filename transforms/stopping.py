"""Whether to stop (SIGTERM, Ctrl-C): workers then finish what they have begun, no more.

A worker of the driver's own process is told by STOP. Another one, wherever it is, reads it in the lease.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import lru_cache

from transforms.lease import is_over
from transforms.types import FatalError, PhotoError

STOP = threading.Event()
PERIOD_S = 2.0


class StopWatch:
    """Whether a run is to stop, for all threads of this process; the lease is read at most once a period."""

    def __init__(self, folder: str, run_id: str) -> None:
        self.folder, self.run_id = folder, run_id
        self._lock = threading.Lock()
        self._due = 0.0
        self._over = False

    def is_over(self) -> bool:
        """Tell whether nothing more is to be begun."""
        with self._lock:
            if not self._over and time.monotonic() >= self._due:
                with suppress(PhotoError, FatalError):  # it cannot be read just now: then we go on
                    self._over = is_over(self.folder, self.run_id)
                self._due = time.monotonic() + PERIOD_S
            return self._over or STOP.is_set()


stop_watch = lru_cache(maxsize=8)(StopWatch)
"""Give this process's one StopWatch of a run; a worker of a cluster may outlive a run and serve the next one."""
