"""Build the graph of a request, run it, and say how it went."""

from __future__ import annotations

import io
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from pipeline.flags import RequestError, RunError
from pipeline.graph import build_migrate, build_run
from pipeline.options import RunRequest, make_folder
from pipeline.summary import summarise
from transforms.report import read_run
from transforms.types import FatalError, PhotoError


def run(request: RunRequest) -> int:
    """Run a checked request, print the summary, and give the exit code."""
    make_folder(request.info.folder)
    report = execute(request)
    print(summarise(report, request))
    failed = report["statuses"].get("failed", 0)
    if failed > request.max_failure_fraction * report["rows"]:
        allowed = f"{request.max_failure_fraction:.2%}"
        print(f"whitesweep: {failed} of {report['rows']} rows failed, more than {allowed} allowed", file=sys.stderr)
        return 1
    return 0


def execute(request: RunRequest) -> dict[str, Any]:
    """Run or migrate to the end; give the run.json of the committed run.

    Raises:
        RequestError, RunError: see run_graph.
    """

    def build(root: beam.Pipeline) -> None:
        if request.shards is None:
            build_run(root, request.manifests, request.config, request.info)
        else:
            build_migrate(root, request.manifests, request.shards, request.config, request.info)

    run_graph(request.beam_arguments, request.verbose, build)
    try:
        return read_run(request.info.folder, request.info.run_id)
    except PhotoError as error:
        raise RunError(f"it ended without a report ({error.message})") from error


def run_graph(beam_arguments: list[str], verbose: bool, build: Callable[[beam.Pipeline], None]) -> None:
    """Build a graph and run it to its end.

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
    # Beam 2.77 flushes the buffers between its worker threads by a timer once a second, without a lock against the
    # thread that is writing an element: longer bundles are torn. Below 0, buffers are flushed by their size alone.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = -1
    try:
        with quiet(verbose), quoted_interpreter():
            root.run().wait_until_finish()
    except Exception as error:
        raise RunError(_reason(error)) from error


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Swallow what Beam's workers print of an exception before they hand it on; the user gets one line of it."""
    with nullcontext() if verbose else redirect_stderr(io.StringIO()):
        yield


@contextmanager
def quoted_interpreter() -> Iterator[None]:
    """Let Beam start its worker processes from a path with a space: it hands sys.executable to a shell unquoted."""
    plain = sys.executable
    sys.executable = shlex.quote(plain)
    try:
        yield
    finally:
        sys.executable = plain


def _reason(error: Exception) -> str:
    """Find the one line to show. Runners hand a worker's exception on as the text of its traceback.

    What we foresaw says enough. Of anything else the whole traceback is kept in a file, and the line names it.
    """
    text = str(error).strip()
    fatal = re.findall(r"FatalError: ([^\n]+)", text)
    if isinstance(error, FatalError) or fatal:
        return re.sub(r" \[while running .*", "", fatal[-1] if fatal else text.splitlines()[0])
    with tempfile.NamedTemporaryFile("w", prefix="whitesweep-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write("".join(traceback.format_exception(error)))
    lines = [line for line in text.splitlines() if line.strip()]
    return f"{lines[-1].strip() if lines else type(error).__name__} (all of it: {log.name})"
