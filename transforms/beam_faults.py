"""Beam's faults, and what stands against each of them, in one place.

All are in Beam 2.77, the one version that setup.py admits. tests/test_beam_faults.py shows each in some ten lines as it
is without us, and fails once an installed Beam has mended it: then what is here for it goes.

Nothing of ours is imported here, and Beam only where it is needed: who asks for --help does not wait for it. What we
chose instead of a part of Beam is explained where it was chosen: RunInference in `saliency`, Shared in `network`,
WriteToParquet in `report`, resource hints in `process`, the client of Cloud Storage in `storage.gcs`. What Beam's local
worker process lacks is in `pipeline.local_worker`, in which it starts.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import apache_beam as beam

LOCAL_RUNNER = "FnApiRunner"
"""Beam's DirectRunner is one of three engines, by machine and by graph, and tries a download first.

Since 2.68 (apache/beam#34612, which also says to name this one).
"""

IN_MEMORY = "--direct_running_mode=in_memory"
"""For all its name and Beam's warning, it runs as many bundles side by side as there are workers.

Rows then pass from stage to stage as they are; in multi_threading they go through gRPC, which holds each five times
over. The warning came with apache/beam#14108; what the modes are for is asked in #20324.
"""


PATIENCE_S = 5.0
"""What a job server has to end."""


def flush_by_size() -> None:
    """Let the buffers between worker threads be flushed by their size alone (direct_running_mode=multi_threading).

    Beam also flushes them by a timer once a second, without a lock against the thread that is writing an element:
    longer bundles are torn. The timer came with apache/beam#10246; #21643 and #23944, tests of Beam's that fail now and
    then, look the same.
    """
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = -1


@contextmanager
def worker_command(arguments: Sequence[str]) -> Iterator[None]:
    """Let local worker processes start as `python ARGUMENTS -m BEAMS_MODULE`, and from a path with a space.

    Beam takes no other command than `{sys.executable} -m BEAMS_MODULE`, which it hands to a shell unquoted.
    No issue known.
    """
    plain = sys.executable
    sys.executable = shlex.join(["exec", plain, *arguments])
    try:
        yield
    finally:
        sys.executable = plain


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """Swallow what worker threads print of an exception that they hand on as well. No issue known."""
    with redirect_stderr(io.StringIO()):
        yield


def leave(code: int) -> NoReturn:
    """End this process as it is.

    A run that fails leaves the other worker threads at their bundles. Python does not wait for them, as they are
    daemons, but would be torn down under them: what comes back from C++ then may abort it (python/cpython#87135, as
    may Arrow's own threads, apache/arrow#34314). Beam's exit hooks are not run: see apache/beam#19579.
    """
    os._exit(code)


class JobServers:
    """The job servers that Beam starts in the block (Flink's JVM, Prism): they end by stop() and by nothing else.

    Beam ends them in an exit hook, which `leave` does not run; takes over SIGINT, to end them first of all; and starts
    them where a terminal's Ctrl-C reaches them too. Then nobody is left who could cancel the job. No issue known.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: list[Any] = []
        self._processes: list[subprocess.Popen[Any]] = []
        self._ended = False
        self._before: list[Any] = []

    def __enter__(self) -> None:
        job_server, subprocess_server = _modules()

        def start(wrapper: Any) -> Any:
            self._servers.append(wrapper._job_server)
            return wrapper._job_server.start()

        apart = SimpleNamespace(PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT, Popen=self._start)
        self._before = [job_server.StopOnExitJobServer.start, subprocess_server.subprocess]
        job_server.StopOnExitJobServer.start, subprocess_server.subprocess = start, apart

    def __exit__(self, *_: object) -> None:
        job_server, subprocess_server = _modules()
        job_server.StopOnExitJobServer.start, subprocess_server.subprocess = self._before

    def _start(self, command: list[str], **settings: Any) -> subprocess.Popen[Any]:
        with self._lock:
            if self._ended:  # Beam tries three times to start one
                raise RuntimeError("it is to end")
            if setpriv := shutil.which("setpriv"):  # Linux has it: then it ends with us if we are killed, too
                command = [setpriv, "--pdeathsig", "KILL", *command]
            self._processes.append(subprocess.Popen(command, start_new_session=True, **settings))
            return self._processes[-1]

    def stop(self) -> None:
        """End them, and remove what they have written; no more are started."""
        with self._lock:
            self._ended = True
        for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
            for process in self._processes:
                end(process)
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_S)
        while self._servers:
            with suppress(Exception):  # of one that did not get far
                self._servers.pop().stop()


def _modules() -> tuple[Any, Any]:
    from apache_beam.runners.portability import job_server
    from apache_beam.utils import subprocess_server

    return job_server, subprocess_server


def unknown_flags(arguments: Sequence[str], more: Sequence[str] = (), switches: Sequence[str] = ()) -> list[str]:
    """List the arguments that no Beam option class knows; Beam itself only warns of them (apache/beam#28402).

    more, switches: flags with a value, and without one, that a job server will know.

    Raises:
        ValueError: a flag that Beam knows has a value it cannot take; one line.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)  # the public way to a parser of all classes
    for flags, action in ((more, "store"), (switches, "store_true")):
        for flag in flags:
            parsers[0].add_argument(flag, action=action)
    parsers[0].exit_on_error = False
    try:
        return parsers[0].parse_known_args(list(arguments))[1]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error


def never_encode(kind: type, nbytes: Callable[[Any], int]) -> None:
    """Keep elements of a kind inside their fused stage: their coder knows how large they are, and refuses to encode.

    Beam asks every coder for the size of the elements it samples; its own pickles them to find out, photos too. No
    issue known.
    """
    from apache_beam import coders

    class SizeCoder(coders.Coder):
        def encode(self, value: Any) -> NoReturn:
            raise TypeError(f"a {kind.__name__} never crosses a stage boundary")

        decode = encode

        def estimate_size(self, value: Any) -> int:
            return nbytes(value) if isinstance(value, kind) else 0

        def is_deterministic(self) -> bool:
            return False  # it is never a key

    coders.registry.register_coder(kind, SizeCoder)


def sole_output(output: beam.PCollection, label: str) -> beam.PCollection:
    """Make one of a step's several outputs the only one of a step, so that it can be a side input.

    As a side input, the bundle-based runner takes the first output of the step for any of them. No issue known.
    """
    import apache_beam as beam

    return output | label >> beam.Map(lambda element: element)


def without_annotations(*functions: Callable[..., Any]) -> None:
    """Let beam.Map take functions whose keywords (`**more`) are annotated, which it refuses. No issue known."""
    for function in functions:
        vars(function)["_beam_no_annotations"] = True  # Beam's own mark, as its typehints.no_annotations sets it
