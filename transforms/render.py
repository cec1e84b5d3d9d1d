"""Photo, map and rule to the finished picture: a pure function, in a full run and in a migration alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from transforms.composite import WHITE, Background, combine_alpha, composite
from transforms.effort import Effort
from transforms.encode import ENCODINGS, encode, output_format
from transforms.faults import internal_error
from transforms.mask import make_mask
from transforms.opencv import is_out_of_memory
from transforms.policy import Policy, Rule
from transforms.statistics import describe
from transforms.types import Cutout, Failure, FatalError, Photo, PhotoError, SaliencyMap

OUTPUT_VERSION = 2
"""Raised when the same photo, map and settings come to give other bytes or other statistics."""

NO_MEMORY = "no memory for this photo; run fewer workers or lower --max_pixels"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """How a cutout is made of a photo and its map.

    keep_metadata: a photo that the rule leaves as it was is written as the file that it was, with all that is in it.
    """

    policy: Policy = field(default_factory=Policy)
    background: Background = WHITE
    format: str = "same"
    keep_metadata: bool = False


@lru_cache(maxsize=1024)
def settings_sha256(rule: Rule, background: Background, format: str, keep_metadata: bool = False) -> str:
    """Digest everything besides photo and map that decides a row's picture and statistics."""
    parts: dict[str, Any] = {"rule": rule.canonical(), "background": background, "format": format}
    parts["version"] = OUTPUT_VERSION
    if "keep" in (rule.on_no_subject, rule.on_already_white) and not keep_metadata:
        parts["kept"] = "pixels"  # in versions before it was always the file
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class StepError(Exception):
    """What is wrong with a photo, and at which step that came out."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def step(effort: Effort, name: str, do: Callable[..., T], *args: object) -> T:
    """Time one step, and name it in the failure if it fails.

    Raises:
        StepError: it failed. FatalError: so would it for every other photo.
    """
    with effort.measure(name):
        try:
            return do(*args)
        except (StepError, FatalError):
            raise
        except Exception as error:
            raise StepError(failure_of(name, error)) from error


def failure_of(stage: str, error: Exception) -> Failure:
    """Say what is wrong with a photo that made a step raise something."""
    if isinstance(error, StepError):
        return error.failure
    if isinstance(error, PhotoError):
        return Failure(stage, error.code, error.message)
    if is_out_of_memory(error):
        return Failure(stage, "out_of_memory", NO_MEMORY)
    return internal_error(stage, error)


def render(
    data: bytes, photo: Photo, saliency: SaliencyMap, rule: Rule, settings: OutputSettings, effort: Effort
) -> Cutout:
    """Make the cutout: clean the map, upsample, threshold, composite, encode.

    A pure function of all but the last argument. data: the photo's file, for what is kept with its metadata. There is
    no picture where the rule fails a photo without a product.
    """
    mask = make_mask(rule, saliency.pixels, photo.size, effort)
    alpha = step(effort, "composite", combine_alpha, mask.alpha, photo)
    statistics = step(effort, "statistics", describe, saliency.pixels, mask.cleaned, alpha, mask.threshold, photo)
    name = output_format(settings.format, photo.format, transparent=settings.background is None)
    if rule.on_no_subject == "fail" and "no_subject" in statistics.flags:
        return Cutout(b"", name, ENCODINGS[name].content_type, mask.threshold, statistics)  # that is nobody's to see
    kept = any(flag in statistics.flags and choice == "keep" for flag, choice in _choices(rule))
    if kept:
        statistics = replace(statistics, flags=(*statistics.flags, "kept_original"))
    if kept and settings.keep_metadata and name == photo.format:
        encoded = data
    else:
        if kept:
            alpha = np.full_like(alpha, 255) if photo.alpha is None else photo.alpha
        picture = step(effort, "composite", composite, photo.rgb, alpha, settings.background)
        encoded = step(effort, "encode", encode, picture, name)
    return Cutout(encoded, name, ENCODINGS[name].content_type, mask.threshold, statistics)


def _choices(rule: Rule) -> tuple[tuple[str, str], ...]:
    return ("no_subject", rule.on_no_subject), ("already_white", rule.on_already_white)
