"""Flags to frozen configuration, checked before any graph is built."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING

from apache_beam.runners.runner import create_runner

from pipeline import dataflow, flink, runners
from pipeline.checks import check_engine, check_numbers, check_pictures
from pipeline.config import beside
from pipeline.errors import RequestError
from pipeline.flags import flag_meant
from transforms import decisions, storage
from transforms.beam_faults import unknown_flags
from transforms.brakes import Brakes
from transforms.decisions import Decisions
from transforms.errors import PhotoError
from transforms.manifest import ManifestError, ManifestFile, find_manifests
from transforms.output.earlier import Report, newest_report
from transforms.output.history import newest_settings
from transforms.output.latest import BrokenReportError, NoReportError, names_of
from transforms.output.lease import LeaseError, check_free
from transforms.output.run import RunInfo, name_run
from transforms.pixels.decode import Limits
from transforms.pixels.sharpen import Sharpening
from transforms.selection import SelectionError, read_selection
from transforms.settings import NAMES, RunSettings

if TYPE_CHECKING:
    from model.engine import EngineConfig

UNMEANT = 0.05
"""The brake on changes where this machine would change what nobody asked to be changed."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A checked request to run, to migrate or to repair.

    damaged: the table of the rows that a repair does again. decisions: on single rows.
    review: whether to write the review sheet at the end.
    """

    settings: RunSettings
    manifests: list[ManifestFile]
    info: RunInfo
    beam_arguments: list[str]
    verbose: bool
    damaged: str | None = None
    decisions: Decisions | None = None
    review: bool = False


def make_folder(folder: str) -> None:
    """Make a local output folder: the last check, as only trying shows whether every file system would have it.

    Raises:
        RequestError: it cannot be made.
    """
    if storage.is_local(folder):
        try:
            os.makedirs(f"{folder}/report", exist_ok=True)
        except OSError as error:
            raise RequestError(f"--output {folder}: cannot be made: {error.strerror}") from error


def check_run(flags: argparse.Namespace, others: Sequence[str]) -> RunRequest:
    """Check every flag, and look at the manifests, the weights, the device and the output folder. Writes nothing.

    Raises:
        RequestError: whatever would stop the run, before it has begun.
    """
    settings, beam_arguments = check_run_settings(flags, others)
    return _request_of(settings, flags, beam_arguments)


def check_run_settings(flags: argparse.Namespace, others: Sequence[str]) -> tuple[RunSettings, list[str]]:
    """Check every flag of a run, and look at the weights, the device and the output folder; give Beam's flags too.

    Raises:
        RequestError: whatever would stop it.
    """
    settings, beam_arguments = check_settings(flags, others)
    settings = choose_rows(settings, flags)
    if getattr(flags, "from_dir", None) is not None:  # the demo has none
        settings = replace(settings, start_from=_start_from(settings.output, absolute(flags.from_dir)))
    find_report(settings.earlier_folder, needed=settings.start_from is not None)
    find_report(settings.output, needed=flags.retry_failed or bool(settings.only))
    return _with_engine(settings, flags, others), beam_arguments


def _start_from(output: str, folder: str) -> str | None:
    """Give the folder that a run starts from; None once it has a report of its own to start from.

    Raises:
        RequestError: it is the output itself, or somebody writes there.
    """
    if folder == output:
        raise RequestError(f"--from {folder}: is the output itself; an output starts from what it has, without --from")
    if len(find_report(output, needed=False)):
        logging.getLogger("whitesweep").info("--from is not used any more: %s has a report of its own", output)
        return None
    choose_names(folder, None)
    try:
        check_free(folder)
    except LeaseError as error:
        raise RequestError(f"--from {error}") from error
    return folder


def choose_names(output: str, asked: str | None) -> str:
    """Tell how the pictures of an output are named: as they are there, or as is asked for. It has one way back: none.

    Raises:
        RequestError: stable names are asked for where fingerprints are.
    """
    try:
        settled = names_of(output)
    except BrokenReportError as error:
        raise RequestError(f"--output {error}") from error
    if asked == NAMES[0] and settled not in (None, asked):
        raise RequestError("--names stable: pictures here have fingerprints; give another --output, --from this one")
    return asked or settled or NAMES[0]


def choose_rows(settings: RunSettings, flags: argparse.Namespace) -> RunSettings:
    """Give settings with what the flags of `run` say of the rows: which are done, and what goes.

    Raises:
        RequestError: they contradict one another.
    """
    only, partial = getattr(flags, "only", None), getattr(flags, "partial", False)  # the demo has neither
    if partial and (only or flags.retry_failed):
        raise RequestError(f"--partial does what its manifest names; drop {'--only' if only else '--retry_failed'}")
    if (
        partial
        and settings.keeps_pictures
        and names_of(settings.output) is None
        and len(find_report(settings.output, needed=False))
    ):
        raise RequestError("--partial: the names of all pictures change; run once without it")
    redo = "anew" if flags.force else "failed" if flags.retry_failed else "all" if only else "changed"
    if only and flags.prune:
        raise RequestError("--prune looks at all rows, and --only at some; give one of them")
    try:
        return replace(
            settings, redo=redo, partial=partial, prune=flags.prune, only=read_selection(only) if only else ()
        )
    except SelectionError as error:
        raise RequestError(str(error)) from error


def check_migrate(flags: argparse.Namespace, others: Sequence[str]) -> RunRequest:
    """Check a migration. Unless missing maps are to be predicted, no engine is even imported.

    Raises:
        RequestError: whatever would stop it, before it has begun.
    """
    settings, beam_arguments = check_settings(flags, others)
    settings = replace(settings, start_from=absolute(flags.from_dir) if flags.from_dir else None, redo="all")
    find_report(settings.earlier_folder, needed=True)
    if flags.missing == "predict":
        settings = _with_engine(settings, flags, others)
    return _request_of(settings, flags, beam_arguments)


def _request_of(settings: RunSettings, flags: argparse.Namespace, beam_arguments: list[str]) -> RunRequest:
    """Make the request of a run or a migration, with the decisions that are named or lie beside the manifest."""
    request = make_request(settings, flags.manifest, beam_arguments, flags.verbose)
    request = replace(request, review=getattr(flags, "review", False))
    return decided(replace(request, info=_detached(request, flags)), flags)


def decided(request: RunRequest, flags: argparse.Namespace) -> RunRequest:
    """Give a request with the decisions that are named or lie beside the manifest.

    Raises:
        RequestError: they cannot be used, or are lost.
    """
    if not hasattr(flags, "decisions"):  # the demo has none
        return request
    if (file := flags.decisions or beside(flags.manifest, decisions.NAME)) is not None:
        return decide(request, storage.join(os.getcwd(), file))
    before = (newest_settings(request.settings.earlier_folder) or {}).get("decisions")
    if isinstance(before, dict) and before.get("count"):
        raise RequestError(
            f"the run before had {before['count']} decisions, of {before.get('file')}, and there is no such file now; "
            "to take all of them back, give --decisions a file that has only its first line"
        )
    return request


def _detached(request: RunRequest, flags: argparse.Namespace) -> RunInfo:
    """Say whether the run is to be left alone once it is submitted.

    Raises:
        RequestError: it cannot be.
    """
    asked = getattr(flags, "detach", False)
    if asked and not request.info.outlives:
        raise RequestError(
            f"--detach: {flags.runner} runs as long as this process does; give the --runner of a cluster"
        )
    if asked and request.review:
        raise RequestError("--detach: nobody is there to write the review at the end; drop --review, or write it later")
    return replace(request.info, detached=asked or runners.is_template(request.beam_arguments))


def decide(request: RunRequest, file: str) -> RunRequest:
    """Give a request with the decisions of a file.

    Raises:
        RequestError: it cannot be used.
    """
    try:
        found = decisions.read_decisions(file)
    except decisions.DecisionsError as error:
        raise RequestError(str(error)) from error
    settings = replace(request.settings, decisions=found.file)
    return replace(request, settings=settings, info=replace(request.info, settings=settings), decisions=found)


def make_request(
    settings: RunSettings, manifests: Sequence[str], beam_arguments: list[str], verbose: bool
) -> RunRequest:
    """Find the manifests, and name the run.

    Raises:
        RequestError: there are none, or the output would mix with their photos.
    """
    try:
        found = find_manifests(manifests)
    except (ManifestError, PhotoError) as error:
        raise RequestError(str(error)) from error
    if settings.engine is not None and settings.engine.device == "cuda":
        arguments = runners.on_gpu(beam_arguments)
        if arguments != beam_arguments:
            settings, beam_arguments = replace(settings, beam=(runners.PROCESSES, *settings.beam)), arguments
    return request_of_files(settings, found, beam_arguments, verbose)


def request_of_files(
    settings: RunSettings, found: list[ManifestFile], beam_arguments: list[str], verbose: bool
) -> RunRequest:
    """Name the run over some manifests.

    Raises:
        RequestError: the output would mix with their photos.
    """
    _check_apart(settings.output, found)
    settings = replace(settings, folders=tuple(dict.fromkeys(manifest.base for manifest in found)))
    now = time.time()
    info = RunInfo(
        settings,
        name_run(now, secrets.token_hex(3)),
        now,
        versions(),
        leased=True,
        outlives=runners.outlives(beam_arguments),
    )
    return RunRequest(settings, found, info, beam_arguments, verbose)


def find_report(folder: str, needed: bool) -> Report:
    """List the files of the newest report of an output folder; none if there is none and none is needed.

    Raises:
        RequestError: there is none, or it is not whole.
    """
    try:
        return newest_report(folder)
    except BrokenReportError as error:
        raise RequestError(f"{error}; remove {folder}/report to start afresh, from maps and pictures") from error
    except NoReportError as error:
        if needed:
            raise RequestError(f"nothing to start from: {error}") from error
        return Report()


def check_settings(flags: argparse.Namespace, others: Sequence[str]) -> tuple[RunSettings, list[str]]:
    """Check what needs neither a manifest nor the network: give the settings without an engine, and Beam's flags.

    Raises:
        RequestError: a flag cannot be what it is.
    """
    dry_run = getattr(flags, "dry_run", False)  # which looks at nothing outside this process
    check_numbers(**vars(flags))
    template = flags.command in ("run", "migrate")
    beam_arguments = check_beam(flags.runner, others, submits=not dry_run, template=template)
    output = absolute(flags.output) if dry_run else check_output(flags.output)
    if runners.runner_name(flags.runner) == "DataflowRunner" and storage.is_local(output):
        raise RequestError(f"--output {flags.output}: Dataflow's workers cannot write here; use a gs:// address")
    pictures = check_pictures(
        flags.policy,
        flags.interpolation,
        flags.background,
        flags.format,
        keep_metadata=flags.keep_metadata,
        profile=flags.profile,
    )
    names = flags.names or NAMES[0] if dry_run else choose_names(output, flags.names)
    if names != NAMES[0] and getattr(flags, "prune", False):
        raise RequestError(
            "--prune: pictures with fingerprints go with the last report that names them (--keep_reports); drop --prune"
        )
    settings = RunSettings(
        output=output,
        names=names,
        command=flags.command,
        manifests=tuple(storage.join(os.getcwd(), pattern) for pattern in flags.manifest),
        sharpening=Sharpening(percent=flags.sharpen),
        pictures=pictures,
        limits=Limits(flags.max_bytes, flags.max_pixels),
        allow_private=flags.allow_private_addresses,
        max_failure_fraction=flags.max_failure_fraction,
        brakes=Brakes(
            flags.max_gone_fraction,
            flags.max_changed_fraction,
            flags.max_emptied_fraction,
            flags.max_foreground_shift,
        ),
        config=getattr(flags, "config", None),  # the demo has none
        configured=getattr(flags, "configured", ()),
        keep_reports=flags.keep_reports,
        runner=flags.runner,
        beam=tuple(others),
    )
    return settings, beam_arguments


def _with_engine(settings: RunSettings, flags: argparse.Namespace, others: Sequence[str]) -> RunSettings:
    """Choose the engine. A precision that is left open is that of the maps which are there, wherever that can be had.

    Where it cannot, every map would be made anew: then the brake on changes is on.
    """

    def engine_of(device: str, precision: str) -> EngineConfig:
        return choose_engine(flags, others, device, precision)

    chosen = engine_of(flags.device, flags.precision)
    before = (newest_settings(settings.earlier_folder) or {}).get("network")
    if flags.precision != "auto" or not isinstance(before, dict):
        return replace(settings, engine=chosen)
    precision, device = before.get("precision"), before.get("device")
    known = (before.get("model"), before.get("weights_sha256")) == (chosen.weights.model, chosen.weights.sha256)
    if not known or not isinstance(precision, str) or precision == chosen.precision:
        return replace(settings, engine=chosen)
    for place in dict.fromkeys((device if flags.device == "auto" else flags.device, flags.device)):
        with suppress(RequestError):
            return replace(settings, engine=engine_of(str(place), precision))
    logging.getLogger("whitesweep").warning(
        "the maps of this output were made in %s, which cannot be had here; in %s every one would be made anew: "
        "if that is meant, give --precision %s",
        *(precision, chosen.precision, chosen.precision),
    )
    changed = settings.brakes.max_changed_fraction
    brakes = replace(settings.brakes, max_changed_fraction=UNMEANT if changed is None else changed)
    return replace(settings, engine=chosen, brakes=brakes)


def choose_engine(flags: argparse.Namespace, others: Sequence[str], device: str, precision: str) -> EngineConfig:
    """Choose the engine of a device and a precision: those of this machine if the run is here, or of the workers.

    Raises:
        RequestError: it is not to be had.
    """
    device = device_of_workers(flags.runner, device, others)
    local = runners.is_local(flags.runner, others)
    return check_engine(flags.model, flags.weights, device, precision, flags.batch_size, local)


def device_of_workers(runner: str, device: str, others: Sequence[str]) -> str:
    """Give the device of a run's workers, which on Dataflow the preset decides.

    Raises:
        RequestError: they do not have it.
    """
    try:
        return dataflow.device(runner, device, others) if runners.runner_name(runner) == "DataflowRunner" else device
    except ValueError as error:
        raise RequestError(str(error)) from error


def versions() -> dict[str, str]:
    """Name the versions of everything that the output's bytes depend on."""
    packages = ("apache-beam", "openvino", "torch", "opencv-python-headless", "pillow", "numpy", "pyarrow")
    installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed.get(name, "absent") for name in packages}}


