"""Pictures of a pixel or a line of them: OpenCV takes small arrays for scalars, and narrow ones grow on their way."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_product, report_rows, run
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transforms.pixels.composite import combine_alpha, composite
from transforms.pixels.decode import decode
from transforms.pixels.encode import encode
from transforms.pixels.methods import METHODS
from transforms.pixels.on_white import ALREADY_WHITE_ABOVE
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.sharpen import Sharpening, network_input
from transforms.pixels.statistics import describe
from transforms.pixels.types import Photo, SaliencyMap
from transforms.pixels.upsample import upsample
from transforms.settings import load_policy

SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (1, 4), (4, 1), (4, 4), (2, 3), (3, 4), (1, 700), (700, 1)]
NARROW = [(1, 70_000), (70_000, 1), (1, 65_500), (65_500, 1)]
sides = st.one_of(st.integers(1, 6), st.integers(1, 90))
NOISE = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)


def make_photo(shape: tuple[int, int], own: bool, seed: int = 0, white: bool = False) -> Photo:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(249 if white else 0, 256, (*shape, 3), np.uint8)
    return Photo(rgb, rng.integers(0, 256, shape, np.uint8) if own else None, "png")


def has_white_border(photo: Photo) -> bool:
    if photo.alpha is not None:
        return False
    border = max(1, min(photo.size) // 50)
    strips = (photo.rgb[:border], photo.rgb[-border:], photo.rgb[:, :border], photo.rgb[:, -border:])
    return bool(np.concatenate([(strip >= 250).all(axis=2).ravel() for strip in strips]).mean() > ALREADY_WHITE_ABOVE)


@pytest.fixture
def limited_memory() -> Iterator[None]:
    """Let this process have 768 MB more than it has, and no more."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@given(sides, sides, st.integers(0, 2**32), st.booleans(), st.sampled_from([2, 256]))
