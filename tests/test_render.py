"""Upsample, composite and encode: the steps that put a photo on white."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import draw_product
from PIL import Image

from transforms.errors import PhotoError
from transforms.pixels.composite import WHITE, combine_alpha, composite, parse_background
from transforms.pixels.encode import ENCODINGS, encode, output_format
from transforms.pixels.policy import Policy
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.types import Photo, SaliencyMap
from transforms.pixels.upsample import upsample


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


def test_backgrounds_are_parsed() -> None:
    assert parse_background("white") == (255, 255, 255)
    assert parse_background("#f4f4f4") == (244, 244, 244)
    assert parse_background("transparent") is None
    with pytest.raises(ValueError, match="--background nocolour: expected a colour"):
        parse_background("nocolour")


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_encoding_gives_the_same_bytes_and_no_metadata(rgb: np.ndarray, name: str) -> None:
    data = encode(rgb, name)
    assert data == encode(rgb.copy(), name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == name.upper()
        assert not image.getexif()
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
    ],
)
def test_output_format(wanted: str, source: str, transparent: bool, chosen: str) -> None:
    assert output_format(wanted, source, transparent) == chosen


def test_a_format_too_small_for_the_picture_is_a_failure() -> None:
    with pytest.raises(PhotoError) as caught:
        encode(np.zeros((1, 16_384, 3), np.uint8), "webp")
    assert caught.value.code == "write_failed"


@pytest.mark.parametrize(("choice", "is_made"), [("fail", False), ("white", True), ("keep", True)])
def test_a_picture_that_nobody_will_see_is_not_made(rgb: np.ndarray, choice: str, is_made: bool) -> None:
    nothing = SaliencyMap(np.zeros((320, 320), np.uint8), "")
    rule = replace(Policy().default, on_no_subject=choice)
    cutout = render(b"", Photo(rgb, None, "png"), nothing, rule, OutputSettings())
    assert "no_subject" in cutout.statistics.flags
    assert bool(cutout.data) == is_made
