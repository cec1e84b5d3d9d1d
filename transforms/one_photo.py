"""One photo that somebody holds in memory: its map and its picture, as the fused stage makes them. Without Beam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.errors import NO_SUBJECT, PhotoError
from transforms.network import predict_one, the_engine
from transforms.pixel_budget import PIXELS, bytes_to_render
from transforms.pixels.decode import decode_opened, open_photo
from transforms.pixels.on_white import stands_on_white
from transforms.pixels.render import render
from transforms.pixels.sharpen import network_input
from transforms.pixels.types import Cutout, Photo, SaliencyMap
from transforms.settings import RunSettings
from transforms.steps import Effort, StepError
from weights.architecture import SIDE


def input_of(data: bytes, settings: RunSettings) -> NDArray[np.uint8]:
    """Make the network's input: uint8 [320, 320, 3].

    Raises:
        PhotoError: what its row would fail with. TypeError: data are not bytes.
    """
    with _decoded(data, settings) as photo:
        return _input(photo, settings)


def map_of(data: bytes, settings: RunSettings) -> NDArray[np.uint8]:
    """Ask the network for a photo's map: uint8 [320, 320].

    Raises:
        PhotoError, TypeError: as input_of does. FatalError: the network fails on every photo.
    """
    with _decoded(data, settings) as photo:
        return _map(photo, settings)


def cutout_of(
    data: bytes,
    settings: RunSettings,
    category: str | None,
    attributes: Mapping[str, str],
    saliency: NDArray[np.uint8] | None,
) -> Cutout:
    """Put a photo on the background, by the rule that serves its category and attributes.

    saliency: its map; None to ask the network.

    Raises:
        PhotoError, TypeError, FatalError: as map_of does. ValueError: saliency is not a map.
    """
    if saliency is not None and (saliency.dtype != np.uint8 or saliency.shape != (SIDE, SIDE)):
        found = f"{saliency.dtype} {list(saliency.shape)}"
        raise ValueError(f"saliency: expected uint8 [{SIDE}, {SIDE}], not {found}")
    with _decoded(data, settings) as photo:
        _, rule = settings.pictures.policy.rule_for(category, dict(attributes))
        sharpened = replace(settings, sharpening=settings.sharpening_of(rule))
        known = None
        if not (rule.keeps_white and stands_on_white(photo)):
            pixels = _map(photo, sharpened) if saliency is None else np.ascontiguousarray(saliency)
            known = SaliencyMap(pixels, "")
        with _step("render"):
            cutout = render(bytes(data), photo, known, rule, settings.pictures)
    if not cutout.data:
        raise PhotoError("no_subject", "the policy drops it" if rule.how.drops else NO_SUBJECT)
    return cutout


@contextmanager
def _decoded(data: Any, settings: RunSettings) -> Iterator[Photo]:
    """Decode a photo; while it is used, it has its room of this process's memory."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        name = type(data).__name__
        raise TypeError(f"data: expected the bytes of a photo's file, not {name}; of a path, give its read_bytes()")
    data = bytes(data)
    if len(data) > settings.limits.max_bytes:
        raise PhotoError("too_large", f"{len(data)} bytes, the limit is {settings.limits.max_bytes} (--max_bytes)")
    with _step("decode"):
        image = open_photo(data, settings.limits)
    room = PIXELS.reserve(bytes_to_render(image, len(data), settings.pictures.format))
    try:
        with _step("decode"):
            photo = decode_opened(image)
        yield photo
    finally:
        room.release()


def _input(photo: Photo, settings: RunSettings) -> NDArray[np.uint8]:
    with _step("sharpen"):
        return network_input(photo, settings.sharpening)


def _map(photo: Photo, settings: RunSettings) -> NDArray[np.uint8]:
    assert settings.engine is not None
    return predict_one(the_engine(settings.engine), _input(photo, settings))


@contextmanager
def _step(name: str) -> Iterator[None]:
    """Raise whatever a step raises as what its row would fail with."""
    try:
        with Effort().step(name):
            yield
    except StepError as error:
        raise PhotoError(error.failure.code, error.failure.message) from error.__cause__
