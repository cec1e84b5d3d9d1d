"""The network's input: the authors' when sharpening is off, and the same at every resolution when it is on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import draw_product
from PIL import Image
from skimage.transform import resize

from model.engine import EngineConfig
from model.load import load
from transforms.pixels.sharpen import Sharpening, network_input, reduce, resize_official
from transforms.pixels.types import Photo

OFF = Sharpening(percent=0)


def photo_of(image: Image.Image, alpha: np.ndarray | None = None) -> Photo:
    return Photo(np.asarray(image), alpha, "png")


@pytest.mark.parametrize("size", [(640, 480), (333, 501), (1000, 321), (320, 320)])
def test_off_is_the_authors_preprocessing_exactly(size: tuple[int, int]) -> None:
    image = draw_product(3, size)
    theirs = resize(np.asarray(image), (320, 320), order=1, anti_aliasing=False, mode="constant") * 255
    ours = network_input(photo_of(image), OFF)
    assert ours.dtype == np.uint8
    assert ours.shape == (320, 320, 3)
    assert np.abs(ours - theirs).max() <= 0.5 + 1e-6  # nothing but the rounding to 8 bits


def test_small_pictures_are_enlarged_without_dark_edges() -> None:
    white = np.full((20, 30, 3), 255, np.uint8)
    assert resize_official(white).min() == 255
    assert resize_official(np.full((1, 1, 3), 7, np.uint8)).min() == 7


def test_sharpening_strengthens_edges_and_leaves_flat_parts() -> None:
    image = Image.new("RGB", (640, 640), (100, 100, 100))
    image.paste((150, 150, 150), (320, 0, 640, 640))
    plain, sharp = (network_input(photo_of(image), s).astype(int) for s in (OFF, Sharpening()))
    assert sharp[160, 158:162].min() < plain[160, 158:162].min() - 10
    assert sharp[160, 158:162].max() > plain[160, 158:162].max() + 10
    assert np.abs(sharp[:, :120] - plain[:, :120]).max() == 0
    stronger = network_input(photo_of(image), Sharpening(percent=300)).astype(int)
    assert stronger.max() > sharp.max()


def test_is_independent_of_resolution() -> None:
    large = draw_product(5, (3000, 2400))
    small = large.resize((600, 480), Image.Resampling.BOX)
    difference = np.abs(network_input(photo_of(large)).astype(int) - network_input(photo_of(small)))
    assert difference.mean() < 3
    unscaled = Sharpening(working_side=10_000)  # a radius in pixels of the photo itself
    assert np.abs(
        network_input(photo_of(large), unscaled).astype(int) - network_input(photo_of(small), unscaled)
    ).mean() > (2 * difference.mean())


@pytest.mark.parametrize("size", [(900, 1200), (641, 480), (6000, 4000), (5001, 333), (600, 9000)])
def test_reduces_as_pillows_antialiased_bilinear_filter(size: tuple[int, int]) -> None:
    image = draw_product(6, size)
    scale = 640 / max(size)
    target = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    theirs = np.asarray(image.resize(target, Image.Resampling.BILINEAR)).astype(int)
    ours = reduce(np.asarray(image), *target)
    assert ours.shape == (target[1], target[0], 3)
    difference = np.abs(ours - theirs)
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= 6
    plain = np.asarray(image.resize(target, Image.Resampling.NEAREST)).astype(int)
    assert difference.mean() < np.abs(plain - theirs).mean() / 2


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (7000, 2), (3, 2)])
def test_pictures_of_any_shape_are_sharpened(size: tuple[int, int]) -> None:
    assert network_input(photo_of(Image.new("RGB", size, (9, 99, 199)))).tolist()[7][7] == [9, 99, 199]


def test_a_6000_px_photo_and_its_600_px_copy_have_nearly_the_same_map(u2netp: Any) -> None:
    engine = load(EngineConfig(u2netp, "cpu", "fp32"))
    large = draw_product(5, (6000, 4500))
    small = large.resize((600, 450), Image.Resampling.BOX)
    maps = engine.predict(np.stack([network_input(photo_of(image)) for image in (large, small)])).astype(int)
    masks = maps >= 0.7 * 255
    assert np.abs(maps[0] - maps[1]).mean() < 2
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.96


def test_what_transparency_hides_is_not_seen() -> None:
    image = draw_product(1, (100, 80))
    alpha = np.zeros((80, 100), np.uint8)
    assert network_input(photo_of(image, alpha), OFF).min() == 255


def test_every_strength_of_zero_has_one_digest() -> None:
    assert Sharpening(percent=0, radius=1).digest_parts() == Sharpening(percent=0, radius=9).digest_parts()
    assert Sharpening(percent=100).digest_parts() != Sharpening(percent=150).digest_parts()
