"""What the work cost: seconds by step and things done, measured where it is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Effort:
    """Wall-clock seconds by step, and counts of what was done (`photos_read`, `photos_predicted`, …)."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the seconds of the block to a step, also when it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spend(step, time.perf_counter() - began)

    def spend(self, step: str, seconds: float) -> None:
        """Add seconds to a step."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def add(self, other: Effort) -> None:
        """Add another's seconds and counts."""
        for step, seconds in other.seconds.items():
            self.spend(step, seconds)
        self.counts.update(other.counts)
