"""The file of a lease, `report/lease.json`: who holds an output folder, and whether that holder lives.

On the same machine a dead holder is known by its process; elsewhere by a lease that is not renewed. A job on a cluster
is its own holder, and its workers renew the lease: it goes on whatever becomes of the process that started it.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from contextlib import suppress
from typing import Any

from transforms import storage
from transforms.errors import FatalError, PhotoError

RENEWAL_S = 15.0
EXPIRY_S = 60.0
"""A lease that was not renewed for so long is its dead holder's."""
JOB_EXPIRY_S = 600.0
"""The same of a job on a cluster, which may wait for workers, or for one stage to hand over to the next."""


def lease_uri(folder: str) -> str:
    """Place the lease of an output folder."""
    return f"{folder}/report/lease.json"


def owner(folder: str) -> str | None:
    """Give the run_id of the run that holds the lease on an output folder, if there is one."""
    lease, _ = read_version(folder)
    return None if lease is None or "run_id" not in lease else str(lease["run_id"])


def look(folder: str) -> dict[str, Any] | None:
    """Give the lease on an output folder, and in `alive` whether its holder lives; None if there is none.

    Raises:
        PhotoError: it cannot be read.
    """
    lease, _ = read_version(folder)
    return None if lease is None else {**lease, "alive": renewed_lately(lease) and not is_dead(lease)}


def standing(folder: str, run_id: str) -> str:
    """Tell how a run stands that was given a lease: `ours`; `stopping`, if it was asked to; `lost`, if it has none now.

    The lease of a job is renewed, if it is time.

    Raises:
        PhotoError: the lease cannot be read.
    """
    lease, version = read_version(folder)
    if lease is None or lease.get("run_id", run_id) != run_id:
        return "lost"
    if lease.get("job") is True and not _renewed_within(lease, RENEWAL_S):
        with suppress(PhotoError, FatalError), storage.locked(f"{folder}/report"):  # or another worker does it
            change(folder, lease, version, {"renewed": time.time()})
    return "stopping" if lease.get("stopping") is True else "ours"


def ask_to_stop(folder: str) -> str | None:
    """Ask the run that holds the lease on an output folder to stop; give its run_id, None if there is none alive.

    Raises:
        PhotoError, FatalError: the lease cannot be read or written.
    """
    while (found := look(folder)) is not None and found["alive"] and found.get("over") is not True:
        with storage.locked(f"{folder}/report"):
            held, version = read_version(folder)
            if held is not None and change(folder, held, version, {"stopping": True}):
                return str(held.get("run_id"))
    return None


def end_job(folder: str, run_id: str, awaited: bool) -> None:
    """Let a job give its lease back; while somebody awaits it (`awaited`), only say in it that it is over."""
    with suppress(PhotoError, FatalError):
        while True:
            with storage.locked(f"{folder}/report"):
                held, version = read_version(folder)
                if held is None or held.get("run_id") != run_id:
                    return
                if not awaited:
                    remove(folder)
                if not awaited or change(folder, held, version, {"over": True, "renewed": time.time()}):
                    return


def change(folder: str, held: dict[str, Any], version: str, changes: dict[str, Any]) -> bool:
    """Change what a lease says, of which `held` was read as `version`; tell whether it said that still."""
    return write(folder, {**held, **changes, "nonce": secrets.token_hex(4)}, version)


def write(folder: str, lease: dict[str, Any], version: str | None) -> bool:
    """Write a lease in the place of one that was read as `version`, or (None) where there is none."""
    uri, data = lease_uri(folder), (json.dumps(lease, indent=2) + "\n").encode()
    if version is None:
        return storage.create(uri, data, "application/json")
    return storage.swap(uri, data, "application/json", version)


def remove(folder: str) -> None:
    """Remove the lease; to be called by its holder."""
    storage.delete(lease_uri(folder))


def of_process(run_id: str, command: str, since: float) -> dict[str, Any]:
    """Make a lease that this process holds."""
    holder = {"host": platform.node(), "namespace": _namespace(), "process": os.getpid()}
    return {**_lease(run_id, command, since), **holder, "process_start": _process_start(os.getpid())}


def of_job(run_id: str, command: str, since: float) -> dict[str, Any]:
    """Make a lease that a job holds, which this process has started."""
    return {**_lease(run_id, command, since), "host": platform.node(), "job": True}


def _lease(run_id: str, command: str, since: float) -> dict[str, Any]:
    said = {"run_id": run_id, "command": command, "since": since, "renewed": time.time()}
    return {**said, "stopping": False, "nonce": secrets.token_hex(4)}


def in_use(folder: str, held: dict[str, Any]) -> str:
    """Say who is at work in an output folder."""
    if held.get("over") is True:
        return f"{folder}: run {held.get('run_id')} is over, and its last minute runs; try again after that"
    holder = "a job" if held.get("job") is True else f"process {held.get('process')} on {held.get('host')}"
    return f"{folder}: run {held.get('run_id')} is writing there ({holder}); wait for it, or stop it"


def read_version(folder: str) -> tuple[dict[str, Any] | None, str]:
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


def renewed_lately(lease: dict[str, Any]) -> bool:
    """Tell whether a lease is as fresh as its holder keeps it."""
    at_work = lease.get("job") is True and lease.get("over") is not True
    return _renewed_within(lease, JOB_EXPIRY_S if at_work else EXPIRY_S)


def _renewed_within(lease: dict[str, Any], seconds: float) -> bool:
    renewed = lease.get("renewed")
    return isinstance(renewed, (int, float)) and abs(time.time() - renewed) < seconds


def is_dead(lease: dict[str, Any] | None) -> bool:
    """Tell whether the holder is a process of this machine that no longer lives, or a job that is over, and left."""
    if lease and lease.get("over") is True:
        return not renewed_lately(lease)
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
