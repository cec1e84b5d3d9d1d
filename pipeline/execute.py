"""A run's life: the lease, the sweep, the graph, its summary, and what of the runs before goes."""

from __future__ import annotations

import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from pipeline import runners
from pipeline.engine_process import shared_engine
from pipeline.errors import RequestError, RunError
from pipeline.graph import build_run
from pipeline.job import Start
from pipeline.launch import run_graph
from pipeline.options import RunRequest, find_report, make_folder
from pipeline.signals import SIGNALS, StoppedError, stopping_gently
from pipeline.summary import summarise
from pipeline.telling import as_json, handler, told
from transforms import storage
from transforms.credentials import without_secrets
from transforms.decisions import NAME as DECISIONS
from transforms.differences import differences
from transforms.ending import STOPPED
from transforms.errors import FatalError, PhotoError
from transforms.manifest import order_of
from transforms.output.cleanup import remove_unnamed, retire, sweep
from transforms.output.earlier import Report, read_table
from transforms.output.forecast import Rates, rates_of
from transforms.output.history import newest_settings, recent_runs
from transforms.output.latest import BrokenReportError, NoReportError, in_force, names_of, newest_run, settle_names
from transforms.output.lease import Lease, LeaseError
from transforms.output.run import RunInfo, discard_shards, is_candidate, read_run, record_stop
from transforms.plan import PlanConfig
from transforms.settings import NAMES, RunSettings

FEWEST_CHANGES, MOST_CHANGES = 10_000, 100_000
"""Rows of changes beside a report, or a quarter of its rows, at which a partial run writes the whole report anew."""


def run(request: RunRequest) -> int:
    """Run a checked request, print the summary, and give the exit code."""
    report = execute(request, lambda: _review(request.info) if request.review else None)
    own = handler()
    if not report:
        said = f"run {request.info.run_id} goes on as a job of its own; `status` says how far it is, `stop` ends it"
        as_log = own is not None and own.log_format == "json"
        print(as_json("INFO", "detached", said, {"run_id": request.info.run_id}) if as_log else said)
        return 0
    reason = report["reason"]
    if own is not None and own.log_format == "json":
        figures = {name: value for name, value in report.items() if name not in ("settings", "versions")}
        print(as_json("INFO" if reason is None else "ERROR", "summary", reason or "done", figures))
        return int(report["exit_code"])
    print(without_secrets(summarise(report, request)))
    if reason:
        print(f"whitesweep: {reason}", file=sys.stderr)
    return int(report["exit_code"])


def _review(info: RunInfo) -> None:
    from pipeline.review.write import review_quietly  # with Arrow's compute functions: photos may rather have the room

    review_quietly(info.folder, info.run_id)  # which may be a candidate


