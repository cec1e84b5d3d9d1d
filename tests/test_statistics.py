"""Statistics of drawn maps whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from transforms.pixels.statistics import describe
from transforms.pixels.types import MaskStatistics, Photo

pytestmark = pytest.mark.pure


def describe_map(pixels: np.ndarray, threshold: float | None = 0.7, rgb: np.ndarray | None = None) -> MaskStatistics:
    """Describe a map whose photo is 320×320, so that the mask is the map's."""
    photo = Photo(np.zeros((320, 320, 3), np.uint8) if rgb is None else rgb, None, "png")
    alpha = pixels if threshold is None else np.where(pixels >= threshold * 255, 255, 0).astype(np.uint8)
    return describe(pixels, pixels, alpha, threshold, photo)[0]


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
    assert (found.components, found.holes, found.edge_contact, flags_of(pixels=pixels)) == (1, 1, (), ())
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
    assert found.otsu_threshold == 103 / 255  # right above the lower of two levels


def test_edges_and_pieces() -> None:
    pixels = empty()
    pixels[0:20, 0:20] = 255
    pixels[20:40, 20:40] = 255  # touches the first by a corner: one piece
    pixels[300:320, 300:320] = 255
    found = describe_map(pixels)
    assert found.components == 2
    assert found.edge_contact == ("left", "top", "right", "bottom")
    assert flags_of(pixels=pixels) == ()


def test_background_that_reaches_the_frame_through_a_corner_only_is_a_hole() -> None:
    pixels = empty()
    pixels[100:103, 100:103] = 255
    pixels[101, 101] = 0
    pixels[100, 100] = 0  # joins the hole and the outside by a corner, which does not connect background
    assert describe_map(pixels).holes == 1


def test_nothing_and_everything() -> None:
    nothing = describe_map(empty())
    assert flags_of(0, pixels=empty()) == ("no_subject", "doubtful")
    assert nothing.bbox_left is None
    assert nothing.fill_fraction is None
    assert (nothing.components, nothing.holes) == (0, 0)
    full = np.full((320, 320), 255, np.uint8)
    everything = describe_map(full)
    assert (flags_of(100_000, pixels=full), everything.quality) == (("full_frame",), 1)
    assert everything.holes == 0


def test_doubt_and_fragments_are_flagged() -> None:
    pixels = empty()
    pixels[50:150, 50:150] = 255
    pixels[160:230, 50:150] = 128
    assert flags_of(pixels=pixels) == ("low_confidence", "doubtful")
    pieces = empty()
    for top in range(20, 300, 60):
        pieces[top : top + 20, 100:200] = 255
    assert flags_of(pixels=pieces) == ("fragmented",)


def test_a_photo_on_white_is_noticed() -> None:
    white = np.full((320, 320, 3), 255, np.uint8)
    white[np.arange(320) > np.arange(320)[:, None]] = 50  # a triangle
    white[:60] = white[-60:] = white[:, :60] = white[:, -60:] = 255
    assert flags_of(rgb=white) == ("already_white",)
    white[:, :, 0] = 240
    assert flags_of(rgb=white) == ()


def test_a_soft_mask_is_what_is_more_likely_than_not() -> None:
    pixels = empty()
    pixels[:160] = 100
    pixels[160:] = 200
    found = describe_map(pixels, threshold=None)
    assert found.foreground_fraction == pytest.approx((100 + 200) / 2 / 255)
    assert (found.bbox_top, found.bbox_bottom) == (160, 320)
    assert found.components == 1


def test_shares_of_a_map_with_as_many_cells_of_every_level() -> None:
    pixels = np.arange(102_400).reshape(320, 320).astype(np.uint8)
    found = describe_map(pixels)
    for percent in range(10, 100, 10):
        reached = sum(100 * level >= percent * 255 for level in range(256))
        assert getattr(found, f"coverage_{percent}") == reached / 256, percent
    assert found.uncertain_fraction == sum(3 * 255 <= 10 * level <= 7 * 255 for level in range(256)) / 256
    assert (found.probability_max, found.probability_mean) == (1, 0.5)


def flags_of(alpha_cells: int = 20_000, **given: np.ndarray) -> tuple[str, ...]:
    """Describe a mask of so many of 100,000 pixels, beside a map that raises no flag."""
    usual = empty()
    usual[100:200, 100:200] = 255
    alpha = np.zeros(100_000, np.uint8)
    alpha[:alpha_cells] = 255
    pixels = given.get("pixels", usual)
    rgb = given.get("rgb", np.zeros((250, 400, 3), np.uint8))
    return describe(pixels, pixels, alpha.reshape(250, 400), 0.7, Photo(rgb, None, "png"))[1]


@pytest.mark.parametrize(
    ("cells", "flags"),
    [(99, ("no_subject",)), (100, ()), (95_000, ()), (95_001, ("full_frame",))],
)
def test_less_than_a_thousandth_is_no_subject_and_more_than_19_in_20_is_full(
    cells: int, flags: tuple[str, ...]
) -> None:
    assert flags_of(cells) == flags


@pytest.mark.parametrize(("uncertain", "flags"), [(50, ("doubtful",)), (51, ("low_confidence", "doubtful"))])
def test_more_than_half_as_much_doubt_as_mask_is_low_confidence(uncertain: int, flags: tuple[str, ...]) -> None:
    pixels = empty()
    pixels[100, 100:200] = 255
    pixels[200, 100 : 100 + uncertain] = 128
    assert flags_of(pixels=pixels) == flags


