"""Upsample, composite and encode: the steps that put a photo on white."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import draw_product
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from transforms.errors import PhotoError
from transforms.pixels import composite as composites
from transforms.pixels.composite import WHITE, combine_alpha, composite, parse_background
from transforms.pixels.encode import ENCODINGS, SRGB, encode, output_format
from transforms.pixels.opencv import cv2
from transforms.pixels.policy import Policy
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.types import Photo, SaliencyMap
from transforms.pixels.upsample import upsample

pytestmark = pytest.mark.pure


@pytest.fixture
def rgb() -> np.ndarray:
    return np.asarray(draw_product(1, (60, 40)))


def test_upsample_gives_the_photos_size() -> None:
    pixels = np.zeros((320, 320), np.uint8)
    pixels[:, 160:] = 200
    for interpolation in ("bilinear", "nearest"):
        grown = upsample(pixels, (1000, 501), interpolation)
        assert grown.shape == (501, 1000)
        assert grown.dtype == np.uint8
        assert grown[250, 100] == 0
        assert grown[250, 900] == 200
    assert set(np.unique(upsample(pixels, (1000, 501), "nearest"))) == {0, 200}
    assert len(np.unique(upsample(pixels, (1000, 501), "bilinear"))) > 2


def test_upsample_to_the_same_size_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)
    assert np.array_equal(upsample(pixels, (320, 320)), pixels)


def by_opencv(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR_EXACT))


def by_pillow(pixels: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, how))


BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


@pytest.mark.parametrize(
    ("size", "interpolation", "resizer"),
    [
        ((320, 350), "bilinear", "opencv"),  # nothing shrinks
        ((350, 320), "bilinear", "opencv"),
        ((319, 350), "bilinear", "pillow"),  # what shrinks is averaged
        ((350, 319), "bilinear", "pillow"),
        ((11, 352), "bilinear", "pillow"),
        ((11, 353), "bilinear", "both"),  # more than 32 times as long as wide
        ((352, 11), "bilinear", "pillow"),
        ((353, 11), "bilinear", "both"),
        ((319, 350), "nearest", "pillow"),
        ((350, 350), "nearest", "pillow"),
        ((11, 353), "nearest", "pillow"),
    ],
)
def test_who_resizes_what(size: tuple[int, int], interpolation: str, resizer: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (320, 320), np.uint8)
    found = upsample(pixels, size, interpolation)
    how = NEAREST if interpolation == "nearest" else BILINEAR
    expected = {
        "opencv": lambda: by_opencv(pixels, size),
        "pillow": lambda: by_pillow(pixels, size, how),
        "both": lambda: by_opencv(by_pillow(pixels, (min(size[0], 320), min(size[1], 320)), how), size),
    }
    assert np.array_equal(found, expected[resizer]())
    if resizer != "pillow":  # and whoever does it, it is the same picture
        assert np.abs(found.astype(int) - by_pillow(pixels, size, how)).max() <= 1
        assert not np.array_equal(found, by_pillow(pixels, size, how))


@pytest.mark.parametrize("background", [WHITE, (0, 0, 0), (12, 200, 99)])
def test_background_is_exact_and_foreground_untouched(rgb: np.ndarray, background: tuple[int, int, int]) -> None:
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[10:30, 20:40] = 255
    pixels = composite(rgb, alpha, background)
    assert (pixels[alpha == 0] == background).all()
    assert np.array_equal(pixels[alpha == 255], rgb[alpha == 255])


def test_soft_edges_are_blended(rgb: np.ndarray) -> None:
    alpha = np.full(rgb.shape[:2], 128, np.uint8)
    expected = (rgb * (128 / 255)) + 255 * (127 / 255)
    assert np.abs(composite(rgb, alpha) - expected).max() <= 1


def test_every_level_of_alpha_is_blended_and_in_any_strips(rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for level in range(256):
        alpha = np.full(rgb.shape[:2], level, np.uint8)
        expected = (rgb * float(level) + np.array((9, 99, 199)) * (255 - level)) / 255
        assert np.abs(composite(rgb, alpha, (9, 99, 199)) - expected).max() <= 1
    alpha = np.arange(rgb[..., 0].size, dtype=np.uint8).reshape(rgb.shape[:2])
    whole = composite(rgb, alpha)
    for pixels in (1, 60, 100, 179, 60 * 39, 60 * 40):  # 60 a row
        monkeypatch.setattr(composites, "STRIP", pixels)
        assert np.array_equal(composite(rgb, alpha), whole)


def test_a_photo_is_blended_by_as_many_rows_as_hold_a_million_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    strips: list[tuple[int, int]] = []
    blend = Image.composite

    def noted(*images: Image.Image) -> Image.Image:
        strips.append(images[0].size)
        return blend(*images)

    monkeypatch.setattr(Image, "composite", noted)
    composite(np.zeros((1500, 1000, 3), np.uint8), np.full((1500, 1000), 7, np.uint8))
    assert strips == [(1000, 1000), (1000, 500)]


def test_a_transparent_picture_hides_nothing_under_its_transparency(rgb: np.ndarray) -> None:
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[5:9] = 77
    pixels = composite(rgb, alpha, None)
    assert pixels.shape == (40, 60, 4)
    assert (pixels[alpha == 0] == (255, 255, 255, 0)).all()
    assert np.array_equal(pixels[5:9, :, :3], rgb[5:9])
    assert (pixels[5:9, :, 3] == 77).all()


def test_the_photos_own_transparency_stays(rgb: np.ndarray) -> None:
    own = np.full(rgb.shape[:2], 255, np.uint8)
    own[:20] = 0
    own[20:30] = 128
    mask = np.full(rgb.shape[:2], 255, np.uint8)
    alpha = combine_alpha(mask, Photo(rgb, own, "png"))
    assert np.array_equal(alpha, own)
    assert combine_alpha(mask, Photo(rgb, None, "png")) is mask
    levels = np.arange(256, dtype=np.uint8)
    across, down = np.meshgrid(levels, levels)
    photo = Photo(np.zeros((256, 256, 3), np.uint8), down, "png")
    assert np.array_equal(combine_alpha(across, photo), np.rint(across / 255 * down))


def test_backgrounds_are_parsed() -> None:
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("#f4f4f4") == (244, 244, 244)
    assert parse_background(" White ") == (255, 255, 255)
    assert parse_background("#0a141e80") == (10, 20, 30)
    assert parse_background(" Transparent ") is None
    with pytest.raises(ValueError, match="--background nocolour: expected a colour"):
        parse_background("nocolour")


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_encoding_gives_the_same_bytes_and_says_of_itself_only_that_it_is_srgb(rgb: np.ndarray, name: str) -> None:
    data = encode(rgb, name)
    assert data == encode(rgb.copy(), name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == name.upper()
        exif = image.getexif()
        assert dict(exif.get_ifd(ExifTags.IFD.Exif)) == ({} if name == "png" else {ExifTags.Base.ColorSpace: 1})
        assert set(exif) <= {ExifTags.IFD.Exif}
        assert (b"\0\0\0\x01sRGB\0" in data) == (name == "png")
        decoded = np.asarray(image.convert("RGB"))
    if name != "jpeg":
        assert np.array_equal(decoded, rgb)


def test_jpeg_keeps_full_colour_resolution_and_pure_white(rgb: np.ndarray) -> None:
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    alpha[10:30, 20:40] = 255
    with Image.open(io.BytesIO(encode(composite(rgb, alpha), "jpeg"))) as image:
        decoded = np.asarray(image)
        layers = image.layer  # type: ignore[attr-defined]
        assert {component[1:3] for component in layers} == {(1, 1)}  # 4:4:4
    far = np.ones_like(alpha, bool)
    far[2:38, 10:50] = False  # at least one whole block away from the product
    assert (decoded[far] == 255).all()


@pytest.mark.parametrize("name", ["png", "webp"])
def test_transparency_survives(rgb: np.ndarray, name: str) -> None:
    alpha = np.arange(rgb.shape[0] * rgb.shape[1], dtype=np.uint8).reshape(rgb.shape[:2])
    pixels = composite(rgb, alpha, None)
    with Image.open(io.BytesIO(encode(pixels, name))) as image:
        assert np.array_equal(np.asarray(image.convert("RGBA")), pixels)


@pytest.mark.parametrize(
    ("wanted", "source", "transparent", "chosen"),
    [
        ("same", "jpeg", False, "jpeg"),
        ("same", "png", False, "png"),
        ("same", "webp", True, "webp"),
        ("same", "gif", False, "png"),
        ("same", "tiff", False, "png"),
        ("same", "jpeg", True, "png"),
        ("jpeg", "png", False, "jpeg"),
        ("webp", "jpeg", True, "webp"),
        ("png", "jpeg", True, "png"),
        ("jpeg", "png", True, "png"),
    ],
)
def test_output_format(wanted: str, source: str, transparent: bool, chosen: str) -> None:
    assert output_format(wanted, source, transparent) == chosen


@pytest.mark.parametrize(("name", "side"), [("webp", 16_383), ("jpeg", 65_500), ("png", 70_000)])
def test_a_format_too_small_for_the_picture_is_a_failure(name: str, side: int) -> None:
    for shape in ((1, side, 3), (side, 1, 3)):
        with Image.open(io.BytesIO(encode(np.zeros(shape, np.uint8), name))) as image:
            assert image.size == (shape[1], shape[0])
    for shape in ((1, side + 1, 3), (side + 1, 1, 3)):
        if name == "png":
            continue
        with pytest.raises(PhotoError, match=f"at most {side} px a side") as caught:
            encode(np.zeros(shape, np.uint8), name)
        assert caught.value.code == "write_failed"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("jpeg", {"quality": 95, "subsampling": 0, "optimize": True, "exif": SRGB}),
        ("png", {"compress_level": 6}),
        ("webp", {"lossless": True, "quality": 50, "method": 0, "exact": True, "exif": SRGB}),
    ],
)
def test_other_settings_would_rewrite_every_picture_of_a_catalog(name: str, options: dict[str, Any]) -> None:
    image, buffer, chunks = draw_product(1, (400, 300)), io.BytesIO(), PngInfo()
    chunks.add(b"sRGB", b"\0")
    image.save(buffer, name, **options, **({"pnginfo": chunks} if name == "png" else {}))
    assert encode(np.asarray(image), name) == buffer.getvalue()


@pytest.mark.parametrize(("choice", "is_made"), [("fail", False), ("white", True), ("keep", True)])
def test_a_picture_that_nobody_will_see_is_not_made(rgb: np.ndarray, choice: str, is_made: bool) -> None:
    nothing = SaliencyMap(np.zeros((320, 320), np.uint8), "")
    rule = replace(Policy().default, on_no_subject=choice)
    cutout = render(b"", Photo(rgb, None, "png"), nothing, rule, OutputSettings())
    assert "no_subject" in cutout.mask_flags
    assert bool(cutout.data) == is_made
