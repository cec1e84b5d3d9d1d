"""The outline: pixels that product and background share get the alpha that their colour tells, and no old ground."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from transforms.pixels.composite import composite
from transforms.pixels.edge import SLACK, WITHIN, blend
from transforms.pixels.opencv import cv2
from transforms.pixels.policy import Rule, plain_policy
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.sharpen import reduce
from transforms.pixels.types import Photo, SaliencyMap

pytestmark = pytest.mark.pure
Pixels = NDArray[np.uint8]
INK, PAPER = np.array([40, 60, 150.0]), np.array([200, 20, 30.0])


def disc(size: tuple[int, int] = (500, 400), off: int = 0) -> tuple[Pixels, Pixels, NDArray[np.float64]]:
    """Draw a blue disc on red, its outline spread as a camera does: the photo, a hard mask, and the true coverage."""
    width, height = size
    y, x = np.mgrid[: 4 * height, : 4 * width] / 4
    whole = (np.hypot(x - width / 2 + off, y - height / 2) < 0.3 * min(size)).astype(np.float64)
    coverage = cv2.GaussianBlur(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), (0, 0), 0.7)
    photo = np.rint(coverage[..., None] * INK + (1 - coverage[..., None]) * PAPER).astype(np.uint8)
    return photo, np.where(np.roll(coverage, off, 1) >= 0.5, 255, 0).astype(np.uint8), coverage


def blended(photo: Pixels, alpha: Pixels) -> tuple[Pixels, Pixels]:
    """Give the alpha, and the picture on white."""
    small = reduce(photo, min(photo.shape[1], 320), min(photo.shape[0], 320))
    found, rim = blend(photo, alpha, small)
    return found, composite(photo, found, rim=rim)


def test_the_old_background_is_gone_and_the_outline_is_smooth() -> None:
    photo, mask, coverage = disc()
    true = coverage[..., None] * INK + (1 - coverage[..., None]) * 255
    alpha, picture = blended(photo, mask)
    outline = (coverage > 0.02) & (coverage < 0.98)
    before = np.abs(composite(photo, mask) - true)[outline].mean()
    after = np.abs(picture - true)[outline].mean()
    assert after < 0.35 * before
    assert np.abs(alpha / 255 - coverage)[outline].mean() < 0.5 * np.abs(mask / 255 - coverage)[outline].mean()


def test_inside_and_outside_nothing_changes() -> None:
    photo, mask, _ = disc()
    photo += np.random.default_rng(0).integers(0, 30, photo.shape, np.uint8)
    alpha, picture = blended(photo, mask)
    deep = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=WITHIN + 1) > 0
    far = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=2) == 0
    assert (picture[deep] == photo[deep]).all()
    assert (picture[far] == 255).all()
    assert (alpha[deep] == 255).all()
    assert (alpha[far] == 0).all()


def test_alpha_stays_near_that_of_the_mask_whatever_the_colours_say() -> None:
    photo, mask, _ = disc()
    photo[:, :250] = PAPER  # half of the product is as the wall
    alpha, _ = blended(photo, mask)
    plain = cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)
    assert np.abs(alpha.astype(int) - plain).max() <= round(255 * SLACK) + 1


def test_what_is_no_product_keeps_its_colour_rather_than_make_a_line_of_another() -> None:
    photo, mask, coverage = disc()
    wide = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=6)  # six pixels of wall all around
    _, picture = blended(photo, wide)
    ring = (wide > 0) & (coverage < 0.01)
    towards = ((picture[ring] - PAPER) * (INK - PAPER)).sum(1) / ((INK - PAPER) ** 2).sum()
    assert towards.max() < 0.5  # nowhere nearer to the product's colour than to the wall's


def test_without_contrast_only_the_steps_go() -> None:
    photo = np.full((300, 300, 3), 230, np.uint8)
    mask = np.zeros((300, 300), np.uint8)
    mask[100:200, 100:200] = 255
    photo[100:200, 100:200] = 240
    alpha, picture = blended(photo, mask)
    assert (alpha == cv2.blur(mask, (3, 3), borderType=cv2.BORDER_REPLICATE)).all()
    assert picture.min() >= 230


@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (3, 900), (640, 480)])
def test_masks_without_an_outline_stay_as_they_are(fill: int, size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    mask = np.full(size[::-1], fill, np.uint8)
    alpha, picture = blended(photo, mask)
    assert (alpha == mask).all()
    assert (picture == (photo if fill else 255)).all()


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30), None])
def test_soft_masks_lose_the_background_too(background: tuple[int, int, int] | None) -> None:
    photo, _, coverage = disc()
    soft = np.rint(255 * coverage).astype(np.uint8)
    found, rim = blend(photo, soft, reduce(photo, 320, 320))
    picture = composite(photo, found, background, rim)
    middle = (coverage > 0.3) & (coverage < 0.9)
    if background is None:
        assert np.abs(picture[middle][:, :3] - INK).mean() < 12
        assert (picture[..., 3] == found).all()
    else:
        true = coverage[..., None] * INK + (1 - coverage[..., None]) * background
        assert np.abs(picture - true)[middle].mean() < 6


@pytest.mark.parametrize("word", ["fixed", "ramp", "soft", "otsu", "keep", "white"])
def test_the_rule_decides(word: str) -> None:
    photo, mask, _ = disc((640, 480))
    pixels = cv2.resize(mask, (320, 320), interpolation=cv2.INTER_AREA)
    policy = plain_policy(word)
    wanted, told = OutputSettings(policy, format="png"), {}
    for edge in ("blend", "cut"):
        rule = Rule(**{**{f: getattr(policy.default, f) for f in ("method", "parameters")}, "edge": edge})
        told[edge] = render(b"", Photo(photo, None, "png"), SaliencyMap(pixels, ""), rule, wanted).data
    assert (told["blend"] == told["cut"]) == (word in ("keep", "white"))
