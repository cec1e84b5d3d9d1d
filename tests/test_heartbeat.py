"""The sign of life is rare, and its counts are right."""

from __future__ import annotations

import pytest

from transforms import progress
from transforms.progress import Heartbeat


def test_logs_once_a_period(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = [0.0], []
    monkeypatch.setattr("transforms.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr(progress.LOGGER, "info", lambda text, *values: said.append(text % values))
    beat = Heartbeat(period=10)
    clock[0] = 100.0  # idle before the first row
    for second in range(21):
        clock[0] = 100.0 + second
        beat.row(failed=second == 5)
    assert said == ["11 rows done, 1.10 a second, 1 failed", "21 rows done, 1.05 a second, 1 failed"]
