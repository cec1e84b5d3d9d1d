"""Pixels to bytes, the same bytes every time: fixed settings, no clock, and of metadata what is asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from transforms.errors import PhotoError
from transforms.pixels.metadata import NOTHING, Metadata, segment
from transforms.pixels.pure import pure_jpeg
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
    "jpeg": Encoding("jpg", "image/jpeg", False, {"quality": 95, "subsampling": 0, "optimize": True}),
    "png": Encoding("png", "image/png", True, {"compress_level": 6}),
    "webp": Encoding("webp", "image/webp", True, {"lossless": True, "quality": 50, "method": 0, "exact": True}),
}

OPTIMIZED = 4_000_000
"""Pixels up to which a JPEG gets Huffman tables of its own: a sixth is saved, and the encoder holds 6 bytes a pixel."""
LOWEST = 40
"""Quality of a JPEG that is to be small, at least."""
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


def encode(
    pixels: NDArray[np.uint8],
    name: str,
    source_type: str = "",
    white: bool = False,
    maximum_bytes: int | None = None,
    metadata: Metadata = NOTHING,
) -> bytes:
    """Encode uint8 [H, W, 3] or [H, W, 4] as a key of ENCODINGS.

    Args:
        source_type: what made the photo, the one statement that every picture repeats; empty if nobody knows.
        white: what is exactly white has to be so in a JPEG too, when that is decoded (pure.py).
        maximum_bytes: a JPEG that is larger is written at the highest quality at which it is not; if there is none from
            LOWEST on, at that. What is lossless is as large as it is.
        metadata: what else the picture is to say; of IPTC's records only a JPEG has room.

    Raises:
        PhotoError: write_failed, if the format cannot hold a picture of this size.
    """
    longest = max(pixels.shape[:2])
    if longest > LONGEST_SIDE.get(name, longest):
        raise PhotoError("write_failed", f"{name} holds at most {LONGEST_SIDE[name]} px a side; use --format png")
    options = {**ENCODINGS[name].options, **_said(name, source_type, metadata)}
    if pixels.shape[0] * pixels.shape[1] > OPTIMIZED:
        options.pop("optimize", None)

    def save(**other: int) -> bytes:
        if white and name == "jpeg":
            return pure_jpeg(pixels, {**options, **other})
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, name, **{**options, **other})
        return buffer.getvalue()

    data = save()
    if name != "jpeg" or maximum_bytes is None or len(data) <= maximum_bytes:
        return data
    low, high = LOWEST, options["quality"]  # low fits, or nothing does; high does not
    data = save(quality=low)
    while low + 1 < high and len(data) <= maximum_bytes:
        middle = (low + high) // 2
        found = save(quality=middle)
        if len(found) <= maximum_bytes:
            low, data = middle, found
        else:
            high = middle
    return data


def _said(name: str, source_type: str, metadata: Metadata) -> dict[str, Any]:
    """Say in the file that its colours are sRGB, for readers that manage colour, and what made the photo."""
    xmp = metadata.xmp or (packet(source_type).encode() if source_type else b"")
    if name == "png":
        chunks = PngInfo()
        chunks.add(b"sRGB", b"\0")
        if xmp:
            chunks.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        return {"pnginfo": chunks, **({"exif": metadata.exif} if metadata.exif else {})}
    said: dict[str, Any] = {"exif": metadata.exif or SRGB}
    if xmp:
        said["xmp"] = xmp
    if metadata.iptc and name == "jpeg":
        said["extra"] = segment(metadata.iptc)
    return said


def _exif_of_srgb() -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 1
    return exif.tobytes()


SRGB = _exif_of_srgb()
"""EXIF with one statement: ColorSpace is sRGB. (A colour profile that says the same takes ten times the bytes.)"""
