"""A few of the series of benchmarks/releases.py, on every change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks import releases


def test_series_end_as_the_model_says(u2netp: Any, tmp_path: Path) -> None:
    releases.prepared(tmp_path)
    few = settings(
        max_examples=6,
        stateful_step_count=6,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(releases.Releases, settings=few)


def test_no_read_is_torn(u2netp: Any, tmp_path: Path) -> None:
    releases.prepared(tmp_path)
    assert releases.count_torn(6, "fingerprint").endswith(" 0 torn")
