"""docs/formats.md is true: each of its rows is read as a second opinion reads it, or refused with its code."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pictures
import pytest
from conftest import ROOT
from numpy.typing import NDArray
from pictures import (
    alpha_picture,
    bmp,
    chunk,
    deep_picture,
    encoded,
    gif,
    gif_frame,
    grey_picture,
    picture,
    png,
    scaled,
    tiff,
)
from PIL import Image, ImageCms

from transforms.errors import PhotoError
from transforms.pixels.decode import decode
from transforms.pixels.formats import icc

pyvips = pytest.importorskip("pyvips")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged metadata

TOLERANCE = 2
PICTURE, DEEP, ALPHA = picture(), deep_picture(), alpha_picture()
IMAGE = Image.fromarray(PICTURE)
TRANSPARENT = np.dstack((PICTURE, ALPHA))


@dataclass(frozen=True)
class File:
    """Bytes, and what they must decode to. rgb may be a grey [H, W]; None of alpha means opaque."""

    data: bytes
    rgb: NDArray[Any] | None = None
    alpha: NDArray[Any] | None = None
    tolerance: int = TOLERANCE


ROWS: dict[tuple[str, str], tuple[str, Callable[[], list[File]]]] = {}
"""By format and kind: `read` or the code, and what makes the files."""


def row(form: str, kind: str, verdict: str = "read") -> Callable[[Callable[[], list[File]]], Callable[[], list[File]]]:
    def add(make: Callable[[], list[File]]) -> Callable[[], list[File]]:
        assert (form, kind) not in ROWS
        ROWS[form, kind] = verdict, make
        return make

    return add


def refused(form: str, kind: str, code: str, *files: bytes) -> None:
    row(form, kind, code)(lambda: [File(data) for data in files])


def check(key: tuple[str, str]) -> None:
    verdict, make = ROWS[key]
    for number, file in enumerate(make()):
        if verdict != "read":
            with pytest.raises(PhotoError) as caught:
                decode(file.data)
            assert caught.value.code == verdict, (number, caught.value)
            assert "\n" not in caught.value.message
            continue
        photo = decode(file.data)
        assert file.rgb is not None
        rgb = file.rgb if file.rgb.ndim == 3 else np.repeat(file.rgb[..., None], 3, 2)
        assert photo.rgb.shape == rgb.shape, number
        assert np.abs(photo.rgb.astype(int) - rgb.astype(int)).max() <= file.tolerance, number
        assert (photo.alpha is None) == (file.alpha is None), number
        if file.alpha is not None:
            assert photo.alpha is not None
            assert np.abs(photo.alpha.astype(int) - file.alpha.astype(int)).max() <= 1, number


# Second opinions

SRGB_D50 = [[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
"""XYZ of sRGB's red, green and blue (columns), adapted to D50."""


def vips(data: bytes, profile: bool = False) -> NDArray[Any]:
    """Decode with libvips, to sRGB if asked for."""
    image = pyvips.Image.new_from_buffer(data, "")
    if profile:
        image = image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
    array: NDArray[Any] = image.numpy()
    return array[..., :3] if array.ndim == 3 and array.shape[2] > 2 else array.reshape(*array.shape[:2], -1)[..., 0]


def littlecms(pixels: NDArray[np.uint8], profile: bytes) -> NDArray[Any]:
    """Bring pixels through a profile with LittleCMS."""
    source, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    image = Image.fromarray(pixels)
    converted = ImageCms.profileToProfile(
        image, source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB", flags=ImageCms.Flags.BLACKPOINTCOMPENSATION
    )
    return np.asarray(converted)


def by_formula(pixels: NDArray[Any], gamma: float | None, primaries: str = "srgb", white: int = 65535) -> NDArray[Any]:
    """Compute sRGB from the definitions: decode by a power (None: sRGB's curve), change primaries, encode."""
    to_xyz = {
        "srgb": [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ],
        "p3": [[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0, 0.0451134, 1.0439444]],
        "bt2020": [[0.6369580, 0.1446169, 0.1688810], [0.2627002, 0.6779981, 0.0593017], [0, 0.0280727, 1.0609851]],
        "adobe": [
            [0.5767309, 0.1855540, 0.1881852],
            [0.2973769, 0.6273491, 0.0752741],
            [0.0270343, 0.0706872, 0.9911085],
        ],
    }
    values = pixels / white
    linear = (
        np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        if gamma is None
        else values**gamma
    )
    if linear.ndim == 3 and primaries != "srgb":
        linear = linear @ (np.linalg.inv(to_xyz["srgb"]) @ np.array(to_xyz[primaries])).T
    linear = np.clip(linear, 0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


@functools.cache
def vips_profile(name: str) -> bytes:
    blob = pyvips.Operation.call("profile_load", name)
    return bytes(blob)


def grey_profile(gamma: float) -> bytes:
    tags = {b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)}
    tags[b"kTRC"] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + bytes(78)
    tags[b"cprt"] = b"text\0\0\0\0none\0\0\0\0"
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s12x4s", 128 + len(table) + len(body), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


def linear_profile(name: str = "sRGB linea") -> bytes:
    """Give linear light with sRGB's primaries, under a name of ten letters that says sRGB."""
    return icc.write_profile(np.array(SRGB_D50), 1.0).replace(
        "whitesweep".encode("utf-16-be"), name.encode("utf-16-be")
    )


def grey(white: int) -> NDArray[Any]:
    return scaled(grey_picture(white), white)


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"x\0\0" + zlib.compress(profile)


# PNG


@row("PNG", "RGB, 8 and 16 bits, with and without alpha")
def _() -> list[File]:
    alpha16 = np.dstack((DEEP, ALPHA.astype(np.uint16) * 257))
    plain = [File(png(PICTURE, 2, 8), PICTURE), File(png(DEEP, 2, 16), PICTURE)]
    return [*plain, File(png(TRANSPARENT, 6, 8), PICTURE, ALPHA), File(png(alpha16, 6, 16), PICTURE, ALPHA)]


@row("PNG", "grey of 1, 2, 4, 8 and 16 bits")
def _() -> list[File]:
    return [File(png(grey_picture((1 << bits) - 1), 0, bits), grey((1 << bits) - 1)) for bits in (1, 2, 4, 8, 16)]


