"""What a photo's file says of itself, for pictures that are to repeat it (`--keep_metadata`).

Pixels are upright and sRGB by then and may be framed, so what a file says of its own pixels is not repeated.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from PIL import ExifTags, Image

LONGEST = 65_000
"""Bytes that one statement has room for in a JPEG, about; a longer one is left out."""

_TAGS = {
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software),
    *(ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.HostComputer, ExifTags.Base.Copyright),
    *(ExifTags.Base.XPTitle, ExifTags.Base.XPComment, ExifTags.Base.XPAuthor, ExifTags.Base.XPKeywords),
    ExifTags.Base.XPSubject,
}
"""Of the first directory of EXIF, which in a TIFF says how the pixels lie, too."""
_SIZES = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.Base.ExifInteroperabilityOffset)
_PHOTOSHOP, _IPTC = b"Photoshop 3.0\0", 0x0404


@dataclass(frozen=True, slots=True)
class Metadata:
    """Statements as they stand in a file; empty where there is none.

    exif: with its header, of an upright sRGB picture. xmp: a packet. iptc: records of IPTC-IIM.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""


NOTHING = Metadata()


def read(image: Image.Image) -> Metadata:
    """Read what an opened photo says, upright already. What is damaged or too long is as if it were not there."""
    exif, xmp, iptc = b"", b"", b""
    with suppress(Exception):
        exif = _exif(image)
    with suppress(Exception):
        found = image.info.get("xmp", b"")
        xmp = found.encode() if isinstance(found, str) else bytes(found)
    with suppress(Exception):
        iptc = bytes(image.info["photoshop"][_IPTC])
    return Metadata(*(said if len(said) <= LONGEST else b"" for said in (exif, xmp, iptc)))


def _exif(image: Image.Image) -> bytes:
    found, kept = image.getexif(), Image.Exif()
    for tag in _TAGS & set(found):
        kept[tag] = found[tag]
    for name in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        kept.get_ifd(name).update({tag: value for tag, value in found.get_ifd(name).items() if tag not in _SIZES})
    if not dict(kept) and not any(kept.get_ifd(name) for name in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)):
        return b""
    kept.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ColorSpace] = 1
    return kept.tobytes()


def segment(iptc: bytes) -> bytes:
    """Write IPTC records as a JPEG holds them: one resource in Photoshop's segment."""
    padded = iptc + b"\0" * (len(iptc) % 2)
    resource = b"8BIM" + _IPTC.to_bytes(2, "big") + b"\0\0" + len(iptc).to_bytes(4, "big") + padded
    said = _PHOTOSHOP + resource
    return b"\xff\xed" + (len(said) + 2).to_bytes(2, "big") + said
