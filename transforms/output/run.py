"""A run: its name, what it is asked for, and the run.json that says how it went."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from transforms import storage
from transforms.credentials import without_password
from transforms.settings import RunSettings

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One run: its name, what it is asked for, and what it found out before it began.

    started: seconds since 1970. versions: of what its output's bytes depend on.
    leased: whether the run holds a lease on the output folder, without which it may not commit.
    repairs: of a repair, what the run that it repairs was asked for; run.json says that again.
    """

    settings: RunSettings
    run_id: str = ""
    started: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    leased: bool = False
    repairs: RunSettings | None = None

    @property
    def folder(self) -> str:
        """The output folder."""
        return self.settings.output

    @property
    def report(self) -> str:
        """The folder of this run's report, relative to the output folder."""
        return f"report/run={self.run_id}"


def record_stop(info: RunInfo, reason: str, exit_code: int) -> None:
    """Say in run.json why a run has no report."""
    run = {
        "run_id": info.run_id,
        "exit_code": exit_code,
        "reason": reason,
        "settings": (info.repairs or info.settings).record(),
        "versions": info.versions,
        "started": info.started,
        "seconds": max(0.001, time.time() - info.started),
    }
    storage.write(f"{info.folder}/{info.report}/run.json", json_of(run), JSON)


def discard_shards(info: RunInfo) -> None:
    """Remove what a run that did not complete has written of its report."""
    storage.delete_folder(f"{info.folder}/{info.report}")


def read_run(folder: str, run_id: str) -> dict[str, Any]:
    """Read the run.json of a run.

    Raises:
        PhotoError: it cannot be read.
    """
    run: dict[str, Any] = json.loads(storage.read(f"{folder}/report/run={run_id}/run.json").data)
    return run


def json_of(value: object) -> bytes:
    """Write JSON for people too; no password gets into it."""
    return (without_password(json.dumps(value, indent=2, ensure_ascii=False)) + "\n").encode()
