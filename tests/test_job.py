"""A job elsewhere is waited for, cancelled when it is to stop, and asked for on its Flink cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc
from apache_beam.runners.runner import PipelineRunner
from conftest import draw_product, run

from pipeline import job
from pipeline.errors import RunError
from pipeline.flink import FlinkJob, name_job
from pipeline.launch import _stopped_by, run_graph
from transforms.stopping import STOP
from transforms.tracking import PROGRESS


class Result:
    """What a runner elsewhere gives for a job, which ends when it is cancelled and not before."""

    has_job = True

    def __init__(self) -> None:
        self.over = threading.Event()

    def wait_until_finish(self) -> None:
        self.over.wait(60)
        raise RuntimeError("Pipeline job failed in state CANCELLED")

    def cancel(self) -> None:
        self.over.set()


class Elsewhere(PipelineRunner):
    """A runner elsewhere, on which every job hangs."""

    result: Any = Result()

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> Any:
        return self.result


class Template(Elsewhere):
    """As DataflowRunner is with --template_location: the graph is written, and there is no job."""

    result = SimpleNamespace(has_job=False)


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Result]:
    for name, seconds in (("LOOK_S", 0.01), ("GRACE_S", 0.0)):
        monkeypatch.setattr(job, name, seconds)
    result = Result()
    monkeypatch.setattr(Elsewhere, "result", result)
    yield result
    STOP.clear()


def start(*flags: str, runner: str = "Elsewhere") -> bool:
    arguments = [f"--runner={__name__}.{runner}", *flags]
    return run_graph(arguments, True, lambda root: root | beam.Create([1]) and None, job.Start("night"))


def test_a_job_that_hangs_does_not_hang_a_run_that_is_to_stop(hanging: Result) -> None:
    STOP.set()
    with pytest.raises(RunError, match="stopped before its end"):
        start()
    assert hanging.over.is_set()


def test_a_job_on_which_nobody_is_at_work_is_given_up(hanging: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "GRACE_S", 60.0)
    PROGRESS.begin()
    try:
        PROGRESS.planned(2, 2)
        PROGRESS.row(failed=False)
        PROGRESS.snapshot()
        monkeypatch.setattr(job, "STALL_S", -1.0)
        with pytest.raises(RunError, match=r"no row was finished for .* minutes; its job is cancelled"):
            start()
    finally:
        PROGRESS.end()
    assert hanging.over.is_set()


def test_what_nobody_foresaw_cancels_the_job_too(hanging: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: job.Job) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job.Job, "_wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert hanging.over.is_set()


@pytest.fixture
def flink() -> Iterator[ThreadingHTTPServer]:
    """A Flink cluster's REST interface, with two jobs that a fault has stopped and that are to be tried again."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            jobs = [{"jid": name, "name": f"whitesweep-{name}", "state": state} for name, state in states.items()]
            history = {"entries": [{"stacktrace": "RuntimeError: Traceback\nerrors.DeadEndError: /out: full\n\tat x"}]}
            self.answer({"jobs": jobs} if self.path == "/jobs/overview" else {"exceptionHistory": history})

        def do_PATCH(self) -> None:
            states[self.path.split("/")[2].partition("?")[0]] = "CANCELED"
            self.answer({})

        def answer(self, said: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            pass

    states = {"night": "RESTARTING", "other": "RESTARTING"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.states = states  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_fault_that_the_cluster_would_try_again_cancels_the_job(hanging: Result, flink: ThreadingHTTPServer) -> None:
    with pytest.raises(RunError, match=r"^/out: full$") as stopped:
        start(f"--flink_master=127.0.0.1:{flink.server_port}")
    assert stopped.value.dead_end
    assert flink.states == {"night": "CANCELED", "other": "RESTARTING"}  # type: ignore[attr-defined]


def test_a_job_has_a_name_of_its_own_behind_the_users() -> None:
    options = PipelineOptions(["--flink_master=https://flink/", "--job_name=shop"])
    assert name_job(options, "night") == FlinkJob("https://flink", "shop-night")
    assert name_job(PipelineOptions(["--flink_master=[local]"]), "night") is None


def test_a_cluster_that_cannot_be_asked_says_nothing() -> None:
    nobody = FlinkJob("http://127.0.0.1:1", "night")
    assert nobody.fault() is None
    with pytest.raises(OSError, match="refused"):
        nobody.is_over()


def test_a_job_that_may_be_at_work_still_is_told_of(
    hanging: Result, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setattr(job, "CANCEL_S", 0.1)
    STOP.set()
    with pytest.raises(RunError):
        start("--flink_master=127.0.0.1:1")
    assert log == ["the job whitesweep-night may be at work still; cancel it on its cluster"]


def test_a_template_is_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str], u2netp: object) -> None:
    (tmp_path / "photos").mkdir()
    draw_product(1, (40, 40)).save(tmp_path / "photos/a.png")
    output = tmp_path / "out"
    paths = ("--manifest", tmp_path / "photos", "--output", output)
    assert run("run", *paths, "--model", "u2netp", "--runner", f"{__name__}.Template") == 0
    assert "goes on as a job of its own" in capsys.readouterr().out
    assert [path.name for path in (output / "report").iterdir()] == ["lease.json"]  # for whoever runs it
    assert not list(output.glob("runs/*/run.json"))


def test_a_job_server_that_does_not_answer_is_one_line() -> None:
    nobody = ["--runner=PortableRunner", "--job_endpoint=127.0.0.1:1", "--job_server_timeout=1"]
    with pytest.raises(RunError, match=r"^no job server has answered; see --job_endpoint and --job_server_timeout"):
        run_graph(nobody, False, lambda root: root | beam.Create([1]) and None)


def test_a_grpc_error_is_one_readable_line(tmp_path: Path) -> None:
    stub = beam_job_api_pb2_grpc.JobServiceStub(grpc.insecure_channel("127.0.0.1:1"))
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetJobs(beam_job_api_pb2.GetJobsRequest())
    line = str(_stopped_by(refused.value))
    assert "\n" not in line
    assert "failed to connect to all addresses" in line


def test_of_a_java_trace_the_first_cause_is_said() -> None:
    """As Beam's job server gives it when the JobManager has been killed, and knows the job no more."""
    text = """Pipeline job-1 failed in state FAILED: [Internal server error., <Exception on server side:
java.util.concurrent.CompletionException: org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find it
\tat org.apache.flink.runtime.rest.handler.A.b(A.java:1)
Caused by: org.apache.flink.runtime.messages.FlinkJobNotFoundException: Could not find Flink job (4eb3)
\tat org.apache.flink.runtime.dispatcher.Dispatcher.a(Dispatcher.java:903)
\t... 5 more
]"""
    said = str(_stopped_by(RuntimeError(text)))
    assert said.startswith("the cluster has failed it: FlinkJobNotFoundException: Could not find Flink job (4eb3)")
