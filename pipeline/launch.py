"""Hands a graph to Beam, and makes one line of what stopped it."""

from __future__ import annotations

import gc
import os
import re
import secrets
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions

from pipeline import runners
from pipeline.errors import RequestError, RunError
from pipeline.flink import OURS
from pipeline.job import Job, Start
from pipeline.signals import StoppedError
from transforms.beam_faults import flush_by_size, without_tracebacks, worker_command
from transforms.credentials import without_secrets
from transforms.errors import FatalError


def run_graph(
    beam_arguments: list[str], verbose: bool, build: Callable[[beam.Pipeline], None], start: Start | None = None
) -> bool:
    """Build a graph and run it to its end; False: it goes on without us, or is in a template for others to run.

    start: how its job is to start, if it becomes one on a cluster.

    Raises:
        RequestError: the runner lacks a flag.
        RunError: something that no photo would survive (a full disk, a failing device, an altered weights file).
    """
    try:
        root = beam.Pipeline(options=PipelineOptions(beam_arguments))
    except ValueError as error:  # what the runner itself finds missing, one line each
        raise RequestError("; ".join(line.strip(" .") for line in str(error).splitlines() if line.strip())) from error
    try:
        build(root)
    except (TypeError, ValueError) as error:  # what Beam's own flags make of the graph
        raise RequestError(str(error).splitlines()[0]) from error
    flush_by_size()
    _spare_collector()
    try:
        with ExitStack() as stack:
            if not verbose:
                stack.enter_context(without_tracebacks())  # the user gets one line of it
            if root.options.view_as(DirectOptions).direct_running_mode == "multi_processing":
                quiet = [] if verbose else ["quiet"]
                stack.enter_context(worker_command(["-m", "pipeline.local_worker", str(os.getpid()), *quiet]))
            if runners.is_in_process(root.options.view_as(StandardOptions).runner):
                root.run().wait_until_finish()
                return True
            return Job(root, start or Start(secrets.token_hex(6))).run()
    except (RunError, StoppedError):
        raise
    except Exception as error:
        raise _stopped_by(error) from error


@lru_cache(maxsize=1)
def _spare_collector() -> None:
    """Let the garbage collector pass over what is imported, and over rows by the hundred thousand. Once a process."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _stopped_by(error: Exception) -> RunError:
    """Find the one line to show. Runners hand a worker's exception on as it is, or as the text of its traceback.

    What we foresaw says enough. Of anything else the whole traceback is kept in a file, and the line names it.
    """
    text = str(error).strip()
    if jar := re.search(r"Unable to fetch remote job server jar.* stage the jar at (\S+)", text, re.DOTALL):
        return RunError(
            f"Beam's job server cannot be fetched from here; put it at {jar[1]} (its version follows --flink_version), "
            "or name its file by --flink_job_server_jar, or a job server by --runner PortableRunner --job_endpoint",
            dead_end=True,
        )
    if "Channel closed prematurely" in text:  # Beam's words for it
        return RunError("a worker process is gone: somebody killed it, or the system, for want of memory")
    if isinstance(error, FatalError):
        kind, line = type(error).__name__, text.splitlines()[0]
    elif told := OURS.findall(text):
        kind, line = told[-1]
    elif rpc := re.search(r'^\s*details = "(.+)"$', text, re.MULTILINE):  # gRPC's own text has many lines
        kind, line = "", f"the job server or a worker is gone, or refused: {rpc[1]}"
    elif isinstance(error, grpc.FutureTimeoutError):
        kind, line = "", "no job server has answered; see --job_endpoint and --job_server_timeout"
    elif java := re.findall(r"^Caused by: (?:[\w$]+\.)*([\w$]+: .+)$", text, re.MULTILINE):
        kind, line = "", f"the cluster has failed it: {java[-1]}"
    else:
        kind, line = "", "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    line = re.sub(r" \[while running .*", "", line).strip()
    if kind in ("FatalError", "DeadEndError"):
        return RunError(line, dead_end=kind == "DeadEndError")
    with tempfile.NamedTemporaryFile("w", prefix="whitesweep-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(without_secrets("".join(traceback.format_exception(error))))
    return RunError(f"{line} (all of it: {log.name})", dead_end=kind == "FaultError")
