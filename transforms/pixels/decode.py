"""Bytes to a Photo: upright, sRGB, 8 bit, whatever the camera or the shop system wrote (docs/formats.md)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from transforms.errors import PhotoError
from transforms.pixels import metadata, source_type
from transforms.pixels.formats import boxes, icc, jpeg, png, signature, tiff, webp
from transforms.pixels.formats.colour import to_srgb
from transforms.pixels.formats.patience import PatientFile, by_small_blocks, pixels_to_decode
from transforms.pixels.types import Photo

# Register every format now: Pillow does so lazily, and not for two threads at once.
Image.init()

# Editors write metadata of megabytes; Pillow's own limit would call the photo corrupt. The total stays limited.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

# Pillow warns of odd metadata that does not touch the pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Limits are ours (Limits.max_pixels, checked on the header), so that one flag decides and nothing is merely warned of.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a single photo may cost: encoded bytes, and pixels once decoded."""

    max_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 100_000_000


def decode(data: bytes, limits: Limits = Limits()) -> Photo:
    """Decode a picture to upright 8-bit sRGB, its transparency kept apart.

    The orientation is applied (EXIF, of HEIC and AVIF the container's); a colour description is converted to sRGB
    (colour.to_srgb); 16 bits are scaled to 8. Of several pictures the first is taken that is no thumbnail, of HEIC and
    AVIF the primary one.

    Raises:
        PhotoError: not_an_image, unsupported_format, too_many_pixels, corrupt, truncated, or timeout
            (patience.SECONDS of processor time). MemoryError: there is no memory for its pixels.
    """
    return decode_opened(open_photo(data, limits))


def open_photo(data: bytes, limits: Limits = Limits()) -> Image.Image:
    """Read a picture's header: what it is, its size, and its colour description. No pixel is decoded.

    Raises:
        PhotoError: not_an_image, unsupported_format, too_many_pixels, corrupt or truncated.
    """
    if not data:
        raise PhotoError("not_an_image", "the file is empty (0 bytes)")
    name = ""
    try:
        name = signature.identify(data)
        image = _open(name, data, limits)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # a decoder given damaged bytes may raise nearly anything
        raise _broken(error, name, data) from error
    _check_size(image.size, limits)
    if (pixels := pixels_to_decode(image)) > limits.max_pixels:
        raise PhotoError(
            "too_many_pixels", f"a tile of {pixels} pixels, the limit is {limits.max_pixels} (--max_pixels)"
        )
    return image


def decode_opened(image: Image.Image) -> Photo:
    """Decode what open_photo gave (see decode); the image is used up.

    Raises:
        PhotoError: corrupt, truncated or unsupported_format. MemoryError: there is no memory for its pixels.
    """
    name, data = image.format or "", _bytes_behind(image)
    try:
        image = _load(image, data)
        _turn_upright(image)
        said = metadata.read(image)
        rgb, alpha = to_srgb(image, data)
    except (PhotoError, MemoryError):
        raise
    except Exception as error:  # a decoder given damaged bytes may raise nearly anything
        raise _broken(error, name, data) from error
    return Photo(rgb, alpha, {"MPO": "jpeg", "HEIF": "heic"}.get(name, name.lower()), source_type.find(data), said)


