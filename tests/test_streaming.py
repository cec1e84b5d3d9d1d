"""The windows of a stream: each is committed once, and a late one yields to later ones."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.timestamp import Timestamp
from conftest import run_json
from gs import emulator

from transforms import storage
from transforms.commit_window import commit_window
from transforms.errors import FatalError, PhotoError
from transforms.output.earlier import newest_report
from transforms.output.latest import Latest, in_force, newest_run
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow
from transforms.settings import RunSettings
from transforms.steps import Effort
from transforms.streaming import named_by, plan_window, read_changes
from transforms.types import Outcome, Packed


class Window:
    """As far as it is looked at."""

    def __init__(self, end: float) -> None:
        self.end = end


@pytest.fixture
def info(tmp_path: Path) -> RunInfo:
    return RunInfo(
        RunSettings(str(tmp_path), partial=True, redo="all", names="fingerprint")
    )  # without a name it has no lease to lose


def window(info: RunInfo, number: int, rows: dict[str, str], *deleted: str, since: float = 0) -> None:
    """Commit a window of rows, by id and uri; since: when the object that says so was written, if it is one."""
    made = [ReportRow(id, uri, None, {}, "processed", output_uri=f"images/{id}.png") for id, uri in rows.items()]
    parts: list[Any] = [Packed.of([Outcome(row, Effort())]) for row in made]
    end = time.time() // 10 * 10 + 10 * number
    named = [(id, since or end, id in deleted) for id in (*rows, *deleted)]
    commit_window((0, [*parts, tuple(named)]), info, Window(end))


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


def test_what_an_older_object_says_yields_in_whatever_window_it_comes(info: RunInfo) -> None:
    now = time.time()
    window(info, 1, {"a": "2", "b": "2"}, "d", since=now - 5)
    window(info, 2, {"a": "1", "c": "1", "d": "1"}, "b", since=now - 9)  # its notification came late
    assert state(info) == {"a": "2", "b": "2", "c": "1"}
    before = newest_run(info.folder)
    window(info, 3, {"a": "2", "b": "2"}, "d", since=now - 5)  # and this one came again
    assert newest_run(info.folder) == before
    window(info, 3, {"a": "3"}, since=now - 4)
    assert state(info) == {"a": "3", "b": "2", "c": "1"}


def test_a_window_that_another_overtakes_is_committed_upon_it(info: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    window(info, 1, {"a": "1"})
    calls = []

    def overtaken(folder: str) -> Latest | None:
        found = in_force(folder)
        calls.append(found)
        if len(calls) == 1:
            window(info, 3, {"a": "3", "b": "3"})
        return found

    monkeypatch.setattr("transforms.commit_window.in_force", overtaken)
    window(info, 2, {"a": "2", "c": "2"})
    assert len(calls) == 3  # one of them is the other's
    assert state(info) == {"a": "3", "b": "3", "c": "2"}
    left = {path.name for path in Path(info.folder, "runs").iterdir()}
    assert len(left) == 3  # of the one that was overtaken nothing is left


def test_what_is_known_of_windows_does_not_grow(info: RunInfo) -> None:
    window(info, -500, {"old": "1"})
    window(info, 1, {"a": "1"})
    assert list(run_json(Path(info.folder))["known_of"]) == ["a"]
    assert sorted(state(info)) == ["a", "old"]


def test_a_window_waits_for_what_is_known_of_those_before(info: RunInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    window(info, 2, {"a": "2"})
    before = newest_run(info.folder)

    def failing(folder: str, run_id: str) -> dict[str, Any]:
        raise PhotoError("read_failed", "run.json: Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("transforms.commit_window.read_run", failing)
        with pytest.raises(FatalError, match="Input/output error"):
            window(info, 1, {"a": "1"})  # which is older
    assert newest_run(info.folder) == before


def test_an_output_that_is_anothers_is_not_written(info: RunInfo) -> None:
    with pytest.raises(FatalError, match="taken over by another run"):
        window(replace(info, run_id="mine"), 1, {"a": "1"})
    assert not Path(info.folder, "report").exists()


def test_an_object_is_as_old_as_its_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "bucket"):
        info = RunInfo(RunSettings("gs://bucket/out", partial=True, redo="all", names="fingerprint"))
        storage.write("gs://bucket/1.csv", b"id,uri,deleted\na,a.png,\nb,b.png,\n")
        written = float(storage.read("gs://bucket/1.csv").version) / 1e6
        read = [one for _, one in read_changes("gs://bucket/1.csv", info.folder)]
        window: Any = Window(written + 7)
        (named,) = [one.value for one in plan_window((0, read), info, None, window) if isinstance(one, TaggedOutput)]
        assert named == (0, (("a", written, False), ("b", written, False)))


def test_a_file_is_as_old_as_the_window_it_was_found_in(tmp_path: Path, info: RunInfo) -> None:
    (tmp_path / "1.csv").write_text("id,uri,deleted\na,a.png,\n")
    read = [one for _, one in read_changes(str(tmp_path / "1.csv"), info.folder)]
    window: Any = Window(1234)
    (named,) = [one.value for one in plan_window((0, read), info, None, window) if isinstance(one, TaggedOutput)]
    assert named == (0, (("a", 1234, False),))


def test_a_notification_counts_from_when_it_is_taken() -> None:
    def notification(attributes: dict[str, str]) -> PubsubMessage:
        return PubsubMessage(b"{}", attributes)

    said = {"eventType": "OBJECT_FINALIZE", "bucketId": "shop", "objectId": "in/1 é.csv"}
    began = time.time()
    (found,) = named_by(notification(said), Timestamp(began - 500))
    assert found.value == "gs://shop/in/1 é.csv"
    assert began <= float(found.timestamp) <= time.time()
    (found,) = named_by(notification(said), Timestamp(began + 500))  # by another machine's clock
    assert float(found.timestamp) == pytest.approx(began + 500)
    assert list(named_by(notification({**said, "eventType": "OBJECT_DELETE"}), Timestamp(began))) == []
    assert list(named_by(notification({"eventType": "OBJECT_FINALIZE"}), Timestamp(began))) == []
    assert list(named_by(notification({}), Timestamp(began))) == []


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


@pytest.mark.parametrize("times", [1, 99])
def test_a_manifest_whose_storage_fails_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (tmp_path / "m.csv").write_text("id,uri\na,a.png\n")
    left = [times]

    def failing(call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            if left[0] > 0:
                left[0] -= 1
                raise error
            return call(*arguments)

        return called

    monkeypatch.setattr(storage, "open_read", failing(storage.open_read, OSError(errno.EIO, "Input/output error")))
    monkeypatch.setattr(storage, "read", failing(storage.read, PhotoError("read_failed", "Input/output error")))
    if times == 1:
        assert len(list(read_changes(str(tmp_path / "m.csv"), str(tmp_path / "out")))) == 1
    else:
        with pytest.raises(FatalError, match=r"m\.csv: Input/output error"):
            list(read_changes(str(tmp_path / "m.csv"), str(tmp_path / "out")))
