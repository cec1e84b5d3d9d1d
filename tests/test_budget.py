"""The failure budget: a run that plainly fails stops early, one that fails a little goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import run

from transforms.early_stop import EarlyStop
from transforms.errors import FatalError
from transforms.output.commit import over_budget
from transforms.output.earlier import Earlier
from transforms.output.schema import ReportRow

GOOD = ReportRow("a", "a.jpg", None, {}, "processed")
BAD = ReportRow("b", "b.jpg", None, {}, "failed", "read", "not_found", "b.jpg: no such file")


def test_the_budget_is_of_the_whole_report() -> None:
    assert over_budget(5, 100, 0.05) is None
    assert over_budget(6, 100, 0.05) == "6 of 100 rows failed, more than 5.00% allowed"


def after(stop: EarlyStop, *rows: tuple[int, ReportRow]) -> int | None:
    """Finish rows, so many of each; give how many were finished when the run stopped, None if it did not."""
    finished = 0
    for count, row in rows:
        for _ in range(count):
            finished += 1
            try:
                stop.row(row, None)
            except FatalError:
                return finished
    return None


def watching(rows: int, fraction: float = 0.05) -> EarlyStop:
    stop = EarlyStop(fraction)
    stop.expect(rows)
    return stop


def test_a_server_that_dies_halfway_stops_a_small_run_soon() -> None:
    assert after(watching(186), (27, GOOD), (159, BAD)) == 46  # 19 of the last 30
    assert after(watching(186), (186, BAD)) == 30
    assert after(watching(20), (20, BAD)) is None  # it is over before it could be stopped


def test_what_the_run_may_lose_does_not_stop_it() -> None:
    assert after(watching(10_000), (9000, GOOD), (500, BAD), (500, GOOD)) is None
    assert after(watching(10_000), (9000, GOOD), (501, BAD), (499, GOOD)) == 9501
    assert after(watching(10_000_000), (100, BAD)) is None  # a supplier's new photos, of a large catalog
    assert after(watching(10_000_000), (5000, BAD)) == 1001
    assert after(EarlyStop(0.05), (5000, BAD)) == 1001  # nobody knows how many there are


def test_failures_among_good_rows_do_not_stop_it() -> None:
    stop = watching(1000)
    for _ in range(100):
        assert after(stop, (5, BAD), (5, GOOD)) is None
    assert after(watching(1000, 0.9), (900, BAD), (50, GOOD)) is None
    assert after(watching(1000, 1.0), (1000, BAD)) is None


def test_it_says_what_and_where_and_how_to_go_on() -> None:
    stop = watching(100)
    assert after(stop, (29, BAD)) is None
    with pytest.raises(FatalError) as raised:
        stop.row(BAD, None)
    assert str(raised.value) == (
        "30 rows failed, 30 of the last 30 and 30 of these not_found, the last b.jpg: no such file; "
        "to go on regardless, give --max_failure_fraction 1"
    )


def test_rows_that_failed_before_do_not_count() -> None:
    stop, known = watching(100), Earlier(None, None, None, None, "not_found")
    for _ in range(5000):
        stop.row(BAD, known)
    assert after(stop, (29, BAD)) is None


def test_a_wrong_bucket_does_not_cost_a_night(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object
) -> None:
    (tmp_path / "m.csv").write_text("id,uri\n" + "".join(f"id{n},none{n}.jpg\n" for n in range(2500)))
    output = tmp_path / "out"
    arguments = ("run", "--manifest", tmp_path / "m.csv", "--output", output, "--model", "u2netp")
    assert run(*arguments) == 1
    assert " rows failed, 30 of the last 30 and 30 of these not_found" in capsys.readouterr().err
    (path,) = output.glob("runs/*/run.json")
    said = json.loads(path.read_text())
    assert said["exit_code"] == 1
    assert "30 of the last 30" in said["reason"]
    assert not (output / "report/latest.json").exists()
    assert run(*arguments, "--max_failure_fraction", "1") == 0
