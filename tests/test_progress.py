"""How far a run is: in one line, in report/progress.json, and by `status` from anywhere."""

from __future__ import annotations

import json
import logging
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, draw_product, run
from gs import emulator

from pipeline.telling import Handler, as_json
from transforms import storage
from transforms.elsewhere import Reporter, all_work, read_reports
from transforms.output.run import RunInfo
from transforms.settings import RunSettings
from transforms.tracking import Progress, in_words


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_of_the_last_half_minute() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin()
    assert in_words(progress.snapshot()) == "reading manifests and planning: 0 s so far"
    clock.now += 5
    progress.planned(rows=5000, to_do=1200)
    for second in range(60):
        for _ in range(10):
            progress.row(failed=second == 3)
        clock.now += 1
        said = progress.snapshot()
    assert said["rate"] == 10.0
    assert in_words(said) == "photos: 600 of 1,200 rows (50.0%), 10.0 a second, 10 failed, about 60 s left"
    for _ in range(20):  # now it stalls
        clock.now += 1
        said = progress.snapshot()
    assert 3 < said["rate"] < 4
    clock.now += 15
    said = progress.snapshot()
    assert said["rate"] < 1
    clock.now += 40
    progress.snapshot()
    clock.now += 1
    said = progress.snapshot()
    assert in_words(said).endswith("0.0 a second, 10 failed; nothing finished for 77 s")
    for _ in range(600):
        progress.row(failed=False)
    assert in_words(progress.snapshot()) == "report: 2 min so far"


def test_a_night_without_photos_goes_on_to_its_report() -> None:
    progress = Progress(Clock())
    progress.begin()
    progress.planned(rows=100, to_do=0)
    assert progress.snapshot()["phase"] == "report"


def test_figures_of_a_job_elsewhere() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.begin()
    counts: dict[str, int] = {}
    progress.source = lambda: counts
    assert progress.snapshot()["phase"] == "reading manifests and planning"
    counts.update(rows=100, to_do=40, done=10, failed=1)
    clock.now += 10
    said = progress.snapshot()
    assert (said["phase"], said["rate"], said["failed"], said["seconds_left"]) == ("photos", 1.0, 1, 30)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_object_a_line(tmp_path: Path, u2netp: object) -> None:
    for number in range(2):
        draw_product(number, (80, 80)).save(tmp_path / f"p{number}.png")
    (tmp_path / "m.csv").write_text("id,uri\na,p0.png\nb,none.png\n")
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(tmp_path / "m.csv"), "--log_format", "json"]
    command += ["--output", str(tmp_path / "out"), "--model", "u2netp"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert {record["event"] for record in records(found.stderr)} == {"message"}
    (summary,) = records(found.stdout)
    assert (summary["event"], summary["level"], summary["rows"]) == ("summary", "ERROR", 2)
    assert summary["message"] == "1 of 2 rows failed, more than 5.00% allowed"
    command[command.index("--model") + 1] = "u3net"
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2


def test_no_password_gets_into_it() -> None:
    said = as_json("INFO", "message", "https://me:secret@host/a.jpg: gone", {})
    assert "secret" not in said
    assert json.loads(said)["level"] == "INFO"


def test_a_live_line_is_cut_to_the_terminal_and_taken_away_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        handler = Handler("text")
        handler.stream = terminal
        monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((20, 24)))
        handler.show("x" * 100)
        handler.emit(logging.LogRecord("whitesweep", logging.INFO, "", 0, "a line", None, None))
        handler.show("y")
        handler.clear()
        handler.clear()
        terminal.flush()
        expected = f"\r\x1b[K{'x' * 19}\r\x1b[Kwhitesweep: a line\r\n\r\x1b[Ky\r\x1b[K"
        seen = ""
        while len(seen) < len(expected):  # a terminal gives what it has by now
            seen += os.read(leader, 10_000).decode()
    os.close(leader)
    assert seen == expected


