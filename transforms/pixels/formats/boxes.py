"""The boxes of ISO media files (AVIF, HEIC, video): which of them a file is, if it is whole, and its colour codes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
AVIF_BRANDS = (b"avif", b"avis")
STILL_BRANDS = (b"mif1", b"mif2", b"msf1", b"miaf", b"MiHB", b"MiHE", b"MiHA")

MOST_BOXES = 10_000
"""Looked at in one place: a file of nothing but boxes must not cost time."""


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Give each box's kind, and where its content starts and ends; an end past the data's: some is missing."""
    end = len(data) if end is None else min(end, len(data))
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1 and start + 16 <= end:
            size, content = struct.unpack_from(">Q", data, content)[0], start + 16
        elif size == 0:
            size = end - start
        if start + size < content:
            return
        yield kind, content, start + size
        start += size


def family(data: bytes) -> str | None:
    """Tell what a file that begins with an ftyp box is: AVIF, HEIF, or words for a raw file, a video, JPEG 2000.

    None if it does not begin so. Both the major and the compatible brands are looked at.
    """
    if data[4:8] != b"ftyp":
        return None
    size = min(struct.unpack_from(">I", data)[0], len(data), 4096)
    brands = [data[8:12], *(data[i : i + 4] for i in range(16, size - 3, 4))]
    if brands[0] == b"crx ":
        return "Canon CR3, a camera raw format,"
    for among in (brands[:1], brands):
        for family_brands, name in ((AVIF_BRANDS, "AVIF"), (HEIC_BRANDS, "HEIF")):
            if set(among) & set(family_brands):
                return name
    if set(brands) & set(STILL_BRANDS):
        return "AVIF" if b"av01" in data[:65536] else "HEIF"
    return "JPEG 2000" if brands[0] in (b"jp2 ", b"jpx ") else "a video"


def is_cut(data: bytes) -> bool:
    """Tell whether the file ends within a box, before the boxes of properties and pixels, or before an item's bytes do.

    libheif fills the tiles that are missing, and says nothing.
    """
    found = list(boxes(data))
    kinds, last = {kind for kind, _, _ in found}, found[-1][2] if found else 0
    has_pixels = b"mdat" in kinds or b"idat" in data[:65536]  # a small picture may lie within the meta box
    if last > len(data) or not has_pixels or not kinds & {b"meta", b"moov"}:
        return True
    return any(_ends(data, start) > len(data) for kind, start, _ in _within_meta(data) if kind == b"iloc")


def _within_meta(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    for kind, start, end in boxes(data):
        if kind == b"meta":
            yield from boxes(data, start + 4, end)


def _ends(data: bytes, position: int) -> int:
    """Read an iloc box: where the last of the items' bytes in the file ends (ISO/IEC 14496-12, 8.11.3)."""

    def number(width: int) -> int:
        nonlocal position
        position += width
        return int.from_bytes(data[position - width : position], "big")

    version, _, sizes, more = number(1), number(3), number(1), number(1)
    last = 0
    for _ in range(min(number(4 if version == 2 else 2), MOST_BOXES)):
        number(4 if version == 2 else 2)
        in_file = version == 0 or number(2) & 15 == 0
        number(2)
        base = number(more >> 4)
        for _ in range(min(number(2), MOST_BOXES)):
            number(more & 15 if version else 0)
            offset, length = number(sizes >> 4), number(sizes & 15)
            last = max(last, base + offset + length if in_file else 0)
        if position > len(data):
            break
    return last


def properties(data: bytes) -> dict[bytes, list[bytes]]:
    """Give the properties by kind (`ispe`, `colr`, …), those of the primary picture where it says which, first."""
    every: list[tuple[bytes, bytes]] = []
    primary, mine = None, list[int]()
    for kind, start, end in _within_meta(data):
        if kind == b"pitm":
            primary = int.from_bytes(data[start + 4 : start + (8 if data[start] else 6)], "big")
        elif kind == b"iprp":
            for inner, inner_start, inner_end in boxes(data, start, end):
                if inner == b"ipco":
                    every = [(k, data[s:e]) for k, s, e in boxes(data, inner_start, inner_end)]
                elif inner == b"ipma" and primary is not None:
                    mine += _associated(data[inner_start:inner_end], primary)
    chosen = [every[i - 1] for i in mine if 0 < i <= len(every)]
    found: dict[bytes, list[bytes]] = {}
    for kind, content in chosen + every:
        found.setdefault(kind, []).append(content)
    return found


def _associated(box: bytes, item: int) -> list[int]:
    """Read an ipma box: the numbers (from 1) of an item's properties."""
    wide_ids, wide_indices, position = box[0] > 0, box[3] & 1, 8
    for _ in range(min(int.from_bytes(box[4:8], "big"), len(box))):
        width = 4 if wide_ids else 2
        name, count = int.from_bytes(box[position : position + width], "big"), box[position + width]
        position += width + 1
        step = 2 if wide_indices else 1
        numbers = [int.from_bytes(box[position + i * step :][:step], "big") for i in range(count)]
        position += count * step
        if name == item:
            return [number & (0x7FFF if wide_indices else 0x7F) for number in numbers]
    return []


def size(data: bytes) -> tuple[int, int] | None:
    """Give width and height as the primary picture's properties say, before any turn; None if they say nothing."""
    found = properties(data).get(b"ispe")
    if not found or len(found[0]) < 12:
        return None
    width, height = struct.unpack_from(">II", found[0], 4)
    return width, height


def colour_codes(data: bytes) -> tuple[int, int]:
    """Give primaries and transfer function as numbers of ITU-T H.273 (a colr box of type nclx), without one sRGB's."""
    with suppress(IndexError, struct.error):  # a decoder that does not mind damaged boxes has read the picture
        for content in properties(data).get(b"colr", []):
            if content[:4] == b"nclx" and len(content) >= 10:
                primaries, transfer = struct.unpack_from(">HH", content, 4)
                return primaries, transfer
    return 1, 13
