"""The store of saliency maps: content-addressed, so that nothing goes through the network twice."""

from __future__ import annotations

import hashlib
import io
import json
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from transforms import storage
from transforms.errors import PhotoError
from transforms.pixels.types import SaliencyMap
from transforms.settings import MapSettings
from weights.architecture import SIDE

PREPROCESSING_VERSION = 2
"""Raised when decode or sharpen come to give other pixels for the same settings."""

SEAL = "whitesweep"
"""Text in a map's PNG: its key and the sha256 of its pixels. Pillow does not check a PNG's own checksums."""


def map_key(source_sha256: str, settings: MapSettings) -> str:
    """Name a map by all that it depends on: sha256 over the photo's bytes and every setting, 64 hex digits."""
    before, after = _key_text(settings)
    return hashlib.sha256(f"{before}{source_sha256}{after}".encode()).hexdigest()


@lru_cache(maxsize=16)
def _key_text(settings: MapSettings) -> tuple[str, str]:
    """Write what a key is taken of, up to and from the photo's sha256: of millions of keys, most say the same."""
    parts = {
        "source": "|",
        "weights": settings.origin.weights_sha256,
        "model": settings.origin.model,
        "precision": settings.origin.precision,
        "preprocessing": {"version": PREPROCESSING_VERSION, **settings.sharpening.digest_parts()},
    }
    before, _, after = json.dumps(parts, sort_keys=True).partition("|")
    return before, after


def map_uri(folder: str, key: str) -> str:
    """Place a map in the store: `<folder>/<first two hex digits>/<key>.png`."""
    return f"{folder}/{key[:2]}/{key}.png"


def load_map(folder: str, key: str) -> SaliencyMap | None:
    """Load a map, or None if the store has none under this key or only a damaged one (which is then made anew)."""
    try:
        return read_map(folder, key)
    except PhotoError as error:
        if error.code in ("not_found", "corrupt"):
            return None
        raise


def read_map(folder: str, key: str) -> SaliencyMap:
    """Read a map, and make sure that it is the one that was stored under this key.

    Raises:
        PhotoError: not_found; corrupt, if it is another or damaged; or as storage.read does.
    """
    uri = map_uri(folder, key)
    data = storage.read(uri).data
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            pixels, seal = np.asarray(image), image.info.get(SEAL)
    except (OSError, SyntaxError, ValueError) as error:
        raise PhotoError("corrupt", f"{uri}: not a map: {error}") from error
    if pixels.shape != (SIDE, SIDE) or pixels.dtype != np.uint8 or seal != _seal(key, pixels):
        raise PhotoError("corrupt", f"{uri}: not the map that was stored under this name")
    return SaliencyMap(pixels, key)


def store_map(folder: str, saliency: SaliencyMap) -> None:
    """Store a map as 8-bit grey PNG, 320×320, sealed with its key and the digest of its pixels."""
    buffer, sealed = io.BytesIO(), PngInfo()
    sealed.add_text(SEAL, _seal(saliency.key, saliency.pixels))
    Image.fromarray(saliency.pixels).save(buffer, "PNG", pnginfo=sealed)
    storage.write(map_uri(folder, saliency.key), buffer.getvalue(), "image/png", below=storage.parent(folder))


def _seal(key: str, pixels: NDArray[np.uint8]) -> str:
    return f"{key} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
