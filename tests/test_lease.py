"""Two runs never write into one output: the second refuses, and a dead one's lease is taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, draw_product, run, run_json
from gs import emulator

from transforms import storage
from transforms.output import lease as leases
from transforms.output.cleanup import sweep
from transforms.output.lease import Lease, LeaseError, LeaseWatch, check_free
from transforms.output.lease_file import lease_uri, owner


def hold(folder: str, run_id: str = "first") -> Lease:
    lease = Lease(folder, run_id, "test")
    lease.acquire()
    return lease


def test_a_lease_is_held_and_given_back(tmp_path: Path) -> None:
    first = hold(str(tmp_path))
    assert owner(str(tmp_path)) == "first"
    with pytest.raises(LeaseError, match=r"run first is writing there \(process \d+ on .*\); wait for it, or stop it"):
        hold(str(tmp_path), "second")
    with pytest.raises(LeaseError, match="run first"):
        check_free(str(tmp_path))
    first.release()
    assert list((tmp_path / "report").iterdir()) == []
    check_free(str(tmp_path))
    second = hold(str(tmp_path), "second")
    assert not second.taken_over
    second.release()


def test_of_many_at_once_one_gets_it(tmp_path: Path) -> None:
    got: list[Lease] = []
    refused: list[LeaseError] = []

    def ask(n: int) -> None:
        try:
            got.append(hold(str(tmp_path), f"run{n}"))
        except LeaseError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    got[0].release()


def test_workers_elsewhere_read_in_the_lease_whether_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LOOK_S", 0.0)
    folder = str(tmp_path)
    assert not LeaseWatch(folder, "").is_over()  # a graph without a lease
    assert LeaseWatch(folder, "first").is_over()  # a run that had one, which is gone
    first = hold(folder)
    ours, other = LeaseWatch(folder, "first"), LeaseWatch(folder, "lost its lease")
    assert (ours.is_over(), other.is_over()) == (False, True)
    first.ask_to_stop()
    for _ in range(100):
        if ours.is_over():
            break
        time.sleep(0.05)
    first.release()
    assert ours.is_over()  # once it is, it stays so
    second = hold(folder, "second")
    assert not LeaseWatch(folder, "second").is_over()
    second.release()


def change(folder: str, **fields: object) -> None:
    held = json.loads(storage.read(lease_uri(folder)).data)
    storage.write(lease_uri(folder), json.dumps({**held, **fields}).encode())


@pytest.mark.parametrize("fields", [{"process_start": "before the last boot"}, {"process": 2**22 + 1}])
def test_a_dead_process_of_this_machine_loses_it_at_once(tmp_path: Path, fields: dict[str, object]) -> None:
    first = hold(str(tmp_path))
    change(str(tmp_path), **fields)
    check_free(str(tmp_path))
    second = hold(str(tmp_path), "second")
    assert second.taken_over
    first.release()
    assert owner(str(tmp_path)) == "second"  # who lost it does not give it back
    second.release()


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_clock_that_jumps_does_not_take_a_live_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr("transforms.output.lease_file.RENEWAL_S", 0.5)
    monkeypatch.setattr("transforms.output.lease_file.platform.node", lambda: "elsewhere")
    first = hold(str(tmp_path))
    monkeypatch.setattr("transforms.output.lease_file.platform.node", lambda: "here")
    real = time.time
    monkeypatch.setattr("transforms.output.lease_file.time.time", lambda: real() + jump)
    change(str(tmp_path), renewed=real())
    with pytest.raises(LeaseError, match="run first"):
        hold(str(tmp_path), "second")
    first.release()


def test_a_lease_that_is_not_renewed_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hold(str(tmp_path))
    monkeypatch.setattr("transforms.output.lease_file.RENEWAL_S", 0.5)
    change(str(tmp_path), host="elsewhere", renewed=0)
    second = hold(str(tmp_path), "second")
    assert second.taken_over
    second.release()
    first.release()


def test_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        first = hold("gs://shop/out")
        assert owner("gs://shop/out") == "first"
        first.release()
        assert owner("gs://shop/out") is None


def test_the_second_run_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(1, (100, 100)).save(tmp_path / "photos/a.png")
    first = hold(str(tmp_path / "out"))
    arguments = ("run", "--manifest", tmp_path / "photos", "--output", tmp_path / "out", "--model", "u2netp")
    assert run(*arguments) == 2
    assert "run first is writing there" in capsys.readouterr().err
    assert not (tmp_path / "out/images").exists()
    first.release()
    assert run(*arguments) == 0


def test_what_a_dead_run_left_is_swept(tmp_path: Path) -> None:
    names = (
        f"images/a/.x{storage.TEMPORARY}",
        f"maps/ab/.y{storage.TEMPORARY}",
        "report/run=dead/part-00000-of-00001.parquet",
        "runs/dead/gone.parquet",
        "runs/stopped/run.json",
        "report/run=done/part-00000-of-00001.parquet",
        "runs/done/run.json",
        "report/run=older/part-00000-of-00001.parquet",
        "report/run=older/run.json",
        "images/a/b.jpg",
    )
    for name in names:
        storage.write(str(tmp_path / name), b"-")
    sweep(str(tmp_path))
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert left == sorted({*names[2:], "images/a/b.jpg"} - {name for name in names if "dead" in name})
    assert not (tmp_path / "report/run=dead").exists()
    assert not (tmp_path / "runs/dead").exists()


def test_a_sweep_leaves_the_newest_report_whatever_became_of_its_record(tmp_path: Path) -> None:
    for name in ("a", "b"):
        storage.write(str(tmp_path / f"report/run={name}/part-00000-of-00001.parquet"), b"-")
    latest = tmp_path / "report/latest.json"
    latest.write_text("{")
    sweep(str(tmp_path))  # which one counts cannot be told
    assert {path.name for path in tmp_path.glob("report/run=*")} == {"run=a", "run=b"}
    latest.write_text(json.dumps({"run_id": "a", "report": "report/run=a"}))
    sweep(str(tmp_path))
    assert {path.name for path in tmp_path.glob("report/run=*")} == {"run=a"}


def test_of_a_run_that_died_before_it_had_a_lease_the_report_is_swept(tmp_path: Path) -> None:
    names = [f"{part}/.x{storage.TEMPORARY}" for part in ("images", "report")]
    for name in names:
        storage.write(str(tmp_path / name), b"-")
    sweep(str(tmp_path), everywhere=False)
    assert [(tmp_path / name).exists() for name in names] == [True, False]


PROCESSES = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]


def start(tmp_path: Path, count: int, *more: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Start a run over so many photos, as a session of its own; give it, and its command."""
    (tmp_path / "photos").mkdir()
    for n in range(count):
        draw_product(n, (120, 120)).save(tmp_path / f"photos/p{n}.png")
    paths = ["--manifest", str(tmp_path / "photos"), "--output", str(tmp_path / "out")]
    arguments = ["run", *paths, "--model", "u2netp", *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    return process, arguments


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGTERM, 143, []), (signal.SIGINT, 130, []), (signal.SIGINT, 130, PROCESSES)],
    ids=["SIGTERM", "SIGINT", "worker processes"],
)
def test_a_signal_lets_what_is_in_flight_finish(
    tmp_path: Path, number: int, code: int, workers: list[str], u2netp: object
) -> None:
    process, arguments = start(tmp_path, 60, *workers)
    output = tmp_path / "out"
    wait_for(lambda: list(output.glob("images/*.png")), 60)
    os.killpg(process.pid, number)  # as a terminal does, and a service manager
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "stopping when what is in flight is done" in said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    done = {path.stem for path in (output / "images").iterdir()}
    assert 0 < len(done) < 60
    assert len(list(output.glob("maps/*/*.png"))) == len(done)  # nothing was left between its map and its picture
    assert not list(output.rglob(f"*{storage.TEMPORARY}"))
    assert not list(output.glob("report/*"))  # no lease, and nothing of a report
    (report,) = output.glob("runs/*")
    assert json.loads((report / "run.json").read_text())["reason"] == "stopped by a signal"
    assert [path.name for path in report.iterdir()] == ["run.json"]
    assert run(*arguments) == 0
    work = run_json(output)["work"]
    assert work["photos_predicted"] == work["images_written"] == 60 - len(done)


@pytest.mark.parametrize("at", ["their start", "the first picture"])
def test_worker_processes_end_when_their_driver_was_killed(tmp_path: Path, at: str, u2netp: object) -> None:
    process, _ = start(tmp_path, 20, *PROCESSES)
    wait_for(lambda: len(workers_of(process.pid)) == 2, 60)
    time.sleep(1)  # Beam's worker that waits for its driver then would wait for ever
    if at == "the first picture":
        wait_for(lambda: list(tmp_path.glob("out/images/*.png")), 60)
    process.kill()
    process.wait()  # not for the end of its output, which its workers share
    wait_for(lambda: not workers_of(process.pid), 10)


def workers_of(session: int) -> list[str]:
    """List the local worker processes of a session."""
    command = ["ps", "-o", "pid=,args=", "--sid", str(session), "--no-headers"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return [line for line in found if "local_worker" in line and "defunct" not in line]
