"""The store of saliency maps: content-addressed, so that nothing goes through the network twice."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

from transforms import storage
from transforms.sharpen import SIDE, Sharpening
from transforms.types import MapOrigin, PhotoError, SaliencyMap

PREPROCESSING_VERSION = 1
"""Raised when decode or sharpen come to give other pixels for the same settings."""


@dataclass(frozen=True, slots=True)
class MapSettings:
    """Everything besides the photo that decides what leaves the network."""

    origin: MapOrigin
    sharpening: Sharpening


def map_key(source_sha256: str, settings: MapSettings) -> str:
    """Name a map by all that it depends on: sha256 over the photo's bytes and every setting, 64 hex digits."""
    parts = {
        "source": source_sha256,
        "weights": settings.origin.weights_sha256,
        "model": settings.origin.model,
        "precision": settings.origin.precision,
        "preprocessing": {"version": PREPROCESSING_VERSION, **settings.sharpening.digest_parts()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def map_uri(folder: str, key: str) -> str:
    """Place a map in the store: `<folder>/<first two hex digits>/<key>.png`."""
    return f"{folder}/{key[:2]}/{key}.png"


def load_map(folder: str, key: str) -> SaliencyMap | None:
    """Load a map, or None if the store has none under this key or only a damaged one (which is then made anew)."""
    try:
        data = storage.read(map_uri(folder, key)).data
    except PhotoError as error:
        if error.code == "not_found":
            return None
        raise
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if (image.size, image.mode) != ((SIDE, SIDE), "L"):
                return None
            return SaliencyMap(np.asarray(image), key)
    except (OSError, SyntaxError, ValueError):
        return None


def store_map(folder: str, saliency: SaliencyMap) -> None:
    """Store a map as 8-bit grey PNG, 320×320."""
    buffer = io.BytesIO()
    Image.fromarray(saliency.pixels).save(buffer, "PNG")
    storage.write(map_uri(folder, saliency.key), buffer.getvalue(), "image/png")