@row("PNG", "grey of 1, 2, 4, 8 and 16 bits with a transparent level (tRNS)")
def _() -> list[File]:
    files = []
    for bits in (1, 2, 4, 8, 16):
        levels = grey_picture((1 << bits) - 1)
        for level in {0, (1 << bits) - 1, int(levels[12, 20])}:
            data = png(levels, 0, bits, (b"tRNS", struct.pack(">H", level)))
            files.append(File(data, grey((1 << bits) - 1), np.where(levels == level, 0, 255)))
    return files


@row("PNG", "grey with alpha, 8 and 16 bits")
def _() -> list[File]:
    levels = np.dstack((grey_picture(255), ALPHA))
    deep = np.dstack((grey_picture(65535), ALPHA.astype(int) * 257))
    return [File(png(levels, 4, 8), grey(255), ALPHA), File(png(deep, 4, 16), grey(65535), ALPHA)]


@row("PNG", "RGB of 8 and 16 bits with a transparent colour (tRNS)")
def _() -> list[File]:
    files = []
    for pixels, bits in ((PICTURE, 8), (DEEP, 16)):
        colour = pixels[12, 20]
        near = pixels.copy()
        near[12, 21] = colour ^ 1  # differs in the lowest bit only
        seen = np.where((near == colour).all(2), 0, 255)
        assert (seen == 0).sum() == 1
        files.append(
            File(png(near, 2, bits, (b"tRNS", struct.pack(">3H", *colour))), scaled(near, (1 << bits) - 1), seen)
        )
    return files


@row("PNG", "palette of 1, 2, 4 and 8 bits, with and without transparency")
def _() -> list[File]:
    files = []
    for bits in (1, 2, 4, 8):
        count = 1 << bits
        palette = np.random.default_rng(bits).integers(0, 256, (count, 3)).astype(np.uint8)
        indices, alphas = grey_picture(count - 1), np.linspace(0, 255, count).astype(np.uint8)
        files.append(File(png(indices, 3, bits, (b"PLTE", palette.tobytes())), palette[indices]))
        chunks = (b"PLTE", palette.tobytes()), (b"tRNS", alphas.tobytes())
        files.append(File(png(indices, 3, bits, *chunks), palette[indices], alphas[indices]))
    return files


@row("PNG", "interlaced, 8 and 16 bits")
def _() -> list[File]:
    def interlaced(pixels: NDArray[Any]) -> bytes:
        data: bytes = pyvips.Image.new_from_array(pixels, interpretation="srgb").pngsave_buffer(
            interlace=True, bitdepth=8 * pixels.itemsize
        )
        return data

    deep = np.dstack((DEEP, ALPHA.astype(np.uint16) * 257))
    wide = pyvips.Image.new_from_array(deep).copy(interpretation="rgb16").pngsave_buffer(interlace=True, bitdepth=16)
    return [File(interlaced(PICTURE), PICTURE), File(wide, PICTURE, ALPHA)]


@row("PNG", "animated (APNG): the picture that every viewer shows")
def _() -> list[File]:
    other = Image.new("RGB", IMAGE.size, "red")
    inside = encoded(IMAGE, "PNG", save_all=True, append_images=[other])
    apart = encoded(IMAGE, "PNG", save_all=True, default_image=True, append_images=[other])
    return [File(inside, PICTURE), File(apart, PICTURE)]


@row("PNG", "iCCP: RGB")
def _() -> list[File]:
    p3 = vips_profile("p3")
    steep = linear_profile()
    return [
        File(png(PICTURE, 2, 8, iccp(p3)), littlecms(PICTURE, p3)),
        File(png(TRANSPARENT, 6, 8, iccp(p3)), littlecms(PICTURE, p3), ALPHA),
        File(png(DEEP, 2, 16, iccp(p3)), by_formula(DEEP, None, "p3"), tolerance=3),  # at the edge of sRGB
        File(png(PICTURE, 2, 8, iccp(steep)), littlecms(PICTURE, steep)),
    ]


@row("PNG", "iCCP: linear light of 16 bits, RGB, with alpha, grey")
def _() -> list[File]:
    steep, alpha = linear_profile("linear ten"), ALPHA.astype(np.uint16) * 257
    expected = by_formula(DEEP, 1.0)
    levels = grey_picture(65535)
    return [
        File(png(DEEP, 2, 16, iccp(steep)), expected),
        File(png(np.dstack((DEEP, alpha)), 6, 16, iccp(steep)), expected, ALPHA),
        File(png(levels, 0, 16, iccp(grey_profile(1.0))), by_formula(levels, 1.0)),
        File(png(levels, 0, 16, iccp(steep)), by_formula(levels, 1.0)),
        File(png(np.dstack((levels, alpha)), 4, 16, iccp(grey_profile(1.0))), by_formula(levels, 1.0), ALPHA),
    ]


@row("PNG", "iCCP: grey, with alpha or a transparent level")
def _() -> list[File]:
    files = []
    for gamma in (1.0, 1.8, 2.2):
        profile, levels = grey_profile(gamma), grey_picture(255).astype(np.uint8)
        expected = littlecms(levels, profile)
        files.append(File(png(levels, 0, 8, iccp(profile)), expected))
        files.append(File(png(np.dstack((levels, ALPHA)), 4, 8, iccp(profile)), expected, ALPHA))
        seen = np.where(levels == 200, 0, 255)
        files.append(File(png(levels, 0, 8, iccp(profile), (b"tRNS", b"\0\xc8")), expected, seen))
        deep = grey_picture(65535)
        files.append(File(png(deep, 0, 16, iccp(profile)), by_formula(deep, gamma), tolerance=3))
    return files


@row("PNG", "iCCP that is damaged, or of another colour space: counts as none")
def _() -> list[File]:
    bad = (b"no profile at all", vips_profile("p3")[:300], grey_profile(1.0), vips_profile("cmyk"))
    return [File(png(PICTURE, 2, 8, iccp(profile)), PICTURE) for profile in bad]