@pytest.mark.parametrize(
    ("sizes", "flags"),
    [([65] * 4, ("fragmented",)), ([65] * 3 + [64], ()), ([65] * 3 + [64] * 9, ()), ([64] * 9, ())],
)
def test_more_than_three_pieces_of_more_than_64_cells_are_fragments(sizes: list[int], flags: tuple[str, ...]) -> None:
    pixels = empty()
    for number, size in enumerate(sizes):
        pixels[20 + 20 * number, 100 : 100 + size] = 255
    assert flags_of(pixels=pixels) == flags


@pytest.mark.parametrize(
    ("cell", "side"), [((9, 0), "left"), ((0, 9), "top"), ((9, 319), "right"), ((319, 9), "bottom")]
)
def test_one_cell_at_an_edge_touches_it(cell: tuple[int, int], side: str) -> None:
    pixels = empty()
    pixels[cell] = 255
    assert describe_map(pixels).edge_contact == (side,)
    pixels = empty()
    pixels[1:-1, 1:-1] = 255
    assert describe_map(pixels).edge_contact == ()


def test_the_box_holds_what_is_more_than_half_opaque() -> None:
    alpha = np.full((50, 90), 127, np.uint8)
    alpha[10:20, 30:50] = 128
    found, _ = describe(empty(), empty(), alpha, 0.7, Photo(np.zeros((50, 90, 3), np.uint8), None, "png"))
    assert (found.bbox_left, found.bbox_top, found.bbox_right, found.bbox_bottom) == (30, 10, 50, 20)
    assert found.fill_fraction == 1


def test_a_bay_that_the_frame_closes_is_no_hole() -> None:
    pixels = empty()
    pixels[100:140, :30] = 255
    pixels[110:120, :10] = 0
    assert describe_map(pixels).holes == 0


@pytest.mark.parametrize(("threshold", "level"), [(None, 128), (0.4, 102), (102 / 255, 102), (178 / 255, 178)])
def test_pieces_and_edges_are_of_what_reaches_the_threshold(threshold: float | None, level: int) -> None:
    pixels = empty()
    pixels[50, 50], pixels[60, 60] = level, level - 1
    assert describe_map(pixels, threshold).components == 1


def sixth_power(part: float, whole: float) -> float:
    return round((part / whole) ** 6, 4)


def box(level: int = 255) -> np.ndarray:
    """Draw a square of 100 × 100 cells; 98 × 98 of them are deeper than one."""
    pixels = empty()
    pixels[100:200, 100:200] = level
    return pixels


def test_a_sure_mask_has_the_quality_1_and_an_empty_one_0() -> None:
    assert (describe_map(box()).quality, describe_map(empty()).quality) == (1, 0)
    faint = np.full((320, 320), 100, np.uint8)
    assert describe_map(faint).quality == 0  # the network saw something, but nothing reaches the threshold


def test_doubt_inside_and_outside_the_mask_lowers_its_quality() -> None:
    assert describe_map(box(204)).quality == sixth_power(100**2 - 98**2 * 0.2, 100**2)
    gap = box()
    gap[110:120, 110:160] = 0
    assert describe_map(gap).quality == 1
    beyond = box()
    beyond[250:260, 100:200] = 102
    assert describe_map(beyond).quality == sixth_power(100**2, 100**2 + 1000 * 0.4)
    both = box(204)
    both[250:260, 100:200] = 102
    assert describe_map(both).quality == sixth_power(100**2 - 98**2 * 0.2, 100**2 + 1000 * 0.4)


@pytest.mark.parametrize(("distance", "counts"), [(1, False), (2, True)])
def test_cells_within_one_of_the_outline_do_not_count(distance: int, counts: bool) -> None:
    inside = box()
    inside[99 + distance, 150:160] = 179
    corner = box()
    corner[100 - distance, 100 - distance] = 178
    above = box()
    above[100 - distance, 100:200] = 100
    for pixels in (inside, corner, above):
        assert (describe_map(pixels).quality < 1) is counts


def test_the_frame_is_no_outline() -> None:
    assert describe_map(np.full((320, 320), 204, np.uint8)).quality == sixth_power(0.8, 1)


def test_quality_is_of_the_map_as_stored_and_the_mask_as_cleaned() -> None:
    pixels, photo = box(), Photo(np.zeros((320, 320, 3), np.uint8), None, "png")
    pixels[250:260, 100:200] = 255
    cleaned = box()
    found, _ = describe(pixels, cleaned, cleaned, 0.7, photo)
    assert found.quality == sixth_power(100**2, 100**2 + 1000)
    stretched, _ = describe(box(204), box(), box(), 0.7, photo)
    assert stretched.quality == sixth_power(100**2 - 98**2 * 0.2, 100**2)


def test_a_soft_mask_and_a_low_threshold_have_a_quality_too() -> None:
    assert describe_map(box(204), threshold=None).quality == sixth_power(100**2 - 98**2 * 0.2, 100**2)
    assert describe_map(box(102), threshold=0.3).quality == sixth_power(100**2 - 98**2 * 0.6, 100**2)
    assert describe_map(box(102), threshold=0.5).quality == 0


@pytest.mark.parametrize(("cells", "quality", "flags"), [(177, 0.9001, ()), (178, 0.8996, ("doubtful",))])
def test_below_nine_tenths_is_doubtful(cells: int, quality: float, flags: tuple[str, ...]) -> None:
    pixels = box()
    pixels[220:260, 100:200].flat[:cells] = 255
    found, raised = describe(pixels, box(), box(), 0.7, Photo(np.zeros((320, 320, 3), np.uint8), None, "png"))
    assert (found.quality, raised) == (quality, flags)
