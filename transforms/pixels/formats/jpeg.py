"""The markers of a JPEG: kinds that are not read, the colour space of cameras, and a missing end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from PIL import ExifTags, Image

from transforms.errors import PhotoError
from transforms.pixels.formats import icc
from transforms.pixels.formats.patience import PatientFile

FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
UNREAD_FRAMES = {
    0xC3: "lossless",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical"),
    0xCB: "lossless arithmetic",
}
MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""But for those without a length, which stand among compressed pixels."""

END = b"\xff\xd9"
SCAN, RESTART_INTERVAL, FRAME_END = 0xDA, 0xDD, END[1]

CONTINUATIONS = tuple(
    pattern * 64 for pattern in (b"\x00", b"\xff\x00", b"\xaa", b"\x55", b"\x93\x2e\x71\xc8\x4d\xb6\x1a\xe5")
)
"""What might have followed where a file ends: if none of these changes a pixel, all pixels are there."""

PADDING = 16
"""So many zeros at the end are what a disk or an upload left there, not pixels."""

LAST_BYTES = 8
"""Without these, a file that has just all of its pixels has not."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Give each marker with a length, where its content starts and ends; an end past the data's: some is missing.

    The compressed pixels between scans are passed over.
    """
    position = 2
    while found := MARKER.search(data, position):
        marker, position = found[0][-1], found.end()
        if marker == FRAME_END:
            yield marker, position, position
            return
        length = int.from_bytes(data[position : position + 2], "big")
        if length >= 2:
            yield marker, position + 2, position + length
            position += length


def check(data: bytes) -> None:
    """Refuse the kinds of JPEG that are not read.

    Raises:
        PhotoError: unsupported_format.
    """
    for marker, start, end in segments(data):
        if marker in FRAMES:
            if start < end <= len(data) and data[start] != 8:
                kind = f"a {data[start]}-bit JPEG"
            elif end <= len(data) and end > start + 5 and data[start + 5] not in (1, 3, 4):
                kind = f"a JPEG of {data[start + 5]} channels"
            elif marker in UNREAD_FRAMES:
                kind = f"a JPEG of a {UNREAD_FRAMES[marker]} kind"
            else:
                return
            raise PhotoError("unsupported_format", f"{kind}, which is not read; save it as an ordinary 8-bit JPEG")
        if marker == SCAN:
            return


def describe_colour(image: Image.Image) -> None:
    """Set the profile where Pillow does not: of segments behind the frame header, and Adobe RGB of cameras.

    Cameras that are set to Adobe RGB embed no profile, but say so in EXIF (DCF 2.0: interoperability index R03).
    """
    late = sorted(part for part in getattr(image, "icclist", ()) if len(part) > 14)
    if late and late[0][13] == len(late):
        image.info["icc_profile"] = b"".join(part[14:] for part in late)
    if not image.info.get("icc_profile") and b"R03" in image.info.get("exif", b""):
        with suppress(Exception):  # damaged EXIF says nothing
            exif = image.getexif()
            space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
            if str(exif.get_ifd(ExifTags.IFD.Interop).get(1)).startswith("R03") and space != 1:
                image.info["icc_profile"] = icc.from_numbers(icc.ADOBE_RGB, icc.ADOBE_GAMMA)


def complete(data: bytes) -> bytes | None:
    """Give the file with the end marker that it lacks, if that is all it lacks; else None.

    All of its pixels are there if what follows cannot change one of them. They must be there only just: behind what is
    garbage, or what stands in for lost pixels, nothing is certain. Zeros at the end count as no bytes at all.
    """
    bare = data.rstrip(b"\0")
    if len(data) - len(bare) >= PADDING:
        data = bare
    if data.endswith(b"\xff"):
        data = data[:-1]
    if not _has_all(data) or _has_all(data[:-LAST_BYTES]):
        return None
    return data + END


def _has_all(data: bytes) -> bool:
    return _has_every_scan(data) and _is_settled(data)


def _is_settled(data: bytes) -> bool:
    """Decode a beginning of a JPEG with several continuations, and tell whether all give the same pixels."""
    first = None
    for continuation in (b"", *CONTINUATIONS):
        try:
            with Image.open(PatientFile(data + continuation + END), formats=("JPEG",)) as image:
                pixels = hashlib.blake2b(np.asarray(image).data).digest()
        except (OSError, ValueError, SyntaxError):
            return False
        if pixels != (first := first or pixels):
            return False
    return True


def is_cut(data: bytes) -> bool:
    """Tell whether the file has no end marker."""
    return not any(marker == FRAME_END for marker, _, end in segments(data) if end <= len(data))


def _has_every_scan(data: bytes) -> bool:
    """Tell whether the file ends within a scan, and its scans bring every coefficient to its last bit."""
    frame: dict[int, tuple[int, int]] = {}
    bits: dict[tuple[int, int], int] = {}
    progressive, interval, size, last = False, 0, (0, 0), (0, 0, 0)
    for marker, start, end in segments(data):
        if end > len(data) or marker == FRAME_END:
            return False
        last = marker, start, end
        if marker == RESTART_INTERVAL:
            interval = int.from_bytes(data[start : start + 2], "big")
        elif marker in FRAMES:
            progressive = marker in (0xC2, 0xCA)
            size = (
                int.from_bytes(data[start + 3 : start + 5], "big"),
                int.from_bytes(data[start + 1 : start + 3], "big"),
            )
            frame = {data[i]: divmod(data[i + 1], 16) for i in range(start + 6, start + 6 + 3 * data[start + 5], 3)}
        elif marker == SCAN:
            first, final, low = data[end - 3], data[end - 2], data[end - 1] & 15
            for component in data[start + 1 : start + 1 + 2 * data[start] : 2]:
                for k in range(first, min(final, 63) + 1) if progressive else range(64):
                    bits[component, k] = low if progressive else 0
    marker, start, end = last
    if marker != SCAN or not frame or any(bits.get((component, k)) != 0 for component in frame for k in range(64)):
        return False
    # What follows never changes a pixel where a restart marker is due: so all of these must be there.
    blocks = _blocks(frame, [*data[start + 1 : start + 1 + 2 * data[start] : 2]], size)
    return not interval or len(re.findall(rb"\xff[\xd0-\xd7]", data[end:])) == (blocks - 1) // interval


def _blocks(frame: dict[int, tuple[int, int]], scan: list[int], size: tuple[int, int]) -> int:
    """Count the units of a scan between which restart markers stand (MCUs, ITU-T T.81 A.2)."""
    most = [max(factors[axis] for factors in frame.values()) for axis in (0, 1)]
    count = 1
    for axis in (0, 1):
        if len(scan) == 1:
            samples = -(-size[axis] * frame[scan[0]][axis] // most[axis])
            count *= -(-samples // 8)
        else:
            count *= -(-size[axis] // (8 * most[axis]))
    return count