@row("PNG", "cICP: sRGB, Display P3, BT.2020 (before iCCP, sRGB and gAMA)")
def _() -> list[File]:
    others = iccp(linear_profile()), (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))
    return [
        File(png(PICTURE, 2, 8, (b"cICP", b"\x01\x0d\0\x01"), *others), PICTURE),
        File(png(PICTURE, 2, 8, (b"cICP", b"\x0c\x0d\0\x01"), *others), by_formula(PICTURE, None, "p3", 255)),
        File(png(PICTURE, 2, 8, (b"cICP", b"\x09\x0d\0\x01")), by_formula(PICTURE, None, "bt2020", 255)),
    ]


@row("PNG", "gAMA and cHRM (if there is no cICP, iCCP or sRGB)")
def _() -> list[File]:
    linear, adobe = (b"gAMA", struct.pack(">I", 100_000)), (b"gAMA", struct.pack(">I", 45_470))
    usual = b"gAMA", struct.pack(">I", 45_455)
    primaries = b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
    srgb = b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    nonsense = b"gAMA", bytes(4)
    levels = grey_picture(65535)
    return [
        File(png(PICTURE, 2, 8, usual), PICTURE, tolerance=0),
        File(png(PICTURE, 2, 8, usual, srgb), PICTURE, tolerance=0),
        File(png(PICTURE, 2, 8, nonsense), PICTURE, tolerance=0),
        File(png(PICTURE, 2, 8, (b"sRGB", b"\0"), linear), PICTURE, tolerance=0),
        File(png(PICTURE, 2, 8, linear), by_formula(PICTURE, 1.0, white=255)),
        File(png(DEEP, 2, 16, linear), by_formula(DEEP, 1.0)),
        File(png(levels, 0, 16, linear), by_formula(levels, 1.0)),
        File(png(PICTURE, 2, 8, adobe, primaries), by_formula(PICTURE, None, "adobe", 255)),
    ]


@row("PNG", "lacks only its IEND, or an ancillary chunk's checksum is wrong")
def _() -> list[File]:
    data = png(PICTURE, 2, 8, (b"tEXt", b"a\0b"))
    at = data.index(b"tEXt") + 7
    iccp_bad = png(PICTURE, 2, 8, iccp(linear_profile()))
    place = iccp_bad.index(b"iCCP") + 30
    return [
        File(data[:-12], PICTURE),
        File(data[:-5], PICTURE),
        File(data[:at] + b"!" + data[at + 1 :], PICTURE),
        File(iccp_bad[:place] + b"!!!" + iccp_bad[place + 3 :], PICTURE),
    ]


refused(
    "PNG",
    "of iOS apps (CgBI)",
    "unsupported_format",
    b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + png(PICTURE, 2, 8)[8:],
)
refused(
    "PNG",
    "HDR (cICP with PQ or HLG), video range",
    "unsupported_format",
    *[png(PICTURE, 2, 8, (b"cICP", bytes(codes))) for codes in ((9, 16, 0, 1), (9, 18, 0, 1), (1, 13, 0, 0))],
)


def damaged(kind: bytes, further: int) -> bytes:
    data = bytearray(png(PICTURE, 2, 8))
    data[data.index(kind) + further] ^= 255
    return bytes(data)


refused(
    "PNG",
    "a critical chunk or its checksum is damaged",
    "corrupt",
    damaged(b"IDAT", 30),
    damaged(b"IDAT", -1 - 4 - 4),
    damaged(b"IHDR", 6),
)


# JPEG


def jpeg(image: Image.Image = IMAGE, **options: Any) -> bytes:
    return encoded(image, "JPEG", **{"quality": 95, "subsampling": 0, **options})


def marker(kind: int, content: bytes) -> bytes:
    return b"\xff" + bytes((kind,)) + struct.pack(">H", len(content) + 2) + content


def after_soi(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


@row("JPEG", "grey, YCbCr with every subsampling, progressive, with restart markers")
def _() -> list[File]:
    kinds = [jpeg(subsampling=kind) for kind in (0, 1, 2)]
    kinds += [jpeg(progressive=True), jpeg(restart_marker_rows=1), jpeg(IMAGE.convert("L")), jpeg(optimize=True)]
    return [File(data, vips(data)) for data in kinds]


@row("JPEG", "RGB without a transform (Adobe marker, or components named RGB)")
def _() -> list[File]:
    data = jpeg(keep_rgb=True)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    named = bytearray(data)
    for i, letter in enumerate(b"RGB"):
        named[frame + 10 + 3 * i], named[scan + 5 + 2 * i] = letter, letter
    if (at := named.find(b"\xff\xee")) > 0:
        del named[at : at + 16]
    return [File(data, PICTURE, tolerance=6), File(bytes(named), PICTURE, tolerance=6)]


@row("JPEG", "CMYK and YCCK, inverted as Adobe does, also without the marker")
def _() -> list[File]:
    data = jpeg(Image.merge("CMYK", [*Image.eval(IMAGE, lambda v: 255 - v).split(), Image.new("L", IMAGE.size)]))
    at = data.index(b"\xff\xee")
    inverse = Image.fromarray(255 - PICTURE).convert("YCbCr")
    planes = [*Image.eval(inverse, lambda v: 255 - v).split(), Image.new("L", IMAGE.size)]
    ycck = bytearray(jpeg(Image.merge("CMYK", planes)))
    ycck[ycck.index(b"\xff\xee") + 15] = 2
    near = 12  # four planes of JPEG
    return [
        File(data, PICTURE, tolerance=near),
        File(data[:at] + data[at + 16 :], PICTURE, tolerance=near),
        File(bytes(ycck), PICTURE, tolerance=near),
    ]


ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMUFRUVDA8XGBYUGBIUFRT/"
    "yQALCAAQABABAREA/8wABgAQEAX/2gAIAQEAAD8A/wC3iG6eYfEW2ci2wdqIERQynQN6tL9YLRbzIyoClWLS7c0VZYPB10e4y4KPcI4wv3mV8t5nK7VMH1WF"
    "QP2RxoD/2Q=="
)
"""jpegtran -arithmetic, of a slope with a white square."""


