"""The same frame for all: each product as large and at the same place, on a canvas that is exactly the background."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from transforms.pixels.composite import composite
from transforms.pixels.decode import decode
from transforms.pixels.frame import Box, Frame, framed, parse_canvas
from transforms.pixels.opencv import cv2
from transforms.pixels.policy import PolicyError, parse_policy
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.types import Photo, SaliencyMap

pytestmark = pytest.mark.pure
WHITE = (255, 255, 255)


def product(size: tuple[int, int], box: Box) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a dark ellipse that fills a box: the picture on white, and its alpha."""
    width, height = size
    left, top, right, bottom = box
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((x - (left + right) / 2) / ((right - left) / 2)) ** 2 + (
        (y - (top + bottom) / 2) / ((bottom - top) / 2)
    ) ** 2
    alpha = np.where(inside <= 1, 255, 0).astype(np.uint8)
    alpha[top:bottom, (left + right) // 2] = alpha[(top + bottom) // 2, left:right] = 255  # to the very ends
    return composite(np.full((height, width, 3), (30, 40, 90), np.uint8), alpha), alpha


def seen(picture: NDArray[np.uint8]) -> Box:
    """Give the box of what is not white, half covered pixels and more."""
    x, y, width, height = cv2.boundingRect((picture.min(2) < 160).astype(np.uint8))
    return x, y, x + width, y + height


@pytest.mark.parametrize(
    ("size", "box"),
    [((400, 300), (100, 80, 260, 200)), ((1600, 1200), (900, 40, 1540, 520)), ((90, 80), (11, 10, 75, 58))],
)
@pytest.mark.parametrize("position", ["center", "top", "bottom"])
def test_products_of_one_shape_come_out_alike_whatever_their_photos(
    size: tuple[int, int], box: Box, position: str
) -> None:
    frame = Frame(800, 800, 0.8, 20, position)
    found = seen(framed(*product(size, box), box, frame, WHITE))
    top = {"center": 160, "top": 80, "bottom": 240}[position]
    assert np.abs(np.array(found) - (80, top, 720, top + 480)).max() <= 1 + 640 / (box[2] - box[0]) / 2


def test_what_is_no_product_is_exactly_the_background() -> None:
    for background in (WHITE, (20, 200, 90)):
        picture, alpha = product((900, 700), (200, 100, 700, 600))
        picture = composite(picture, alpha, background)
        result = framed(picture, alpha, (200, 100, 700, 600), Frame(500, 500, 0.8, 1, "center"), background)
        near = cv2.dilate((result != background).any(2).astype(np.uint8), np.ones((3, 3), np.uint8))
        left, top, right, bottom = 50, 50, 450, 450
        assert (result[:, : left - 4] == background).all()
        assert (result[: top - 4] == background).all()
        assert (result[:, right + 4 :] == background).all()
        assert (result[bottom + 4 :] == background).all()
        assert 0.5 < near.mean() < 0.6  # the ellipse, and no rings around it


def test_nothing_is_enlarged_beyond_what_is_allowed() -> None:
    box = (10, 10, 60, 40)
    found = seen(framed(*product((100, 80), box), box, Frame(1000, 1000, 0.9, 2, "center"), WHITE))
    assert np.abs(np.array(found) - (450, 470, 550, 530)).max() <= 2


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 100, 200, 300), (0, 120, 360, 480)),  # cut off at the left
        ((200, 100, 400, 300), (240, 120, 600, 480)),
        ((100, 0, 300, 200), (120, 0, 480, 360)),
        ((100, 200, 300, 400), (120, 240, 480, 600)),
        ((0, 150, 400, 250), (0, 225, 600, 375)),  # from side to side
        ((0, 0, 400, 400), (0, 0, 600, 600)),
    ],
)
def test_what_is_cut_off_stays_at_that_side(box: Box, expected: Box) -> None:
    found = seen(framed(*product((400, 400), box), box, Frame(600, 600, 0.6, 4, "center"), WHITE))
    assert np.abs(np.array(found) - expected).max() <= 3


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_box_on_any_canvas(data: st.DataObject) -> None:
    width, height = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    left, top = data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, height - 1)))
    right, bottom = data.draw(st.tuples(st.integers(left + 1, width), st.integers(top + 1, height)))
    frame = Frame(
        data.draw(st.integers(1, 90)),
        data.draw(st.integers(1, 90)),
        data.draw(st.floats(0.1, 1)),
        data.draw(st.floats(0.01, 10)),
        data.draw(st.sampled_from(["center", "top", "bottom"])),
    )
    box = (left, top, right, bottom)
    scale, x, y = frame.place(box, (width, height))
    assert 0 < scale <= frame.enlarge
    assert x + scale * left >= -1e-6
    assert y + scale * top >= -1e-6
    assert x + scale * right <= frame.width + 1e-6
    assert y + scale * bottom <= frame.height + 1e-6
    alpha = np.zeros((height, width), np.uint8)
    alpha[top:bottom, left:right] = 255
    channels = data.draw(st.sampled_from([3, 4]))
    picture = composite(np.zeros((height, width, 3), np.uint8), alpha, WHITE if channels == 3 else None)
    result = framed(picture, alpha, box, frame, WHITE if channels == 3 else None)
    assert result.shape == (frame.height, frame.width, channels)
    dark = 255 - result[..., 0].astype(float) if channels == 3 else result[..., 3].astype(float)
    wanted = scale * scale * (right - left) * (bottom - top)
    assert abs(dark.sum() / 255 - wanted) <= 0.35 * wanted + 2.2 * scale * (right - left + bottom - top) + 4


