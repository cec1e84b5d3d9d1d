"""A run that is a job of its own: who holds its lease, who ends it, and what it leaves."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_product, run, run_json

from pipeline import job, runners
from pipeline.graph import go_on
from pipeline.launch import run_graph
from transforms.ending import end_run, told_of
from transforms.errors import DeadEndError, FatalError
from transforms.output import lease_file
from transforms.output.commit import Committed
from transforms.output.lease import Lease, LeaseError, check_free, lease_watch
from transforms.output.lease_file import JOB_EXPIRY_S, ask_to_stop, end_job, look, owner, standing
from transforms.output.run import RunInfo
from transforms.settings import RunSettings
from transforms.stopping import STOP

pytestmark = pytest.mark.pure


def held_by_a_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process take a lease, hand it over to its job, and be killed."""
    lease = Lease(str(folder), "night", "run")
    lease.acquire()
    lease.hand_over()
    lease.leave()
    monkeypatch.setattr(lease_file, "_process_start", lambda process: None)  # as nobody has its number any more


def age(folder: Path, seconds: float) -> None:
    file = folder / "report/lease.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "renewed": time.time() - seconds}))


def test_a_jobs_lease_does_not_end_with_the_process_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by_a_job(tmp_path, monkeypatch)
    age(tmp_path, JOB_EXPIRY_S - 5)  # it waits for workers
    with pytest.raises(LeaseError, match=r"run night is writing there \(a job\)"):
        check_free(str(tmp_path))
    age(tmp_path, JOB_EXPIRY_S + 5)
    check_free(str(tmp_path))


def test_its_workers_renew_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_a_job(tmp_path, monkeypatch)
    before = (tmp_path / "report/lease.json").read_text()
    assert standing(str(tmp_path), "night") == "ours"
    assert (tmp_path / "report/lease.json").read_text() == before  # it was fresh
    age(tmp_path, 400)
    assert standing(str(tmp_path), "another") == "lost"
    age(tmp_path, 400)
    assert standing(str(tmp_path), "night") == "ours"
    found = look(str(tmp_path))
    assert found is not None
    assert found["alive"]
    assert time.time() - found["renewed"] < 60


def test_so_does_a_plan_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by_a_job(tmp_path, monkeypatch)
    lease_watch.cache_clear()
    age(tmp_path, 400)
    info = RunInfo(RunSettings(str(tmp_path)), "night", outlives=True)
    assert go_on("rows", info) == "rows"
    found = look(str(tmp_path))
    assert found is not None
    assert time.time() - found["renewed"] < 60
    (tmp_path / "report/lease.json").unlink()
    lease_watch.cache_clear()
    with pytest.raises(FatalError, match="taken over"):
        go_on("rows", info)


def test_a_process_renews_no_lease_but_its_own(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "night", "run")
    lease.acquire()
    age(tmp_path, 400)
    aged = (tmp_path / "report/lease.json").read_text()
    assert standing(str(tmp_path), "night") == "ours"
    assert (tmp_path / "report/lease.json").read_text() == aged  # or a dead process would live for ever
    lease.release()


def test_somebody_may_ask_it_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_to_stop(str(tmp_path)) is None
    held_by_a_job(tmp_path, monkeypatch)
    assert ask_to_stop(str(tmp_path)) == "night"
    assert standing(str(tmp_path), "night") == "stopping"
    age(tmp_path, JOB_EXPIRY_S + 5)
    assert ask_to_stop(str(tmp_path)) is None  # it is dead


def test_the_process_that_holds_a_lease_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_file, "RENEWAL_S", 0.05)
    lease = Lease(str(tmp_path), "night", "run")
    lease.acquire()
    try:
        assert run("stop", "--output", tmp_path) == 0
        assert STOP.wait(10)
        assert lease.was_asked_to_stop
        assert standing(str(tmp_path), "night") == "stopping"  # and nobody forgets it
    finally:
        lease.release()
        STOP.clear()
    assert run("stop", "--output", tmp_path) == 0


def test_a_job_that_is_over_gives_its_lease_back_or_says_so_to_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by_a_job(tmp_path, monkeypatch)
    end_job(str(tmp_path), "another", awaited=False)
    assert owner(str(tmp_path)) == "night"
    end_job(str(tmp_path), "night", awaited=True)
    with pytest.raises(LeaseError, match="run night is over"):
        check_free(str(tmp_path))
    assert ask_to_stop(str(tmp_path)) is None
    age(tmp_path, 61)
    began = time.monotonic()
    following = Lease(str(tmp_path), "next", "run")
    following.acquire()
    assert time.monotonic() - began < 20  # a lease of which nothing is known is watched for longer
    following.release()
    held_by_a_job(tmp_path, monkeypatch)
    end_job(str(tmp_path), "night", awaited=False)
    assert owner(str(tmp_path)) is None


