"""Which release is in force: `report/latest.json`, the one file that is ever swapped for another."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.run import JSON, json_of
from transforms.settings import NAMES

MOVES = 100
"""How many of its moves latest.json remembers."""


class NoReportError(Exception):
    """There is no complete report under a folder; one line for the user."""


class BrokenReportError(NoReportError):
    """There is a report under a folder, but it cannot be read or is not whole; one line for the user."""


@dataclass(frozen=True, slots=True)
class Move:
    """One time that latest.json came to name a run: when (seconds since 1970), and why: run, rollback or publish."""

    run_id: str
    at: float
    why: str


@dataclass(frozen=True, slots=True)
class Latest:
    """What latest.json says.

    report: the folder of the rows, relative to the output folder. changes: of rows that hold in the place of rows of
    the same ids there, or None. moves: the oldest first. version: of the file, as it was read.
    """

    run_id: str
    report: str
    changes: str | None = None
    moves: tuple[Move, ...] = ()
    version: str = ""

    @property
    def rolled_back(self) -> Move | None:
        """The move to the release that a rollback took back; None if none was taken back, or something came since."""
        back = len(self.moves) > 1 and self.moves[-1].why == "rollback"
        return next((move for move in reversed(self.moves[:-1]) if move.why != "rollback"), None) if back else None


def names_of(folder: str) -> str | None:
    """Tell how the pictures of an output folder are named, one of settings.NAMES; None if that was never settled.

    Raises:
        BrokenReportError: what says it cannot be read.
    """
    uri = f"{folder}/output.json"
    try:
        names = json.loads(storage.read(uri).data)["names"]
    except PhotoError as error:
        if error.code == "not_found":
            return None
        raise BrokenReportError(error.message) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenReportError(f"{uri}: cannot be read ({error})") from error
    if names not in NAMES:
        raise BrokenReportError(f"{uri}: names is {names!r}, and neither of {', '.join(NAMES)}")
    return str(names)


def settle_names(folder: str, names: str) -> None:
    """Write down how the pictures of an output folder are named, before the first of them is.

    Raises:
        FatalError, PhotoError: it cannot be written.
    """
    storage.write(f"{folder}/output.json", json_of({"names": names}), JSON, durable=True)


def newest_run(folder: str) -> Latest:
    """Read latest.json of an output folder.

    Raises:
        NoReportError: there is none. BrokenReportError: it cannot be read.
    """
    uri = f"{folder}/report/latest.json"
    try:
        blob = storage.read(uri)
        said = json.loads(blob.data)
        moves = tuple(Move(str(m["run_id"]), float(m["at"]), str(m["why"])) for m in said.get("moves", ()))
        changes = said.get("changes")
        return Latest(str(said["run_id"]), str(said["report"]), changes and str(changes), moves, blob.version)
    except PhotoError as error:
        kind = NoReportError if error.code == "not_found" else BrokenReportError
        raise kind(f"{folder}: no complete report in it ({error.message})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenReportError(f"{uri}: cannot be read ({error})") from error


def in_force(folder: str) -> Latest | None:
    """Read latest.json as newest_run does; None if there is none.

    Raises:
        BrokenReportError: it cannot be read.
    """
    try:
        return newest_run(folder)
    except BrokenReportError:
        raise
    except NoReportError:
        return None


def move(folder: str, before: Latest | None, run_id: str, report: str, changes: str | None, why: str) -> bool:
    """Let latest.json name another run, in one write; tell whether it was still as it was read.

    To be called with the output folder's lock held.

    Raises:
        FatalError, PhotoError: it cannot be written.
    """
    moves = [*(before.moves if before else ()), Move(run_id, time.time(), why)][-MOVES:]
    said: dict[str, Any] = {"run_id": run_id, "report": report}
    if changes is not None:
        said["changes"] = changes
    said["moves"] = [{"run_id": one.run_id, "at": one.at, "why": one.why} for one in moves]
    uri, data = f"{folder}/report/latest.json", json_of(said)
    if before is None:
        return storage.create(uri, data, JSON, durable=True)
    return storage.swap(uri, data, JSON, before.version, durable=True)
