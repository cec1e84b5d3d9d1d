"""Depth and profile to 8-bit sRGB; transparency apart."""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from transforms.errors import PhotoError
from transforms.pixels.formats import icc, png, tiff

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))

SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK"}
"""The colour space that a profile must name (ICC.1:2022, 7.2.6) to fit an image of this mode."""

CURVES = {b"GRAY": (b"kTRC",), b"RGB ": (b"rTRC", b"gTRC", b"bTRC")}

STEEP = 3
"""Levels of sRGB that the lowest of 256 levels may be above black, before all 16 bits are wanted."""

ROWS = 256

Channel = NDArray[np.uint8]


def to_srgb(image: Image.Image, data: bytes) -> tuple[NDArray[np.uint8], Channel | None]:
    """Bring decoded pixels to 8-bit sRGB.

    Relative colorimetric, with black point compensation; a profile that is damaged or of another colour space counts
    as none. CMYK without one goes by Pillow's formula.

    Args:
        image: a loaded image, upright; its `info` holds the profile.
        data: the file, from which all of 16 bits are read where the image has only the upper 8 and they do not do.

    Returns:
        rgb uint8 [H, W, 3], and alpha uint8 [H, W], or None if all is opaque.

    Raises:
        PhotoError: unsupported_format.
    """
    profile = image.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) else b""
    deep = _deep(image, data, profile)
    if deep is not None:
        colour, alpha, profile = deep
    else:
        colour, alpha = _split(image)
    if alpha is not None and alpha.min(initial=255) == 255:
        alpha = None
    return np.asarray(_apply_profile(colour, profile)), alpha


def _split(image: Image.Image) -> tuple[Image.Image, Channel | None]:
    """Separate colour (of a mode that a profile can describe) from transparency."""
    if image.mode == "F":
        raise PhotoError("unsupported_format", "floating-point pixels are not read; convert the picture to 8 bits")
    level = image.info.get("transparency")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LA":
        return image.getchannel("L"), np.asarray(image.getchannel("A"))
    if image.mode in ("1", "L") and isinstance(level, int):
        grey = image.convert("L")
        seen = np.asarray(grey) != (255 if image.mode == "1" and level else level)
        return _bare(grey), seen.astype(np.uint8) * np.uint8(255)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), np.asarray(rgba.getchannel("A"))
    if image.mode == "1":
        return image.convert("L"), None
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return image, None
    return image.convert("RGB"), None


def _bare(image: Image.Image) -> Image.Image:
    image.info = {}
    return image


def _deep(image: Image.Image, data: bytes, profile: bytes) -> tuple[Image.Image, Channel | None, bytes] | None:
    """Bring more than 8 bits to 8; None where the upper 8, which Pillow gives, will do, as with most profiles."""
    level = image.info.get("transparency")
    if image.mode.startswith("I"):
        values, white = np.asarray(image), 65535
        if image.format == "TIFF":
            values, white = tiff.grey_levels(image, values)
        grey, rest = _to_eight_bits(values[..., None], white, profile)
        seen = np.where(values == level, 0, 255).astype(np.uint8) if isinstance(level, int) else None
        return grey, seen, rest
    if image.format not in ("PNG", "TIFF") or not (isinstance(level, tuple) or _is_steep(profile)):
        return None
    deep = png.read_deep(data) if image.format == "PNG" else tiff.read_deep(image, data)
    if deep is None:
        return None
    channels = 3 if deep.shape[2] > 2 else 1
    colour, rest = _to_eight_bits(deep[..., :channels], 65535, profile)
    if isinstance(level, tuple):
        return colour, np.where((deep == np.array(level)).all(2), 0, 255).astype(np.uint8), rest
    return colour, (deep[..., channels] >> 8).astype(np.uint8) if deep.shape[2] > channels else None, rest


def _to_eight_bits(values: NDArray[np.integer], white: int, profile: bytes) -> tuple[Image.Image, bytes]:
    """Scale [H, W, 1 or 3] to 8 bits, and give the profile that still is to be applied.

    Linear light must become sRGB's curve before it loses its lower bits, or dark parts fall into steps.
    """
    levels = np.arange(white + 1)
    tables, rest = [((levels * 255 + white // 2) // white).astype(np.uint8)], profile
    if _is_steep(profile):
        tags = icc.tags_of(profile)
        curves = [icc.tone_curve(tags[name]) for name in CURVES[profile[16:20]] if name in tags]
        with np.errstate(all="ignore"):
            linear = [curve(levels / white) for curve in curves if curve is not None]
        tables = [np.rint(icc.srgb_encode(np.nan_to_num(light)) * 255).astype(np.uint8) for light in linear]
        rest = b""
        if values.shape[2] == 3:
            columns = [np.frombuffer(tags[name], ">i4", 3, 8) / 65536 for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
            rest = icc.write_profile(np.column_stack(columns))
    scaled = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), ROWS):  # NumPy makes 8 bytes of each index
        for channel in range(values.shape[2]):
            table = tables[min(channel, len(tables) - 1)]
            scaled[top : top + ROWS, :, channel] = table[values[top : top + ROWS, :, channel]]
    return Image.fromarray(scaled if values.shape[2] == 3 else scaled[..., 0]), rest


@lru_cache(maxsize=16)
def _is_steep(profile: bytes) -> bool:
    """Tell whether a profile of matrix and curves tears the darkest of 256 levels far apart, as linear light does."""
    tags = icc.tags_of(profile)
    names = CURVES.get(profile[16:20], ())
    if not names or b"A2B0" in tags or any(name not in tags for name in names) or profile[20:24] != b"XYZ ":
        return False
    curves = [icc.tone_curve(tags[name]) for name in names]
    with np.errstate(all="ignore"):
        darkest = [icc.srgb_encode(curve(np.array(1 / 255))) * 255 for curve in curves if curve is not None]
    return len(darkest) == len(curves) and any(level > STEEP for level in darkest)


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    if image.mode == "LAB":
        return _transform(image, LAB)
    if image.mode == "L" and profile[16:20] == b"RGB ":  # grey has its tone curve from it
        image = image.convert("RGB")
    if profile and profile[16:20] == SPACES.get(image.mode):
        with suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):  # an unusable profile counts as none
            if not _is_srgb(profile):
                return _transform(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)
def _is_srgb(data: bytes) -> bool:
    """Tell whether a profile that calls itself sRGB leaves colours as they are, within 2 levels.

    Such a photo's pixels stay what they were, to the last bit. (So do those of no other: a profile by another name is
    applied even if it is sRGB's.)
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    if "srgb" not in ImageCms.getProfileDescription(profile).lower():
        return False
    if data[16:20] == b"GRAY":
        colours = np.arange(256, dtype=np.uint8)[None]
    else:
        ramp = np.repeat(np.arange(256)[:, None], 3, 1)
        grid = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -1).reshape(-1, 3)
        colours = np.concatenate((ramp, grid)).astype(np.uint8)[None]
    before = Image.fromarray(colours)
    after = np.asarray(_transform(before, profile)).astype(int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= 2)


def _transform(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    # LittleCMS's table for L*a*b* is off by 36 levels in saturated colours.
    exact = ImageCms.Flags.NOOPTIMIZE if image.mode == "LAB" else ImageCms.Flags.NONE
    converted = ImageCms.profileToProfile(
        image,
        profile,
        SRGB,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | exact,
    )
    assert converted is not None  # it is None only when asked to work in place
    return converted