def execute(request: RunRequest, then: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run or migrate to the end, alone in the output folder; give the run.json of the committed run.

    Of a run that goes on without us (detached, or in a template) there is none, and it is empty.

    then: what else is to be done while nobody else may write there.

    Raises:
        RequestError: another run is writing there, or see run_graph. RunError: see run_graph.
        StoppedError: a signal stopped it.
    """
    with holding(request.info.folder, request.info.run_id) as lease:
        return run_alone(request, lease, then)


@contextmanager
def holding(folder: str, run_id: str) -> Iterator[Lease]:
    """Hold an output folder's lease, and begin with what a run before has left half-done.

    Raises:
        RequestError: another run is writing there. RunError: what is left cannot be cleaned up.
    """
    make_folder(folder)
    lease = Lease(folder, run_id, without_secrets(" ".join(sys.argv)))
    try:
        lease.acquire()
    except (LeaseError, FatalError, PhotoError) as error:
        raise RequestError(f"--output {error}") from error
    try:  # not clean, so that the next run sweeps, unless this one gets as far as having nothing to sweep
        try:
            sweep(folder, everywhere=lease.taken_over)
        except (FatalError, PhotoError, OSError) as error:
            raise RunError(f"{folder}: what a run before left cannot be cleaned up: {error}") from error
        lease.is_clean = True
        yield lease
    finally:
        lease.release(lease.is_clean)


def run_alone(request: RunRequest, lease: Lease, then: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Run or migrate to the end under a lease that this process holds (see execute)."""
    info = request.info
    try:
        # Only now, as the run before may have completed while we waited for it.
        earlier = find_report(request.settings.earlier_folder, needed=False)
        decisions = keep_decisions(request)
        plan = plan_config(request.settings, earlier, request.damaged, decisions, order_of(request.manifests))
        if plan.layers:
            info = replace(info, stands_on=newest_run(info.folder).report)
        if request.settings.keeps_pictures:
            settle_names(info.folder, request.settings.names)
            info = replace(info, doubt=doubt_of(request.settings))
        rates = say_differences(request.settings)
        with stopping_gently(lease.ask_to_stop), told(info), _sharing(request):
            here = run_graph(
                request.beam_arguments,
                request.verbose,
                lambda root: build_run(root, request.manifests, plan, info, rates),
                Start(
                    re.sub("[^a-z0-9]", "-", info.run_id.lower()),
                    lease.hand_over if info.outlives else lambda: None,
                    info.detached,
                ),
            )
            if not here:
                lease.is_clean = False  # the lease is the job's
                return {}
            if not _may_be_committed(info):
                raise RunError("stopped before its end")
        if lease.is_held():
            then()
            try:
                old = retire(info.folder, request.settings.keep_reports) or bool(earlier.changes)
                if old and request.settings.keeps_pictures and not plan.layers:
                    remove_unnamed(info.folder, info.run_id)
            except (NoReportError, FatalError, PhotoError, OSError) as error:  # the next run tries again
                logging.getLogger("whitesweep").warning("old reports stay: %s", error)
        return read_run(info.folder, info.run_id)
    except (RunError, PhotoError, StoppedError) as error:
        ended = _ending(error, lease)
        if lease.is_held():  # or what is there is another run's
            if not _may_be_committed(info):
                with suppress(PhotoError, FatalError):  # the disk may be full
                    discard_shards(info)
                    record_stop(info, *ended)
            if ended[1] == 1:
                lease.is_clean = False
                with suppress(PhotoError, FatalError, OSError):
                    sweep(info.folder)  # what stopped the run may have kept it from removing an unfinished file, too
                    lease.is_clean = True
        if ended[1] != 1:
            raise StoppedError(ended[1]) from error
        if isinstance(error, PhotoError):
            raise RunError(f"it ended without a report ({error.message})") from error
        raise


def _sharing(request: RunRequest) -> AbstractContextManager[None]:
    """Let worker processes share one engine, where it is on a GPU."""
    engine = request.settings.engine
    in_processes = runners.in_processes(request.beam_arguments)
    return shared_engine() if engine is not None and engine.device == "cuda" and in_processes else nullcontext()


def _ending(error: Exception, lease: Lease) -> tuple[str, int]:
    """Say why a run has no report, and the exit code for it: 1, or that of the signal which stopped it."""
    if isinstance(error, StoppedError):
        return "stopped by a signal", error.exit_code
    if lease.was_asked_to_stop:  # by the command, which asks as SIGTERM does
        return STOPPED, SIGNALS[signal.SIGTERM]
    return str(error), 1


def doubt_of(settings: RunSettings) -> str | None:
    """Say why a release is not to be published unseen: one of the same settings was rolled back, and nothing since."""
    latest = in_force(settings.output)
    back = None if latest is None else latest.rolled_back
    if back is None or settings.redo == "damaged":
        return None
    try:
        told = differences(read_run(settings.output, back.run_id)["settings"], settings.record())
    except (PhotoError, ValueError, KeyError, TypeError):
        told = []
    return None if told else f"run {back.run_id}, which was rolled back, had the same settings"


def keep_decisions(request: RunRequest) -> str | None:
    """Write what is decided on single rows into the run's record, where workers find it, and whoever looks back."""
    if request.decisions is None:
        return None
    uri = f"{request.info.folder}/{request.info.record}/{DECISIONS}"
    try:
        storage.write(uri, request.decisions.data, "text/csv")
    except PhotoError as error:
        raise RunError(error.message) from error
    return uri


def plan_config(
    settings: RunSettings,
    earlier: Report,
    damaged: str | None = None,
    decisions: str | None = None,
    order: tuple[str, ...] = (),
) -> PlanConfig:
    """Say what a plan is made by.

    A partial run writes changes to the report before, unless there is none, or so many are there already that it folds
    them into it.
    """
    layers = settings.partial and len(earlier) > 0
    rows, before = 0, ""
    if settings.stays:
        with suppress(NoReportError, PhotoError, ValueError, KeyError, TypeError):
            before = newest_run(settings.output).run_id
            rows = int(read_run(settings.output, before)["rows"])
    if layers:
        changed = sum(len(read_table(one, ["id"])) for one in earlier.changes)
        layers = changed < min(MOST_CHANGES, max(FEWEST_CHANGES, rows // 4))
    names = names_of(settings.earlier_folder) or NAMES[0]
    return PlanConfig(
        settings, earlier, damaged, decisions, rows, layers, names, order if settings.partial else (), before
    )


def say_differences(settings: RunSettings) -> Rates | None:
    """Say in which settings a run differs from the one before; give what the runs before tell of its time."""
    if settings.configured:
        logging.getLogger("whitesweep").info("settings of %s: %s", settings.config, ", ".join(settings.configured))
    runs = recent_runs(settings.output)
    now = settings.record()
    before = newest_settings(settings.earlier_folder)
    if before is not None and settings.redo != "damaged" and (told := differences(before, now)):
        logging.getLogger("whitesweep").info("settings differ from the run before: %s", "; ".join(told))
    return rates_of(runs, now["network"])


def _may_be_committed(info: RunInfo) -> bool:
    """Tell whether a run may have completed, and only what came after went wrong."""
    try:
        return newest_run(info.folder).run_id == info.run_id or is_candidate(info.folder, info.run_id)
    except BrokenReportError:  # latest.json cannot be read just now
        return True
    except NoReportError:
        return is_candidate(info.folder, info.run_id)
