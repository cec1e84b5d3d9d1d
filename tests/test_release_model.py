"""A few of the series of benchmarks/releases.py, on every change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from benchmarks import releases


@pytest.fixture(scope="module", autouse=True)
def bench(u2netp: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    releases.prepared(folder)
    return folder


def test_series_end_as_the_model_says() -> None:
    few = settings(
        max_examples=4,
        stateful_step_count=5,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(releases.Releases, settings=few)


def test_no_read_is_torn() -> None:
    assert releases.count_torn(3, "fingerprint").endswith(" 0 torn")
