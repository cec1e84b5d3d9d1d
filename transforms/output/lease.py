"""The lease on an output folder: two runs must not write into one at the same time.

Who holds it renews it while it lives. Workers, wherever they are, read in it whether to go on.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.output import lease_file
from transforms.output.lease_file import (
    in_use,
    is_dead,
    of_job,
    of_process,
    owner,
    read_version,
    renewed_lately,
    standing,
    write,
)
from transforms.stopping import STOP

LOOK_S = 2.0
"""How often a worker looks whether to go on."""


class LeaseError(Exception):
    """Another run holds the lease; one line that names it."""


@dataclass(slots=True)
class Lease:
    """A lease on an output folder, renewed by a thread of its own until it is released.

    taken_over: it was a dead run's. was_asked_to_stop: somebody asked the run to stop, here or elsewhere.
    is_clean: there is nothing that the next run would have to sweep.
    """

    folder: str
    run_id: str
    command: str
    taken_over: bool = False
    was_asked_to_stop: bool = False
    since: float = field(default_factory=time.time)
    _is_job: bool = False
    _left: bool = False
    is_clean: bool = False
    _changing: threading.Lock = field(default_factory=threading.Lock)
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease; a dead holder's is taken over (then taken_over says so).

        Raises:
            LeaseError: a live run holds it. FatalError, PhotoError: it cannot be written.
        """
        deadline = time.monotonic() + lease_file.EXPIRY_S
        seen = None
        while True:
            with storage.locked(f"{self.folder}/report"):
                if write(self.folder, self._lease(), None):
                    break
                held, version = read_version(self.folder)
                if held is not None and held.get("run_id") == self.run_id:  # it was written, and the answer was lost
                    break
                # A clock that jumped makes a live lease look old: an old one has to stay as it is for a while.
                # Never without one between the two: who finds a dead run's lease knows that there is to sweep.
                if (is_dead(held) or (held is not None and held == seen and time.monotonic() > deadline)) and (
                    write(self.folder, self._lease(), version)
                ):
                    self.taken_over = True
                    break
            if held is not None and (renewed_lately(held) or seen not in (None, held)):
                raise LeaseError(in_use(self.folder, held))
            if seen is None:
                deadline = time.monotonic() + 2 * lease_file.RENEWAL_S
            seen = held
            time.sleep(1)
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def is_held(self) -> bool:
        """Tell whether the output folder is ours still; if that cannot be told, it is not."""
        with suppress(PhotoError):
            return owner(self.folder) == self.run_id
        return False

    def ask_to_stop(self) -> None:
        """Let the lease say soon that the run is to stop; a signal handler may call this."""
        self.was_asked_to_stop = True
        self._wake.set()

    def hand_over(self) -> None:
        """Leave the lease to the run's job on a cluster: it no longer ends with this process.

        Raises:
            FatalError, PhotoError: that cannot be written.
        """
        self._is_job = True
        self._write()

    def pass_on(self, run_id: str) -> None:
        """Let the next run of this process hold the lease.

        Raises:
            FatalError, PhotoError: it is another's by now, or cannot be written.
        """
        with self._changing:
            before, self.run_id = self.run_id, run_id
            while True:
                with storage.locked(f"{self.folder}/report"):
                    held, version = read_version(self.folder)
                    if held is None or held.get("run_id") != before:
                        raise FatalError(
                            f"{self.folder}: taken over by another run; this one writes nothing more there"
                        )
                    if write(self.folder, {**self._lease(), "stopping": held.get("stopping", False)}, version):
                        return

    def leave(self) -> None:
        """Renew the lease no more, and leave it where it is."""
        self._left = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def release(self, clean: bool = True) -> None:
        """Give the lease back, if it is still ours; if not clean, leave it as a dead run's: the next sweeps."""
        self.leave()
        with suppress(PhotoError, FatalError), storage.locked(f"{self.folder}/report"):
            if clean and self.is_held():
                lease_file.remove(self.folder)

    def _renew(self) -> None:
        while True:
            self._wake.wait(lease_file.RENEWAL_S)
            self._wake.clear()
            if self._left:
                return
            # The disk may be full for a while; the commit looks again.
            with suppress(PhotoError, FatalError):
                if not self._write():
                    return

    def _write(self) -> bool:
        """Write the lease anew; tell whether it is ours still."""
        with self._changing, storage.locked(f"{self.folder}/report"):
            held, version = read_version(self.folder)
            if held is None or held.get("run_id") != self.run_id:
                return False
            if held.get("stopping") is True and not self.was_asked_to_stop:  # by the command `stop`
                self.was_asked_to_stop = True
                STOP.set()
            write(self.folder, {**self._lease(), "over": held.get("over", False)}, version)
            return True

    def _lease(self) -> dict[str, Any]:
        made = (of_job if self._is_job else of_process)(self.run_id, self.command, self.since)
        return {**made, "stopping": self.was_asked_to_stop}


def check_free(folder: str) -> None:
    """Make sure that no live run is writing into an output folder.

    Raises:
        LeaseError: one is. PhotoError: the lease cannot be read.
    """
    held, _ = read_version(folder)
    if held is not None and renewed_lately(held) and not is_dead(held):
        raise LeaseError(in_use(folder, held))


class LeaseWatch:
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
                self._due = time.monotonic() + LOOK_S
            return self._standing


lease_watch = lru_cache(maxsize=8)(LeaseWatch)
"""Give this process's one LeaseWatch of a run; a worker of a cluster may outlive a run and serve the next one."""
