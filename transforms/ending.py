"""The end of a job on a cluster: what the process that started a run does at its end, where nobody waits for that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from transforms import storage
from transforms.elsewhere import folder_of
from transforms.errors import DeadEndError, FatalError, PhotoError
from transforms.output.cleanup import remove_unnamed, retire
from transforms.output.commit import Committed
from transforms.output.latest import NoReportError
from transforms.output.lease_file import end_job
from transforms.output.run import RunInfo, discard_shards, record_stop

STOPPED = "stopped by the command `stop`"


def end_run(committed: Committed, info: RunInfo) -> None:
    """End a run that is committed, or was asked to stop; if somebody waits for it, the rest is left to them."""
    if info.detached:
        if not committed.run_id:
            _give_up(info, STOPPED, 143)
        else:
            try:
                old = retire(info.folder, info.settings.keep_reports)
                if old and info.settings.keeps_pictures and info.stands_on is None:
                    remove_unnamed(info.folder, info.run_id)
            except (NoReportError, FatalError, PhotoError, OSError) as error:  # the next run tries again
                logging.getLogger("whitesweep").warning("old reports stay: %s", error)
        with suppress(PhotoError, FatalError):
            storage.delete_folder(folder_of(info.folder, info.run_id))
    end_job(info.folder, info.run_id, awaited=not info.detached)


@contextmanager
def told_of(info: RunInfo) -> Iterator[None]:
    """Let run.json say what the block fails of, if another try would fail of it too and nobody else would say it."""
    try:
        yield
    except DeadEndError as error:
        if info.detached:
            _give_up(info, str(error), 1)
            end_job(info.folder, info.run_id, awaited=False)
        raise


def _give_up(info: RunInfo, reason: str, exit_code: int) -> None:
    with suppress(PhotoError, FatalError):  # the disk may be full
        discard_shards(info)
        record_stop(info, reason, exit_code)