@settings(max_examples=150, deadline=None)
def test_statistics_are_what_numpy_says(height: int, width: int, seed: int, white: bool, levels: int) -> None:
    alpha = np.random.default_rng(seed).integers(0, levels, (height, width)).astype(np.uint8)
    if levels == 2:
        alpha *= 255
    photo = make_photo((height, width), False, seed, white)
    found, flags = describe(NOISE, NOISE, alpha, 0.7, photo)
    rows, columns = np.nonzero(alpha >= 128)
    assert found.foreground_fraction == pytest.approx(alpha.mean() / 255)
    if len(rows):
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert (found.bbox_left, found.bbox_top, found.bbox_right, found.bbox_bottom) == box
        assert found.fill_fraction == pytest.approx(len(rows) / ((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
    else:
        assert found.bbox_left is None
    assert "already_white" not in flags or has_white_border(photo)


@given(sides, sides, st.integers(0, 2**32), st.sampled_from([(255, 255, 255), (1, 2, 3), None]))
@settings(max_examples=150, deadline=None)
def test_pixels_are_what_numpy_says(
    height: int, width: int, seed: int, background: tuple[int, int, int] | None
) -> None:
    photo = make_photo((height, width), True, seed)
    assert photo.alpha is not None
    for levels in (2, 256):
        mask = np.random.default_rng(seed + 1).integers(0, levels, (height, width)).astype(np.uint8) * (257 - levels)
        alpha = combine_alpha(mask, photo)
        assert np.array_equal(alpha, np.rint(mask.astype(float) * photo.alpha / 255))
        for over in (mask, alpha):
            picture = composite(photo.rgb, over, background)
            share = over[:, :, None] / 255
            if background is None:
                assert np.array_equal(picture[:, :, 3], over)
                assert np.array_equal(picture[:, :, :3], np.where(over[:, :, None] > 0, photo.rgb, 255))
            else:
                assert np.abs(picture - (photo.rgb * share + np.array(background) * (1 - share))).max() <= 1
            for name in ("png", "webp"):
                read = Image.open(io.BytesIO(encode(picture, name)))
                assert np.array_equal(np.asarray(read.convert("RGBA" if background is None else "RGB")), picture)


@pytest.mark.parametrize("shape", SHAPES + NARROW)
def test_the_network_sees_what_numpy_says(shape: tuple[int, int]) -> None:
    photo = make_photo(shape, False)
    y, x = ((2 * np.arange(320) + 1) * side / 640 - 0.5 for side in shape)
    y, x = (np.clip(at, 0, side - 1) for at, side in ((y, shape[0]), (x, shape[1])))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, shape[0] - 1), np.minimum(left + 1, shape[1] - 1)
    down, across = (y - top)[:, None, None], (x - left)[None, :, None]
    upper, lower = (photo.rgb[r][:, left] * (1 - across) + photo.rgb[r][:, right] * across for r in (top, bottom))
    assert np.abs(network_input(photo, Sharpening(percent=0)) - (upper * (1 - down) + lower * down)).max() <= 0.51
    lying = Photo(np.ascontiguousarray(photo.rgb.transpose(1, 0, 2)), None, "png")
    sharpened = network_input(photo).transpose(1, 0, 2)
    assert np.abs(network_input(lying).astype(int) - sharpened).max() <= 3  # roundings of the blur
    grey = Photo(np.full((*shape, 3), (9, 120, 201), np.uint8), None, "png")
    assert (network_input(grey) == (9, 120, 201)).all()


@pytest.mark.parametrize(
    ("shape", "method"),
    [(shape, name) for name, method in METHODS.items() if not method.drops for shape in SHAPES]
    + [(shape, "ramp") for shape in NARROW],
)
@pytest.mark.parametrize("own", [False, True])
def test_every_way_leads_to_the_end(shape: tuple[int, int], method: str, own: bool) -> None:
    photo = make_photo(shape, own)
    policy = load_policy(method)
    for interpolation in ("bilinear", "nearest"):
        rule = replace(policy.default, interpolation=interpolation, minimum_component=5, holes="fill")
        rule = replace(rule, on_no_subject="white")
        for background in ((255, 255, 255), None):
            names = {"png", "webp" if max(shape) < 16_383 else "png"}
            names |= {"jpeg"} if background and max(shape) <= 65_500 else set()
            for name in names:
                wanted = OutputSettings(policy, background, name)
                cutout = render(b"", photo, SaliencyMap(NOISE, ""), rule, wanted)
                assert decode(cutout.data).rgb.shape == (*shape, 3)


@pytest.mark.parametrize("shape", [(1, 70_000), (70_000, 1), (2, 70_000), (70_000, 2)])
def test_narrow_maps_are_the_mean_of_what_they_cover(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[:320, :320]
    pixels = (x * 255 // 319 if shape[1] > shape[0] else y * 255 // 319).astype(np.uint8)
    grown = upsample(pixels, (shape[1], shape[0]))
    assert grown.shape == shape
    for line in grown if shape[1] > shape[0] else grown.T:
        assert np.abs(line.astype(int) - np.linspace(0, 255, 70_000)).max() <= 2


def test_a_line_of_twenty_megapixels_takes_no_gigabytes(limited_memory: None) -> None:
    for shape in ((1, 20_000_000), (20_000_000, 1)):
        photo = Photo(np.zeros((*shape, 3), np.uint8), None, "png")
        for percent in (0, 150):
            assert network_input(photo, Sharpening(percent=percent)).shape == (320, 320, 3)
        for interpolation in ("bilinear", "nearest"):
            assert upsample(NOISE, (shape[1], shape[0]), interpolation).shape == shape


def test_tiny_pictures_are_ordinary_rows(tmp_path: Path, u2netp: object) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    lines = ["id,uri"]
    for height, width in ((1, 1), (1, 4), (4, 1), (1, 700), (700, 1)):
        for mode in ("RGB", "RGBA"):
            name = f"{width}x{height}-{mode}.png"
            Image.new("RGB", (width, height), (200, 30, 30)).convert(mode).save(photos / name)
            lines.append(f"{name},photos/{name}")
    for number in range(4):
        draw_product(number, (200, 240)).save(photos / f"{number}.jpg")
        lines.append(f"good-{number},photos/{number}.jpg")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    output = tmp_path / "out"
    common = ("--manifest", manifest, "--output", output, "--model", "u2netp", "--max_failure_fraction", "1")
    assert run("run", *common) == 0
    rows = report_rows(output)
    assert len(rows) == len(lines) - 1
    assert {row["code"] for row in rows} <= {None, "no_subject"}
    assert sum(row["status"] == "processed" for row in rows if row["id"].startswith("good-")) == 4
    policy = tmp_path / "policy.toml"
    policy.write_text('[default]\non_no_subject = "white"\n')
    assert run("run", *common, "--policy", policy, "--background", "transparent") == 0
    assert {row["status"] for row in report_rows(output)} == {"processed"}