def start(folder: Path, photos: int) -> subprocess.Popen[str]:
    (folder / "photos").mkdir()
    for number in range(photos):
        draw_product(number, (300, 300)).save(folder / f"photos/{number}.png")
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(folder / "photos"), "--model", "u2netp"]
    command += ["--output", str(folder / "out"), "--direct_num_workers", "1"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def status(output: Path | str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run("status", "--output", output, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_who_is_at_work_and_what_became_of_him(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object
) -> None:
    with start(tmp_path, 60) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/images/*.png")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = status(tmp_path / "out", capsys)
        assert (found["at_work"]["process"], found["at_work"]["alive"]) == (process.pid, True)
        assert abs(found["at_work"]["since"] - time.time()) < 3600
        assert found["newest_report"] is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = status(tmp_path / "out", capsys)
    assert found["at_work"]["alive"] is False
    assert run("status", "--output", tmp_path / "out") == 0
    assert "died, and the next run takes over: " in capsys.readouterr().out
    figures = {"run_id": found["at_work"]["run_id"], "updated": time.time(), "phase": "photos", "done": 5, "to_do": 60}
    figures |= {"rate": 2.0, "failed": 0, "seconds_left": 27, "seconds": 3, "idle": 0}
    (tmp_path / "out/report/progress.json").write_text(json.dumps(figures))
    assert run("status", "--output", tmp_path / "out") == 0
    assert "photos: 5 of 60 rows (8.3%), 2.0 a second, 0 failed, about 27 s left" in capsys.readouterr().out
    arguments = ("run", "--manifest", tmp_path / "photos", "--output", tmp_path / "out", "--model", "u2netp")
    assert run(*arguments) == 0
    assert not (tmp_path / "out/report/progress.json").exists()
    assert run(*arguments, "--policy", "none.toml") == 2
    found = status(tmp_path / "out", capsys)
    assert (found["at_work"], found["progress"], found["problems"]) == (None, None, [])
    assert [(one["command"], one["exit_code"], one["rows"], one["failed"]) for one in found["runs"]] == [
        ("run", 0, 60, 0)
    ]
    assert found["newest_report"] == found["runs"][0]["run_id"]


def test_of_an_empty_a_damaged_and_an_old_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("status", "--output", tmp_path) == 0
    assert capsys.readouterr().out == "nobody is at work here\nnewest report: none\n"
    (tmp_path / "report/run=20200101T000000.000Z-abcdef").mkdir(parents=True)
    old = {"run_id": "20200101T000000.000Z-abcdef", "exit_code": 1, "reason": "stopped by a signal", "started": 0}
    (tmp_path / "report/run=20200101T000000.000Z-abcdef/run.json").write_text(json.dumps(old))
    (tmp_path / "report/latest.json").write_text("{")
    (tmp_path / "report/progress.json").write_text("{")
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/run.json").write_text("[")
    assert run("status", "--output", tmp_path) == 0
    said = capsys.readouterr().out
    assert "  1970-01-01 00:00:00 UTC run: exit 1: stopped by a signal\n" in said
    assert said.count("not readable: ") == 2


@pytest.mark.parametrize("text", ["[]", "7", '{"run_id": "r"}', '{"run_id": "r", "phase": "photos", "updated": "x"}'])
def test_files_that_say_anything_at_all(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs/r").mkdir(parents=True)
    (tmp_path / "report").mkdir()
    for name in ("lease", "progress", "latest"):
        (tmp_path / f"report/{name}.json").write_text(text)
    (tmp_path / "runs/r/run.json").write_text(text)
    assert run("status", "--output", tmp_path) == 0
    odd = {"run_id": [], "settings": [], "statuses": 7, "started": 1e300, "seconds": "x", "exit_code": {}, "rows": []}
    (tmp_path / "runs/r/run.json").write_text(json.dumps(odd))
    assert run("status", "--output", tmp_path) == 0
    assert "(time unknown)" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["none", "https://host/out"])
def test_where_nothing_can_be(
    tmp_path: Path, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("status", "--output", output) == 2
    assert capsys.readouterr().err.startswith(f"whitesweep: --output {output}: ")


def test_in_a_bucket(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        said = {"run_id": "r", "exit_code": 0, "rows": 7, "statuses": {"failed": 1}, "started": 0, "seconds": 2}
        storage.write("gs://shop/out/runs/r/run.json", json.dumps(said).encode())
        found = status("gs://shop/out", capsys)
    assert [(one["run_id"], one["rows"], one["failed"]) for one in found["runs"]] == [("r", 7, 1)]


def test_status_imports_nothing_slow(tmp_path: Path) -> None:
    program = (
        "import sys; from pipeline.cli import main; "
        f"main(['status', '--output', {str(tmp_path)!r}]); "
        "print(sorted({'apache_beam', 'onnx', 'openvino', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n")


def test_worker_processes_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, clock = str(tmp_path), Clock()
    monkeypatch.setattr("transforms.elsewhere.time.monotonic", clock)
    one = Reporter(out, "r")
    one.planned({"rows": 10}, rows=10, to_do=8)
    monkeypatch.setattr("os.getpid", lambda: 1)
    other = Reporter(out, "r")
    other.row(failed=True, work={"photos_read": 1})  # too soon to be told
    plan = {"plan": {"rows": 10}, "rows": 10, "to_do": 8}
    assert read_reports(out, "r") == {**plan, "done": 0, "failed": 0, "work": {}}
    other.pause()
    clock.now += 5
    for _ in range(2):
        one.row(failed=False, work={"photos_read": 1, "photos_predicted": 1})
    other.pause()
    work = {"photos_read": 2, "photos_predicted": 1}
    assert read_reports(out, "r") == {**plan, "done": 2, "failed": 1, "work": work}
    other.planned({"rows": 10}, rows=10, to_do=8)  # after a restart
    assert read_reports(out, "r")["to_do"] == 8
    leased = RunInfo(RunSettings(output=out), "r", leased=True)
    rows = Counter(photos_read=1, photos_predicted=3)  # of the last try
    assert all_work(leased, rows) == Counter(photos_read=2, photos_predicted=3)
    assert all_work(replace(leased, leased=False), rows) == rows
    driver = Progress()
    driver.begin()
    driver.source = lambda: {"rows": 10, "to_do": 8, "done": 9, "failed": 1}  # a part was done twice
    said = driver.snapshot()
    assert (said["phase"], said["done"], said["to_do"]) == ("report", 8, 8)


def test_what_a_worker_cannot_write_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("in the way")
    reporter = Reporter(str(tmp_path), "r")
    reporter.planned({}, rows=1, to_do=1)
    reporter.row(failed=False, work={})


def test_the_plan_of_worker_processes_is_said_once(tmp_path: Path, u2netp: object) -> None:
    draw_product(1, (60, 50)).save(tmp_path / "1.png")
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(tmp_path), "--output", f"{tmp_path}-out"]
    command += ["--model", "u2netp", "--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout + done.stderr).count("plan: 1 rows: 0 unchanged, 1 to do (1 new)") == 1
    assert not list(Path(f"{tmp_path}-out").glob("runs/*/progress/*"))
