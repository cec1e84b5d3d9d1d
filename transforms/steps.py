"""The steps of a photo's way: what each costs, and what is wrong with a photo that makes one fail."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from transforms.errors import Failure, FatalError, PhotoError
from transforms.pixels.opencv import cv2

NO_MEMORY = "no memory for this photo; run fewer workers or lower --max_pixels"


class StepError(Exception):
    """What is wrong with a photo, and at which step that came out."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(slots=True)
class Effort:
    """Wall-clock seconds by step, and counts of what was done (`photos_read`, `photos_predicted`, …)."""

    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to a step, and name the step in the failure if the block raises.

        Raises:
            StepError: it failed. FatalError: so would it for every other photo.
        """
        began = time.perf_counter()
        try:
            yield
        except (StepError, FatalError):
            raise
        except Exception as error:
            raise StepError(failure_of(name, error)) from error
        finally:
            self.spend(name, time.perf_counter() - began)

    def spend(self, step: str, seconds: float) -> None:
        """Add seconds to a step."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds

    def add(self, other: Effort) -> None:
        """Add another's seconds and counts."""
        for step, seconds in other.seconds.items():
            self.spend(step, seconds)
        self.counts.update(other.counts)


def failure_of(stage: str, error: Exception) -> Failure:
    """Say what is wrong with a photo that made a step raise something."""
    if isinstance(error, StepError):
        return error.failure
    if isinstance(error, PhotoError):
        return Failure(stage, error.code, error.message)
    if is_out_of_memory(error):
        return Failure(stage, "out_of_memory", NO_MEMORY)
    return internal_error(stage, error)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error says that memory is short; OpenCV has a code for it where Python has an exception."""
    return isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem


def internal_error(stage: str, error: Exception) -> Failure:
    """Make a failure of an exception that nobody foresaw; it carries the traceback."""
    text = str(error).strip()
    name = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    message = f"{name}; this is a fault of whitesweep, please report it with its traceback (run.json says where)"
    return Failure(stage, "internal_error", message, "".join(traceback.format_exception(error)))