@pytest.mark.parametrize(
    ("box", "sides", "canvas", "spans"),
    [
        ((100, 100, 300, 200), (1, 9999), (250, 250), 200),  # as large as in its photo
        ((100, 100, 140, 120), (200, 9999), (200, 200), 40),  # on a canvas that may not be smaller
        ((100, 100, 300, 200), (1, 125), (125, 125), 100),  # drawn smaller, on one that may not be larger
        ((0, 100, 400, 200), (1, 9999), (400, 400), 400),  # from side to side
    ],
)
def test_a_canvas_of_a_ratio_is_as_large_as_the_product_wants_it(
    box: Box, sides: tuple[int, int], canvas: tuple[int, int], spans: int
) -> None:
    frame = Frame(1, 1, 0.8, 1, "center", sides=sides)
    result = framed(*product((400, 400), box), box, frame, WHITE)
    assert (result.shape[1], result.shape[0]) == canvas
    found = seen(result)
    assert abs(found[2] - found[0] - spans) <= 2
    assert result.shape[0] * result.shape[1] <= frame.most_pixels((400, 400))


def test_a_bulky_product_is_drawn_no_larger_than_it_may_cover() -> None:
    shapes = []
    for box in ((100, 100, 300, 300), (100, 190, 300, 210)):  # of one width, the second thin
        picture, alpha = product((400, 400), box)
        for canvas in (Frame(400, 400, 0.8, 9, "center", 0.25), Frame(4, 4, 0.8, 9, "center", 0.25, (400, 400))):
            result = framed(picture, alpha, box, canvas, WHITE)
            shapes.append((result.min(2) < 160).mean())
            found = seen(result)
    assert np.allclose(shapes[:2], 0.25, atol=0.005)
    assert abs(found[2] - found[0] - 320) <= 3  # which `fill` holds back, long before


def test_a_portrait_ratio_is_met_to_the_pixel() -> None:
    width, height, is_ratio = parse_canvas("1:2")
    assert is_ratio
    frame = Frame(width, height, 0.9, 1, "center", sides=(1100, 2600))
    sized = frame.sized((5, 5, 905, 305), (1000, 400), 1000)
    assert (sized.width, sized.height) == (1000, 2000)


def test_without_a_product_the_canvas_is_empty() -> None:
    picture, alpha = product((50, 40), (10, 10, 30, 30))
    assert (framed(picture, np.zeros_like(alpha), None, Frame(7, 9, 0.8, 1, "center"), WHITE) == 255).all()
    ratio = Frame(1, 1, 0.8, 1, "center", sides=(1, 9999))
    assert framed(picture, np.zeros_like(alpha), None, ratio, WHITE).shape == (50, 50, 3)  # as large as the photo
    transparent = composite(picture, alpha, None)
    empty = framed(transparent, np.zeros_like(alpha), None, Frame(7, 9, 0.8, 1, "center"), None)
    assert (empty[..., 3] == 0).all()


@pytest.mark.parametrize(
    "text",
    ["2000", "0x10", "10x0", "20000x10", "10x-5", "axb", "", "10 x 10 x 10", "1e3x1e3", "0:1", "1:200", "1:1:1", ":"],
)
def test_a_canvas_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 2000x2000"):
        parse_canvas(text)
    if text:
        with pytest.raises(PolicyError, match=r"p\.toml, \[default\]: canvas .*expected a size"):
            parse_policy({"default": {"canvas": text}}, "p.toml")


def test_a_policy_frames_by_category() -> None:
    tables: dict[str, Any] = {
        "default": {"canvas": "600 x 600"},
        "category": {"shoes": {"fill": 0.6, "position": "bottom"}, "size charts": {"method": "keep"}},
    }
    policy = parse_policy(tables, "p.toml")
    photo, alpha = product((400, 300), (50, 50, 350, 200))
    saliency = SaliencyMap(cv2.resize(alpha, (320, 320), interpolation=cv2.INTER_AREA), "")
    found = {}
    for category in (None, "shoes", "size charts"):
        _, rule = policy.rule_for(category, {})
        cutout = render(b"", Photo(photo, None, "png"), saliency, rule, OutputSettings(policy))
        found[category] = decode(cutout.data).rgb
    assert found[None].shape == found["shoes"].shape == (600, 600, 3)
    assert found["size charts"].shape == (300, 400, 3)  # what is kept is kept as it is
    assert np.abs(np.array(seen(found[None])) - (150, 225, 450, 375)).max() <= 4  # not enlarged
    assert np.abs(np.array(seen(found["shoes"])) - (150, 330, 450, 480)).max() <= 4
    assert policy.default.canonical()["canvas"] == "600x600"
    assert "fill" not in parse_policy({}, "p.toml").default.canonical()
