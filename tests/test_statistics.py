"""Statistics of drawn maps whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.pixels.statistics import describe
from transforms.pixels.types import MaskStatistics, Photo


def describe_map(pixels: np.ndarray, threshold: float | None = 0.7, rgb: np.ndarray | None = None) -> MaskStatistics:
    """Describe a map whose photo is 320×320, so that the mask is the map's."""
    photo = Photo(np.zeros((320, 320, 3), np.uint8) if rgb is None else rgb, None, "png")
    alpha = pixels if threshold is None else np.where(pixels >= threshold * 255, 255, 0).astype(np.uint8)
    return describe(pixels, pixels, alpha, threshold, photo)


def empty() -> np.ndarray:
    return np.zeros((320, 320), np.uint8)


def test_a_box_with_a_hole() -> None:
    pixels = empty()
    pixels[100:200, 50:150] = 255
    pixels[140:150, 90:110] = 0
    found = describe_map(pixels)
    area = 100 * 100 - 10 * 20
    assert found.foreground_fraction == pytest.approx(area / 320**2)
    assert (found.bbox_left, found.bbox_top, found.bbox_right, found.bbox_bottom) == (50, 100, 150, 200)
    assert found.fill_fraction == pytest.approx(area / 100**2)
    assert (found.components, found.holes, found.edge_contact, found.flags) == (1, 1, (), ())
    assert found.probability_max == 1
    assert found.probability_mean == pytest.approx(area / 320**2)
    assert found.uncertain_fraction == 0
    assert found.coverage_10 == found.coverage_90 == pytest.approx(area / 320**2)


def test_the_coverage_ladder_counts_cells_at_or_above() -> None:
    pixels = np.full((320, 320), 102, np.uint8)  # 0.4 exactly
    pixels[:, :160] = 204  # 0.8 exactly
    found = describe_map(pixels)
    assert (found.coverage_30, found.coverage_40, found.coverage_50) == (1.0, 1.0, 0.5)
    assert (found.coverage_70, found.coverage_80, found.coverage_90) == (0.5, 0.5, 0.0)
    assert found.uncertain_fraction == 0.5
    assert found.probability_mean == pytest.approx(0.6)
    assert 0.4 < found.otsu_threshold <= 0.8


def test_edges_and_pieces() -> None:
    pixels = empty()
    pixels[0:20, 0:20] = 255
    pixels[20:40, 20:40] = 255  # touches the first by a corner: one piece
    pixels[300:320, 300:320] = 255
    found = describe_map(pixels)
    assert found.components == 2
    assert found.edge_contact == ("left", "top", "right", "bottom")
    assert found.flags == ("cut_by_frame",)


def test_background_that_reaches_the_frame_through_a_corner_only_is_a_hole() -> None:
    pixels = empty()
    pixels[100:103, 100:103] = 255
    pixels[101, 101] = 0
    pixels[100, 100] = 0  # joins the hole and the outside by a corner, which does not connect background
    assert describe_map(pixels).holes == 1


def test_nothing_and_everything() -> None:
    nothing = describe_map(empty())
    assert nothing.flags == ("no_subject",)
    assert nothing.bbox_left is None
    assert nothing.fill_fraction is None
    assert (nothing.components, nothing.holes) == (0, 0)
    everything = describe_map(np.full((320, 320), 255, np.uint8))
    assert set(everything.flags) == {"cut_by_frame", "full_frame"}
    assert everything.holes == 0


def test_doubt_and_fragments_are_flagged() -> None:
    pixels = empty()
    pixels[50:150, 50:150] = 255
    pixels[160:230, 50:150] = 128
    assert describe_map(pixels).flags == ("low_confidence",)
    pieces = empty()
    for top in range(20, 300, 60):
        pieces[top : top + 20, 100:200] = 255
    assert describe_map(pieces).flags == ("fragmented",)


def test_white_borders_are_noticed() -> None:
    pixels = empty()
    pixels[100:200, 100:200] = 255
    white = np.full((320, 320, 3), 255, np.uint8)
    white[100:200, 100:200] = 50
    assert describe_map(pixels, rgb=white).flags == ("already_white",)
    white[:, :, 0] = 240
    assert describe_map(pixels, rgb=white).flags == ()


def test_a_soft_mask_is_what_is_more_likely_than_not() -> None:
    pixels = empty()
    pixels[:160] = 100
    pixels[160:] = 200
    found = describe_map(pixels, threshold=None)
    assert found.foreground_fraction == pytest.approx((100 + 200) / 2 / 255)
    assert (found.bbox_top, found.bbox_bottom) == (160, 320)
    assert found.components == 1
