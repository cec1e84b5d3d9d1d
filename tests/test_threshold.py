"""Policies, and Otsu's method against a reference."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from transforms.threshold import Policy, PolicyError, alpha_table, effective_threshold, otsu_level, parse_policy


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
    if len(np.unique(pixels)) < 2:
        pytest.skip("a single level has no two classes")
    ours, theirs = pixels >= otsu_level(pixels), pixels > threshold_otsu(pixels)
    assert np.array_equal(ours, theirs)


def test_otsu_of_a_single_level_keeps_nothing_that_is_not_certain() -> None:
    for level, kept in ((0, False), (100, False), (254, False), (255, True)):
        pixels = np.full((320, 320), level, np.uint8)
        assert bool((pixels >= otsu_level(pixels)).any()) is kept


@pytest.mark.parametrize("threshold", [k / 255 for k in (1, 51, 128, 178, 179, 254, 255)] + [0.7, 0.5, 1.0, 1e-9])
def test_fixed_keeps_what_is_at_least_the_threshold(threshold: float) -> None:
    table = alpha_table(Policy("fixed", threshold), threshold)
    expected = [255 if level / 255 >= threshold else 0 for level in range(256)]
    assert table.tolist() == expected
    assert table.dtype == np.uint8


def test_soft_is_the_probability_itself() -> None:
    policy = parse_policy("soft")
    assert effective_threshold(policy, np.zeros((4, 4), np.uint8)) is None
    assert alpha_table(policy, None).tolist() == list(range(256))


def test_otsu_is_found_in_each_map() -> None:
    pixels = np.where(np.arange(100) < 50, 10, 90).astype(np.uint8)
    threshold = effective_threshold(parse_policy("otsu"), pixels)
    assert threshold is not None
    assert 10 / 255 < threshold <= 90 / 255


def test_policies_are_named_by_what_they_mean() -> None:
    assert parse_policy("0.70").sha256() == parse_policy(" .7").sha256() == Policy().sha256()
    digests = {parse_policy(text).sha256() for text in ("0.7", "0.71", "otsu", "soft")}
    assert len(digests) == 4


@pytest.mark.parametrize("text", ["", "seven", "0", "-0.1", "1.01", "nan", "inf", "70%"])
def test_nonsense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert str(caught.value).startswith("--policy")
    assert "\n" not in str(caught.value)
