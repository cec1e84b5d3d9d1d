"""Build the graph of a request, run it, and say how it went."""

from __future__ import annotations

import gc
import io
import logging
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from pipeline.errors import RequestError, RunError
from pipeline.graph import build_run
from pipeline.options import RunRequest, find_report, make_folder
from pipeline.signals import StoppedError, stopping_gently
from pipeline.summary import summarise
from transforms.credentials import without_secrets
from transforms.errors import FatalError, PhotoError
from transforms.output.cleanup import retire, sweep
from transforms.output.commit import RunInfo, discard_shards, read_run, record_stop
from transforms.output.earlier import BrokenReportError, NoReportError, newest_run
from transforms.output.lease import Lease, LeaseError
from transforms.plan import PlanConfig


def run(request: RunRequest) -> int:
    """Run a checked request, print the summary, and give the exit code."""
    report = execute(request)
    print(without_secrets(summarise(report, request)))
    if report["reason"]:
        print(f"whitesweep: {report['reason']}", file=sys.stderr)
    return int(report["exit_code"])


def execute(request: RunRequest, then: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run or migrate to the end, alone in the output folder; give the run.json of the committed run.

    then: what else is to be done while nobody else may write there.

    Raises:
        RequestError: another run is writing there, or see run_graph. RunError: see run_graph.
        StoppedError: a signal stopped it.
    """
    info = request.info
    make_folder(info.folder)
    lease = Lease(info.folder, info.run_id, without_secrets(" ".join(sys.argv)))
    try:
        lease.acquire()
    except (LeaseError, FatalError, PhotoError) as error:
        raise RequestError(f"--output {error}") from error
    clean = False  # so that the next run sweeps, unless this one gets as far as having nothing to sweep
    try:
        try:
            sweep(info.folder, everywhere=lease.taken_over)
        except (FatalError, PhotoError, OSError) as error:
            raise RunError(f"{info.folder}: what a run before left cannot be cleaned up: {error}") from error
        clean = True
        # Only now, as the run before may have completed while we waited for it.
        earlier = find_report(request.settings.earlier_folder, needed=False)
        plan = PlanConfig(request.settings, earlier, request.damaged)
        with stopping_gently(lease.ask_to_stop):
            run_graph(
                request.beam_arguments,
                request.verbose,
                lambda root: build_run(root, request.manifests, plan, info),
            )
        if lease.is_held():
            then()
            try:
                retire(info.folder, request.settings.keep_reports)
            except (NoReportError, FatalError, PhotoError, OSError) as error:  # the next run tries again
                logging.getLogger("whitesweep").warning("old reports stay: %s", error)
        return read_run(info.folder, info.run_id)
    except (RunError, PhotoError, StoppedError) as error:
        code = error.exit_code if isinstance(error, StoppedError) else 1
        reason = "stopped by a signal" if isinstance(error, StoppedError) else str(error)
        if lease.is_held():  # or what is there is another run's
            if not _may_be_committed(info):
                with suppress(PhotoError, FatalError):  # the disk may be full
                    discard_shards(info)
                    record_stop(info, reason, code)
            if not isinstance(error, StoppedError):
                clean = False
                with suppress(PhotoError, FatalError, OSError):
                    sweep(info.folder)  # what stopped the run may have kept it from removing an unfinished file, too
                    clean = True
        if isinstance(error, PhotoError):
            raise RunError(f"it ended without a report ({error.message})") from error
        raise
    finally:
        lease.release(clean)


def _may_be_committed(info: RunInfo) -> bool:
    """Tell whether a run may have completed, and only what came after went wrong."""
    try:
        return newest_run(info.folder)["run_id"] == info.run_id
    except BrokenReportError:  # latest.json cannot be read just now
        return True
    except NoReportError:
        return False


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
    gc.freeze()  # what is imported stays; and rows by the hundred thousand are no reason to look through them all
    gc.set_threshold(100_000, 50, 100)
    try:
        in_processes = root.options.view_as(DirectOptions).direct_running_mode == "multi_processing"
        with quiet(verbose), worker_command(verbose) if in_processes else nullcontext():
            root.run().wait_until_finish()
    except Exception as error:
        raise _stopped_by(error) from error


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Swallow what Beam's workers print of an exception before they hand it on; the user gets one line of it."""
    with nullcontext() if verbose else redirect_stderr(io.StringIO()):
        yield


@contextmanager
def worker_command(verbose: bool) -> Iterator[None]:
    """Let Beam's local worker processes start in pipeline.local_worker, and from a path with a space.

    Beam 2.77 takes no other command than `{sys.executable} -m its.module`, which it hands to a shell unquoted.
    """
    plain = sys.executable
    sys.executable = f"exec {shlex.quote(plain)} -m pipeline.local_worker {os.getpid()}{'' if verbose else ' quiet'}"
    try:
        yield
    finally:
        sys.executable = plain


def _stopped_by(error: Exception) -> RunError:
    """Find the one line to show. Runners hand a worker's exception on as it is, or as the text of its traceback.

    What we foresaw says enough. Of anything else the whole traceback is kept in a file, and the line names it.
    """
    text = str(error).strip()
    if isinstance(error, FatalError):
        kind, line = type(error).__name__, text.splitlines()[0]
    elif told := re.findall(r"\b(FatalError|DeadEndError|FaultError): ([^\n]+)", text):
        kind, line = told[-1]
    else:
        kind, line = "", "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    line = re.sub(r" \[while running .*", "", line).strip()
    if kind in ("FatalError", "DeadEndError"):
        return RunError(line, dead_end=kind == "DeadEndError")
    with tempfile.NamedTemporaryFile("w", prefix="whitesweep-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(without_secrets("".join(traceback.format_exception(error))))
    return RunError(f"{line} (all of it: {log.name})", dead_end=kind == "FaultError")
