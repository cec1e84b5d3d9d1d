"""`watch`: what appears is done once, whatever happens to the watch or to the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import BRAKES_OFF, ROOT, draw_product, run
from gs import emulator

from pipeline.errors import RequestError
from pipeline.inbox import Inbox
from pipeline.watch import _seconds
from transforms import storage
from transforms.errors import PhotoError
from transforms.manifest import ManifestFile
from transforms.output.earlier import newest_report

PATIENCE_S = 90.0


@pytest.fixture
def shop(tmp_path: Path, u2netp: Any) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "photos").mkdir()
    for number in range(4):
        draw_product(number, (80, 100)).save(tmp_path / f"photos/p{number}.png")
    return tmp_path


def drop(shop: Path, name: str, *lines: str, header: str = "id,uri,deleted") -> None:
    """Write a manifest as a careful supplier does: whole, or not at all."""
    hidden = shop / f"in/.{name}"
    hidden.write_text("\n".join([header, *lines]).replace("@", f"{shop}/photos/p") + "\n")
    hidden.rename(shop / "in" / name)


@contextmanager
def watching(
    shop: Path, *more: str, what: str = "in/*.csv", flag: str = "--manifest"
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pipeline", "watch", flag, str(shop / what), "--output", str(shop / "out")]
    command += ["--model", "u2netp", "--every", "0.2", "--max_failure_fraction", "1", *BRAKES_OFF, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (shop / "log").open("a") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, text=True, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition: Callable[[], Any], shop: Path) -> None:
    """Wait for something; a timing of nothing, but an end of a wait for what never comes."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, (shop / "log").read_text()
        time.sleep(0.1)


def state(shop: Path) -> dict[str, str]:
    try:
        report = newest_report(str(shop / "out"))
    except Exception:
        return {}
    rows = [row for at in range(len(report)) for row in report.read(at, ["id", "uri"]).to_pylist()]
    return {row["id"]: Path(row["uri"]).stem for row in rows}


def end(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def watch_json(shop: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shop / "out/report/watch.json").read_text())
    return found


