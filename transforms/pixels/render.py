"""Photo, map and rule to the finished picture: a pure function, in a full run and in a migration alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.composite import WHITE, Background, combine_alpha, composite, flattened
from transforms.pixels.edge import Rim
from transforms.pixels.encode import ENCODINGS, encode, output_format
from transforms.pixels.frame import Box, Frame, framed
from transforms.pixels.metadata import NOTHING
from transforms.pixels.policy import Policy, Rule
from transforms.pixels.profile import Profile, violations
from transforms.pixels.statistics import describe
from transforms.pixels.threshold import Mask, make_mask
from transforms.pixels.types import Cutout, MaskStatistics, Photo, SaliencyMap

OUTPUT_VERSION = 6
"""Raised when the same photo, map and settings come to give other bytes or other statistics."""


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """How a cutout is made of a photo and its map.

    keep_metadata: a picture says what its photo's file says; a photo that the rule leaves as it was is written as the
    file that it was.
    profile: what the written picture must be.
    """

    policy: Policy = field(default_factory=Policy)
    background: Background = WHITE
    format: str = "same"
    keep_metadata: bool = False
    profile: Profile | None = None


def settings_sha256(rule: Rule, settings: OutputSettings) -> str:
    """Digest everything besides photo and map that decides a row's picture and statistics."""
    return _digest(rule, settings.background, settings.format, settings.keep_metadata, settings.profile)


@lru_cache(maxsize=1024)
def _digest(rule: Rule, background: Background, format: str, keep_metadata: bool, profile: Profile | None) -> str:
    parts: dict[str, Any] = {"rule": rule.canonical(), "background": background, "format": format}
    parts["version"] = OUTPUT_VERSION
    if keep_metadata:
        parts["metadata"] = "kept"
    if profile is not None:
        parts["profile"] = profile.canonical()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Judged:
    """A mask, what it looks like, and what the rule makes of that.

    alpha: uint8 [H, W], None if there is no mask. rim: as of Mask. frame: of the picture, None for that of the photo.
    fails: there is to be no picture. kept: the photo is to stay as it was.
    """

    alpha: NDArray[np.uint8] | None
    rim: Rim | None
    frame: Frame | None
    threshold: float | None
    statistics: MaskStatistics | None
    flags: tuple[str, ...]
    fails: bool
    kept: bool


AS_IT_IS = Judged(None, None, None, None, None, ("already_white", "kept_original"), fails=False, kept=True)
"""What becomes of a photo that stands on white already, where that is kept (Rule.keeps_white)."""


def render(
    data: bytes,
    photo: Photo,
    saliency: SaliencyMap | None,
    rule: Rule,
    settings: OutputSettings,
    step: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Cutout:
    """Make the cutout: threshold, judge, composite, encode, check.

    Args:
        data: the photo's file, for what is kept with its metadata.
        saliency: None if the photo is kept as it is, and nobody has asked for its map.
        step: is entered around each, for whoever measures and names them.
    """
    judged = AS_IT_IS
    if saliency is not None:
        with step("threshold"):
            mask = make_mask(rule, saliency.pixels, photo.size, flattened(photo))
        with step("statistics"):
            judged = judge(mask, photo, saliency, rule)
    with step("composite"):
        picture = paint(photo, judged, settings)
    with step("encode"):
        cutout = to_cutout(data, photo, judged, picture, settings)
    if settings.profile is None or not cutout.data:
        return cutout
    with step("check"):
        is_cut = judged.statistics is not None and _touches_frame(judged.statistics, photo)
        return replace(cutout, violations=violations(cutout.data, picture, is_cut, settings.profile))


def _touches_frame(found: MaskStatistics, photo: Photo) -> bool:
    width, height = photo.size
    return 0 in (found.bbox_left, found.bbox_top) or found.bbox_right == width or found.bbox_bottom == height


def judge(mask: Mask, photo: Photo, saliency: SaliencyMap, rule: Rule) -> Judged:
    """Describe a mask, less what is transparent in the photo already, and see what the rule makes of it."""
    alpha = combine_alpha(mask.alpha, photo)  # of `white` and `drop` there is nothing in it
    statistics, flags = describe(saliency.pixels, mask.cleaned, alpha, mask.threshold, photo)
    asked = rule.on_no_subject if "no_subject" in flags else ""
    fails = rule.how.drops or (asked == "fail" and not (rule.how.keeps or rule.how.whitens))
    kept = rule.how.keeps or (asked == "keep" and not rule.how.whitens)
    flags = (*flags, "kept_original") if kept else flags
    return Judged(alpha, mask.rim, rule.frame, mask.threshold, statistics, flags, fails, kept)


def paint(photo: Photo, judged: Judged, settings: OutputSettings) -> NDArray[np.uint8] | None:
    """Composite the photo; None where there is to be no picture, or the photo's own file is to be it."""
    if judged.fails or _is_file(photo, judged, settings):
        return None
    alpha, rim, found = judged.alpha, judged.rim, judged.statistics
    if judged.kept or alpha is None:
        alpha, rim = np.full(photo.rgb.shape[:2], 255, np.uint8) if photo.alpha is None else photo.alpha, None
    picture = composite(photo.rgb, alpha, settings.background, rim)
    if judged.frame is None or found is None or judged.kept:
        return picture
    box = (found.bbox_left, found.bbox_top, found.bbox_right, found.bbox_bottom)
    return framed(picture, alpha, None if None in box else cast(Box, box), judged.frame, settings.background)


def to_cutout(
    data: bytes, photo: Photo, judged: Judged, picture: NDArray[np.uint8] | None, settings: OutputSettings
) -> Cutout:
    """Encode what paint has made, or take the photo's file (`data`) where that is kept."""
    name, profile = _format(photo, settings), settings.profile
    written = b"" if judged.fails else data
    if picture is not None:
        most, white = (None, False) if profile is None else (profile.maximum_bytes, bool(profile.white))
        metadata = photo.metadata if settings.keep_metadata else NOTHING
        written = encode(picture, name, photo.source_type, white, most, metadata)
        if most is not None and len(written) > most and _may_be_jpeg(name, settings):
            name = "jpeg"
            written = encode(picture, name, photo.source_type, white, most, metadata)
    return Cutout(
        written,
        name,
        ENCODINGS[name].content_type,
        judged.threshold,
        judged.statistics,
        judged.flags,
    )


def _is_file(photo: Photo, judged: Judged, settings: OutputSettings) -> bool:
    return judged.kept and settings.keep_metadata and _format(photo, settings) == photo.format


def _format(photo: Photo, settings: OutputSettings) -> str:
    name = output_format(settings.format, photo.format, transparent=settings.background is None)
    formats = None if settings.profile is None else settings.profile.formats
    return formats[0] if formats is not None and name not in formats else name


def _may_be_jpeg(name: str, settings: OutputSettings) -> bool:
    formats = None if settings.profile is None else settings.profile.formats
    is_open = settings.format == "same" and settings.background is not None
    return is_open and name != "jpeg" and (formats is None or "jpeg" in formats)
