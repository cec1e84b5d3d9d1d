"""A worker thread's FaultWatch stops a run that meets our own faults.

An exception that nobody foresaw costs its photo, which fails with `internal_error`; the catalog should not pay for it
with its night. But if photos in general meet it, the report would be of no use.
"""

from __future__ import annotations

import hashlib

from transforms.errors import DeadEndError, Failure

IN_A_ROW = 10
"""So many photos of one worker thread, one after the other, that meet the same fault."""

TOLERATED, TOLERATED_FRACTION = 10, 0.01
"""More of a worker thread's photos than so many, and than this share."""


class FaultError(DeadEndError):
    """Photos in general meet our own faults. Behind its first line stands a traceback."""


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