def _check_apart(output: str, manifests: list[ManifestFile]) -> None:
    """Refuse an output whose pictures could fall among the photos: photos must not be overwritten, nor read again."""

    def place(folder: str) -> str:
        real = folder if not storage.is_local(folder) else os.path.realpath(folder)
        return f"{real.rstrip('/')}/"

    for manifest in manifests:
        photos = place(manifest.base)
        if manifest.kind in ("folder", "image"):
            mixed = place(output).startswith(photos) or photos.startswith(place(f"{output}/images"))
        else:
            mixed = place(output) == photos
        if mixed:
            raise RequestError(f"--output {output}: mixes with the photos of {manifest.base}; use another folder")


def check_beam(runner: str, others: Sequence[str], submits: bool = True, template: bool = False) -> list[str]:
    """Complete and check Beam's flags.

    submits: whether the job will really be handed in. template: whether the graph may be written to a template, and not
    be run.
    """
    names = {flag.partition("=")[0] for flag in others}
    if "--dry_run" in names:  # Beam's own, which most runners do not heed
        raise RequestError("--dry_run: run and migrate alone have it. See --help")
    if not template and "--template_location" in names:
        raise RequestError("--template_location: run and migrate alone can be put into a template")
    try:
        create_runner(runners.runner_name(runner))
        job_server = runners.runner_name(runner) == "FlinkRunner" or "--job_endpoint" in names
        unknown = unknown_flags(
            others, *((flink.FLINK_FLAGS.split(), flink.FLINK_SWITCHES.split()) if job_server else ())
        )
    except (ValueError, ImportError, AttributeError) as error:
        raise RequestError(f"--runner {runner}: {str(error).splitlines()[0]}") from error
    if unknown and not unknown[0].startswith("-"):
        raise RequestError(f"{unknown[0]}: belongs to no flag; a pattern must be quoted: --manifest 'photos/*.jpg'")
    if unknown:
        hint = flag_meant(unknown[0])
        raise RequestError(f"{unknown[0]}: neither whitesweep nor Beam knows this flag{hint or '.'} See --help")
    arguments = runners.beam_arguments(runner, others)
    missing = None
    if runners.runner_name(runner) == "DataflowRunner":
        missing = dataflow.what_is_missing(arguments, submits)
    elif runners.runner_name(runner) == "FlinkRunner" and submits:
        missing = flink.what_is_missing(arguments) or flink.what_does_not_answer(arguments)
    if missing:
        raise RequestError(f"--runner {runner}: {missing}")
    return arguments


