"""Rules at work on drawn maps, and Otsu's method against a reference."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from skimage.filters import threshold_otsu
from skimage.measure import label

from transforms.pixels.methods import otsu_level
from transforms.pixels.policy import parse_policy
from transforms.pixels.threshold import alpha_table, clean, effective_threshold, make_mask, normalize

pytestmark = pytest.mark.pure


def rule(**settings: Any) -> Any:
    return parse_policy({"default": {"minimum_component": 0, **settings}}, "test").default


def empty() -> np.ndarray:
    return np.zeros((320, 320), np.uint8)


def kept(pixels: np.ndarray, **settings: Any) -> np.ndarray:
    """Apply a rule at the map's own size; give the alpha."""
    return make_mask(rule(**settings), pixels, (320, 320)).alpha


@cache
def maps_to_try() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, (320, 320), np.uint8) for _ in range(5)]
    maps += [rng.beta(a, b, (320, 320)) * 255 for a in (0.1, 0.5, 2) for b in (0.1, 0.5, 2)]
    maps += [np.where(rng.random((320, 320)) < share, 240, 10) for share in (0.001, 0.1, 0.5, 0.999)]
    maps += [rng.choice(rng.integers(0, 256, count), (320, 320)) for count in (3, 5, 20) for _ in range(10)]
    return [np.asarray(m).astype(np.uint8) for m in maps]


@pytest.mark.parametrize("number", range(len(maps_to_try())))
def test_otsu_agrees_with_the_reference(number: int) -> None:
    pixels = maps_to_try()[number]
    assert np.array_equal(pixels >= otsu_level(pixels), pixels > threshold_otsu(pixels))


def test_otsu_of_a_single_level_keeps_nothing_that_is_not_certain() -> None:
    for level, certain in ((0, False), (100, False), (254, False), (255, True)):
        pixels = np.full((320, 320), level, np.uint8)
        assert bool((pixels >= otsu_level(pixels)).any()) is certain
        assert otsu_level(pixels) == min(level + 1, 255)


@pytest.mark.parametrize("threshold", [k / 255 for k in (1, 51, 128, 178, 179, 254, 255)] + [0.7, 0.5, 1.0])
def test_fixed_keeps_what_is_at_least_the_threshold(threshold: float) -> None:
    table = alpha_table(rule(threshold=threshold), threshold)
    assert table.tolist() == [255 if level / 255 >= threshold else 0 for level in range(256)]
    assert table.dtype == np.uint8


def test_soft_is_the_probability_itself() -> None:
    assert effective_threshold(rule(method="soft"), empty()) is None
    assert alpha_table(rule(method="soft"), None).tolist() == list(range(256))


def test_otsu_splits_two_levels_right_above_the_lower() -> None:
    pixels = empty()
    pixels[:, :160] = 204
    assert effective_threshold(rule(method="otsu"), pixels) == 1 / 255
    pixels[:, 160:] = 102
    assert effective_threshold(rule(method="otsu"), pixels) == 103 / 255


def test_otsu_is_held_between_floor_and_ceiling() -> None:
    pixels = np.where(np.arange(102_400).reshape(320, 320) < 50_000, 10, 90).astype(np.uint8)
    free = effective_threshold(rule(method="otsu"), pixels)
    assert free is not None
    assert 10 / 255 < free <= 90 / 255
    assert effective_threshold(rule(method="otsu", floor=0.6), pixels) == 0.6
    assert effective_threshold(rule(method="otsu", ceiling=0.02), pixels) == 0.02


@pytest.mark.parametrize(("middle", "width"), [(0.5, 0.2), (0.5, 1), (0.7, 0.01), (0.1, 0.2), (0.9, 0.2), (0.3, 0.55)])
def test_ramp_is_a_straight_line_over_its_band(middle: float, width: float) -> None:
    settings = {"method": "ramp", "threshold": middle, "width": width}
    assert effective_threshold(rule(**settings), empty()) == middle
    for level, alpha in enumerate(alpha_table(rule(**settings), middle).tolist()):
        share = (level / 255 - middle) / width + 0.5
        assert abs(alpha - 255 * min(max(share, 0), 1)) <= 0.5 + 1e-9


