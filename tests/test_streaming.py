"""The windows of a stream: each is committed once, and a late one yields to later ones."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import run_json

from transforms.errors import FatalError
from transforms.output.earlier import newest_report
from transforms.output.latest import Latest, in_force, newest_run
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow
from transforms.settings import RunSettings
from transforms.steps import Effort
from transforms.streaming import commit_window, read_changes
from transforms.types import Outcome, Packed


class Window:
    """As far as it is looked at."""

    def __init__(self, end: float) -> None:
        self.end = end


@pytest.fixture
def info(tmp_path: Path) -> RunInfo:
    return RunInfo(RunSettings(str(tmp_path), partial=True, redo="all"))  # without a name it has no lease to lose


def window(info: RunInfo, number: int, rows: dict[str, str], *deleted: str) -> None:
    """Commit a window of rows, by id and uri."""
    made = [ReportRow(id, uri, None, {}, "processed", output_uri=f"images/{id}.png") for id, uri in rows.items()]
    parts: list[Any] = [Packed.of([Outcome(row, Effort())]) for row in made]
    end = time.time() // 10 * 10 + 10 * number
    commit_window((0, [*parts, tuple(deleted)]), info, Window(end))


def state(info: RunInfo) -> dict[str, str]:
    report = newest_report(info.folder)
    rows = [row for at in range(len(report)) for row in report.read(at, ["id", "uri"]).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    assert run_json(Path(info.folder))["rows"] == len(rows)
    return {row["id"]: row["uri"] for row in rows}


def test_windows_add_up(info: RunInfo) -> None:
    window(info, 1, {"a": "1", "b": "1"})
    assert newest_run(info.folder).changes is None  # of the first there is nothing to change
    window(info, 2, {"a": "2", "c": "2"}, "b")
    assert state(info) == {"a": "2", "c": "2"}
    window(info, 3, {"b": "3"}, "a", "nowhere")
    assert state(info) == {"b": "3", "c": "2"}
    assert run_json(Path(info.folder))["gone"] == 1


def test_a_late_window_yields_id_by_id(info: RunInfo) -> None:
    window(info, 1, {"a": "1"})
    window(info, 3, {"a": "3", "b": "3"}, "c")
    window(info, 2, {"a": "2", "c": "2", "d": "2"}, "b")
    assert state(info) == {"a": "3", "b": "3", "d": "2"}


def test_a_replayed_window_commits_nothing(info: RunInfo) -> None:
    window(info, 1, {"a": "1"})
    window(info, 2, {"a": "2"}, "b")
    before = newest_run(info.folder)
    window(info, 2, {"a": "2"}, "b")
    window(info, 1, {"a": "1"})
    assert newest_run(info.folder) == before


def test_a_window_that_another_overtakes_is_committed_upon_it(info: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    window(info, 1, {"a": "1"})
    calls = []

    def overtaken(folder: str) -> Latest | None:
        found = in_force(folder)
        calls.append(found)
        if len(calls) == 1:
            window(info, 3, {"a": "3", "b": "3"})
        return found

    monkeypatch.setattr("transforms.streaming.in_force", overtaken)
    window(info, 2, {"a": "2", "c": "2"})
    assert len(calls) == 3  # one of them is the other's
    assert state(info) == {"a": "3", "b": "3", "c": "2"}
    left = {path.name for path in Path(info.folder, "runs").iterdir()}
    assert len(left) == 3  # of the one that was overtaken nothing is left


def test_what_is_known_of_windows_does_not_grow(info: RunInfo) -> None:
    window(info, -500, {"old": "1"})
    window(info, 1, {"a": "1"})
    assert list(run_json(Path(info.folder))["windows"]) == ["a"]
    assert sorted(state(info)) == ["a", "old"]


def test_an_output_that_is_anothers_is_not_written(info: RunInfo) -> None:
    with pytest.raises(FatalError, match="taken over by another run"):
        window(replace(info, run_id="mine"), 1, {"a": "1"})
    assert not Path(info.folder, "report").exists()


def test_a_manifest_that_cannot_be_read_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "m.csv").write_text("id,price\na,1\n")
    assert list(read_changes(str(tmp_path / "m.csv"), str(tmp_path / "out"))) == []
    assert "passed over until it changes" in caplog.text
    (tmp_path / "notes.txt").write_text("uri\na.png\n")
    assert list(read_changes(str(tmp_path / "notes.txt"), str(tmp_path / "out"))) == []
    (tmp_path / "m.csv").write_text("id,uri,deleted\na,a.png,\nb,,true\n")
    ((key, (name, written, _)),) = read_changes(str(tmp_path / "m.csv"), str(tmp_path / "out"))
    assert (key, name) == (0, str(tmp_path / "m.csv"))
    assert written > 0
