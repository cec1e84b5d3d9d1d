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
from transforms.streaming import StreamChanges


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
    patterns = [storage.join(os.getcwd(), pattern) for pattern in flags.manifest]
    settings = replace(settings, redo="all", manifests=tuple(patterns), max_failure_fraction=1.0)
    request = decided(request_of_files(settings, [], beam_arguments, flags.verbose), flags)
    info = replace(request.info, outlives=False)  # its lease is this process's: it may have nothing to do for hours
    with holding(info.folder, info.run_id) as lease:
        decisions = keep_decisions(request)
        try:
            with stopping_gently(lease.ask_to_stop):
                run_graph(
                    beam_arguments,
                    flags.verbose,
                    lambda root: root | "StreamChanges" >> StreamChanges(patterns, info, decisions),
                    Start(re.sub("[^a-z0-9]", "-", info.run_id.lower()), endless=True),
                )
        finally:
            with suppress(PhotoError, FatalError):
                storage.delete_folder(folder_of(info.folder, info.run_id))
    raise RunError("the stream came to an end")
