"""On a true Flink cluster of several processes: the same bytes as here, whatever is killed, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from conftest import BRAKES_OFF, digests, draw_product, make_catalog, run, run_json
from machines import JAR, Command, FlinkCluster, Marked, flink_missing, free_port, wait_for

from pipeline.flink import FLINK_FLAGS, FLINK_SWITCHES

pytestmark = [pytest.mark.skipif(bool(flink_missing()), reason=flink_missing()), pytest.mark.timeout(400)]

PHOTOS = 24
SETTINGS = ("--model", "u2netp", "--precision", "fp32", *BRAKES_OFF)


def paths(manifest: Path, output: Path) -> list[str]:
    return ["--manifest", str(manifest), "--output", str(output)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    with FlinkCluster(tmp_path_factory.mktemp("flink")) as cluster:
        yield cluster
    assert not cluster.left()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """The small catalog with everything that goes wrong in it, and more photos."""
    manifest = make_catalog(tmp_path_factory.mktemp("photos") / "catalog")
    with manifest.open("a") as stream:
        for n in range(PHOTOS):
            draw_product(100 + n, (400, 500)).save(manifest.parent / f"more{n}.jpg")
            stream.write(f"more{n},more{n}.jpg,more,\n")
    return manifest


@pytest.fixture(scope="module")
def reference(catalog: Path) -> Path:
    """What a run here makes of it, all in all."""
    output = catalog.parent.parent / "reference"
    assert run("run", *paths(catalog, output), *SETTINGS) == 0
    return output


def test_run_migrate_verify_and_compare_give_the_same_bytes(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path
) -> None:
    output, here = tmp_path / "out", tmp_path / "here"
    shutil.copytree(reference, here)
    there = cluster.arguments()
    assert Command(tmp_path / "run", "run", *paths(catalog, output), *SETTINGS, *there).end() == 0
    assert digests(output) == digests(reference)
    assert run_json(output)["work"] == run_json(reference)["work"]
    loads = cluster.loads.read_text().split()
    assert len(loads) == len(set(loads)) == 2  # one model for each worker process
    policy = ("--policy", "otsu", *BRAKES_OFF)
    assert Command(tmp_path / "migrate", "migrate", *paths(catalog, output), *policy, *there).end() == 0
    assert run("migrate", *paths(catalog, here), *policy) == 0
    assert digests(output) == digests(here) != digests(reference)
    assert cluster.loads.read_text().split() == loads  # a migration needs none
    trial = ("--policy", "0.5", "--output")
    compare = Command(tmp_path / "compare", "compare", "--from", output, *trial, tmp_path / "a", *there)
    assert compare.end() == 0
    assert run("compare", "--from", here, *trial, tmp_path / "b") == 0
    for name in ("comparison.json", "most-changed.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (output / "images/more0.jpg").write_bytes(b"altered")
    command = Command(tmp_path / "verify", "verify", "--output", output, *there)
    assert command.end() == 1
    assert "1 differences" in command.output


def begin(cluster: FlinkCluster, catalog: Path, folder: Path) -> tuple[Command, Path]:
    """Give the command to run, and wait for its first pictures."""
    output = folder / "out"
    command = Command(folder / "command", "run", *paths(catalog, output), *SETTINGS, *cluster.arguments())
    wait_for(lambda: len(list(output.glob("images/more*"))) > 4, "the first pictures")
    return command, output


@pytest.mark.parametrize("victim", ["TaskManager", "worker process"])
def test_what_is_killed_in_the_middle_costs_nothing_but_time(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path, victim: str
) -> None:
    command, output = begin(cluster, catalog, tmp_path)
    if victim == "TaskManager":
        cluster.processes["taskmanager1"].kill()
        cluster.processes["taskmanager1"].wait()
        cluster.start_manager("taskmanager1")
    else:
        os.kill(cluster.workers()[0], signal.SIGKILL)
    assert command.end() == 0, command.output
    assert cluster.failures()
    assert digests(output) == digests(reference)
    assert run("verify", "--output", output) == 0
    wait_for(cluster.is_up, "the cluster")
    wait_for(lambda: len(cluster.workers()) <= 2, "the end of workers whose TaskManager is gone")


def test_ctrl_c_lets_the_job_end_and_is_not_tried_again(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path
) -> None:
    command, output = begin(cluster, catalog, tmp_path)
    command.signal(signal.SIGINT)
    assert command.end() == 130
    assert "the same command goes on from there" in command.output
    assert (cluster.last_job()["state"], cluster.failures()) == ("FINISHED", 0)
    assert not list(output.glob("report/*"))
    assert 0 < len(list(output.glob("images/more*"))) < PHOTOS
    assert run("run", *paths(catalog, output), *SETTINGS) == 0
    assert digests(output) == digests(reference)


def test_a_second_signal_cancels_the_job_at_once(cluster: FlinkCluster, catalog: Path, tmp_path: Path) -> None:
    command, output = begin(cluster, catalog, tmp_path)
    command.signal(signal.SIGTERM)
    wait_for(lambda: "again to stop at once" in command.output, "an answer")
    command.signal(signal.SIGINT)
    assert command.end() == 130
    wait_for(lambda: cluster.last_job()["state"] == "CANCELED", "the end of the job")
    assert not (output / "report/latest.json").exists()


def test_the_job_of_a_driver_that_was_killed_commits_by_itself(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path
) -> None:
    command, output = begin(cluster, catalog, tmp_path)
    command.process.kill()
    assert command.end() == -signal.SIGKILL  # its job server has gone with it
    wait_for(lambda: cluster.last_job()["state"] == "FINISHED", "the end of the job")
    assert digests(output) == digests(reference)
    assert json.loads((output / "report/lease.json").read_text())["over"] is True  # for the next run to take over


def leave(cluster: FlinkCluster, catalog: Path, folder: Path) -> Path:
    """Give a command to run that waits for nothing."""
    output = folder / "out"
    flags = (*paths(catalog, output), *SETTINGS, "--detach", *cluster.arguments())
    command = Command(folder / "command", "run", *flags)
    assert command.end() == 0, command.output
    assert "goes on as a job of its own" in command.output
    assert cluster.last_job()["state"] != "FINISHED"
    assert json.loads((output / "report/lease.json").read_text())["job"] is True
    return output


def last_record(output: Path) -> dict[str, Any]:
    file = max(output.glob("runs/*/run.json"))
    record: dict[str, Any] = json.loads(file.read_text())
    assert [one.name for one in file.parent.iterdir()] == ["run.json"]
    return record


def test_a_detached_run_commits_by_itself(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = leave(cluster, catalog, tmp_path)
    wait_for(lambda: len(list(output.glob("images/more*"))) > 4, "the first pictures")
    assert run("status", "--output", output) == 0
    assert "a job, started from" in capsys.readouterr().out
    assert run("run", *paths(catalog, output), *SETTINGS) == 2  # it is at work there
    wait_for(lambda: cluster.last_job()["state"] == "FINISHED", "the end of the job")
    assert digests(output) == digests(reference)
    assert not (output / "report/lease.json").exists()
    assert last_record(output)["exit_code"] == 0
    assert run("run", *paths(catalog, output), *SETTINGS) == 0


def test_a_detached_run_ends_when_it_is_asked_to(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path
) -> None:
    output = leave(cluster, catalog, tmp_path)
    wait_for(lambda: len(list(output.glob("images/more*"))) > 4, "the first pictures")
    assert run("stop", "--output", output) == 0
    wait_for(lambda: cluster.last_job()["state"] == "FINISHED", "the end of the job")
    assert cluster.failures() == 0
    assert not list(output.glob("report/*"))
    assert last_record(output)["reason"] == "stopped by the command `stop`"
    assert 0 < len(list(output.glob("images/more*"))) < PHOTOS
    assert run("run", *paths(catalog, output), *SETTINGS) == 0
    assert digests(output) == digests(reference)


def test_a_fault_that_no_other_try_survives_is_not_tried_again(
    cluster: FlinkCluster, catalog: Path, reference: Path, tmp_path: Path
) -> None:
    fewer, output = tmp_path / "fewer.csv", tmp_path / "out"
    shutil.copytree(reference, output)
    fewer.write_text(f"id,uri\none,{catalog.parent}/one.jpg\n")
    command = Command(tmp_path / "command", "run", *paths(fewer, output), *SETTINGS[:4], *cluster.arguments())
    assert command.end() == 1
    assert "--max_gone_fraction 1" in command.output
    assert "Traceback" not in command.output
    assert (cluster.last_job()["state"], cluster.failures()) == ("CANCELED", 1)


def test_a_worker_that_cannot_start_hangs_nobody_who_wants_to_stop(
    cluster: FlinkCluster, catalog: Path, tmp_path: Path
) -> None:
    stuck = tmp_path / "stuck.sh"
    stuck.write_text("#!/bin/sh\nexec sleep 600\n")
    stuck.chmod(0o755)
    flags = [*paths(catalog, tmp_path / "out"), *SETTINGS, *cluster.arguments(stuck)]
    command = Command(tmp_path / "command", "run", *flags)
    wait_for(lambda: cluster.left("sleep 600"), "the worker")
    command.signal(signal.SIGTERM)
    assert command.end(90) == 143
    assert cluster.last_job()["state"] == "CANCELED"


def test_the_options_that_we_take_for_flinks_are(tmp_path: Path) -> None:
    port, server = free_port(), Marked(tmp_path)
    ports = ["--job-port", str(port), "--artifact-port", "0", "--expansion-port", "0", "--flink-master", "[local]"]
    process = server.start("server", ["java", "-jar", JAR, *ports])
    channel = grpc.insecure_channel(f"localhost:{port}")
    try:
        grpc.channel_ready_future(channel).result(60)
        stub = beam_job_api_pb2_grpc.JobServiceStub(channel)
        told = stub.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest())
    finally:
        server.kill_all()
        process.wait()
    switch = beam_job_api_pb2.PipelineOptionType.BOOLEAN
    known = {f"--{option.name}": option.type == switch for option in told.options}
    ours = {**dict.fromkeys(FLINK_FLAGS.split(), False), **dict.fromkeys(FLINK_SWITCHES.split(), True)}
    assert {name: known.get(name) for name in ours} == ours
