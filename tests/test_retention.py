"""Old reports are removed, and a report that is half removed never passes for a complete one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from conftest import draw_product, newest, run

from transforms import storage
from transforms.errors import FatalError
from transforms.output import cleanup
from transforms.output.cleanup import retire, sweep
from transforms.output.run import is_complete, list_runs

WEEK = 7 * 24 * 3600.0
FILES = {"part-00000-of-00002.parquet", "part-00001-of-00002.parquet", "run.json"}


def make_reports(folder: Path, latest: str, old: tuple[str, ...] = (), **runs: float) -> str:
    """Make reports that were committed so many seconds ago; one whose name ends with `stopped` is not complete.

    old: those whose record lies beside the shards, as before version 4 of the report.
    """
    for name, age in runs.items():
        for file in ["run.json"] if name.endswith("stopped") else FILES:
            said = json.dumps({"started": time.time() - age - 10, "seconds": 10}).encode()
            place = f"runs/{name}" if file == "run.json" and name not in old else f"report/run={name}"
            storage.write(f"{folder}/{place}/{file}", said if file == "run.json" else b"-")
    storage.write(
        f"{folder}/report/latest.json", json.dumps({"run_id": latest, "report": f"report/run={latest}"}).encode()
    )
    return str(folder)


def left(folder: str) -> str:
    return " ".join(sorted(list_runs(folder)))


def test_the_newest_complete_reports_stay(tmp_path: Path) -> None:
    ages = {"a": 9 * WEEK, "b": 8 * WEEK, "b_stopped": 7 * WEEK, "c": 6 * WEEK, "c_stopped": 5 * WEEK, "d": 4 * WEEK}
    folder = make_reports(tmp_path, "d", old=("a", "b", "b_stopped"), **ages)
    retire(folder, 4)
    assert left(folder) == " ".join(ages)
    retire(folder, 2)
    assert left(folder) == "c c_stopped d"
    retire(folder, 1)
    assert left(folder) == "d"


def test_what_was_the_newest_within_a_week_stays(tmp_path: Path) -> None:
    folder = make_reports(tmp_path, "d", a=3 * WEEK, b=2 * WEEK, c=0.9 * WEEK, d=0)
    retire(folder, 1)
    assert left(folder) == "b c d"  # b was the newest until c was committed
    storage.delete(f"{folder}/runs/c/run.json")  # when c was committed nobody knows
    retire(folder, 2)
    assert left(folder) == "b c d"


def test_what_latest_names_stays_even_if_its_name_is_older(tmp_path: Path) -> None:
    folder = make_reports(tmp_path, "b", a=9 * WEEK, b=0, c=2 * WEEK, d=2 * WEEK)  # the clock once was wrong
    retire(folder, 1)
    assert left(folder) == "b c d"


@pytest.mark.parametrize("survived", range(6))
def test_interrupted_anywhere_it_leaves_nothing_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    folder = make_reports(tmp_path, "c", old=("a",), a=9 * WEEK, b=8 * WEEK, c=2 * WEEK)
    steps = iter(range(survived))
    delete = storage.delete

    def delete_some(uri: str) -> None:
        if next(steps, None) is None:
            raise FatalError("killed")
        delete(uri)

    def delete_one_by_one(uri: str) -> None:
        for name, _ in list(storage.list_sizes(uri)):
            delete_some(f"{uri}/{name}")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "delete", delete_some)
        patched.setattr(storage, "delete_folder", delete_one_by_one)
        with pytest.raises(FatalError):
            retire(folder, 1)
    assert all(files == FILES for files in list_runs(folder).values() if is_complete(files))
    sweep(folder)
    retire(folder, 1)
    assert left(folder) == "c"


def test_a_run_removes_old_reports_when_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, u2netp: object
) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(1, (100, 100)).save(tmp_path / "photos/a.png")
    monkeypatch.setattr(cleanup, "RECENT_S", 0.0)
    output = tmp_path / "out"
    paths = ("--manifest", tmp_path / "photos", "--output", output)
    for _ in range(2):
        assert run("run", *paths, "--model", "u2netp", "--keep_reports", "2") == 0
    assert len(list(output.glob("report/run=*"))) == 2
    assert run("migrate", *paths, "--policy", "otsu", "--keep_reports", "1") == 0
    assert list(output.glob("report/run=*")) == [newest(output)]
    assert run("verify", "--output", output) == 0
    assert run("run", *paths, "--keep_reports", "0") == 2
