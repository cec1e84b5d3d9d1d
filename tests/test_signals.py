"""A signal stops a run gently, a second one at once; two of `timeout` are one."""

from __future__ import annotations

import signal

import pytest

from pipeline import signals
from pipeline.signals import StoppedError, ending_on_sigterm, stopping_gently
from transforms.stopping import STOP

pytestmark = pytest.mark.pure


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class EndedError(BaseException):
    """What a test has in the place of the end of its process."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    def end(code: int) -> None:
        raise EndedError(code)

    clock = Clock()
    monkeypatch.setattr(signals, "time", clock)
    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr(signals, "_descendants", lambda process: [])
    return clock


def send(number: int) -> None:
    """Do what a signal would: after tests/test_faults.py a true one ends this Python with a segmentation fault."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def run_that_gets(*numbers: int, clock: Clock, apart: float) -> None:
    """Begin a run that fails after these signals, so many seconds apart."""
    with stopping_gently(lambda: None), ending_on_sigterm():
        for number in numbers:
            send(number)
            clock.now += apart
        assert STOP.is_set()
        raise RuntimeError("stopped before its end")


def test_two_equal_signals_within_a_moment_are_one(clock: Clock) -> None:
    with pytest.raises(StoppedError) as stopped:  # as `timeout` sends it, to its command and to the group
        run_that_gets(signal.SIGTERM, signal.SIGTERM, clock=clock, apart=0.01)
    assert stopped.value.exit_code == 143


@pytest.mark.parametrize(("second", "apart"), [(signal.SIGTERM, 1.0), (signal.SIGINT, 0.01)])
def test_a_second_signal_stops_at_once_and_ends_what_is_elsewhere(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, second: int, apart: float
) -> None:
    done: list[str] = []
    monkeypatch.setattr(signals, "AT_ONCE", [lambda: done.append("cancelled")])
    with pytest.raises(EndedError):
        run_that_gets(signal.SIGTERM, second, clock=clock, apart=apart)
    assert done == ["cancelled"]


def test_sigterm_ends_a_block_that_nobody_else_sees_to() -> None:
    with pytest.raises(StoppedError) as stopped, ending_on_sigterm():
        send(signal.SIGTERM)
    assert stopped.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