@row("JPEG", "arithmetic coding")
def _() -> list[File]:
    slope = np.linspace(0, 255, 16)
    expected = (slope[:, None] * 0.5 + slope[None] * 0.5).astype(np.uint8)
    expected[4:8, 4:8] = 255
    return [File(base64.b64decode(ARITHMETIC), expected, tolerance=12)]


@row("JPEG", "CMYK with a profile")
def _() -> list[File]:
    data = jpeg(IMAGE.convert("CMYK"), icc_profile=vips_profile("cmyk"))
    return [File(data, vips(data, profile=True), tolerance=3)]


@row("JPEG", "a profile, also in several segments out of order, and behind the frame header")
def _() -> list[File]:
    p3, data = vips_profile("p3"), jpeg()
    plain = np.asarray(Image.open(io.BytesIO(data)))
    middle = len(p3) // 2
    parts = [
        marker(0xE2, b"ICC_PROFILE\0" + bytes((i + 1, 2)) + part) for i, part in enumerate((p3[:middle], p3[middle:]))
    ]
    frame = data.index(b"\xff\xc4")
    return [
        File(jpeg(icc_profile=p3), littlecms(plain, p3)),
        File(after_soi(data, parts[1], parts[0]), littlecms(plain, p3)),
        File(data[:frame] + parts[0] + parts[1] + data[frame:], littlecms(plain, p3)),
    ]


@row("JPEG", "grey with a grey profile, or with an RGB one")
def _() -> list[File]:
    levels = grey_picture(255).astype(np.uint8)
    files = []
    for profile in (grey_profile(1.0), grey_profile(1.8), linear_profile()):
        data = jpeg(Image.fromarray(levels), icc_profile=profile, quality=100)
        plain = np.asarray(Image.open(io.BytesIO(data)))
        rgb = plain if b"GRAY" in profile[:20] else np.repeat(plain[..., None], 3, 2)
        files.append(File(data, littlecms(rgb, profile)))
    return files


@row("JPEG", "Adobe RGB by EXIF alone (interoperability index R03)")
def _() -> list[File]:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03\0"}
    data = jpeg(quality=100, exif=exif.tobytes())
    plain = np.asarray(Image.open(io.BytesIO(data)))
    exif.get_ifd(0x8769)[0xA001] = 1  # says sRGB
    same = jpeg(quality=100, exif=exif.tobytes())
    return [File(data, by_formula(plain, 563 / 256, "adobe", 255)), File(same, plain, tolerance=0)]


@row("JPEG", "orientation (EXIF); bytes behind the end; further pictures (MPO)")
def _() -> list[File]:
    exif, turned = Image.Exif(), Image.Exif()
    exif[0x0112], turned[0x0112] = 1, 6
    data = jpeg()
    mpo = encoded(IMAGE, "MPO", save_all=True, append_images=[Image.new("RGB", IMAGE.size)], quality=95, subsampling=0)
    plain = vips(data)
    return [
        File(jpeg(exif=turned), np.rot90(plain, -1)),
        File(data + b"garbage \xff\xd8" * 9, plain),
        File(mpo, plain),
    ]


@row("JPEG", "lacks only its end marker, or half of it")
def _() -> list[File]:
    kinds = [jpeg(), jpeg(progressive=True), jpeg(restart_marker_rows=1), jpeg(IMAGE.convert("CMYK"))]
    return [File(data[:-cut], decode(data).rgb, tolerance=0) for data in kinds for cut in (1, 2)]


def two_channels() -> bytes:
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 9] = 2
    return bytes(data)


def as_frame(kind: int, bits: int = 8) -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = kind, bits
    return bytes(data)


refused(
    "JPEG",
    "12 bits, lossless, hierarchical, two channels",
    "unsupported_format",
    as_frame(0xC1, 12),
    as_frame(0xC3),
    as_frame(0xC5),
    as_frame(0xCB),
    two_channels(),
)
refused("JPEG", "ends early", "truncated", jpeg()[:-30], jpeg(progressive=True)[:-40], jpeg()[:100])


# WebP, GIF, BMP


@row("WebP", "lossy and lossless, with alpha, with a profile, animated")
def _() -> list[File]:
    p3, rgba = vips_profile("p3"), Image.fromarray(TRANSPARENT)
    lossy = encoded(IMAGE, "WEBP", quality=95)
    both = encoded(rgba, "WEBP", lossless=True, exact=True, icc_profile=p3)
    moving = encoded(IMAGE, "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", IMAGE.size)])
    return [
        File(lossy, vips(lossy)),
        File(encoded(rgba, "WEBP", lossless=True, exact=True), PICTURE, ALPHA),
        File(both, littlecms(PICTURE, p3), ALPHA),
        File(moving, PICTURE),
    ]


refused("WebP", "ends early", "truncated", encoded(IMAGE, "WEBP")[:-9], encoded(IMAGE, "WEBP")[:60])

COLOURS = np.random.default_rng(3).integers(0, 256, (4, 3)).astype(np.uint8)
INDICES = grey_picture(3)


@row("GIF", "global and local palettes, transparency, the first frame")
def _() -> list[File]:
    size, second = (pictures.WIDTH, pictures.HEIGHT), gif_frame(INDICES * 0)
    local = COLOURS[::-1]
    return [
        File(gif(size, [gif_frame(INDICES), second], COLOURS.tobytes()), COLOURS[INDICES]),
        File(gif(size, [gif_frame(INDICES, palette=local.tobytes())], COLOURS.tobytes()), local[INDICES]),
        File(gif(size, [gif_frame(INDICES, palette=local.tobytes())]), local[INDICES]),
        *[
            File(
                gif(size, [gif_frame(INDICES, transparent=2, disposal=disposal), second], COLOURS.tobytes()),
                COLOURS[INDICES],
                np.where(INDICES == 2, 0, 255),
            )
            for disposal in (0, 1, 2, 3)
        ],
    ]


@row("GIF", "a first frame smaller than the picture: transparent around it")
def _() -> list[File]:
    files = []
    for transparent in (None, 2):
        data = gif((60, 40), [gif_frame(INDICES, at=(10, 8), transparent=transparent)], COLOURS.tobytes(), background=1)
        alpha = np.zeros((40, 60), int)
        alpha[8:32, 10:50] = 255 if transparent is None else np.where(INDICES == 2, 0, 255)
        photo = decode(data)
        rgb = photo.rgb.copy()  # what lies under alpha 0 is anything
        rgb[8:32, 10:50] = COLOURS[INDICES]
        files.append(File(data, rgb, alpha))
    return files


