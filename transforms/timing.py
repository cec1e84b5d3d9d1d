"""Seconds by step, measured where the work is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StepTimes(dict[str, float]):
    """Seconds by step name."""

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the wall-clock seconds of the block to a step, also when it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self[step] = self.get(step, 0.0) + time.perf_counter() - began

    def add(self, other: Mapping[str, float]) -> None:
        """Add another's seconds, step by step."""
        for step, seconds in other.items():
            self[step] = self.get(step, 0.0) + seconds
