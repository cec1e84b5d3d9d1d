"""Profiles: pictures as a marketplace asks for them, and each file checked as it was written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, report_rows, run, run_json
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from transforms.pixels.encode import LOWEST, SRGB, encode
from transforms.pixels.opencv import cv2
from transforms.pixels.profile import Profile, ProfileError, named_profile, profile_names, read_profile, violations
from transforms.pixels.pure import pure_jpeg
from transforms.settings import load_policy, load_profile

pure = pytest.mark.pure
WHITE = (255, 255, 255)


def noisy(seed: int, size: tuple[int, int] = (203, 149), colour: tuple[int, int, int] = (200, 30, 40)) -> Any:
    """Draw a textured ellipse of a strong colour on white: uint8 [H, W, 3]."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (width * 0.35)) ** 2 + ((y - height / 2) / (height * 0.4)) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 25, (height, width, 3))
    return np.where(inside[..., None], np.clip(np.array(colour) + noise, 0, 254), 255).astype(np.uint8)


def decoders(data: bytes) -> list[Any]:
    """Decode with Pillow and with OpenCV: uint8 [H, W, 3] each."""
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), other[..., ::-1]]


@pure
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 99),
    st.sampled_from([(203, 149), (64, 64), (9, 8), (1, 1), (17, 300)]),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(70, 95),
)
def test_white_stays_white_in_a_jpeg_whatever_stands_beside_it(
    seed: int, size: tuple[int, int], colour: tuple[int, int, int], quality: int
) -> None:
    pixels = noisy(seed, size, colour)
    white = (pixels == 255).all(2)
    for decoded in decoders(pure_jpeg(pixels, {"quality": quality, "subsampling": 0})):
        assert (decoded[white] == 255).all()


@pure
def test_what_is_not_white_is_as_good_as_in_an_ordinary_jpeg() -> None:
    for seed, colour in enumerate([(200, 30, 40), (20, 20, 20), (240, 240, 235), (30, 160, 60)]):
        pixels = noisy(seed, colour=colour)
        product = (pixels < 255).any(2)
        errors = []
        for white in (False, True):
            decoded = np.asarray(Image.open(io.BytesIO(encode(pixels, "jpeg", white=white)))).astype(float)
            errors.append(((decoded - pixels)[product] ** 2).mean())
        assert errors[1] < 1.3 * errors[0]
    plain = np.asarray(Image.open(io.BytesIO(encode(noisy(0), "jpeg"))))
    assert (plain[(noisy(0) == 255).all(2)] < 255).any()  # which is why


@pure
def test_a_jpeg_gets_the_highest_quality_that_its_bytes_allow() -> None:
    pixels = noisy(3, (600, 500))
    whole = encode(pixels, "jpeg")
    for white in (False, True):
        limit = len(encode(pixels, "jpeg", white=white)) * 2 // 3
        data = encode(pixels, "jpeg", white=white, maximum_bytes=limit)
        assert 0.9 * limit < len(data) <= limit
        assert encode(pixels, "jpeg", white=white, maximum_bytes=limit) == data
    assert encode(pixels, "jpeg", maximum_bytes=len(whole)) == whole
    least = io.BytesIO()
    Image.fromarray(pixels).save(least, "jpeg", quality=LOWEST, subsampling=0, optimize=True, exif=SRGB)
    assert encode(pixels, "jpeg", maximum_bytes=10) == least.getvalue()  # the report says that it is too large


@pure
def test_a_large_picture_is_not_held_once_more_for_its_bytes() -> None:
    pixels = np.tile(noisy(1, (200, 200)), (11, 10, 1))
    small, large = pixels[:2000], pixels[:2001]
    for picture, optimized in ((small, True), (large, False)):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=95, subsampling=0, optimize=optimized, exif=SRGB)
        assert encode(picture, "jpeg") == file.getvalue()