refused(
    "BMP", "JPEG or PNG inside", "unsupported_format", bmp(jpeg(), 24, compression=4), bmp(jpeg(), 24, compression=5)
)


@row("BMP", "run lengths (RLE4, RLE8)")
def _() -> list[File]:
    files = []
    for bits, how in ((8, 1), (4, 2)):
        palette = b"".join(bytes((*colour[::-1], 0)) for colour in COLOURS) + bytes(4 * ((1 << bits) - 4))
        rows = b""
        for line in INDICES[::-1]:
            pixels = line.tolist()
            starts = [x for x in range(pictures.WIDTH) if not x or pixels[x] != pixels[x - 1]]
            for start, end in zip(starts, [*starts[1:], pictures.WIDTH], strict=True):
                rows += bytes((end - start, pixels[start] * (17 if bits == 4 else 1)))
            rows += b"\0\0"
        data = bytearray(bmp(palette + rows + b"\0\1", bits, compression=how))
        data[10:14] = struct.pack("<I", 54 + len(palette))
        files.append(File(bytes(data), COLOURS[INDICES]))
    return files


@row("BMP", "1, 4, 8, 16, 24 and 32 bits, bit masks, top-down, OS/2")
def _() -> list[File]:
    bgr = PICTURE[..., ::-1]
    up = bgr[::-1].tobytes()
    five = PICTURE >> 3
    words = (five[..., 0].astype(np.uint16) << 10) | (five[..., 1].astype(np.uint16) << 5) | five[..., 2]
    words565 = (five[..., 0].astype(np.uint16) << 11) | ((PICTURE[..., 1] >> 2).astype(np.uint16) << 5) | five[..., 2]
    bgrx = np.dstack((bgr, np.zeros_like(ALPHA)))[::-1].tobytes()
    bgra = np.dstack((bgr, ALPHA))[::-1].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    near = scaled(five, 31)
    six = np.dstack((near[..., 0], scaled(PICTURE[..., 1] >> 2, 63), near[..., 2]))
    paletted = [
        encoded(IMAGE.convert("1"), "BMP"),
        encoded(IMAGE.quantize(16), "BMP"),
        encoded(IMAGE.convert("L"), "BMP"),
    ]
    return [
        File(bmp(up, 24), PICTURE),
        File(bmp(bgr.tobytes(), 24, top_down=True), PICTURE),
        File(bmp(up, 24, header=12), PICTURE),
        File(bmp(bgrx, 32), PICTURE),
        File(bmp(bgra, 32, masks=masks, compression=3, header=108), PICTURE, ALPHA),
        File(bmp(bgra, 32, masks=masks, compression=3, header=124), PICTURE, ALPHA),
        File(bmp(words[::-1].tobytes(), 16), near),
        File(bmp(words565[::-1].tobytes(), 16, masks=struct.pack("<3I", 0xF800, 0x7E0, 0x1F), compression=3), six),
        File(paletted[0], np.asarray(IMAGE.convert("1")) * 255),
        File(paletted[1], np.asarray(IMAGE.quantize(16).convert("RGB"))),
        File(paletted[2], np.asarray(IMAGE.convert("L"))),
    ]


# TIFF


def every(samples: NDArray[Any], bits: int, photometric: int, planar: int, **options: Any) -> list[bytes]:
    """Write every mixture of byte order, compression, predictor, and strips or tiles."""
    return [
        tiff(
            samples,
            bits,
            photometric,
            order=order,
            planar=planar,
            compression=how,
            predictor=predictor,
            tile=tile,
            **options,
        )
        for order in "<>"
        for how, predictor in ((1, 1), (8, 1), (8, 2))
        for tile in (0, 16)
        if bits >= 8 or predictor == 1
    ]


EXTRA: dict[int, tuple[str, tuple[int, ...]]] = {338: ("H", (2,))}

for planar, where in ((1, "interleaved"), (2, "in planes")):

    @row(
        "TIFF",
        f"RGB of 8 and 16 bits, with and without alpha, {where}; any byte order, strips, tiles, predictor 2",
    )
    def _(planar: int = planar) -> list[File]:
        deep = np.dstack((DEEP, ALPHA.astype(np.uint16) * 257))
        return [
            *[File(data, PICTURE) for data in every(PICTURE, 8, 2, planar) + every(DEEP, 16, 2, planar)],
            *[
                File(data, PICTURE, ALPHA)
                for data in every(TRANSPARENT, 8, 2, planar, tags=EXTRA) + every(deep, 16, 2, planar, tags=EXTRA)
            ],
        ]


@row("TIFF", "grey of 1, 2, 4, 8 and 16 bits, black or (not 16 bits of big-endian) white at 0")
def _() -> list[File]:
    files = []
    for bits in (1, 2, 4, 8, 16):
        white = (1 << bits) - 1
        levels = grey_picture(white)[..., None]
        files += [File(data, grey(white)) for data in every(levels, bits, 1, 1)]
        inverted = every(white - levels, bits, 0, 1)
        files += [File(data, grey(white)) for data in inverted if bits < 16 or data[:2] == b"II"]
    return files


@row("TIFF", "grey of 12 and 32 bits, little-endian, black at 0")
def _() -> list[File]:
    return [
        File(tiff(grey_picture((1 << bits) - 1)[..., None], bits, 1, compression=how), grey((1 << bits) - 1))
        for bits in (12, 32)
        for how in (1, 8)
    ]


@row("TIFF", "palette of 1, 2, 4 and 8 bits")
def _() -> list[File]:
    files = []
    for bits in (1, 2, 4, 8):
        colours = np.random.default_rng(bits).integers(0, 256, (1 << bits, 3))
        indices = grey_picture((1 << bits) - 1)
        tags: dict[int, tuple[str, tuple[int, ...]]] = {320: ("H", tuple((colours.T * 257).ravel().tolist()))}
        files += [File(data, colours[indices]) for data in every(indices[..., None], bits, 3, 1, tags=tags)]
    return files


