"""The lease on an output folder: two runs must not write into one at the same time.

`report/lease.json` names its holder, who renews it while it lives. On the same machine a dead holder is known by its
process; elsewhere by a lease that is not renewed. Workers, wherever they are, read in it whether to go on.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.stopping import STOP

RENEWAL_S = 15.0
EXPIRY_S = 60.0
"""A lease that was not renewed for so long is its dead holder's."""
LOOK_S = 2.0
"""How often a worker looks whether to go on."""


class LeaseError(Exception):
    """Another run holds the lease; one line that names it."""


def lease_uri(folder: str) -> str:
    """Place the lease of an output folder."""
    return f"{folder}/report/lease.json"


def owner(folder: str) -> str | None:
    """Give the run_id of the run that holds the lease on an output folder, if there is one."""
    lease = _read(folder)
    return None if lease is None or "run_id" not in lease else str(lease["run_id"])


def look(folder: str) -> dict[str, Any] | None:
    """Give the lease on an output folder, and in `alive` whether its holder lives; None if there is none.

    Raises:
        PhotoError: it cannot be read.
    """
    lease = _read(folder)
    return None if lease is None else {**lease, "alive": _renewed_lately(lease) and not _is_dead(lease)}


def standing(folder: str, run_id: str) -> str:
    """Tell how a run stands that was given a lease: `ours`; `stopping`, if it was asked to; `lost`, if it has none now.

    Raises:
        PhotoError: the lease cannot be read.
    """
    lease = _read(folder)
    if lease is None or lease.get("run_id", run_id) != run_id:
        return "lost"
    return "stopping" if lease.get("stopping") is True else "ours"


@dataclass(slots=True)
class Lease:
    """A lease on an output folder, renewed by a thread of its own until it is released."""

    folder: str
    run_id: str
    command: str
    taken_over: bool = False
    since: float = field(default_factory=time.time)
    _stopping: bool = False
    _released: bool = False
    _wake: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease; a dead holder's is taken over (then taken_over says so).

        Raises:
            LeaseError: a live run holds it. FatalError, PhotoError: it cannot be written.
        """
        deadline = time.monotonic() + EXPIRY_S
        seen = None
        while True:
            with storage.locked(f"{self.folder}/report"):
                if storage.create(lease_uri(self.folder), self._text(), "application/json"):
                    break
                held, version = _read_version(self.folder)
                if held is not None and held.get("run_id") == self.run_id:  # it was written, and the answer was lost
                    break
                # A clock that jumped makes a live lease look old: an old one has to stay as it is for a while.
                # Never without one between the two: who finds a dead run's lease knows that there is to sweep.
                if (_is_dead(held) or (held is not None and held == seen and time.monotonic() > deadline)) and (
                    storage.swap(lease_uri(self.folder), self._text(), "application/json", version)
                ):
                    self.taken_over = True
                    break
            if held is not None and (_renewed_lately(held) or seen not in (None, held)):
                raise LeaseError(_in_use(self.folder, held))
            if seen is None:
                deadline = time.monotonic() + 2 * RENEWAL_S
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
        self._stopping = True
        self._wake.set()

    def release(self, clean: bool = True) -> None:
        """Give the lease back, if it is still ours; if not clean, leave it as a dead run's: the next sweeps."""
        self._released = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(PhotoError, FatalError), storage.locked(f"{self.folder}/report"):
            if clean and self.is_held():
                storage.delete(lease_uri(self.folder))

    def _renew(self) -> None:
        while True:
            self._wake.wait(RENEWAL_S)
            self._wake.clear()
            if self._released:
                return
            # The disk may be full for a while; the commit looks again.
            with suppress(PhotoError, FatalError), storage.locked(f"{self.folder}/report"):
                held, version = _read_version(self.folder)
                if held is None or held.get("run_id") != self.run_id:
                    return
                storage.swap(lease_uri(self.folder), self._text(), "application/json", version)

    def _text(self) -> bytes:
        lease = {
            "run_id": self.run_id,
            "command": self.command,
            "host": platform.node(),
            "namespace": _namespace(),
            "process": os.getpid(),
            "process_start": _process_start(os.getpid()),
            "since": self.since,
            "renewed": time.time(),
            "stopping": self._stopping,
            "nonce": secrets.token_hex(4),
        }
        return (json.dumps(lease, indent=2) + "\n").encode()


def check_free(folder: str) -> None:
    """Make sure that no live run is writing into an output folder.

    Raises:
        LeaseError: one is. PhotoError: the lease cannot be read.
    """
    held = _read(folder)
    if held is not None and _renewed_lately(held) and not _is_dead(held):
        raise LeaseError(_in_use(folder, held))


def _in_use(folder: str, held: dict[str, Any]) -> str:
    holder = f"process {held.get('process')} on {held.get('host')}"
    return f"{folder}: run {held.get('run_id')} is writing there ({holder}); wait for it, or stop it"


def _read(folder: str) -> dict[str, Any] | None:
    return _read_version(folder)[0]


def _read_version(folder: str) -> tuple[dict[str, Any] | None, str]:
    """Give what the lease says, None if there is none and nothing if it cannot be understood, and its version."""
    try:
        blob = storage.read(lease_uri(folder))
    except PhotoError as error:
        if error.code == "not_found":
            return None, ""
        raise
    try:
        lease = json.loads(blob.data)
    except ValueError:
        lease = {}
    return (lease if isinstance(lease, dict) else {}), blob.version


def _renewed_lately(lease: dict[str, Any]) -> bool:
    renewed = lease.get("renewed")
    return isinstance(renewed, (int, float)) and abs(time.time() - renewed) < EXPIRY_S


def _is_dead(lease: dict[str, Any] | None) -> bool:
    """Tell whether the holder is a process of this machine that no longer lives."""
    here = (platform.node(), _namespace())
    if not lease or (lease.get("host"), lease.get("namespace")) != here or not isinstance(lease.get("process"), int):
        return False
    return _process_start(lease["process"]) != lease.get("process_start")


def _namespace() -> str:
    """Tell containers apart that share a host name: each numbers its processes for itself."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_start(process: int) -> str | None:
    """Tell one process from a later one of the same number: boot and clock tick of its start; None if it is dead."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as stream:
            fields = stream.read().rpartition(")")[2].split()
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
            boot = stream.read().strip()
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        try:  # no /proc on this system
            os.kill(process, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return "alive"
    return None if fields[0] in ("Z", "X") else f"{boot} {fields[19]}"


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
