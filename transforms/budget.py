"""The failure budget: when a run has failed, and when it is so plainly failing that it should stop at once."""

from __future__ import annotations

from collections import Counter

from transforms.types import Earlier, FatalError, ReportRow

FIRST_ROWS = 1000
CLEAR_MAJORITY = 0.6


def over_budget(failed: int, rows: int, max_failure_fraction: float) -> str | None:
    """Say so in one line if more of the report's rows failed than are allowed."""
    if failed <= max_failure_fraction * rows:
        return None
    return f"{failed} of {rows} rows failed, more than {max_failure_fraction:.2%} allowed"


class EarlyStop:
    """Watches the first thousand rows of one worker thread: a wrong bucket should not cost a night.

    Rows that failed in the same way in the report before do not count: of a nightly run's few rows they may be most.
    """

    def __init__(self, max_failure_fraction: float) -> None:
        self.fraction = max(CLEAR_MAJORITY, max_failure_fraction)
        self.rows = 0
        self.codes: Counter[str] = Counter()
        self.last: ReportRow | None = None

    def row(self, row: ReportRow, earlier: Earlier | None) -> None:
        """Count one finished row.

        Raises:
            FatalError: it is the thousandth, and a clear majority failed.
        """
        if self.rows >= FIRST_ROWS or (earlier is not None and row.code is not None and earlier.code == row.code):
            return
        self.rows += 1
        if row.code is not None:
            self.codes[row.code] += 1
            self.last = row
        failed = self.codes.total()
        if self.last is not None and self.rows == FIRST_ROWS and failed > self.fraction * FIRST_ROWS:
            code, count = self.codes.most_common(1)[0]
            raise FatalError(
                f"{failed} of the first {FIRST_ROWS} rows failed, {count} of them {code}, the last {self.last.uri}: "
                f"{self.last.message}; to go on regardless, give --max_failure_fraction 1"
            )