@row("TIFF", "premultiplied (associated) alpha; further samples that are no alpha")
def _() -> list[File]:
    solid = np.maximum(ALPHA, 40)
    multiplied = np.dstack((PICTURE.astype(int) * solid[..., None] // 255, solid)).astype(np.uint8)
    more = np.dstack((PICTURE, ALPHA, ALPHA))
    return [
        File(tiff(multiplied, 8, 2, tags={338: ("H", (1,))}), PICTURE, solid, tolerance=7),
        File(tiff(TRANSPARENT, 8, 2, tags={338: ("H", (0,))}), PICTURE),
        File(tiff(TRANSPARENT, 8, 2, planar=2, tags={338: ("H", (0,))}), PICTURE),
        File(tiff(more, 8, 2, tags={338: ("H", (0, 0))}), PICTURE),
        File(tiff(more, 8, 2, tags={338: ("H", (2, 0))}), PICTURE, ALPHA),
        File(tiff(np.dstack((grey_picture(255), ALPHA)), 8, 1, tags=EXTRA), grey(255), ALPHA),
    ]


@row("TIFF", "CMYK of 8 and 16 bits, with and without a profile")
def _() -> list[File]:
    cmyk = np.dstack((255 - PICTURE, np.full_like(ALPHA, 30)))
    formula = np.rint(PICTURE.astype(int) * (255 - 30) / 255)
    plain = [tiff(cmyk, 8, 5), tiff(cmyk, 8, 5, planar=2), tiff(cmyk, 8, 5, compression=8, order=">")]
    plain += [tiff(cmyk.astype(np.uint16) * 257, 16, 5, order=order) for order in "<>"]
    profile = vips_profile("cmyk")
    with_profile = tiff(cmyk, 8, 5, tags={34675: ("B", tuple(profile))})
    return [*[File(data, formula) for data in plain], File(with_profile, vips(with_profile, profile=True), tolerance=3)]


@row("TIFF", "L*a*b* of 8 bits")
def _() -> list[File]:
    step, to_xyz, d50 = 6 / 29, np.array(SRGB_D50), np.array((0.9642, 1, 0.8249))
    values = PICTURE / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = linear @ to_xyz.T / d50
    f = np.where(xyz > step**3, np.cbrt(xyz), xyz / (3 * step**2) + 4 / 29)
    lightness, a, b = 116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    lab = np.rint(np.stack((lightness * 2.55, a, b), -1)).astype(int)
    middle = (lab[..., 0] / 2.55 + 16) / 116
    f = np.stack((middle + lab[..., 1] / 500, middle, middle - lab[..., 2] / 200), -1)
    again = np.where(f > step, f**3, 3 * step**2 * (f - 4 / 29)) * d50
    rgb = np.clip(again @ np.linalg.inv(to_xyz).T, 0, 1)
    expected = 255 * np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    return [File(tiff(lab & 255, 8, 8), expected, tolerance=4)]


@row("TIFF", "LZW, PackBits, JPEG (YCbCr and RGB), CCITT, ZSTD, WebP inside")
def _() -> list[File]:
    files = [
        File(encoded(IMAGE, "TIFF", compression=how), PICTURE) for how in ("tiff_lzw", "packbits", "tiff_adobe_deflate")
    ]
    files += [File(vips_tiff(PICTURE, compression="lzw", predictor="horizontal"), PICTURE)]
    files += [File(vips_tiff(DEEP, "rgb16", compression="lzw", predictor="horizontal"), PICTURE)]
    data = vips_tiff(PICTURE, compression="jpeg", Q=95)
    files += [
        File(data, vips(data)),
        File(encoded(IMAGE, "TIFF", compression="jpeg", quality=95), PICTURE, tolerance=40),
    ]
    black = IMAGE.convert("1")
    files += [File(encoded(black, "TIFF", compression=how), np.asarray(black) * 255) for how in ("group3", "group4")]
    return files


def vips_tiff(pixels: NDArray[Any], interpretation: str = "srgb", **options: Any) -> bytes:
    data: bytes = pyvips.Image.new_from_array(pixels).copy(interpretation=interpretation).tiffsave_buffer(**options)
    return data


@row("TIFF", "YCbCr, uncompressed")
def _() -> list[File]:
    ycbcr = np.asarray(IMAGE.convert("YCbCr"))
    return [File(tiff(ycbcr, 8, 6, tags={530: ("H", (1, 1))}, compression=how), PICTURE, tolerance=4) for how in (1, 8)]


@row("TIFF", "BigTIFF (little-endian); orientation; a thumbnail before the photo")
def _() -> list[File]:
    small = Image.fromarray(PICTURE[::4, ::4])
    pages = encoded(small, "TIFF", tiffinfo={254: 1}, save_all=True, append_images=[IMAGE])
    assert decode_first_subfile(pages) == 1
    return [
        File(tiff(PICTURE, 8, 2, big=True), PICTURE),
        File(tiff(PICTURE, 8, 2, tags={274: ("H", (6,))}), np.rot90(PICTURE, -1)),
        File(tiff(DEEP, 16, 2, tags={274: ("H", (8,))}), np.rot90(PICTURE, 1)),
        File(thumbnail_first(), PICTURE),
        File(tiff(PICTURE, 8, 2, tags={254: ("I", (1,))}), PICTURE),
    ]


def decode_first_subfile(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return int(image.tag_v2.get(254, 0))  # type: ignore[attr-defined]


def thumbnail_first() -> bytes:
    """Join two pages: a reduced one, and the photo."""
    pages = [Image.fromarray(PICTURE[::4, ::4]), IMAGE]
    data = bytearray(encoded(pages[0], "TIFF", tiffinfo={254: 1}, save_all=True, append_images=pages[1:]))
    with Image.open(io.BytesIO(bytes(data))) as image:
        image.seek(1)
        offset = image.tag_v2._offset  # type: ignore[attr-defined]
    for entry in range(struct.unpack_from("<H", data, offset)[0]):
        at = offset + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] == 254:
            struct.pack_into("<I", data, at + 8, 0)
    return bytes(data)


@row("TIFF", "a profile, RGB of 8 bits, and linear light of 16 bits")
def _() -> list[File]:
    p3, steep = vips_profile("p3"), linear_profile()
    alpha = np.dstack((DEEP, ALPHA.astype(np.uint16) * 257))
    return [
        File(tiff(PICTURE, 8, 2, tags={34675: ("B", tuple(p3))}), littlecms(PICTURE, p3)),
        File(tiff(DEEP, 16, 2, tags={34675: ("B", tuple(steep))}), by_formula(DEEP, 1.0)),
        File(tiff(DEEP, 16, 2, order=">", planar=2, tags={34675: ("B", tuple(steep))}), by_formula(DEEP, 1.0)),
        File(tiff(alpha, 16, 2, tags={34675: ("B", tuple(steep)), **EXTRA}), by_formula(DEEP, 1.0), ALPHA),
        File(
            tiff(grey_picture(65535)[..., None], 16, 1, tags={34675: ("B", tuple(grey_profile(1.0)))}),
            by_formula(grey_picture(65535), 1.0),
        ),
    ]


def of_bits(bits: int, photometric: int = 1, order: str = "<", kind: int = 1) -> bytes:
    levels = grey_picture((1 << bits) - 1)[..., None]
    return tiff(levels, bits, photometric, order=order, tags={339: ("H", (kind,))})


refused(
    "TIFF",
    "10 and 14 bits; 12 and 32 bits of big-endian or with white at 0; RGB of 12 bits",
    "unsupported_format",
    *[
        of_bits(10),
        of_bits(14),
        of_bits(12, order=">"),
        of_bits(12, 0),
        of_bits(32, order=">"),
        of_bits(32, 0),
        of_bits(16, 0, order=">"),
        tiff(scaled(DEEP, 65535, 4095), 12, 2),
    ],
)
refused(
    "TIFF",
    "signed and floating-point samples",
    "unsupported_format",
    *[of_bits(bits, kind=kind) for bits, kind in ((8, 2), (16, 2), (32, 2), (16, 3), (32, 3))],
    tiff(DEEP.astype(np.uint32), 32, 2, tags={339: ("H", (3, 3, 3))}),
)
refused(
    "TIFF",
    "L*a*b* of 16 bits; grey of 16 bits with alpha; BigTIFF of big-endian; alpha and more in planes",
    "unsupported_format",
    tiff(PICTURE, 8, 2, big=True, order=">"),
    tiff(np.dstack((PICTURE, ALPHA, ALPHA)), 8, 2, planar=2, tags={338: ("H", (2, 0))}),
    tiff(DEEP, 16, 8),
    tiff(DEEP[..., :2], 16, 1, tags=EXTRA),
)
refused(
    "TIFF",
    "camera raw (DNG, NEF, ARW, CR2): its preview is not the photo",
    "unsupported_format",
    tiff(PICTURE, 8, 2, tags={50706: ("B", (1, 4, 0, 0)), 254: ("I", (1,))}),
    tiff(PICTURE, 8, 2, tags={254: ("I", (1,)), 330: ("I", (8,))}),
    b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),
    tiff(grey_picture(65535)[..., None], 16, 32803),
)
refused(
    "TIFF",
    "ends early",
    "truncated",
    tiff(PICTURE, 8, 2)[:900],
    encoded(IMAGE, "TIFF")[:-20],
    encoded(IMAGE, "TIFF", compression="jpeg")[:-20],
)


# AVIF and HEIC


def avif(**options: Any) -> bytes:
    return encoded(IMAGE, "AVIF", **{"quality": 100, "subsampling": "4:4:4", **options})


def with_codes(data: bytes, primaries: int, transfer: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@row("AVIF", "with alpha, orientation, a profile, P3 and BT.2020 by number (nclx)")
def _() -> list[File]:
    p3, turned = vips_profile("p3"), Image.Exif()
    turned[0x0112] = 6
    data = avif()
    plain = np.asarray(Image.open(io.BytesIO(data)))
    rgba = encoded(Image.fromarray(TRANSPARENT), "AVIF", quality=100, subsampling="4:4:4")
    return [
        File(data, PICTURE, tolerance=12),
        File(rgba, np.asarray(Image.open(io.BytesIO(rgba)))[..., :3], ALPHA),
        File(avif(exif=turned), np.rot90(plain, -1)),
        File(avif(icc_profile=p3), littlecms(plain, p3)),
        File(with_codes(data, 12, 13), by_formula(plain, None, "p3", 255)),
        File(with_codes(data, 9, 1), by_formula(plain, None, "bt2020", 255)),
        File(with_codes(data, 1, 8), by_formula(plain, 1.0, white=255)),
        File(with_codes(data, 2, 2), plain, tolerance=0),
    ]


@row("AVIF", "10 and 12 bits")
def _() -> list[File]:
    deep = pyvips.Image.new_from_array(DEEP).copy(interpretation="rgb16")
    return [
        File(bytes(deep.heifsave_buffer(compression="av1", bitdepth=bits, lossless=True)), PICTURE) for bits in (10, 12)
    ]


refused("AVIF", "HDR (PQ, HLG)", "unsupported_format", with_codes(avif(), 9, 16), with_codes(avif(), 9, 18))
refused("AVIF", "ends early", "truncated", avif()[:-40], avif()[:200])


def heic(image: Image.Image = IMAGE, **options: Any) -> bytes:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, **{"quality": -1, "chroma": 444, "matrix_coefficients": 0, **options})
    return buffer.getvalue()


@row("HEIC", "8 and 10 bits, grey, with alpha, tiles, several pictures (the primary one)")
def _() -> list[File]:
    heif = pytest.importorskip("pillow_heif")
    deep, buffer = heif.from_bytes("RGB;16", IMAGE.size, DEEP.astype("<u2").tobytes()), io.BytesIO()
    deep.save(buffer, quality=-1, chroma=444, matrix_coefficients=0)
    large = Image.fromarray(np.tile(PICTURE, (6, 4, 1)))
    several = io.BytesIO()
    both = heif.from_pillow(Image.new("RGB", (64, 64)))
    both.add_from_pillow(IMAGE)
    both.save(several, quality=-1, chroma=444, matrix_coefficients=0, primary_index=1)
    return [
        File(heic(), PICTURE),
        File(buffer.getvalue(), PICTURE),
        File(heic(Image.fromarray(grey_picture(255).astype(np.uint8))), grey(255)),
        File(heic(Image.fromarray(TRANSPARENT)), PICTURE, ALPHA),
        File(heic(large, tile_size=64), np.asarray(large)),
        File(several.getvalue(), PICTURE),
    ]


@row("HEIC", "orientation, which is applied once")
def _() -> list[File]:
    turned = Image.Exif()
    turned[0x0112] = 6
    files = []
    for orientation in range(2, 9):
        turned[0x0112] = orientation
        data = heic(exif=turned.tobytes())
        expected = decode(encoded(IMAGE, "PNG", exif=turned)).rgb
        files.append(File(data, expected))
    return files


@row("HEIC", "a profile, P3 and BT.2020 by number (nclx)")
def _() -> list[File]:
    p3 = vips_profile("p3")
    with_profile = Image.fromarray(PICTURE)
    with_profile.info["icc_profile"] = p3
    return [
        File(heic(with_profile), littlecms(PICTURE, p3)),
        File(with_codes(heic(), 12, 13), by_formula(PICTURE, None, "p3", 255)),
        File(with_codes(heic(), 9, 14), by_formula(PICTURE, None, "bt2020", 255)),
        File(with_codes(heic(), 2, 2), PICTURE),
    ]


row("HEIC", "HDR (PQ, HLG)", "unsupported_format")(
    lambda: [File(with_codes(heic(), 9, transfer)) for transfer in (16, 18)]
)
row("HEIC", "ends early", "truncated")(lambda: [File(heic()[:cut]) for cut in (-10, 300)])

# What is not read

WEB_PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>404</body></html>"
refused(
    "not read",
    "SVG and SVGZ",
    "unsupported_format",
    b"<?xml version='1.0'?>\n<!-- x --><svg/>",
    b"<svg xmlns=''/>",
    gzip.compress(b"<?xml?><svg/>"),
)
refused(
    "not read",
    "PDF, PostScript, PSD, XCF, DjVu",
    "unsupported_format",
    b"%PDF-1.7",
    b"%!PS-Adobe",
    b"8BPS\0\1",
    b"gimp xcf v011",
    b"AT&TFORM",
)
refused(
    "not read",
    "JPEG 2000, JPEG XL, JPEG XR",
    "unsupported_format",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51\0",
    b"\xff\x0a\x01",
    b"\0\0\0\x0cJXL \r\n",
    b"II\xbc\x01\x08",
    b"\0\0\0\x18ftypjp2 " + bytes(99),
)
TGA = bytes((0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 24, 0)) + bytes(192)
refused(
    "not read",
    "TGA, QOI, PPM, PGM, PAM, PFM, PCX, SGI, DDS, FITS, ICNS, ICO, CUR",
    "unsupported_format",
    TGA,
    TGA + b"TRUEVISION-XFILE.\0",
    b"qoif" + bytes(20),
    b"P6 8 8 255\n",
    b"P5\n",
    b"P2\n8 8",
    b"P7\nWIDTH 8",
    b"Pf\n",
    b"\x0a\x05\x01\x08" + bytes(130),
    b"\x01\xda\x01\x01",
    b"DDS |",
    b"SIMPLE  =                    T",
    b"icns\0\0",
    b"\0\0\1\0\1\0",
    b"\0\0\2\0\1\0",
)
refused(
    "not read",
    "OpenEXR, Radiance HDR, WMF, EMF",
    "unsupported_format",
    b"\x76\x2f\x31\x01\2\0",
    b"#?RADIANCE\n",
    b"\xd7\xcd\xc6\x9a\0\0",
    b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(50),
)
refused(
    "not read",
    "camera raw: CR3, CRW, RAF, ORF, RW2, X3F, MRW",
    "unsupported_format",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    b"II\x1a\0\0\0HEAPCCDR",
    b"FUJIFILMCCD-RAW",
    b"IIRO\x08",
    b"IIU\0\x18",
    b"FOVb",
    b"\0MRM",
)
refused(
    "not read",
    "video: MP4, MOV, 3GP, WebM, AVI, MPEG",
    "unsupported_format",
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    b"\0\0\0\x18ftyp3gp5\0\0\0\0",
    b"\0\0\0\x20ftypisom" + bytes(20),
    b"\x1a\x45\xdf\xa3\1",
    b"RIFF\0\0\1\0AVI LIST",
    b"\0\0\1\xba\x44",
)
refused(
    "no picture",
    "a web page",
    "not_an_image",
    WEB_PAGE,
    b"<html><head>",
    b"\n\n <!-- a --> <HTML>",
    "\ufeff<!doctype html>".encode("utf-16-le"),
)
refused(
    "no picture",
    "an error as XML, JSON or text",
    "not_an_image",
    b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    b'{"error": "not found"}',
    b"Not Found\n",
)
refused(
    "no picture",
    "a Git LFS pointer",
    "not_an_image",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
)
refused(
    "no picture",
    "an archive, a document, a program, zeros, nothing",
    "not_an_image",
    b"PK\x03\x04\x14",
    b"Rar!\x1a\x07\x01",
    gzip.compress(b"x"),
    b"7z\xbc\xaf\x27\x1c",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"MZ\x90",
    bytes(4096),
    b"",
    bytes(257) + b"ustar" + bytes(99),
    b"ID3\4",
    b"BMW sales figures of the year, in a text",
)
refused(
    "any",
    "begins like a picture, with a damaged header",
    "corrupt",
    b"\x89PNG\n\x1a\n" + bytes(99),
    b"GIF80a" + bytes(99),
    b"\xff\xd8\0\0\0" + bytes(99),
)


@pytest.mark.parametrize("key", ROWS, ids=": ".join)
def test_row(key: tuple[str, str]) -> None:
    check(key)


def test_the_table_in_docs_is_this_one() -> None:
    table = {}
    for line in (ROOT / "docs/formats.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "format":
            table[cells[0], cells[1]] = cells[2].strip("`")
    assert table == {key: verdict for key, (verdict, _) in ROWS.items()}