def test_ramp_rises_across_its_band() -> None:
    table = alpha_table(rule(method="ramp", threshold=0.5, width=0.2), 0.5)
    assert table[: int(0.4 * 255) + 1].max() == 0
    assert table[int(0.6 * 255) + 1 :].min() == 255
    assert abs(int(table[127]) + int(table[128]) - 255) <= 1
    assert (np.diff(table.astype(int)) >= 0).all()
    assert table[115] == round((115 / 255 - 0.4) / 0.2 * 255)


def test_hysteresis_keeps_what_is_connected_to_something_certain() -> None:
    pixels = empty()
    pixels[10:20, 10:40] = 120  # above low, with a certain end
    pixels[10:20, 40:42] = 240
    pixels[20, 42:60] = 120  # joined to it by a corner
    pixels[100:120, 100:120] = 150  # above low, nowhere certain
    pixels[200, 200] = 240
    alpha = kept(pixels, method="hysteresis", low=0.4, high=0.8)
    expected = (pixels >= 120) & (np.arange(320)[:, None] != -1)
    expected[100:120, 100:120] = False
    assert np.array_equal(alpha == 255, expected)


def test_hysteresis_takes_both_of_its_thresholds_as_reached_where_they_are_equalled() -> None:
    pixels = empty()
    pixels[10:20, 10:20], pixels[15, 15] = 51, 204
    pixels[30:40, 30:40], pixels[35, 35] = 51, 203
    pixels[50:60, 50:60], pixels[55, 55] = 50, 204
    found = make_mask(rule(method="hysteresis", low=0.2, high=0.8), pixels, (320, 320))
    assert found.threshold == 0.2
    assert np.count_nonzero(found.alpha) == 100 + 1
    larger = {"method": "hysteresis", "low": 0.2, "high": 0.8, "minimum_component": 100}
    assert np.count_nonzero(kept(pixels, **larger)) == 100
    assert np.count_nonzero(kept(pixels, **{**larger, "minimum_component": 101})) == 0


@pytest.mark.parametrize(
    ("start", "stop", "step", "rungs"),
    [
        (0.9, 0.3, 0.1, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),
        (0.7, 0.4, 0.1, [0.7, 0.6, 0.5, 0.4]),  # 0.3 / 0.1 is a little less than 3
        (0.9, 0.35, 0.2, [0.9, 0.7, 0.5]),  # never below `stop`
        (0.6, 0.6, 0.1, [0.6]),
        (0.8, 0.5, 1, [0.8]),
    ],
)
def test_the_rungs_of_a_ladder(start: float, stop: float, step: float, rungs: list[float]) -> None:
    ladder = {"method": "ladder", "start": start, "stop": stop, "step": step}
    found: list[Any] = []
    for level in range(255, -1, -1):  # a tenth of the map is of this level, the rest nought
        pixels = empty()
        pixels[:32] = level
        found.append(effective_threshold(rule(**ladder, minimum_share=0.1), pixels))
    assert sorted(set(found), reverse=True) == rungs
    assert found[-1] == rungs[-1]  # nothing serves, so the last


def test_ladder_steps_down_until_enough_is_kept() -> None:
    pixels = empty()
    pixels[:32] = 0.55 * 255  # a tenth of the map
    pixels[0, :10] = 0.95 * 255
    ladder = {"method": "ladder", "start": 0.9, "stop": 0.3, "step": 0.1}
    assert effective_threshold(rule(**ladder, minimum_share=0.05), pixels) == 0.5
    assert effective_threshold(rule(**ladder, minimum_share=0.1), pixels) == 0.5
    assert effective_threshold(rule(**ladder, minimum_share=0), pixels) == 0.9
    assert effective_threshold(rule(**ladder, minimum_share=0.5), pixels) == pytest.approx(0.3)
    assert effective_threshold(rule(**ladder, minimum_share=0), empty()) == pytest.approx(0.3)


def test_small_pieces_are_dropped_and_no_others() -> None:
    rng = np.random.default_rng(0)
    pixels = np.where(rng.random((320, 320)) < 0.25, 255, 0).astype(np.uint8)
    pieces, sizes = label(pixels > 0, connectivity=2, return_num=False), None
    sizes = np.bincount(pieces.ravel())
    for size in (1, 2, 5, 20):
        expected = (pixels > 0) & (sizes[pieces] >= size)
        assert np.array_equal(kept(pixels, minimum_component=size) == 255, expected)


