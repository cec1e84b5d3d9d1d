"""Bytes to a Photo: upright, sRGB, 8 bit, whatever the camera, the editor or the shop system wrote."""

from __future__ import annotations

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from transforms.patience import PatientFile, by_small_blocks, pixels_to_decode
from transforms.types import Photo, PhotoError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Pillow's names of the formats that are read; of a file with several pictures the first is taken."""

READ_IN_WORDS = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"

UNREAD_FORMATS = {
    "SVG": (b"<svg", b"<?xml"),
    "PDF": (b"%PDF",),
    "PostScript": (b"%!PS",),
    "PSD": (b"8BPS",),
    "JPEG XL": (b"\xff\x0a", b"\x00\x00\x00\x0cJXL "),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"),
    "HEIC": (b"\x00\x00\x00\x18ftyphei", b"\x00\x00\x00\x1cftyphei", b"\x00\x00\x00\x18ftypmif1"),
    "icon": (b"\x00\x00\x01\x00",),
    "video": (b"\x1a\x45\xdf\xa3", b"\x00\x00\x00\x18ftypmp4", b"\x00\x00\x00\x20ftypiso"),
}
"""How formats begin that catalogs hold and that are not read, for a better message than `not an image`."""

# Register every format now: Pillow does so lazily, and not for two threads at once.
Image.init()

# Editors write metadata of megabytes; Pillow's own limit would call the photo corrupt. The total stays limited.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

# Pillow warns of odd metadata that does not touch the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Limits are ours (Limits.max_pixels, checked on the header), so that one flag decides and nothing is merely warned of.
Image.MAX_IMAGE_PIXELS = None

PHOTOMETRIC = 262  # TIFF tag

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a single photo may cost: encoded bytes, and pixels once decoded."""

    max_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 100_000_000


def decode(data: bytes, limits: Limits = Limits()) -> Photo:
    """Decode a picture to upright 8-bit sRGB, its transparency kept apart.

    EXIF orientation is applied; an embedded colour profile is converted to sRGB (relative colorimetric, black point
    compensation), CMYK without one by Pillow's formula; 16 bits are scaled to 8.

    Raises:
        PhotoError: not_an_image, unsupported_format, too_many_pixels, corrupt, truncated, out_of_memory, or timeout
            (patience.SECONDS of processor time).
    """
    return decode_opened(open_photo(data, limits))


def open_photo(data: bytes, limits: Limits = Limits()) -> Image.Image:
    """Read a picture's header: what it is, and its size. No pixel is decoded.

    Raises:
        PhotoError: not_an_image, unsupported_format, too_many_pixels, corrupt or truncated.
    """
    if not data:
        raise PhotoError("not_an_image", "the file is empty (0 bytes)")
    image = _open(data)
    width, height = image.size
    if (pixels := pixels_to_decode(image)) > limits.max_pixels:
        what = f"{width}x{height}" if pixels == width * height else f"a tile of {pixels}"
        message = f"{what} pixels, the limit is {limits.max_pixels} (--max_pixels)"
        raise PhotoError("too_many_pixels", message)
    return image


def decode_opened(image: Image.Image) -> Photo:
    """Decode what open_photo gave (see decode); the image is used up.

    Raises:
        PhotoError: corrupt, truncated, unsupported_format or out_of_memory.
    """
    width, height = image.size
    try:
        image.load()
        source_format = (image.format or "").lower()
        _turn_upright(image)
        rgb, alpha = _to_srgb(image)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("out_of_memory", f"no memory to decode {width}x{height} pixels") from error
    except Exception as error:  # a decoder given damaged bytes may raise nearly anything
        raise _broken(error) from error
    return Photo(rgb, alpha, "jpeg" if source_format == "mpo" else source_format)


def _open(data: bytes) -> Image.Image:
    try:
        image = Image.open(PatientFile(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except PhotoError:
        raise
    except Exception as error:
        raise _broken(error) from error
    by_small_blocks(image, data)
    return image


def _unidentified(data: bytes) -> PhotoError:
    start = data[:512].lstrip()
    for name, beginnings in UNREAD_FORMATS.items():
        if data.startswith(beginnings) or start.startswith(beginnings):
            return PhotoError("unsupported_format", f"{name} is not read; convert it to {READ_IN_WORDS}")
    if data.startswith((b"II*\0", b"MM\0*")):
        return PhotoError(
            "unsupported_format", f"a TIFF of a kind that is not read; convert it to 8-bit {READ_IN_WORDS}"
        )
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF")):
        return PhotoError("corrupt", "begins like a picture, but its header is damaged")
    return PhotoError("not_an_image", f"the {len(data)} bytes are no {READ_IN_WORDS}")


def _broken(error: Exception) -> PhotoError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    early = isinstance(error, EOFError) or any(
        word in reason.lower() for word in ("truncat", "end of file", "not enough")
    )
    return PhotoError("truncated" if early else "corrupt", f"cannot be decoded: {reason}")


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF is no reason to lose the photo: it stays as it is stored
        return


def _to_srgb(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    image = _eight_bit(image)
    alpha = None
    if image.has_transparency_data:
        # With a palette or a transparent colour the profile is applied after this; RGB values do not change here.
        rgba = image.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"))
        image = _carry_profile(image, rgba.convert("RGB"))
        if alpha.min() == 255:
            alpha = None
    elif image.mode in ("P", "1", "HSV", "YCbCr"):
        image = _carry_profile(image, image.convert("RGB"))
    return np.asarray(_apply_profile(image)), alpha


def _carry_profile(old: Image.Image, new: Image.Image) -> Image.Image:
    profile = old.info.get("icc_profile")
    new.info = {"icc_profile": profile} if profile and old.mode not in ("L", "LA", "CMYK") else {}
    return new


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale the integer modes of more than 8 bits to `L`; Pillow's own conversion would clip them to white."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        full = 255 if values.max(initial=0) <= 255 and image.mode == "I" else 65535
        scaled = np.clip((values * 255 + full // 2) // full, 0, 255).astype(np.uint8)
        if (
            getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        ):  # TIFF's WhiteIsZero, which Pillow inverts only at 8 bits
            scaled = 255 - scaled
        grey = Image.fromarray(scaled)
        if isinstance(image.info.get("transparency"), int):
            seen = np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)
            return Image.merge("LA", (grey, Image.fromarray(seen)))
        return grey
    if image.mode == "F":
        raise PhotoError(
            "unsupported_format", f"floating-point pixels are not read; convert it to 8-bit {READ_IN_WORDS}"
        )
    return image


def _apply_profile(image: Image.Image) -> Image.Image:
    if image.mode == "LAB":
        return _transform(image, LAB)
    data = image.info.get("icc_profile")
    if data:
        with suppress(ImageCms.PyCMSError, OSError, TypeError, ValueError):  # an unusable profile counts as none
            profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
            if not _is_srgb(profile):
                return _transform(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Tell whether a profile is sRGB by name, so that the pixels of ordinary photos stay what they were."""
    return "srgb" in ImageCms.getProfileDescription(profile).lower()


def _transform(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        profile,
        SRGB,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # it is None only when asked to work in place
    return converted
