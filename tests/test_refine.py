"""The refined edge: the map follows the photo's outline where there is one, and does not fray where there is none."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import draw_product
from numpy.typing import NDArray

from transforms.pixels import refine as module
from transforms.pixels.opencv import cv2
from transforms.pixels.policy import Rule
from transforms.pixels.sharpen import reduce
from transforms.pixels.threshold import make_mask
from transforms.pixels.upsample import upsample

pytestmark = pytest.mark.pure
Pixels = NDArray[np.uint8]
CUT = 179


def scene(
    size: tuple[int, int], ink: tuple[int, int, int], paper: tuple[int, int, int], grain: float
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Draw a star on paper, with the grain of a sensor: the photo, and where the star is."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    angle, radius = np.arctan2(y - height / 2, x - width / 2), np.hypot(x - width / 2, y - height / 2)
    star = radius < min(size) * (0.3 + 0.06 * np.sin(7 * angle))
    photo = np.where(star[..., None], ink, paper) + np.random.default_rng(0).normal(0, grain, (height, width, 3))
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8), star


def coarse(star: NDArray[np.bool_]) -> Pixels:
    """Make a map of it as a network would: soft, and a cell off."""
    small = cv2.resize(np.where(star, 255, 0).astype(np.uint8), (320, 320), interpolation=cv2.INTER_AREA)
    return np.roll(cv2.GaussianBlur(small, (0, 0), 1.5), 1, axis=1)


def refine(pixels: Pixels, photo: Pixels) -> Pixels:
    height, width = photo.shape[:2]
    return module.refine(pixels, photo, reduce(photo, min(width, 320), min(height, 320)))


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def outline(mask: NDArray[np.bool_]) -> float:
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(line, closed=True) for line in lines))


@pytest.mark.parametrize("size", [(900, 700), (1900, 1500), (321, 640)])
def test_the_outline_is_the_photos(size: tuple[int, int]) -> None:
    photo, star = scene(size, (150, 40, 40), (190, 190, 180), 3)
    pixels = coarse(star)
    plain, refined = upsample(pixels, size), refine(pixels, photo)
    assert refined.shape == star.shape
    wrong_before, wrong_after = 1 - iou(plain >= CUT, star), 1 - iou(refined >= CUT, star)
    assert wrong_after < 0.85 * wrong_before


def test_a_pale_product_on_a_pale_wall_does_not_fray() -> None:
    photo, star = scene((1000, 1000), (236, 235, 232), (232, 232, 230), 4)
    pixels = coarse(star)
    before = outline(upsample(pixels, (1000, 1000)) >= CUT)
    assert outline(refine(pixels, photo) >= CUT) < 1.05 * before


def reference(pixels: Pixels, rgb: Pixels) -> NDArray[np.float64]:
    """The guided filter as the paper writes it, cell by cell and pixel by pixel in float64, at the working size."""
    guide = reduce(rgb, 320, 320).astype(np.float64) / 255
    p = pixels / 255

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return cv2.boxFilter(values, -1, (3, 3), borderType=cv2.BORDER_REFLECT_101)

    centre, level = mean(guide), mean(p)
    slopes = np.zeros((320, 320, 3))
    products = mean(np.einsum("yxi,yxj->yxij", guide, guide).reshape(320, 320, 9)).reshape(320, 320, 3, 3)
    with_map = mean(guide * p[..., None]) - centre * level[..., None]
    sigma = products - np.einsum("yxi,yxj->yxij", centre, centre) + module.EPSILON * np.eye(3)
    slopes = np.linalg.solve(sigma, with_map[..., None])[..., 0]
    rest = level - (slopes * centre).sum(-1)
    size = rgb.shape[1], rgb.shape[0]
    own = cv2.resize(mean(slopes), size, interpolation=cv2.INTER_LINEAR)
    rest = cv2.resize(mean(rest), size, interpolation=cv2.INTER_LINEAR)
    blurred = cv2.GaussianBlur(rgb, (0, 0), module.BLUR * max(size) / 1000, borderType=cv2.BORDER_REPLICATE)
    return np.clip((own * blurred).sum(-1) + 255 * rest, 0, 255)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_guided_filter_of_the_paper(seed: int) -> None:
    photo = np.asarray(draw_product(seed, (700 + 40 * seed, 500)))
    truth = np.asarray(draw_product(seed, (320, 320)).convert("L"))
    pixels = np.where(cv2.GaussianBlur(truth, (0, 0), 2) > truth.mean(), 240, 10).astype(np.uint8)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 1.2)
    wrong = np.abs(refine(pixels, photo) - reference(pixels, photo))
    assert wrong.max() <= 10  # cells whose slopes are steep, which are told to a 512th
    assert wrong.mean() < 0.4
    assert np.percentile(wrong, 99) <= 3


def test_what_does_not_vary_is_enlarged_as_it_is() -> None:
    photo, star = scene((600, 500), (150, 40, 40), (190, 190, 180), 3)
    for level in (0, 131, 255):
        flat = np.full((320, 320), level, np.uint8)
        assert (refine(flat, photo) == level).all()
    pixels = coarse(star)
    far = cv2.erode((upsample(pixels, (600, 500)) == 0).astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool)
    assert (refine(pixels, photo)[far] == 0).all()


@pytest.mark.parametrize("size", [(300, 900), (1, 1), (319, 320), (20_000, 40)])
def test_a_small_photo_has_no_edges_to_follow(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    pixels = coarse(scene((320, 320), (0, 0, 0), (255, 255, 255), 0)[1])
    assert (refine(pixels, photo) == upsample(pixels, size)).all()


def test_the_rule_decides() -> None:
    photo, star = scene((700, 500), (150, 40, 40), (190, 190, 180), 3)
    pixels, size = coarse(star), (700, 500)
    cut = Rule(edge="cut")
    refined = make_mask(cut, pixels, size, photo).alpha
    assert (refined == np.where(refine(pixels, photo) >= 178.5, 255, 0)).all()
    for rule in (replace(cut, refine="none"), replace(cut, interpolation="nearest")):
        assert (make_mask(rule, pixels, size, photo).alpha == make_mask(rule, pixels, size).alpha).all()
        assert (make_mask(rule, pixels, size).alpha != refined).any()


def test_it_is_the_same_bytes_everywhere() -> None:
    photo, star = scene((801, 640), (150, 40, 40), (190, 190, 180), 0)
    ramp = (np.arange(801) % 60).astype(np.uint8)
    refined = refine(coarse(star), photo - ramp[None, :, None] // 2)
    assert (
        hashlib.sha256(refined.tobytes()).hexdigest()
        == "474283193c0e0377c7836b40db8058891c4dc47610a22e74eecc6188699e4432"
    )