def test_holes_are_filled_below_a_size() -> None:
    pixels = empty()
    pixels[50:150, 50:150] = 255
    pixels[60:62, 60:62] = 0  # 4 cells
    pixels[100:120, 100:120] = 100  # 400 cells
    pixels[140:150, 70:80] = 0  # open to the outside
    assert (kept(pixels) == 0)[100, 100]
    small = kept(pixels, holes="fill", fill_below=5)
    assert (small[60, 60], small[110, 110], small[145, 75]) == (255, 0, 0)
    every = kept(pixels, holes="fill")
    assert (every[60, 60], every[110, 110], every[145, 75]) == (255, 255, 0)
    assert (every[0, 0], every[200, 200]) == (0, 0)


def test_a_hole_as_large_as_the_size_is_kept() -> None:
    pixels = empty()
    pixels[50:150, 50:150] = 255
    pixels[60:62, 60:62] = 0
    assert kept(pixels, holes="fill", fill_below=4)[60, 60] == 0
    assert kept(pixels, holes="keep", fill_below=5)[60, 60] == 0
    assert kept(pixels, holes="fill", fill_below=1)[60, 60] == 0


@pytest.mark.parametrize("turns", range(4))
def test_what_reaches_the_frame_or_a_corner_is_no_hole_or_is(turns: int) -> None:
    pixels = empty()
    pixels[100:140, :30] = 255
    pixels[110:120, :10] = 0  # a bay that the frame closes
    pixels[200:203, 200:203] = 255
    pixels[201, 201] = pixels[200, 200] = 0  # a hole that meets the outside by a corner
    filled = np.rot90(kept(np.rot90(pixels, turns).copy(), holes="fill"), -turns)
    assert (filled[110:120, :10] == 0).all()
    assert (filled[201, 201], filled[200, 200]) == (255, 0)


def test_soft_pieces_and_holes_are_of_what_is_not_nought() -> None:
    pixels = empty()
    pixels[10:13, 10:13] = 1
    pixels[11, 11] = 0
    pixels[50, 50] = 200
    alpha = kept(pixels, method="soft", minimum_component=8, holes="fill")
    expected = empty()
    expected[10:13, 10:13] = 1
    expected[11, 11] = 255  # certain, as it is filled
    assert np.array_equal(alpha, expected)
    assert make_mask(rule(method="soft"), pixels, (320, 320)).threshold is None


def test_cleaning_leaves_alone_what_it_does_not_drop_or_fill() -> None:
    pixels = np.full((320, 320), 200, np.uint8)
    pixels[0, :2] = 100  # background of two cells, fewer than a piece must have
    pixels[5, 5:8] = 90, 100, 110
    assert np.array_equal(clean(rule(minimum_component=50), pixels, 0.7), pixels)
    assert np.array_equal(clean(rule(method="hysteresis", low=0.5, high=0.6), pixels, 0.5), pixels)
    filled = pixels.copy()
    filled[5, 5:8] = 255
    assert np.array_equal(clean(rule(minimum_component=50, holes="fill"), pixels, 0.7), filled)
    assert clean(rule(holes="fill", fill_below=0), pixels, 0.7) is pixels


def test_a_map_that_needs_no_cleaning_is_passed_on_untouched() -> None:
    pixels = empty()
    assert clean(rule(), pixels, 0.7) is pixels
    pixels[5, 5] = 255
    before = pixels.copy()
    clean(rule(minimum_component=10, holes="fill"), pixels, 0.7)
    assert np.array_equal(pixels, before)  # never in place


def test_normalize_stretches_to_the_full_range() -> None:
    pixels = np.full((320, 320), 50, np.uint8)
    assert np.array_equal(normalize(pixels), pixels)
    pixels[0, 0], pixels[0, 1] = 150, 90
    assert normalize(pixels)[0, :3].tolist() == [255, 102, 0]
    assert kept(pixels)[0, 0] == 0
    assert kept(pixels, normalize="minmax")[0, 0] == 255
