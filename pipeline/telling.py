"""What the driver says while a run is under way: a live line in a terminal, else a line every ten seconds."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from transforms import storage
from transforms.counts import SAID, say_plan
from transforms.credentials import without_secrets
from transforms.elsewhere import folder_of, read_reports
from transforms.output.run import JSON, RunInfo, json_of
from transforms.settings import RunSettings
from transforms.tracking import PROGRESS, in_words

LINE_S = 10.0
LIVE_S = 0.5
FILE_S = 10.0
LOGGER = logging.getLogger("whitesweep")


class Handler(logging.StreamHandler[Any]):
    """Writes log lines as text, or as one JSON object each, and takes the live line away before it does."""

    live = False

    def __init__(self, log_format: str) -> None:
        super().__init__(sys.stderr)
        self.log_format = log_format

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        message = without_secrets(record.getMessage())
        if self.log_format == "text":
            return f"whitesweep: {message}"
        return as_json(record.levelname, getattr(record, "event", "message"), message, getattr(record, "figures", {}))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.clear()
        super().emit(record)

    def show(self, line: str) -> None:
        """Show a live line in the place of the last one."""
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(f"\r\x1b[K{line[:width]}")
        self.stream.flush()
        self.live = True

    def clear(self) -> None:
        """Take the live line away, if there is one."""
        if self.live:
            self.stream.write("\r\x1b[K")
            self.live = False


def as_json(level: str, event: str, message: str, figures: dict[str, Any]) -> str:
    """Write what is said as one line of JSON, the same for log lines, errors and the summary."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    said = {"time": now, "level": level, "event": event, "message": message, **figures}
    return without_secrets(json.dumps(said, ensure_ascii=False))


def handler() -> Handler | None:
    """Give the handler of the command line's log; None if somebody else has set up the log."""
    return next((one for one in LOGGER.handlers if isinstance(one, Handler)), None)


@contextmanager
def told(info: RunInfo) -> Iterator[None]:
    """Tell of the run in the block: on stderr, and in report/progress.json for `status`."""
    PROGRESS.begin()
    SAID.clear()
    if not _is_here(info.settings):
        PROGRESS.source = partial(_elsewhere, info)
    over = threading.Event()
    thread = threading.Thread(target=_tell, args=(info, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5.0)
        PROGRESS.end()
        with suppress(Exception):
            storage.delete(_uri(info))
        if not (_is_here(info.settings) or info.detached):  # then its job goes on, and tells of itself there
            with suppress(Exception):
                storage.delete_folder(folder_of(info.folder, info.run_id))


def _is_here(settings: RunSettings) -> bool:
    """Tell whether this process finishes the rows itself."""
    from pipeline import runners  # with Beam, which `status` does not wait for

    return runners.is_local(settings.runner, settings.beam) and "multi_processing" not in " ".join(settings.beam)


def _elsewhere(info: RunInfo) -> dict[str, Any]:
    """Ask how far workers elsewhere are, and say the plan once one of them has made it."""
    said = read_reports(info.folder, info.run_id)
    del said["work"]
    if (plan := said.pop("plan", None)) is not None:
        say_plan(plan, info.settings.prune)
    return said


def _uri(info: RunInfo) -> str:
    return f"{info.folder}/report/progress.json"


def _tell(info: RunInfo, over: threading.Event) -> None:
    own = handler()
    live = own is not None and own.log_format == "text" and not own.stream.closed and own.stream.isatty()
    due_line = due_file = time.monotonic() + LINE_S
    while not over.wait(LIVE_S):
        now = time.monotonic()
        if PROGRESS.source is not None and now < min(due_line, due_file):
            continue  # to ask a job elsewhere costs more than to count
        with suppress(Exception):  # workers somewhere else that cannot be asked just now, a disk that is full
            said = PROGRESS.snapshot()
            if live and own is not None:
                own.show(in_words(said))
            elif now >= due_line:
                due_line = now + LINE_S
                LOGGER.info("%s", in_words(said), extra={"event": "progress", "figures": said})
            if now >= due_file:
                due_file = now + FILE_S
                figures = {"run_id": info.run_id, "started": info.started, "updated": time.time(), **said}
                storage.write(_uri(info), json_of(figures), JSON)
    if own is not None:
        own.clear()