def test_manifests_are_done_as_they_come(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(shop) as process:
        drop(shop, "1.csv", "a,@0.png,", "b,@1.png,")
        until(lambda: state(shop) == {"a": "p0", "b": "p1"}, shop)
        drop(shop, "2.csv", "a,@2.png,", "b,,true")
        drop(shop, "broken.csv", "a", header="id,price")
        (shop / "in/half.csv.gz").write_bytes(b"\x1f\x8b\x08\x00")  # not matched: *.csv
        until(lambda: state(shop) == {"a": "p2"}, shop)
        until(lambda: watch_json(shop)["set_aside"], shop)
        assert run("status", "--output", shop / "out") == 0
        said = capsys.readouterr().out
        assert "set aside" in said
        assert "broken.csv: no uri column" in said
        assert run("run", "--manifest", shop / "in/1.csv", "--output", shop / "out", "--model", "u2netp") == 2
        drop(shop, "broken.csv", "c,@3.png,")  # mended
        until(lambda: state(shop) == {"a": "p2", "c": "p3"}, shop)
        until(lambda: not watch_json(shop)["set_aside"], shop)
        assert end(process) == 0
    assert not (shop / "out/report/lease.json").exists()
    assert run("verify", "--output", shop / "out") == 0


def test_a_killed_watch_goes_on_where_it_was(shop: Path) -> None:
    with watching(shop) as process:
        drop(shop, "1.csv", "a,@0.png,")
        until(lambda: state(shop) == {"a": "p0"}, shop)
        until(lambda: watch_json(shop)["consumed"], shop)
        drop(shop, "2.csv", *(f"x{n},@{n % 4}.png," for n in range(40)))
        time.sleep(0.5)
        process.kill()
    drop(shop, "3.csv", "a,@1.png,")  # while nobody watches
    runs = len(list((shop / "out/runs").iterdir()))
    with watching(shop) as process:
        until(lambda: state(shop).get("a") == "p1" and len(state(shop)) == 41, shop)
        assert end(process) == 0
    done = sorted(Path(uri).name for uri in watch_json(shop)["consumed"])
    assert done == ["1.csv", "2.csv", "3.csv"]
    assert len(list((shop / "out/runs").iterdir())) <= runs + 2  # 1.csv was not done again
    with watching(shop) as process:  # nothing is new
        until(lambda: (shop / "log").read_text().count("watching ") == 3, shop)
        time.sleep(1)
        assert end(process) == 0
    assert watch_json(shop)["runs"] == 0


def test_photos_are_done_as_they_come(shop: Path) -> None:
    with watching(shop, what="photos", flag="--photos") as process:
        until(lambda: sorted(state(shop)) == ["p0", "p1", "p2", "p3"], shop)
        draw_product(9, (80, 100)).save(shop / "new.png")
        (shop / "photos/deep").mkdir()
        (shop / "new.png").rename(shop / "photos/deep/new.png")
        until(lambda: "deep/new" in state(shop), shop)
        before = newest_report(str(shop / "out"))
        draw_product(8, (80, 100)).save(shop / "other.png")
        (shop / "other.png").replace(shop / "photos/p0.png")
        until(lambda: newest_report(str(shop / "out")) != before, shop)
        (shop / "photos/p1.png").unlink()  # its row stays
        time.sleep(1)
        assert end(process) == 0
    assert sorted(state(shop)) == ["deep/new", "p0", "p1", "p2", "p3"]
    assert run("verify", "--output", shop / "out") == 0


def test_a_brake_sets_a_manifest_aside_and_no_other(shop: Path) -> None:
    with watching(shop, "--max_gone_fraction", "0.4") as process:
        drop(shop, "1.csv", "a,@0.png,", "b,@1.png,")
        until(lambda: state(shop) == {"a": "p0", "b": "p1"}, shop)
        drop(shop, "2.csv", "a,,true", "b,,true")
        drop(shop, "3.csv", "c,@3.png,")
        until(lambda: "c" in state(shop), shop)
        assert end(process) == 0
    assert state(shop) == {"a": "p0", "b": "p1", "c": "p3"}
    aside = watch_json(shop)["set_aside"]
    assert [Path(uri).name for uri in aside] == ["2.csv"]
    assert "more than 40.00% allowed" in next(iter(aside.values()))["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give either --manifest or --photos"),
        (("--manifest", "a", "--photos", "b"), "give either --manifest or --photos"),
        (("--manifest", "https://host/*.csv"), "a web server cannot be watched"),
        (("--manifest", "a", "--every", "0"), "--every 0: expected a period"),
        (("--manifest", "a", "--runner", "PrismRunner"), "it runs locally, with threads alone"),
    ],
)
def test_what_cannot_be_watched(
    arguments: tuple[str, ...], said: str, u2netp: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("watch", *arguments, "--output", tmp_path / "out", "--model", "u2netp") == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("0.2", 0.2)])
