"""The watch command: what appears is done, once, by one process that keeps the network loaded."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pipeline import runners
from pipeline.errors import RequestError, RunError
from pipeline.execute import holding, run_alone
from pipeline.inbox import Inbox
from pipeline.options import RunRequest, check_run_settings, decided, request_of_files
from pipeline.signals import stopping_gently
from transforms import storage
from transforms.credentials import without_secrets
from transforms.errors import FatalError, PhotoError
from transforms.manifest import ManifestFile
from transforms.network import KEPT
from transforms.output.lease import Lease
from transforms.stopping import STOP

LOGGER = logging.getLogger("whitesweep")
SETTLING_S = 0.5
"""How often it is looked again at a file that may still be being written."""


def watch(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Watch until a signal, or the command `stop`; the exit code is 0 then.

    Raises:
        RequestError: a flag cannot be what it is, or another run is at work there. RunError: no photo would be done.
    """
    inbox, every = _check(flags, others)
    flags.command, flags.manifest = "run", list(inbox.patterns)
    settings, beam_arguments = check_run_settings(flags, others)
    if not runners.is_local(flags.runner, others) or "multi_processing" in " ".join(others):
        raise RequestError("watch keeps the network in this process: it runs locally, with threads alone")
    started = time.time()
    try:
        inbox.read_state(settings.output)
    except (PhotoError, ValueError) as error:
        said = getattr(error, "message", None) or error
        raise RequestError(f"{settings.output}/report/watch.json: cannot be read: {said}") from error
    KEPT.set()

    def request_of(files: list[ManifestFile]) -> RunRequest:
        named = settings.manifests if inbox.photos else tuple(file.uri for file in files)
        return request_of_files(replace(settings, manifests=named), files, beam_arguments, flags.verbose)

    with holding(settings.output, f"watch-{os.getpid()}") as lease, stopping_gently(lease.ask_to_stop):
        watcher = _Watcher(inbox, lease, request_of, lambda request: decided(request, flags), started)
        try:
            watcher.say()
            LOGGER.info("watching %s", ", ".join(inbox.patterns))
            while not (STOP.is_set() or lease.was_asked_to_stop):
                watcher.poll()
                if not lease.was_asked_to_stop:
                    STOP.wait(SETTLING_S if inbox.is_waiting() else every)
        except (FatalError, PhotoError) as error:  # the output is another's, or its disk is full
            raise RunError(str(getattr(error, "message", None) or error)) from error
    LOGGER.info("the watch is over; the same command goes on from there")
    return 0


class _Watcher:
    """Does what an inbox finds. Nothing in it may keep another from being done."""

    def __init__(
        self,
        inbox: Inbox,
        lease: Lease,
        request_of: Callable[[list[ManifestFile]], RunRequest],
        decide: Callable[[RunRequest], RunRequest],
        started: float,
    ) -> None:
        self.inbox, self.lease, self.request_of, self.decide = inbox, lease, request_of, decide
        self.more: dict[str, Any] = {"started": started, "last": None, "runs": 0, "rows": 0}
        self._troubled = False

    def say(self) -> None:
        """Write down what is known, for `status` and for the next watch."""
        self.inbox.write_state(self.lease.folder, {**self.more, "updated": time.time()})

    def poll(self) -> None:
        """Look once, and do what there is."""
        try:
            files = self.inbox.look()
        except (PhotoError, OSError, ValueError) as error:
            if not self._troubled:
                LOGGER.warning("cannot look for more just now: %s", getattr(error, "message", None) or error)
            self._troubled = True
            return
        self._troubled = False
        if not files:
            return
        usable = files if self.inbox.photos else self.inbox.usable(files)
        if usable:
            self._do(usable)
        for file in files:
            if (aside := self.inbox.set_aside.get(file.uri)) is not None:
                LOGGER.warning("%s is set aside until it changes: %s", file.uri, aside["reason"])
        self.say()

    def _do(self, files: list[ManifestFile]) -> None:
        """Do what some files say in one run; where a brake holds, in one for each."""
        try:
            request = self.request_of(files)
        except RequestError as error:
            held: str | None = str(error)
        else:
            try:
                held = self._run(self.decide(request), files)
            except RunError as error:
                if not error.dead_end or self.lease.was_asked_to_stop:
                    raise
                held = str(error)
        if held is None:
            self.inbox.done(files)
        elif self.inbox.photos:
            LOGGER.warning("not done until the watch starts again: %s", held)
        elif len(files) == 1:
            self.inbox.put_aside(files[0], held)
        else:
            for file in files:
                self._do([file])

    def _run(self, request: RunRequest, files: list[ManifestFile]) -> str | None:
        """Run; say why the release is not published, if it is not."""
        self.lease.pass_on(request.info.run_id)
        report = run_alone(request, self.lease)
        gc.collect()  # which run_graph lets be for long, as if this were the only run
        self.more = {
            **self.more,
            "last": request.info.run_id,
            "runs": self.more["runs"] + 1,
            "rows": self.more["rows"] + report["plan"]["rows"],
        }
        counts = ", ".join(f"{count} {status}" for status, count in report["statuses"].items())
        names = files[0].uri + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        LOGGER.info("%s", without_secrets(f"{names}: {counts}"))
        return None if report["held"] is None else str(report["reason"])


def _check(flags: argparse.Namespace, others: Sequence[str]) -> tuple[Inbox, float]:
    """Check what watch alone has.

    Raises:
        RequestError: it cannot be.
    """
    manifests, photos = flags.manifest or [], flags.photos or []
    if bool(manifests) == bool(photos):
        raise RequestError("give either --manifest or --photos: what is to be watched")
    patterns = [storage.join(os.getcwd(), pattern) for pattern in (*manifests, *photos)]
    for pattern in patterns:
        if storage.is_web(pattern):
            raise RequestError(f"{pattern}: a web server cannot be watched; give a folder, a pattern or gs://")
    flags.manifest = manifests or photos
    return Inbox(patterns, bool(photos)), _seconds(flags.every)


def _seconds(text: str) -> float:
    """Read a period: 30, 30s, 5m or 1h."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in ("s", "m", "h") else (text, "s")
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86_400:
        raise RequestError(f"--every {text}: expected a period such as 30s, 5m or 1h")
    return seconds
