"""A job that other processes do: it is waited for, cancelled when the run is to stop, and never left behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipeline.errors import RunError
from pipeline.flink import name_job
from pipeline.signals import AT_ONCE, ending_on_sigterm
from transforms.beam_faults import JobServers
from transforms.stopping import STOP
from transforms.tracking import PHASES, PROGRESS

LOOK_S = 2.0
"""How often a job is looked after."""
GRACE_S = 20.0
"""What a job has to end by itself once it is asked to; then it is cancelled. Kubernetes kills after 30."""
STALL_S = 600.0
"""No row takes so long: then no worker is at work any more, and the cluster does not know it."""
CANCEL_S = 30.0
"""What a cancelled job has to end."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a job is to start.

    name: for people and for Flink; no other job may have it. submitted: is called once it is where it is to be done.
    detach: its end is not waited for. endless: it has none, and is cancelled when it is to stop.
    """

    name: str
    submitted: Callable[[], None] = lambda: None
    detach: bool = False
    endless: bool = False


def _is_stalled() -> bool:
    if not PROGRESS.begun:
        return False
    said = PROGRESS.last()
    return said["phase"] == PHASES[1] and said["done"] > 0 and said["idle"] > STALL_S


class Job:
    """A graph at work elsewhere, from its submission to its end."""

    def __init__(self, root: beam.Pipeline, start: Start) -> None:
        self._root, self._start = root, start
        self._result: Any = None
        self._flink = name_job(root.options, start.name)
        self._servers = JobServers()
        self._submitted, self._over = threading.Event(), threading.Event()
        self._error: Exception | None = None

    def run(self) -> bool:
        """Submit the job, and wait for its end. False: that was not to be waited for, or it is in a template now.

        Raises:
            whatever the job or its submission failed of. RunError: it was asked to stop, and did not in time.
        """
        AT_ONCE.append(self._end_at_once)
        try:
            with ending_on_sigterm():
                threading.Thread(target=self._follow, daemon=True).start()
                waited = self._wait()
        except BaseException:
            self._cancel()
            raise
        finally:
            AT_ONCE.remove(self._end_at_once)
            self._servers.stop()
        if getattr(self._result, "has_job", True):
            return waited
        self._start.submitted()  # whoever runs the template goes on
        return False

    def _follow(self) -> None:
        """Submit the job and wait for it, in a thread of its own: either may hang, or be over after hours."""
        try:
            with self._servers:
                self._result = self._root.run()
            self._submitted.set()
            if getattr(self._result, "has_job", True):
                self._result.wait_until_finish()
        except Exception as error:
            self._error = error
        finally:
            self._over.set()

    def _wait(self) -> bool:
        """Wait for the end of the job, or (False) for it to be on its cluster, if that is all that is wanted."""
        asked, is_there = None, False
        while not self._over.wait(LOOK_S):
            if not is_there and self._is_there():
                self._start.submitted()
                is_there = True
            if is_there and self._start.detach:
                return False
            if STOP.is_set():
                asked = time.monotonic() if asked is None else asked
                if self._start.endless or time.monotonic() - asked > GRACE_S:
                    raise RunError("stopped before its end")
            elif _is_stalled():
                raise RunError(f"no row was finished for {STALL_S / 60:.0f} minutes; its job is cancelled")
            elif self._flink is not None and (fault := self._flink.fault()) is not None:
                raise RuntimeError(fault)
        if self._error is not None:
            raise self._error
        return True

    def _is_there(self) -> bool:
        """Tell whether the job is where it is to be done, and needs nobody here any more."""
        if self._flink is None:
            return self._submitted.is_set()
        with suppress(OSError, ValueError, KeyError):
            return not self._flink.is_over()
        return False

    def _cancel(self) -> None:
        """Cancel the job and wait for its end; say so if that is not to be had."""
        deadline = time.monotonic() + CANCEL_S
        threading.Thread(target=self._ask_to_cancel, daemon=True).start()
        if self._flink is None:
            ended = self._over.wait(CANCEL_S)
        else:
            self._servers.stop()  # first, as one may be about to submit the job
            ended = False
            while not ended and time.monotonic() < deadline:
                try:
                    self._flink.cancel()
                    ended = self._flink.is_over()
                except (OSError, ValueError, KeyError):
                    if self._error is not None:  # the job server could not reach it, either
                        break
                time.sleep(0 if ended else LOOK_S / 4)
        if not ended:
            named = "" if self._flink is None else f" {self._flink.name}"
            logging.getLogger("whitesweep").warning("the job%s may be at work still; cancel it on its cluster", named)

    def _ask_to_cancel(self) -> None:
        if self._submitted.wait(CANCEL_S):
            with suppress(Exception):
                self._result.cancel()

    def _end_at_once(self) -> None:
        """Cancel the job without waiting for its end."""
        thread = threading.Thread(target=self._ask_to_cancel, daemon=True)
        thread.start()
        if self._flink is not None:
            with suppress(OSError, ValueError, KeyError):
                self._flink.cancel()
        thread.join(LOOK_S)
