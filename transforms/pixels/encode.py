"""Pixels to bytes, the same bytes every time: fixed settings, no metadata, no clock."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from transforms.errors import PhotoError
from transforms.pixels.source_type import packet


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one output format is written."""

    extension: str
    content_type: str
    alpha: bool
    options: dict[str, Any]


ENCODINGS = {
    # 4:4:4 and quality 95, or the product's colour would bleed into the white beside it.
    "jpeg": Encoding("jpg", "image/jpeg", False, {"quality": 95, "subsampling": 0}),
    "png": Encoding("png", "image/png", True, {"compress_level": 6}),
    "webp": Encoding("webp", "image/webp", True, {"lossless": True, "quality": 50, "method": 0, "exact": True}),
}

LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383}
"""Pixels a side that a format can hold at most."""


def output_format(wanted: str, source_format: str, transparent: bool) -> str:
    """Choose the output format: `same` keeps jpeg, png and webp.

    What is none of these, or cannot be transparent though it must, becomes png.
    """
    chosen = source_format if wanted == "same" else wanted
    if chosen not in ENCODINGS or (transparent and not ENCODINGS[chosen].alpha):
        return "png"
    return chosen


def encode(pixels: NDArray[np.uint8], name: str, source_type: str = "") -> bytes:
    """Encode uint8 [H, W, 3] or [H, W, 4] as a key of ENCODINGS.

    source_type: what made the photo, the one statement that a picture repeats; empty if nobody knows.

    Raises:
        PhotoError: write_failed, if the format cannot hold a picture of this size.
    """
    longest = max(pixels.shape[:2])
    if longest > LONGEST_SIDE.get(name, longest):
        raise PhotoError("write_failed", f"{name} holds at most {LONGEST_SIDE[name]} px a side; use --format png")
    buffer = io.BytesIO()
    options = dict(ENCODINGS[name].options)
    if source_type and name == "png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet(source_type))
    elif source_type:
        options["xmp"] = packet(source_type).encode()
    Image.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()
