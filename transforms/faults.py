"""Our own faults: an exception that nobody foresaw costs one photo, with its traceback kept; many of them stop the run.

What goes wrong with a photo is foreseen and has a code of its own. What does not is a fault of this software, and the
catalog should not pay for it with its night: the row fails with `internal_error`. But if photos in general meet it, the
run stops, as its report would be of no use.
"""

from __future__ import annotations

import hashlib
import traceback

from transforms.types import DeadEndError, Failure


class FaultError(DeadEndError):
    """Photos in general meet our own faults. Behind its first line stands a traceback."""


IN_A_ROW = 10
"""So many photos of one worker thread, one after the other, that meet the same fault."""

TOLERATED, TOLERATED_FRACTION = 10, 0.01
"""More of a worker thread's photos than so many, and than this share."""


def internal_error(stage: str, error: Exception) -> Failure:
    """Make a failure of an exception that nobody foresaw; it carries the traceback."""
    text = str(error).strip()
    name = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    message = f"{name}; this is a fault of whitesweep, please report it with its traceback (run.json says where)"
    return Failure(stage, "internal_error", message, "".join(traceback.format_exception(error)))


class FaultWatch:
    """Watches for our own faults in the rows that one worker thread finishes."""

    def __init__(self) -> None:
        self.rows = self.faults = self.alike = 0
        self.last = ""

    def row(self, failure: Failure | None) -> None:
        """Count one finished row.

        Raises:
            FaultError: photos in general meet our own faults.
        """
        self.rows += 1
        if failure is None or not failure.trace:
            self.alike = 0
            return
        self.faults += 1
        place = hashlib.sha256(failure.trace.rpartition("\n  File ")[2].partition("\n")[0].encode()).hexdigest()
        self.alike = self.alike + 1 if place == self.last else 1
        self.last = place
        if self.alike >= IN_A_ROW:
            said = f"{self.alike} photos, one after the other, failed in the same way"
        elif self.faults > TOLERATED and self.faults > TOLERATED_FRACTION * self.rows:
            said = f"{self.faults} of {self.rows} photos failed"
        else:
            return
        raise FaultError(f"{said} by a fault of whitesweep itself, the last with {failure.message}\n{failure.trace}")
