"""JPEG whose white is white: what is exactly white in the picture is so in every decoder, beside a product too.

An ordinary JPEG rings: in the blocks of 8×8 at a product's outline, white comes out a few levels darker, and slightly
coloured. Two things together end that. The file holds red, green and blue, not luma and chroma, so that a decoder cuts
each of the three off at 255. And white is written as a value far above 255, from which no ring reaches down to it:
samples are encoded at half their contrast, which leaves room above white, and the quantisation tables in the file are
doubled, which gives the contrast back. (Lifting white in luma alone, as mozjpeg does, leaves the chroma's rings.)

It is plain baseline JPEG. It takes about twice the bytes, as colour is not stored more coarsely than brightness.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transforms.pixels.opencv import cv2

LIFT = 64
"""Levels by which white is written above 255. Rings are less than that down to a quality of about 60."""

_MIDDLE = 128  # of the samples, which is nought to the encoder
_HALVED = np.array([round(_MIDDLE + (level - _MIDDLE) / 2) for level in range(256)], np.uint8)
_WHITE = _MIDDLE + (255 + LIFT - _MIDDLE) // 2


def pure_jpeg(pixels: NDArray[np.uint8], options: dict[str, Any]) -> bytes:
    """Encode uint8 [H, W, 3], RGB. options: Pillow's, `quality` among them."""
    samples = cv2.LUT(pixels, _HALVED)
    white = cv2.inRange(pixels, (255, 255, 255), (255, 255, 255)).reshape(pixels.shape[:2])
    cv2.copyTo(np.full_like(samples, _WHITE), white, samples)
    buffer = io.BytesIO()
    # The encoder's tables are as fine as (100 - quality) is small: half of that, and they are the half.
    options = {**options, "quality": (100 + options["quality"]) // 2, "subsampling": 0, "keep_rgb": True}
    Image.fromarray(samples).save(buffer, "jpeg", **options)
    return _doubled(buffer.getvalue())


def _doubled(data: bytes) -> bytes:
    """Double the quantisation tables of a baseline JPEG: those of 8 bits, up to 127."""
    result, at = bytearray(data), 2
    while result[at + 1] != 0xDA:  # start of scan
        length = int.from_bytes(result[at + 2 : at + 4], "big")
        if result[at + 1] == 0xDB:
            for table in range(at + 4, at + 2 + length, 65):
                result[table + 1 : table + 65] = bytes(2 * step for step in result[table + 1 : table + 65])
        at += 2 + length
    return bytes(result)