def absolute(folder: str) -> str:
    """Make a local folder's path absolute; leave another address but for its last slash.

    Raises:
        RequestError: it is on a web server, where no output can be.
    """
    if storage.is_web(folder):
        raise RequestError(f"{folder}: an output is in a folder or at a gs:// address")
    return folder.rstrip("/") if not storage.is_local(folder) else os.path.abspath(storage.local_path(folder))


def check_output(output: str) -> str:
    """Make the output folder absolute, and make sure that something can be written there."""
    if not output.strip():
        raise RequestError("--output is empty; give a folder")
    if storage.takes_outputs(output) and not storage.is_local(output):
        if not output.partition("://")[2].strip("/"):
            raise RequestError(f"--output {output}: names no bucket")
        try:
            storage.is_folder(output)
        except Exception as error:  # whatever keeps us from listing it will keep us from writing it
            raise RequestError(f"--output {output}: cannot be reached: {str(error).splitlines()[0]}") from error
        return absolute(output)
    if not storage.is_local(output):
        raise RequestError(f"--output {output}: expected a folder or a gs:// address")
    if "\0" in storage.local_path(output):
        raise RequestError(f"--output {output!r}: not a file name")
    folder = existing = absolute(output)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise RequestError(f"--output {output}: {existing} is not a folder")
    for name in ("images", "maps", "report", "review", "runs"):
        inside = os.path.join(folder, name)
        if os.path.islink(inside):
            raise RequestError(f"--output {output}: {inside} is a symbolic link, behind which nothing is written")
        if os.path.lexists(inside) and not os.path.isdir(inside):
            raise RequestError(f"--output {output}: {inside} is in the way; it must be a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(f"--output {output}: no permission to write in {existing}")
    return folder
