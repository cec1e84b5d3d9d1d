"""The allocator is tuned where it is glibc's, and left alone elsewhere."""

from __future__ import annotations

import ctypes
import platform

import pytest

from model.machine import keep_buffers


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_glibc_takes_it() -> None:
    keep_buffers.cache_clear()
    assert keep_buffers()


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_buffers.cache_clear()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_buffers()
    keep_buffers.cache_clear()