def _open(name: str, data: bytes, limits: Limits) -> Image.Image:
    """Open a file of a known format, and give the image its colour description as `icc_profile`."""
    if name in ("AVIF", "HEIF") and boxes.is_cut(data):  # their decoders might conceal it
        raise PhotoError("truncated", f"the {_in_words(name)} file ends before its pixels do")
    if name == "WEBP":  # its decoder makes room at once
        _check_size(webp.size(data) or (0, 0), limits)
    if name == "JPEG":
        jpeg.check(data)
    if name == "PNG":
        data, head = png.check(data)
    try:
        if name == "HEIF":
            from transforms.pixels.formats import heif  # here, as it needs an extra

            image = heif.open_image(data)
        elif name == "AVIF":  # Pillow would look at the major brand only
            image = AvifImagePlugin.AvifImageFile(PatientFile(data))
        else:
            image = Image.open(PatientFile(data), formats=(name,))
            by_small_blocks(image, data)
    except (UnidentifiedImageError, SyntaxError):
        if name in ("AVIF", "HEIF"):
            _check_size(boxes.size(data) or (0, 0), limits)  # the decoder may have refused it for its size alone
        raise _refused(name, data) from None
    if name == "TIFF":
        tiff.choose_page(image, len(data))
    elif name == "PNG":
        png.describe_colour(image, head)
    elif name == "JPEG":
        jpeg.describe_colour(image)
    elif name in ("AVIF", "HEIF") and not image.info.get("icc_profile"):
        image.info["icc_profile"] = icc.from_codes(*boxes.colour_codes(data))
    return image


ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": jpeg.is_cut,
    "MPO": jpeg.is_cut,
    "PNG": png.is_cut,
    "WEBP": webp.is_cut,
    "GIF": lambda data: not data.rstrip(b"\0").endswith(b";"),
    "BMP": lambda data: len(data) < int.from_bytes(data[2:6], "little"),
    "TIFF": tiff.is_cut,
    "AVIF": boxes.is_cut,
    "HEIF": boxes.is_cut,
}
"""Whether a file that cannot be read ends too early, by its own format's rules."""


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        message = f"{width}x{height} pixels, the limit is {limits.max_pixels} (--max_pixels)"
        raise PhotoError("too_many_pixels", message)


def _bytes_behind(image: Image.Image) -> bytes:
    file = getattr(image, "fp", None)
    return file.getvalue() if isinstance(file, io.BytesIO) else b""


def _load(image: Image.Image, data: bytes) -> Image.Image:
    if image.format in ("JPEG", "MPO") and not data.endswith(jpeg.END) and jpeg.is_cut(data):
        whole = jpeg.complete(data)  # libjpeg would take the zeros or the garbage at its end for pixels
        if whole is None:
            raise PhotoError("truncated", "the JPEG ends before its pixels do")
        profile, began = image.info.get("icc_profile"), getattr(getattr(image, "fp", None), "began", None)
        image = Image.open(PatientFile(whole, began), formats=("JPEG",))
        by_small_blocks(image, whole)
        image.info["icc_profile"] = profile
    frame = image.tile[0].extents if isinstance(image, GifImagePlugin.GifImageFile) and image.tile else None
    image.load()
    if frame and frame != (0, 0, *image.size):
        return _transparent_outside(image, frame)
    return image


def _transparent_outside(image: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Show nothing where a GIF's first frame does not reach, as browsers do; Pillow fills it with a colour."""
    shown = Image.new("RGBA", image.size)
    shown.paste(image.convert("RGBA").crop(frame), frame)
    shown.format = image.format
    return shown


def _refused(name: str, data: bytes) -> PhotoError:
    """Say why a file was not opened that begins like one of this format."""
    if ENDS_EARLY[name](data) or len(data) < 64:
        return PhotoError("truncated", f"the {_in_words(name)} file ends within its header")
    if name == "TIFF":
        message = f"a TIFF of a kind that is not read; convert it to 8-bit {signature.READ_IN_WORDS}"
        return PhotoError("unsupported_format", message)
    return PhotoError("corrupt", f"begins like {_in_words(name)}, but its header is damaged")


def _in_words(name: str) -> str:
    return {"HEIF": "HEIC", "WEBP": "WebP"}.get(name, name)


def _broken(error: Exception, name: str, data: bytes) -> PhotoError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    early = isinstance(error, EOFError) or any(
        word in reason.lower() for word in ("truncat", "end of file", "not enough")
    )
    if not early and data and name in ENDS_EARLY:
        with suppress(Exception):
            early = ENDS_EARLY[name](data)
    code = "truncated" if early else "unsupported_format" if "unsupported" in reason.lower() else "corrupt"
    return PhotoError(code, f"cannot be decoded: {reason}")


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF is no reason to lose the photo: it stays as it is stored
        return
