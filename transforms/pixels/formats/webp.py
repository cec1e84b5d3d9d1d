"""The header of a WebP: its size and length, before a decoder makes room for it."""

from __future__ import annotations


def size(data: bytes) -> tuple[int, int] | None:
    """Give width and height (of the canvas, RFC 9649), or None if the header is of no known kind."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def is_cut(data: bytes) -> bool:
    """Tell whether the file is shorter than it says."""
    return len(data) < 16 or len(data) < 8 + int.from_bytes(data[4:8], "little")
