"""SIGTERM and Ctrl-C: what is in flight is finished and nothing more begun; a second one stops at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from transforms.stopping import STOP

SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""The signals that ask a run to stop, with the exit codes that say so."""


MOMENT_S = 0.5
"""Two equal signals within so long are one: `timeout` sends it to its command, and to the whole group as well."""

AT_ONCE: list[Callable[[], None]] = []
"""What a stop at once has to do beyond this machine: cancel the job of a cluster."""


class StoppedError(Exception):
    """The run was asked to stop, and has."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _descendants(process: int) -> list[int]:
    """List the processes that a process has started, and those that they have."""
    found = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/children", encoding="ascii") as stream:
                for child in map(int, stream.read().split()):
                    found += [*_descendants(child), child]
    return found


@contextmanager
def stopping_gently(tell: Callable[[], None]) -> Iterator[None]:
    """Let a signal stop the run in the block at the next photo; from another thread than the main one, do nothing.

    tell: lets workers outside this process know.

    Raises:
        StoppedError: a signal came, whatever the block then raised.
    """
    came: list[int] = []
    since = 0.0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if came == [number] and time.monotonic() - since < MOMENT_S:
            return
        if came:
            print("whitesweep: stopped; the same command goes on from there", file=sys.__stderr__, flush=True)
            for process in _descendants(os.getpid()):  # Beam's worker processes would wait for us for ever
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            for end in AT_ONCE:
                end()
            os._exit(SIGNALS[signal.Signals(number)])
        came.append(number)
        since = time.monotonic()
        STOP.set()
        tell()
        print(
            "whitesweep: stopping when what is in flight is done; again to stop at once",
            file=sys.__stderr__,
            flush=True,
        )

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


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, where nobody sees to it otherwise.

    Raises:
        StoppedError: it came.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise StoppedError(SIGNALS[signal.Signals(number)])

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
