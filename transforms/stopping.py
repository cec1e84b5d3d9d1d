"""Whether to stop (SIGTERM, Ctrl-C): workers then finish what they have begun, no more.

A worker of the driver's own process is told by STOP. Another one, wherever it is, reads it in the lease.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import lru_cache

from transforms.lease import standing
from transforms.types import FatalError, PhotoError

STOP = threading.Event()
PERIOD_S = 2.0


class StopWatch:
    """Whether a run is to stop, for all threads of this process; the lease is read at most once a period.

    A run without a name has no lease, and only STOP stops it.
    """

    def __init__(self, folder: str, run_id: str) -> None:
        self.folder, self.run_id = folder, run_id
        self._lock = threading.Lock()
        self._due = 0.0
        self._standing = "ours"

    def is_over(self) -> bool:
        """Tell whether nothing more is to be begun."""
        return self._look() != "ours" or STOP.is_set()

    def refuse_lost(self) -> None:
        """Make sure that the output folder is this run's still, before anything in it is touched.

        Raises:
            FatalError: another run has taken it over, while this one was suspended or cut off.
        """
        if self._look() == "lost":
            raise FatalError(f"{self.folder}: taken over by another run; this one writes nothing more there")

    def _look(self) -> str:
        with self._lock:
            if self.run_id and self._standing != "lost" and time.monotonic() >= self._due:
                with suppress(PhotoError, FatalError):  # it cannot be read just now: then we go on
                    self._standing = standing(self.folder, self.run_id)
                self._due = time.monotonic() + PERIOD_S
            return self._standing


stop_watch = lru_cache(maxsize=8)(StopWatch)
"""Give this process's one StopWatch of a run; a worker of a cluster may outlive a run and serve the next one."""
