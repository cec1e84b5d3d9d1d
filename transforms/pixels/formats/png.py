"""The chunks of a PNG: its checksums, its colour description by precedence, and all sixteen bits of its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from transforms.errors import PhotoError
from transforms.pixels.formats import icc
from transforms.pixels.formats.patience import PatientFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
SRGB_GAMMA = (0.44, 0.47)
"""What programs write for sRGB (most often 0.45455) when they mean its curve."""


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give each whole chunk's kind, where its content starts, and its length, up to IEND or what is no chunk."""
    position = len(SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data) or not kind.isalpha():
            return
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length


def check(data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Check the checksums: a critical chunk's must be right, an ancillary chunk with a wrong one is left out.

    Returns:
        The file, without such chunks; and the contents of its small chunks before the pixels, by kind.

    Raises:
        PhotoError: corrupt.
    """
    if data[12:16] == b"CgBI":
        raise PhotoError("unsupported_format", "a PNG of iOS apps (CgBI), which is none to others; export it as PNG")
    view, bad, pixels = memoryview(data), [], False
    head: dict[bytes, bytes] = {}
    for kind, start, length in chunks(data):
        if zlib.crc32(view[start - 4 : start + length]) != int.from_bytes(
            view[start + length : start + length + 4], "big"
        ):
            if not kind[0] & 0x20:
                raise PhotoError("corrupt", f"the checksum of a PNG's {kind.decode('latin-1')} chunk is wrong")
            bad.append((start - 8, start + length + 4))
        elif not pixels and length < 1024:
            head.setdefault(kind, data[start : start + length])
        pixels = pixels or kind == b"IDAT"
    if bad:  # an animation that lacks a piece is dropped: its first picture is the one that counts
        bad += [(start - 8, start + length + 4) for kind, start, length in chunks(data) if kind in ANIMATION]
        kept, position = [], 0
        for start, end in sorted(set(bad)):
            kept.append(view[position:start])
            position = end
        data = b"".join((*kept, view[position:]))
    return data, head


def is_cut(data: bytes) -> bool:
    """Tell whether the file has no end, and nothing behind its last whole chunk but a piece of another."""
    end = len(SIGNATURE)
    for kind, start, length in chunks(data):
        if kind == b"IEND":
            return False
        end = start + length + 4
    missing = int.from_bytes(data[end : end + 4].ljust(4, b"\0"), "big") + 12 > len(data) - end
    return missing and (data[end + 4 : end + 8].isalpha() or len(data) < end + 8)


def describe_colour(image: Image.Image, head: dict[bytes, bytes]) -> None:
    """Set the profile of an opened PNG by the precedence of its third edition: cICP, iCCP, sRGB, then gAMA and cHRM.

    Raises:
        PhotoError: unsupported_format, of HDR.
    """
    info = image.info
    codes = head.get(b"cICP", b"")
    if len(codes) == 4 and codes[2] == 0:
        if codes[3] == 0:
            raise PhotoError("unsupported_format", "a PNG in video range, which is not read; export it in full range")
        info["icc_profile"] = icc.from_codes(codes[0], codes[1])
    elif not info.get("icc_profile") and b"sRGB" not in head:
        gamma, primaries = _gamma(head.get(b"gAMA", b"")), icc.SRGB_PRIMARIES
        if len(head.get(b"cHRM", b"")) == 32:
            primaries = tuple(value / 100_000 for value in struct.unpack(">8I", head[b"cHRM"]))
        info["icc_profile"] = icc.from_numbers(primaries, gamma)
    _scale_transparent_level(image, head)


def _gamma(content: bytes) -> float | None:
    """Give the power that undoes a file's gamma; None without, if it is sRGB's, or nonsense."""
    encoded = int.from_bytes(content, "big") / 100_000 if len(content) == 4 else 0.0
    if SRGB_GAMMA[0] <= encoded <= SRGB_GAMMA[1] or not 0.1 <= encoded <= 10:
        return None
    return 1 / encoded


def _scale_transparent_level(image: Image.Image, head: dict[bytes, bytes]) -> None:
    """Pillow stretches 2 and 4 bits to 8, but not the level that is transparent among them."""
    depth, kind = head[b"IHDR"][8:10]
    level = image.info.get("transparency")
    if kind == 0 and depth < 8 and isinstance(level, int):
        image.info["transparency"] = (level & (1 << depth) - 1) * (255 // ((1 << depth) - 1))


def read_deep(data: bytes) -> NDArray[np.uint16] | None:
    """Decode all 16 bits, upright: uint16 [H, W, channels]; None if it has not so many.

    Twice with Pillow, for the upper and the lower byte.
    """
    if data[24:25] != b"\x10" or data[25:26] not in (b"\x02", b"\x04", b"\x06"):
        return None
    if data[25:26] == b"\x04":  # grey with alpha, 2 × 16 bits: bytes and filters are those of RGBA with 4 × 8
        header = b"IHDR" + data[16:24] + b"\x08\x06" + data[26:29]
        as_rgba = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        pairs = _pixels(as_rgba)
        return join(pairs[..., 0::2], pairs[..., 1::2])
    return join(_pixels(data), _pixels(data, "L"))


def join(upper: NDArray[np.uint8], lower: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Join the bytes of 16-bit samples."""
    return np.left_shift(upper, 8, dtype=np.uint16) | lower


def _pixels(data: bytes, byte_order: str = "") -> NDArray[np.uint8]:
    image = Image.open(PatientFile(data), formats=("PNG",))
    if byte_order:
        image.tile = [tile._replace(args=str(tile.args)[:-1] + byte_order) for tile in image.tile]
    return np.asarray(ImageOps.exif_transpose(image))
