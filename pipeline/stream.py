"""`run --streaming`: manifests of changes are done as they appear, by a job that does not end."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from pipeline import runners
from pipeline.errors import RequestError, RunError
from pipeline.execute import holding, keep_decisions
from pipeline.job import Start
from pipeline.launch import run_graph
from pipeline.options import check_run_settings, decided, request_of_files
from pipeline.signals import stopping_gently
from transforms import storage
from transforms.elsewhere import folder_of
from transforms.errors import FatalError, PhotoError
from transforms.output.latest import settle_names
from transforms.settings import RunSettings
from transforms.streaming import SUBSCRIPTION, StreamChanges


def stream(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Stream until a signal, or the command `stop`, ends it.

    Raises:
        RequestError: a flag cannot be what it is. RunError, StoppedError: see run_graph.
    """
    if flags.command != "run" or flags.detach or flags.from_dir is not None:
        raise RequestError("--streaming: only `run` has it, without --detach and --from")
    if runners.is_local(flags.runner, others):
        raise RequestError(
            f"--streaming: {flags.runner} reads what is there, and ends; take `watch`, or a --runner of streams"
        )
    flags.partial = True
    settings, beam_arguments = check_run_settings(flags, others)
    settings = of_stream(settings, flags)
    request = decided(request_of_files(settings, [], beam_arguments, flags.verbose), flags)
    info = replace(request.info, outlives=False)  # its lease is this process's: it may have nothing to do for hours
    with holding(info.folder, info.run_id) as lease:
        decisions = keep_decisions(request)
        settle_names(info.folder, settings.names)
        try:
            with stopping_gently(lease.ask_to_stop):
                run_graph(
                    beam_arguments,
                    flags.verbose,
                    lambda root: root | "StreamChanges" >> StreamChanges(settings.manifests, info, decisions),
                    Start(re.sub("[^a-z0-9]", "-", info.run_id.lower()), endless=True),
                )
        finally:
            with suppress(PhotoError, FatalError):
                storage.delete_folder(folder_of(info.folder, info.run_id))
    raise RunError("the stream came to an end")


def of_stream(settings: RunSettings, flags: argparse.Namespace) -> RunSettings:
    """Give the settings of a stream; its manifests are patterns, and subscriptions to a bucket's notifications.

    Raises:
        RequestError: the runner reads no subscriptions, or pictures would be overwritten.
    """
    if not settings.keeps_pictures:
        raise RequestError(
            "--streaming: of windows that overtake each other one would write over the pictures of the other; give "
            "--names fingerprint, or take `watch`"
        )
    names = list(filter(SUBSCRIPTION.fullmatch, flags.manifest))
    if names and runners.runner_name(flags.runner) != "DataflowRunner":
        raise RequestError(
            f"--manifest {names[0]}: only Dataflow reads Pub/Sub; give {flags.runner} a pattern of files"
        )
    places = tuple(name if name in names else storage.join(os.getcwd(), name) for name in flags.manifest)
    return replace(settings, partial=True, redo="all", manifests=places, max_failure_fraction=1.0)
