"""The failure budget: a run that plainly fails stops early, one that fails a little goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import run

from transforms.errors import FatalError
from transforms.output.commit import over_budget
from transforms.output.earlier import Earlier
from transforms.output.schema import ReportRow
from transforms.progress import EarlyStop

GOOD = ReportRow("a", "a.jpg", None, {}, "processed")
BAD = ReportRow("b", "b.jpg", None, {}, "failed", "read", "not_found", "b.jpg: no such file")


def test_the_budget_is_of_the_whole_report() -> None:
    assert over_budget(5, 100, 0.05) is None
    assert over_budget(6, 100, 0.05) == "6 of 100 rows failed, more than 5.00% allowed"


def test_a_clear_majority_of_the_first_thousand_stops_the_run() -> None:
    stop = EarlyStop(0.05)
    for n in range(999):
        stop.row(BAD if n < 600 else GOOD, None)
    with pytest.raises(FatalError, match=r"601 of the first 1000 rows failed, 601 of them not_found.*b\.jpg"):
        stop.row(BAD, None)
    for fraction, failures in ((0.05, 600), (0.9, 900), (1.0, 1000)):
        stop = EarlyStop(fraction)
        for n in range(3000):
            stop.row(BAD if n < failures or n > 1000 else GOOD, None)


def test_rows_that_failed_before_do_not_count() -> None:
    stop, known = EarlyStop(0.05), Earlier(None, None, None, None, "not_found")
    for _ in range(5000):
        stop.row(BAD, known)
    for _ in range(1000):
        stop.row(GOOD, None)


def test_a_wrong_bucket_does_not_cost_a_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object
) -> None:
    (tmp_path / "m.csv").write_text("id,uri\n" + "".join(f"id{n},none{n}.jpg\n" for n in range(2500)))
    output = tmp_path / "out"
    arguments = ("run", "--manifest", tmp_path / "m.csv", "--output", output, "--model", "u2netp")
    assert run(*arguments) == 1
    assert "1000 of the first 1000 rows failed, 1000 of them not_found" in capsys.readouterr().err
    (path,) = output.glob("runs/*/run.json")
    said = json.loads(path.read_text())
    assert said["exit_code"] == 1
    assert "first 1000 rows failed" in said["reason"]
    assert not (output / "report/latest.json").exists()
    assert run(*arguments, "--max_failure_fraction", "1") == 0
