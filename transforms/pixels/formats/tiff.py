"""The tags of a TIFF: which page is the photo, what is not read, and how deep its pixels are."""

from __future__ import annotations

import struct
import sys
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

from transforms.errors import PhotoError
from transforms.pixels.formats import png
from transforms.pixels.formats.patience import PatientFile

# Pillow's own reader of uncompressed TIFFs gives garbage for planes of 16 bits, YCbCr and more; libtiff reads them all.
TiffImagePlugin.READ_LIBTIFF = True

SUBFILE_TYPE, COMPRESSION, PHOTOMETRIC, SUB_IFDS, SAMPLE_FORMAT, DNG_VERSION = 254, 259, 262, 330, 339, 50706
BITS = TiffImagePlugin.BITSPERSAMPLE
OFFSETS_AND_COUNTS = (
    (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
    (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
)
UNCOMPRESSED = 1
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
MOST_PAGES = 64

RAW = "a camera raw file, whose small preview is not the photo; develop it, and export a JPEG or a PNG"


def choose_page(image: Image.Image, size: int) -> None:
    """Turn to the first page that is no thumbnail (`reduced-resolution`), and refuse what is not read.

    Args:
        image: the opened file.
        size: bytes of the file.

    Raises:
        PhotoError: unsupported_format or truncated.
    """
    tags = _tags(image)
    if DNG_VERSION in tags:
        raise PhotoError("unsupported_format", f"DNG is {RAW}")
    page = 0
    while _is_reduced(_tags(image)) and page < MOST_PAGES:
        page += 1
        try:
            image.seek(page)
        except EOFError:
            if SUB_IFDS in tags:
                raise PhotoError("unsupported_format", f"the TIFF is {RAW}") from None
            image.seek(0)  # a picture that calls itself a thumbnail, and no other
            break
    tags = _tags(image)
    formats = tags.get(SAMPLE_FORMAT, (1,))
    if set(formats) - {1}:
        kind = "floating-point" if 3 in formats else "signed"
        raise PhotoError("unsupported_format", f"a TIFF of {kind} pixels, which is not read; convert it to 8 bits")
    extra = tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 and len(extra) > 1 and any(extra):
        raise PhotoError(
            "unsupported_format", "a TIFF of planes with more than alpha, which is not read; interleave it"
        )
    if ends_early(image, size):  # else libtiff says so on the terminal
        raise PhotoError("truncated", "the TIFF ends before its pixels do")


def ends_early(image: Image.Image, size: int) -> bool:
    """Tell whether a page's strips or tiles lie behind the end of the file."""
    tags = _tags(image)
    for offsets, counts in OFFSETS_AND_COUNTS:
        for number, (offset, count) in enumerate(zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)):
            if tags.get(COMPRESSION, 1) == UNCOMPRESSED:  # the pixels say how many bytes are wanted, whatever the count
                count = min(count, _strip_bytes(tags, number))
            if offset + count > size:
                return True
    return False


def _strip_bytes(tags: TiffImagePlugin.ImageFileDirectory_v2, number: int) -> int:
    """Compute the bytes of an uncompressed strip or tile."""
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    samples = 1 if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 else tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    if TiffImagePlugin.TILEWIDTH in tags:
        width, rows = tags[TiffImagePlugin.TILEWIDTH], tags[TiffImagePlugin.TILELENGTH]
    else:
        rows = min(tags.get(TiffImagePlugin.ROWSPERSTRIP, height), height)
        strips = -(-height // rows)
        rows = min(rows, height - number % strips * rows)
    return int(-(-width * samples * int(tags.get(BITS, (1,))[0]) // 8) * rows)


def is_cut(data: bytes) -> bool:
    """Tell whether the first page's tags, or what they point to, lie behind the end of the file."""
    order = "<" if data[:1] == b"I" else ">"
    wide = data[2:4] in (b"+\0", b"\0+")
    word = "Q" if wide else "I"
    try:
        offset = struct.unpack_from(order + word, data, 8 if wide else 4)[0]
        number = struct.unpack_from(order + ("Q" if wide else "H"), data, offset)[0]
        for entry in range(min(number, 1000)):
            start = offset + (8 if wide else 2) + entry * (20 if wide else 12)
            _, kind, count, value = struct.unpack_from(f"{order}HH{word}{word}", data, start)
            length = count * VALUE_BYTES.get(kind, 0)
            if length > (8 if wide else 4) and value + length > len(data):
                return True
    except struct.error:
        return True
    return False


def grey_levels(image: Image.Image, values: NDArray[np.integer]) -> tuple[NDArray[np.integer], int]:
    """Give a page's grey of more than 8 bits with black at 0, and the value that is white (of 32 bits the upper 16)."""
    tags = _tags(image)
    bits = int(tags.get(BITS, (16,))[0])
    if bits == 32:
        bits, values = 16, (values.view(np.uint32) >> 16).astype(np.uint16)
    white = (1 << bits) - 1
    if tags.get(PHOTOMETRIC) == 0:  # WhiteIsZero, which Pillow inverts only at 8 bits
        values = np.uint16(white) - values
    return values, white


def read_deep(image: Image.Image, data: bytes) -> NDArray[np.uint16] | None:
    """Decode all 16 bits of the page, upright: uint16 [H, W, channels]; None if it has not so many."""
    page, halves = image.tell(), []
    for byte_order in "NB" if sys.byteorder == "little" else "NL":
        half = Image.open(PatientFile(data), formats=("TIFF",))
        assert isinstance(half, TiffImagePlugin.TiffImageFile)
        half.seek(page)
        name, *others = cast(tuple[str, ...], half.tile[0].args)
        if not name.endswith(";16N"):
            return None
        if name.startswith("RGBa"):
            raise PhotoError("unsupported_format", "a TIFF of 16 linear bits, premultiplied, which is not read")
        half.tile = [half.tile[0]._replace(args=(name[:-1] + byte_order, *others))]
        halves.append(np.asarray(ImageOps.exif_transpose(half)))
    return png.join(*halves)


def _tags(image: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    return image.tag_v2


def _is_reduced(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    return bool(int(tags.get(SUBFILE_TYPE, 0)) & 1)