def test_a_period_is_read(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds
    with pytest.raises(RequestError):
        _seconds(f"{text}x")


# What an inbox finds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("pipeline.inbox.time.monotonic", lambda: now[0])
    return now


def names(files: list[ManifestFile]) -> list[str]:
    return [Path(file.uri).name for file in files]


def test_a_file_is_left_until_it_is_whole(tmp_path: Path, clock: list[float]) -> None:
    box = Inbox([str(tmp_path / "*.csv")])
    assert box.look() == []
    (tmp_path / "a.csv").write_text("uri\na")
    assert box.look() == []
    clock[0] += 1.5
    (tmp_path / "a.csv").write_text("uri\na.png\n")  # still being written
    assert (box.look(), box.is_waiting()) == ([], True)
    clock[0] += 1.5
    assert box.look() == []
    clock[0] += 0.6
    assert (names(box.look()), box.is_waiting()) == (["a.csv"], False)
    assert box.look() == []
    (tmp_path / "b.csv").write_text("uri\nb.png\n")
    (tmp_path / "b.csv.done").touch()
    assert names(box.look()) == ["b.csv"]


def test_content_decides(tmp_path: Path, clock: list[float]) -> None:
    box = Inbox([str(tmp_path)])

    def look() -> list[str]:
        found = box.look()
        clock[0] += 3
        found += box.look()
        box.done(found)
        return names(found)

    file = tmp_path / "a.csv"
    file.write_text("uri\na.png\n")
    assert look() == ["a.csv"]
    os.utime(file, (1, 1))  # touched
    assert look() == []
    file.write_text("uri\nb.png\n")
    assert look() == ["a.csv"]
    file.write_text("uri\na.png\n")  # and back: that is a change like any other
    assert look() == ["a.csv"]
    again = Inbox([str(tmp_path)], consumed=dict(box.consumed))
    assert again.look() == []
    clock[0] += 3
    assert again.look() == []


def test_a_mount_that_is_not_there_makes_nothing_forgotten(tmp_path: Path, clock: list[float]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    box = Inbox([str(folder / "*.csv")])
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("uri\na.png\n")
    box.look()
    clock[0] += 3
    box.done(box.look())
    folder.rename(tmp_path / "away")
    assert box.look() == []
    assert len(box.consumed) == 2
    (tmp_path / "away").rename(folder)
    assert box.look() == []
    (folder / "a.csv").unlink()
    assert box.look() == []
    assert len(box.consumed) == 1


def test_what_is_no_manifest_is_left_alone(tmp_path: Path, clock: list[float]) -> None:
    for name in ("decisions.csv", "a.png", "notes.txt", ".hidden.csv", "x.csv.done"):
        (tmp_path / name).write_text("uri\n")
    box = Inbox([str(tmp_path)])
    box.look()
    clock[0] += 3
    assert box.look() == []
    pictures = Inbox([str(tmp_path)], photos=True)
    pictures.look()
    clock[0] += 3
    assert names(pictures.look()) == ["a.png"]


def test_what_cannot_be_read_just_now_is_tried_again(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.csv").write_text("uri\na.png\n")
    (tmp_path / "b.csv").write_text("no,column\nof,photos\n")
    box = Inbox([str(tmp_path)])

    def look() -> list[str]:
        found = box.look()
        clock[0] += 3
        return names(box.usable(found + box.look()))

    def gone(*_: object) -> None:
        raise PhotoError("read_failed", "a.csv: Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "read", gone)
        patched.setattr(storage, "open_read", gone)
        assert (look(), look()) == ([], [])
        assert {Path(uri).name: one["reason"] for uri, one in box.set_aside.items()} == dict.fromkeys(
            ["a.csv", "b.csv"], "a.csv: Stale file handle; it is tried again"
        )
    assert look() == ["a.csv"]
    assert "no uri column" in box.set_aside[str(tmp_path / "b.csv")]["reason"]
    monkeypatch.setattr("pipeline.inbox.fault_of", gone)  # of what is known nothing is read again
    assert look() == []


def test_many_looks_leave_nothing_behind(tmp_path: Path, clock: list[float]) -> None:
    for number in range(20):
        (tmp_path / f"{number}.csv").write_text("uri\na.png\n")
    box = Inbox([str(tmp_path)])
    for _ in range(500):
        box.done(box.look())
        clock[0] += 1
    sizes = [len(getattr(box, name)) for name in ("consumed", "set_aside", "_looked", "_waiting", "_digests")]
    assert sizes == [20, 0, 20, 0, 20]


def test_objects_are_whole_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "bucket"):
        box = Inbox(["gs://bucket/in/*.csv"])
        assert box.look() == []
        storage.write("gs://bucket/in/a.csv", b"uri\na.png\n")
        assert names(box.look()) == ["a.csv"]
        assert box.look() == []