def words(data: bytes, painted: Any, is_cut: bool = False, **asked: Any) -> list[str]:
    return [said.partition(":")[0] for said in violations(data, painted, is_cut, Profile("p", **asked))]


@pure
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"formats": ("png",)}, []),
        ({"formats": ("jpeg", "webp")}, ["format"]),
        ({"minimum_shorter_side": 149, "minimum_longer_side": 203}, []),
        ({"minimum_shorter_side": 150, "minimum_longer_side": 204}, ["size", "size"]),
        ({"maximum_longer_side": 203, "maximum_sum_of_sides": 352, "maximum_pixels": 203 * 149}, []),
        ({"maximum_longer_side": 202, "maximum_sum_of_sides": 351, "maximum_pixels": 203 * 149 - 1}, ["size"] * 3),
        ({"maximum_bytes": 1000}, ["bytes"]),
        ({"ratio": "203:149"}, []),
        ({"ratio": "1:1"}, ["ratio"]),
        ({"minimum_fill": 0.79, "maximum_fill": 0.81}, []),
        ({"minimum_fill": 0.85}, ["fill"]),
        ({"maximum_fill": 0.75}, ["fill"]),
        ({"white": True, "whole": True}, []),
    ],
)
def test_each_thing_that_is_asked_is_measured_in_the_file(asked: dict[str, Any], expected: list[str]) -> None:
    pixels = noisy(1)
    assert words(encode(pixels, "png"), pixels, **asked) == expected


@pure
def test_one_grey_level_in_the_background_is_found() -> None:
    painted = noisy(1)
    written = painted.copy()
    written[0, 0] = 254
    found = violations(encode(written, "png"), painted, False, Profile("p", white=True))
    assert [said.partition(":")[0] for said in found] == ["white", "border"]
    assert words(encode(painted, "jpeg"), painted, white=True) == ["white"]  # the rings of an ordinary JPEG
    assert words(encode(painted, "jpeg", white=True), painted, white=True) == []
    photo = np.full((50, 50, 3), 240, np.uint8)  # that was kept as it is
    assert words(encode(photo, "png"), None, white=True) == ["border"]
    assert words(encode(painted, "png"), painted, is_cut=True, whole=True) == ["cropped"]


