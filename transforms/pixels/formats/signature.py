"""What a file is by its first bytes, whatever its name says: a format that is read, or words for one that is not."""

from __future__ import annotations

import json
import re
import zlib
from importlib.util import find_spec

from transforms.errors import PhotoError
from transforms.pixels.formats import boxes

READ_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"

READ = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}

PICTURES = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"8BPS": "PSD",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II\xbc": "JPEG XR",
    b"\x00\x00\x01\x00": "an icon (ICO)",
    b"\x00\x00\x02\x00": "a cursor (CUR)",
    b"icns": "ICNS",
    b"qoif": "QOI",
    b"DDS ": "DDS",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"SIMPLE  =": "FITS",
    b"\x01\xda": "SGI",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"\x01\x00\x09\x00\x00\x03": "WMF",
    b"\x8aMNG": "MNG",
    b"\x8bJNG": "JNG",
    b"gimp xcf": "XCF (GIMP)",
    b"AT&TFORM": "DjVu",
    b"BPG\xfb": "BPG",
    b"FLIF": "FLIF",
    b"\xb6\xa7\xf5\x08": "VIPS",
    b"\x08\xf2\xa6\xb6": "VIPS",
    b"\x1a\x45\xdf\xa3": "a video",
    b"FLV\x01": "a video",
    b"\x00\x00\x01\xba": "a video",
    b"\x00\x00\x01\xb3": "a video",
    b"FUJIFILMCCD-RAW": "Fuji RAF, a camera raw format,",
    b"IIRO": "Olympus ORF, a camera raw format,",
    b"IIRS": "Olympus ORF, a camera raw format,",
    b"MMOR": "Olympus ORF, a camera raw format,",
    b"IIU\0": "Panasonic RW2, a camera raw format,",
    b"II\x1a\0\0\0HEAPCCDR": "Canon CRW, a camera raw format,",
    b"FOVb": "Sigma X3F, a camera raw format,",
    b"\0MRM": "Minolta MRW, a camera raw format,",
}
"""How pictures and videos begin that catalogs hold and that are not read."""

OTHERS = {
    b"PK\x03\x04": "a ZIP archive",
    b"PK\x05\x06": "a ZIP archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Office document",
    b"{\\rtf": "an RTF document",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"ID3": "a sound",
    b"OggS": "a sound or video",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\0\0\0\0\0\0\0\0": "a file that begins with nothing but zeros: was it written whole?",
}
"""How files begin that are no picture, and often stand where one should be."""

RIFF = {b"AVI ": "a video", b"WAVE": "a sound", b"CDR": "CorelDRAW"}


def identify(data: bytes) -> str:
    """Give the name of the format: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIF.

    Raises:
        PhotoError: not_an_image, or unsupported_format for another format or kind of it.
    """
    for beginning, name in READ.items():
        if data.startswith(beginning):
            if name == "TIFF" and data[8:11] == b"CR\x02":
                raise _unread("Canon CR2, a camera raw format,")
            return name
    if data.startswith(b"RIFF"):
        if data[8:12] == b"WEBP":
            return "WEBP"
        raise _unread(next((name for kind, name in RIFF.items() if data[8:].startswith(kind)), "a RIFF file"))
    if data.startswith(b"BM") and len(data) > 18 and data[14] in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    family = boxes.family(data)
    if family == "HEIF" and find_spec("pillow_heif") is None:
        raise PhotoError("unsupported_format", "HEIC is read with the extra heif: pip install 'whitesweep[heif]'")
    if family in ("AVIF", "HEIF"):
        return family
    if family:
        raise _unread(family)
    for beginning, name in PICTURES.items():
        if data.startswith(beginning):
            raise _unread(name)
    raise _stranger(data)


def _unread(name: str) -> PhotoError:
    return PhotoError("unsupported_format", f"{name} is not read; convert it to {READ_IN_WORDS}")


def _stranger(data: bytes) -> PhotoError:
    """Say what a file is that begins like no picture with a signature."""
    for beginning, name in OTHERS.items():
        if data.startswith(beginning):
            return PhotoError("not_an_image", name)
    if data.startswith(b"\x1f\x8b"):
        with_svg = b"<svg" in _first_of_gzip(data)
        return _unread("SVGZ") if with_svg else PhotoError("not_an_image", "a gzip archive")
    if data[257:262] == b"ustar":
        return PhotoError("not_an_image", "a tar archive")
    if re.match(rb"P[1-7F-f]\s", data):
        return _unread("PPM, PGM, PBM or PAM")
    if data[:1] == b"\x0a" and data[1:2] in b"\0\2\3\4\5" and data[2:3] == b"\1":
        return _unread("PCX")
    if data[:4] == b"\1\0\0\0" and data[40:44] == b" EMF":
        return _unread("EMF")
    if data[-18:-2] == b"TRUEVISION-XFILE" or _looks_like_tga(data):
        return _unread("TGA")
    length = int.from_bytes(data[2:6], "little")
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8")) or (data.startswith(b"BM") and length == len(data)):
        return PhotoError("corrupt", "begins like a picture, but its header is damaged")
    return _text(data) or PhotoError("not_an_image", f"the {len(data)} bytes are no {READ_IN_WORDS}")


def _looks_like_tga(data: bytes) -> bool:
    """TGA has no signature: a header in which every field makes sense, and more behind it."""
    if len(data) < 19 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11) or data[17] & 0xC0:
        return False
    width, height, depth = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little"), data[16]
    mapped = data[2] in (1, 9)
    return (
        bool(width and height)
        and depth in (8, 15, 16, 24, 32)
        and (data[1] == 1 or not mapped)
        and data[7] in (0, 15, 16, 24, 32)
    )


def _first_of_gzip(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(31).decompress(data[:8192], 4096)
    except zlib.error:
        return b""


def _text(data: bytes) -> PhotoError | None:
    """Tell what a text is: mostly a server's page about an error, saved under a picture's name."""
    start = data[:4096]
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.decode("utf-16", "replace").encode()
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    low = start.lower()
    if re.match(rb"<(!doctype html|html|head|body|script|title|meta)\b", low) or re.search(
        rb"<(html|!doctype html)\b", low[:1024]
    ):
        return PhotoError(
            "not_an_image", "a web page (HTML): the address gives a page, perhaps about an error, not a picture"
        )
    if low.startswith((b"<?xml", b"<svg", b"<!doctype svg", b"<!--")):
        if b"<svg" in low:
            return _unread("SVG")
        return PhotoError("not_an_image", "an XML document, perhaps a server's answer about an error")
    if start[:1] in (b"{", b"[") and _is_json(data):
        return PhotoError("not_an_image", "a JSON document, perhaps a server's answer about an error")
    readable = re.match(rb"(?:[\t\n\r\x1b\x20-\x7e]|[\xc2-\xf4][\x80-\xbf]+)+", start)
    if readable and len(readable[0]) >= len(start) - 3:  # a character may be cut
        first = readable[0].decode("utf-8", "replace").split("\n")[0][:60].strip()
        return PhotoError("not_an_image", f"a text, which begins with {first!r}")
    return None


def _is_json(data: bytes) -> bool:
    if len(data) > 65536:
        return True
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