def ended(folder: Path, detached: bool, committed: Committed, monkeypatch: pytest.MonkeyPatch) -> RunInfo:
    held_by_a_job(folder, monkeypatch)
    info = RunInfo(RunSettings(str(folder)), "night", time.time(), leased=True, outlives=True, detached=detached)
    for name in ("report/run=night/part-00000-of-00001.parquet", "runs/night/progress/worker.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    end_run(committed, info)
    return info


def test_a_run_that_was_asked_to_stop_leaves_its_reason_and_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(tmp_path, True, Committed("", False), monkeypatch)
    assert owner(str(tmp_path)) is None
    assert not (tmp_path / "report/run=night").exists()
    assert not (tmp_path / "runs/night/progress").exists()
    said = json.loads((tmp_path / "runs/night/run.json").read_text())
    assert (said["exit_code"], said["reason"]) == (143, "stopped by the command `stop`")


def test_while_somebody_waits_the_end_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(tmp_path, False, Committed("", False), monkeypatch)
    assert owner(str(tmp_path)) == "night"
    assert (tmp_path / "report/run=night").exists()
    assert (tmp_path / "runs/night/progress").exists()  # from which they say how far it was


def test_a_brake_of_a_run_that_nobody_watches_is_in_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for detached in (False, True):
        held_by_a_job(tmp_path, monkeypatch)
        info = RunInfo(RunSettings(str(tmp_path)), "night", time.time(), leased=True, outlives=True, detached=detached)
        with pytest.raises(DeadEndError), told_of(info):
            raise DeadEndError("half of the rows are gone")
        assert (tmp_path / "runs/night/run.json").exists() == detached
        assert (owner(str(tmp_path)) is None) == detached
        (tmp_path / "report/lease.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("flags", "alone"),
    [
        (["--runner=FlinkRunner", "--flink_master=flink:8081"], True),
        (["--runner=FlinkRunner", "--flink_master=flink:8081", "--environment_type=LOOPBACK"], False),
        (["--runner=FlinkRunner"], False),  # a cluster of its job server's
        (["--runner=DataflowRunner", "--project=p", "--region=r"], True),
        (["--runner=PortableRunner", "--job_endpoint=flink:8099"], True),
        (["--runner=PortableRunner", "--job_endpoint=embed"], False),
        (["--runner=PrismRunner"], False),
        (["--runner=FnApiRunner"], False),
    ],
)
def test_only_jobs_on_a_cluster_go_on_alone(flags: list[str], alone: bool) -> None:
    assert runners.outlives(flags) is alone


def test_a_job_that_is_not_waited_for_is_submitted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from test_job import Elsewhere, Result

    result, calls = Result(), []
    monkeypatch.setattr(job, "LOOK_S", 0.01)
    monkeypatch.setattr(Elsewhere, "result", result)
    start = job.Start("night", lambda: calls.append(result.over.is_set()), detach=True)
    assert run_graph(["--runner=test_job.Elsewhere"], True, lambda root: None, start) is False
    assert calls == [False]  # once, and the job is at work still
    result.over.set()


def test_a_template_is_left_to_who_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    start = job.Start("night", lambda: calls.append(1))
    assert run_graph(["--runner=test_job.Template"], True, lambda root: None, start) is False
    assert calls == [1]
    assert runners.is_template(["--runner=DataflowRunner", "--template_location=gs://b/t"])


@pytest.mark.parametrize(
    ("more", "said"),
    [((), "--detach: local runs as long as this process does"), (("--runner", "PrismRunner"), "--detach: PrismRunner")],
)
def test_what_cannot_be_left_alone_is_refused(
    more: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object
) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(1, (40, 40)).save(tmp_path / "photos/a.png")
    given: tuple[Any, ...] = ("run", "--manifest", tmp_path / "photos", "--output", tmp_path / "out", "--detach")
    assert run(*given, "--model", "u2netp", *more) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert said in told[0]
    assert not os.path.exists(tmp_path / "out")


def test_a_run_here_that_is_asked_to_stop_ends_as_by_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, u2netp: object
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        draw_product(number, (40, 40)).save(tmp_path / f"photos/{number}.png")
    given = ("--manifest", tmp_path / "photos", "--output", tmp_path / "out", "--model", "u2netp")
    monkeypatch.setattr(lease_file, "RENEWAL_S", 0.02)
    monkeypatch.setattr("transforms.output.lease.LOOK_S", 0.0)
    from transforms import process

    plain = process.prepare

    def prepare(*arguments: Any) -> Any:  # somebody asks when the first photo is at work
        ask_to_stop(str(tmp_path / "out"))
        STOP.wait(10)
        return plain(*arguments)

    monkeypatch.setattr(process, "prepare", prepare)
    assert run("run", *given) == 143
    monkeypatch.setattr(process, "prepare", plain)
    record = json.loads(next((tmp_path / "out/runs").glob("*/run.json")).read_text())
    assert (record["exit_code"], record["reason"]) == (143, "stopped by the command `stop`")
    assert run("run", *given, "--max_failure_fraction", "1") == 0
    assert sum(run_json(tmp_path / "out")["statuses"].values()) == 4