@pure
def test_every_published_profile_says_where_its_figures_come_from_and_can_be_met() -> None:
    import tomllib

    import transforms.pixels.profile as module

    tables = tomllib.loads(Path(module.__file__).with_name("profiles.toml").read_text("utf-8"))
    assert set(tables) == set(profile_names()) == {"amazon", "google", "walmart", "ebay", "zalando", "shopify"}
    for name, table in tables.items():
        for key, figure in table.items():
            if key != "frame":
                assert isinstance(figure, list), (name, key)
                assert isinstance(figure[-1], str), (name, key)
                assert len(figure[-1]) > 5, (name, key)
        profile = named_profile(name)
        assert read_profile(profile.canonical(), name) == profile
        rule = load_policy("0.7", profile).default
        assert rule.frame is not None
        sized = rule.frame.sized((50, 50, 950, 750), (1000, 1000), 500_000)
        picture = np.full((sized.height, sized.width, 3), 255, np.uint8)
        fill = round(rule.fill * sized.height) // 2
        middle = sized.height // 2
        picture[middle - fill : middle + fill, sized.width // 3 : sized.width // 2] = 90
        assert violations(encode(picture, "jpeg", white=True), picture, False, profile) == (), name


@pure
def test_a_rule_that_says_otherwise_wins_over_the_profile(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[default]\nfill = 0.5\n[category.charts]\ncanvas = ""\n', "utf-8")
    policy = load_policy(str(tmp_path / "p.toml"), named_profile("amazon"))
    assert (policy.default.fill, policy.default.canvas) == (0.5, "1:1")
    assert policy.categories[0][1].canvas == ""


@pure
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour = 3", "'colour' is none of"),
        ('formats = [["jpeg", ["png"]], "a source"]', "formats is"),
        ("frame = { threshold = 0.2 }", "frame: 'threshold' is none of canvas"),
        ("white = 1", "white is 1, expected true or false"),
        ('formats = ["gif"]', "formats is"),
        ("minimum_fill = 1.2", "expected a share above 0"),
        ("maximum_bytes = -1", "expected a whole number above 0"),
        ("maximum_bytes = true", "expected a whole number above 0"),
        ('ratio = "2000x2000"', "expected a ratio such as 4:5"),
        ("frame = 3", "frame: expected a table"),
        ('frame = { canvas = "big" }', "frame: .*canvas 'big', expected a size"),
        ("frame = { colour = 3 }", "frame: .*'colour' is none of"),
        ("[[[", "not TOML"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "shop.toml").write_text(text, "utf-8")
    with pytest.raises(ProfileError, match=told) as caught:
        load_profile(str(tmp_path / "shop.toml"))
    assert "shop.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    for other in ("amazn", str(tmp_path / "none.toml")):
        with pytest.raises(ProfileError, match=r"amazn: expected amazon, google|none\.toml"):
            load_profile(other)


def test_a_run_a_migration_and_a_repair_under_a_profile(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, name in enumerate(["a.jpg", "b.webp", "c.bmp", "d.png"]):
        draw_product(number, (400, 300)).save(photos / name)
    (tmp_path / "shop.toml").write_text(
        'formats = ["jpeg"]\nratio = "4:5"\nwhite = true\nmaximum_bytes = 20000\n'
        'frame = { canvas = "4:5", fill = 0.8, minimum_side = 500, enlarge = 9 }\nminimum_fill = 0.78\n',
        "utf-8",
    )
    shop = ["--profile", str(tmp_path / "shop.toml"), "--manifest", str(photos)]
    plain, white, moved = (tmp_path / name for name in ("plain", "white", "moved"))
    assert run("run", "--manifest", str(photos), "--output", str(plain), "--model", "u2netp") == 0
    assert all(row["compliant"] is None and row["violations"] is None for row in report_rows(plain))
    assert run("run", *shop, "--output", str(white), "--model", "u2netp") == 0
    rows = report_rows(white)
    assert [row["compliant"] for row in rows] == [True] * 4, [row["violations"] for row in rows]
    assert {row["output_uri"] for row in rows} == {f"images/{name}.jpg" for name in "abcd"}
    assert (run_json(white)["compliant"], run_json(white)["violations"]) == (4, {})
    assert run("migrate", *shop, "--policy", "0.7", "--from", str(plain), "--output", str(moved)) == 0
    for row in rows:
        assert (moved / row["output_uri"]).read_bytes() == (white / row["output_uri"]).read_bytes()
        width, height = Image.open(white / row["output_uri"]).size
        assert (width * 5, max(width, height) >= 500) == (height * 4, True)
        assert row["output_bytes"] <= 20_000
    (white / "images/a.jpg").unlink()
    assert run("verify", "--output", str(white), "--repair") == 0
    assert (white / "images/a.jpg").read_bytes() == (moved / "images/a.jpg").read_bytes()
    assert run("run", *shop, "--output", str(white), "--model", "u2netp") == 0
    assert run_json(white)["statuses"] == {"unchanged": 4}


def test_what_a_profile_does_not_take_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_product(1, (64, 64)).save(tmp_path / "a.png")
    asked = ["run", "--manifest", str(tmp_path / "a.png"), "--output", str(tmp_path / "out"), "--profile"]
    for more, told in (
        (["amazon", "--background", "grey"], "--background grey: amazon takes exactly white only"),
        (["zalando", "--format", "png"], "--format png: zalando takes jpeg only"),
        (["etsy"], "--profile etsy: expected amazon, google, walmart, ebay, zalando, shopify, or a .toml file"),
    ):
        assert run(*asked, *more) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
