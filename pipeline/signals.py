"""SIGTERM and Ctrl-C: what is in flight is finished and nothing more begun; a second one stops at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from transforms.stopping import STOP

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""The signals that ask a run to stop, with the exit codes that say so."""


class StoppedError(Exception):
    """The run was asked to stop, and has."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@contextmanager
def stopping_gently() -> Iterator[None]:
    """Let a signal stop the run in the block at the next photo; from another thread than the main one, do nothing.

    Raises:
        StoppedError: a signal came, whatever the block then raised.
    """
    came: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if came:
            os._exit(SIGNALS[signal.Signals(number)])
        came.append(number)
        STOP.set()
        print("whitesweep: stopping when what is in flight is done; again to stop at once", file=sys.stderr, flush=True)

    try:
        before = {number: signal.signal(number, ask) for number in SIGNALS}
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    except Exception as error:
        if came:
            raise StoppedError(SIGNALS[signal.Signals(came[0])]) from error
        raise
    finally:
        STOP.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
