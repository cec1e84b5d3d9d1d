"""Beam's faults, each shown without what stands against it in transforms/beam_faults.py.

What fails here after another Beam was installed says what of ours is no longer needed. Each test shows its fault twice:
as Beam has it, and as it would look if it were mended, by our own means or by Beam's.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NoReturn, TypedDict, Unpack

import apache_beam as beam
import pytest
from apache_beam import coders
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsList, TaggedOutput
from apache_beam.runners.direct import direct_runner
from apache_beam.runners.portability import job_server, local_job_service, prism_runner
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.typehints.decorators import TypeCheckError
from apache_beam.utils import shared, thread_pool_executor
from conftest import ROOT

from pipeline.launch import run_graph
from pipeline.runners import beam_arguments
from transforms.beam_faults import (
    IN_MEMORY,
    LOCAL_RUNNER,
    JobServers,
    never_encode,
    sole_output,
    unknown_flags,
    without_annotations,
    without_tracebacks,
    worker_command,
)

IN_THREADS = "--direct_running_mode=multi_threading"


def mended(what: str, ours: str) -> str:
    return f"Beam no longer {what}: {ours} can go"


def local(*arguments: str) -> beam.Pipeline:
    return beam.Pipeline(options=PipelineOptions([f"--runner={LOCAL_RUNNER}", *arguments]))


class Slow:
    """Takes as long to be encoded as many ticks of a hurried timer."""


class SlowCoder(coders.Coder):
    def encode(self, value: object) -> bytes:
        time.sleep(0.1)
        return b"slow"

    def decode(self, encoded: bytes) -> Slow:
        assert encoded == b"slow"
        return Slow()


coders.registry.register_coder(Slow, SlowCoder)


def build_slow(root: beam.Pipeline) -> None:
    keyed = root | beam.Create([1]) | beam.Map(lambda n: (n, Slow())).with_output_types(tuple[int, Slow])
    _ = keyed | beam.GroupByKey()


def is_torn() -> bool:
    root = local(IN_THREADS)
    build_slow(root)
    try:
        root.run()
    except Exception:
        return True
    return False


def test_a_timer_tears_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_handlers, "DATA_BUFFER_TIME_LIMIT_MS", 10)
    assert is_torn(), mended("flushes buffers while an element is written to them", "flush_by_size")
    run_graph([f"--runner={LOCAL_RUNNER}", IN_THREADS], False, build_slow)
    assert not is_torn()


def test_the_interpreter_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "a folder" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text("#!/bin/sh\nexit 0\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))

    def starts() -> bool:
        runner = fn_runner.FnApiRunner()
        options = PipelineOptions(["--direct_running_mode=multi_processing"])
        beam.Pipeline(runner, options).run()  # nothing to do, so that no worker is started
        environment: Any = runner._default_environment
        provision = fn_runner.ExtendedProvisionInfo()
        try:
            local_job_service.SubprocessSdkWorker(
                environment.command_string.encode(), "localhost:1", provision, "1"
            ).run()
        except RuntimeError:
            return False
        return True

    assert not starts(), mended("hands its interpreter to a shell unquoted", "the quoting in worker_command")
    with worker_command(["-m", "pipeline.local_worker"]):
        assert starts()


FIRST, ENOUGH = threading.Event(), threading.Event()
AT_WORK: list[int] = []


def fail_beside_another(keyed: tuple[int, Any]) -> None:
    if keyed[0] == 0:
        assert FIRST.wait(20)
        raise ValueError("stop")
    AT_WORK.append(keyed[0])
    FIRST.set()
    ENOUGH.wait(20)
    AT_WORK.remove(keyed[0])


def leaves_others_at_work() -> bool:
    FIRST.clear()
    ENOUGH.clear()
    root = local(IN_MEMORY, "--direct_num_workers=2")
    keyed = root | beam.Create([(0, None), (1, None)], reshuffle=False)  # Beam waits for one bundle after the other
    _ = keyed | beam.GroupByKey() | beam.Map(fail_beside_another)
    with pytest.raises(ValueError, match="stop"):
        root.run()
    left = bool(AT_WORK)
    ENOUGH.set()
    return left


def test_a_run_that_fails_leaves_worker_threads_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(thread_pool_executor.UnboundedThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            ENOUGH.set()
            super().shutdown(wait)

    assert leaves_others_at_work(), mended("leaves worker threads at their bundles", "leave")
    monkeypatch.setattr(fn_runner.thread_pool_executor, "shared_unbounded_instance", Ended)
    assert not leaves_others_at_work()


def is_refused(flag: str) -> bool:
    try:
        root = local(flag)
        _ = root | beam.Create([1])
        root.run()
    except ValueError:
        return True
    return False


def test_an_unknown_flag_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(unknown: list[str], _: object) -> None:
        if unknown:
            raise ValueError(unknown)

    assert not is_refused("--no_such_flag=1"), mended("only warns of flags that it does not know", "unknown_flags")
    monkeypatch.setattr(PipelineOptions, "_warn_on_unknown_options", staticmethod(refuse))
    assert is_refused("--no_such_flag=1")


def test_flags_of_all_option_classes_are_known() -> None:
    arguments = ["--direct_num_workers=2", "--flink_master", "here", "--no_such_flag=1", "--direct_num", "x"]
    assert unknown_flags(arguments) == ["--no_such_flag=1", "--direct_num", "x"]
    with pytest.raises(ValueError, match=r"^argument --direct_num_workers: invalid int value: 'x'$"):
        unknown_flags(["--direct_num_workers=x"])


class Picture:
    pickled = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        Picture.pickled += 1
        return Picture, ()


def is_pickled_inside_a_stage() -> bool:
    Picture.pickled = 0
    root = local(IN_MEMORY)
    pictures = root | beam.Create([1]) | "Draw" >> beam.Map(lambda _: Picture()).with_output_types(Picture)
    _ = pictures | "Look" >> beam.Map(lambda _: None)
    root.run()
    return Picture.pickled > 0


def test_an_element_is_pickled_to_know_its_size() -> None:
    assert is_pickled_inside_a_stage(), mended("pickles elements for their size", "never_encode's estimate_size")
    never_encode(Picture, lambda _: 5)
    assert not is_pickled_inside_a_stage()
    assert coders.registry.get_coder(Picture).estimate_size(Picture()) == 5


def test_the_direct_runner_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(*_: object) -> NoReturn:
        asked.append("prism")
        raise OSError("no download here")

    def asks_for_prism() -> bool:
        asked.clear()
        root = beam.Pipeline("DirectRunner")
        _ = root | beam.Create([1])
        root.run()
        return bool(asked)

    monkeypatch.setattr(prism_runner.PrismRunner, "run_pipeline", ask)
    assert asks_for_prism(), mended("tries Prism first where DirectRunner is asked for", "LOCAL_RUNNER")
    one = fn_runner.FnApiRunner()
    monkeypatch.setattr(direct_runner.SwitchingDirectRunner, "run_pipeline", lambda _, *given: one.run_pipeline(*given))
    assert not asks_for_prism()


MEETING = threading.Barrier(2)


def meet(_: object) -> None:
    """Wait for the other bundle, of this process; alone, fail."""
    MEETING.wait(20)


def test_in_memory_is_warned_of_though_bundles_run_side_by_side(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def is_warned_of() -> bool:
        caplog.clear()
        with caplog.at_level(logging.WARNING, fn_runner.__name__):
            root = beam.Pipeline(options=PipelineOptions(beam_arguments("local", ["--direct_num_workers=2"])))
            _ = root | beam.Create([(0, None), (1, None)]) | beam.GroupByKey() | beam.Map(meet)
            root.run()
        return "in_memory" in caplog.text

    assert is_warned_of(), mended("warns of in_memory with several workers", "what IN_MEMORY says of that")
    monkeypatch.setattr(fn_runner._LOGGER, "warning", lambda *_: None)
    assert not is_warned_of()


def both(number: int) -> Iterator[Any]:
    yield number
    yield TaggedOutput("second", -number)


SEEN: list[list[int]] = []


def see(_: object, numbers: list[int]) -> None:
    SEEN.append(sorted(numbers))


def side_input(runner: str, alone: bool) -> list[int]:
    SEEN.clear()
    root = beam.Pipeline(runner)
    second = (root | beam.Create([1, 2]) | beam.FlatMap(both).with_outputs("second", main="first")).second
    if alone:
        second = sole_output(second, "Alone")
    once = root | "Once" >> beam.Create([None], reshuffle=False)
    _ = once | beam.Map(see, AsList(second))
    root.run().wait_until_finish()
    (seen,) = SEEN
    return seen


def test_a_side_input_is_the_first_of_several_outputs() -> None:
    runner = "BundleBasedDirectRunner"
    assert side_input(runner, alone=False) != [-2, -1], mended("mistakes one output for another", "sole_output")
    assert side_input(runner, alone=True) == [-2, -1]
    assert side_input(LOCAL_RUNNER, alone=False) == [-2, -1]


def fail(_: object) -> NoReturn:
    raise ValueError("stop")


def test_worker_threads_print_what_they_hand_on() -> None:
    def run() -> None:
        root = local(IN_THREADS)
        _ = root | beam.Create([1]) | beam.Map(fail)
        with pytest.raises(RuntimeError, match="ValueError: stop"):
            root.run()

    with redirect_stderr(io.StringIO()) as printed:
        run()
    assert "ValueError: stop" in printed.getvalue(), mended("prints exceptions of workers", "without_tracebacks")
    with redirect_stderr(io.StringIO()) as printed, without_tracebacks():
        run()
    assert "ValueError: stop" not in printed.getvalue()


class More(TypedDict, total=False):
    """Keywords of a function."""

    by: int


class Model:
    """Something that a Shared keeps."""


def forgets_a_shared_object() -> bool:
    one, another = shared.Shared(), shared.Shared()
    loads = 0

    def load() -> Model:
        nonlocal loads
        loads += 1
        return Model()

    for handle in (one, another, one):
        handle.acquire(load)
        gc.collect()
    return loads > 2


def test_shared_keeps_only_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    acquire = shared._SharedMap.acquire

    def keep(self: Any, *given: Any) -> Any:
        kept.append(acquire(self, *given))
        return kept[-1]

    assert forgets_a_shared_object(), mended("forgets all but the last Shared", "transforms.network.the_engine")
    monkeypatch.setattr(shared._SharedMap, "acquire", keep)
    assert not forgets_a_shared_object()


def test_a_worker_process_waits_for_a_driver_that_is_gone() -> None:
    nowhere = {"CONTROL_API_SERVICE_DESCRIPTOR": "url: 'localhost:1'", "PIPELINE_OPTIONS": "{}", "WORKER_ID": "1"}

    def start(*ours: str) -> subprocess.Popen[str]:
        command = [sys.executable, *ours, "-m", "apache_beam.runners.worker.sdk_worker_main"]
        environment = {**os.environ, **nowhere}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)

    with start("-m", "pipeline.local_worker", "-1") as ours, start() as plain:  # no driver has that number
        assert plain.stderr is not None
        assert any("control channel" in line for line in plain.stderr)  # that it asks for
        time.sleep(1.5)
        waits = plain.poll() is None
        plain.kill()
        assert ours.wait(timeout=20) == 1
    assert waits, mended("waits for a driver that is gone", "pipeline.local_worker._end_with")


def test_annotated_keywords_are_refused() -> None:
    def plus(number: int, *, factor: int = 1, **more: Unpack[More]) -> int:
        return number * factor + more.get("by", 0)

    def can_be_mapped() -> bool:
        try:
            _ = beam.Pipeline() | beam.Create([1]) | beam.Map(plus, factor=2)
        except TypeCheckError:
            return False
        return True

    assert not can_be_mapped(), mended("refuses annotated keywords", "without_annotations")
    without_annotations(plus)
    assert can_be_mapped()


SERVER = """import sys, threading, grpc
server = grpc.server(None)
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
threading.Event().wait()
"""


class Server(job_server.SubprocessJobServer):
    """A job server that does nothing."""

    def subprocess_cmd_and_endpoint(self) -> tuple[list[str], str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [sys.executable, "-c", SERVER, str(port)], f"localhost:{port}"


def test_a_job_server_takes_ctrl_c_and_is_left_behind() -> None:
    before = signal.getsignal(signal.SIGINT)
    plain = job_server.StopOnExitJobServer(Server())
    plain.start()
    taken = signal.getsignal(signal.SIGINT) is not before
    signal.signal(signal.SIGINT, before)
    (process,) = [entry.obj[0] for entry in plain._job_server._server._cache._cache.values()]
    together = os.getpgid(process.pid) == os.getpgid(0)
    plain.stop()
    assert taken, mended("takes Ctrl-C", "JobServers")
    assert together, mended("lets Ctrl-C end a job server", "JobServers")


def test_our_job_servers_end_with_their_job_and_not_by_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    servers = JobServers()
    with servers:
        job_server.StopOnExitJobServer(Server()).start()
    assert signal.getsignal(signal.SIGINT) is before
    (process,) = servers._processes
    assert os.getpgid(process.pid) != os.getpgid(0)
    servers.stop()
    assert process.returncode is not None
    with pytest.raises(RuntimeError, match="it is to end"):
        servers._start(["true"])  # Beam would start it anew
