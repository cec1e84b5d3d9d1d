"""What stands on white already: told from the photo, and then kept without a map where a rule says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import report_rows, run
from PIL import Image, ImageDraw, ImageFilter

from transforms.pixels.on_white import stands_on_white
from transforms.pixels.types import Photo

KEEP = '[default]\non_already_white = "keep"\n'
SHOE = [(60, 150), (90, 120), (150, 140), (210, 175), (330, 190), (340, 225), (60, 225)]


def scene(size: tuple[int, int] = (240, 180)) -> Image.Image:
    """Draw a photo of a room: nothing of it is white."""
    noise = np.random.default_rng(1).integers(60, 190, (9, 12, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def white(size: tuple[int, int] = (400, 300)) -> Image.Image:
    return Image.new("RGB", size, "white")


def shoe(shade: int = 0) -> Image.Image:
    """Draw a shoe on white, with a soft shadow below it if shade is not 0."""
    picture = white()
    if shade:
        ImageDraw.Draw(picture).ellipse((50, 215, 350, 240), fill=(255 - shade,) * 3)
        picture = picture.filter(ImageFilter.GaussianBlur(6))
    ImageDraw.Draw(picture).polygon(SHOE, fill="#a03020")
    return picture


def two_shoes() -> Image.Image:
    picture = white((800, 300))
    picture.paste(shoe(), (0, 0))
    picture.paste(shoe(), (400, 0))
    return picture


def framed(shape: str) -> Image.Image:
    """Put a photo of a room into a white frame."""
    mask = Image.new("L", (240, 180), 0)
    pen = ImageDraw.Draw(mask)
    if shape == "oval":
        pen.ellipse((0, 0, 239, 179), fill=255)
    else:
        pen.rounded_rectangle((0, 0, 239, 179), 18 if shape == "round corners" else 0, fill=255)
    if shape == "soft":
        mask.paste(0, (0, 0, 240, 180))
        mask.paste(255, (12, 12, 228, 168))
        mask = mask.filter(ImageFilter.GaussianBlur(5))
    picture, layer, alpha = white(), white(), Image.new("L", (400, 300), 0)
    layer.paste(scene(), (80, 60))
    alpha.paste(mask, (80, 60))
    if shape == "aslant":
        layer, alpha = (one.rotate(7, Image.Resampling.BICUBIC) for one in (layer, alpha))
    picture.paste(layer, (0, 0), alpha)
    if shape == "two":
        picture.paste(scene((60, 60)), (330, 230))
    if shape == "bright sky":
        picture.paste("white", (120, 60, 200, 90))
    return picture


def blank() -> Image.Image:
    picture = white()
    picture.putpixel((200, 150), (0, 0, 0))
    return picture


def photo_of(picture: Image.Image, alpha: np.ndarray | None = None) -> Photo:
    return Photo(np.asarray(picture), alpha, "png")


@pytest.mark.pure
@pytest.mark.parametrize("make", [shoe, lambda: shoe(90), two_shoes, lambda: shoe().resize((4000, 3000))])
def test_products_on_white_are(make: Callable[[], Image.Image]) -> None:
    assert stands_on_white(photo_of(make()))


@pytest.mark.pure
@pytest.mark.parametrize("shape", ["plain", "round corners", "oval", "aslant", "soft", "two", "bright sky"])
def test_a_picture_in_a_white_frame_is_not(shape: str) -> None:
    assert not stands_on_white(photo_of(framed(shape)))


@pytest.mark.pure
@pytest.mark.parametrize("make", [scene, blank, white])
def test_scenes_and_blank_sheets_are_not(make: Callable[[], Image.Image]) -> None:
    assert not stands_on_white(photo_of(make()))


@pytest.mark.pure
def test_a_photo_with_transparency_is_not() -> None:
    assert not stands_on_white(photo_of(shoe(), np.full((300, 400), 255, np.uint8)))


@pytest.mark.pure
@pytest.mark.parametrize(("level", "is_white"), [(250, True), (249, False)])
def test_white_is_250_of_every_channel(level: int, is_white: bool) -> None:
    rgb = np.asarray(shoe()).copy()
    rgb[:6] = (255, level, 255)  # a fiftieth of the shorter side
    assert stands_on_white(Photo(rgb, None, "png")) is is_white


@pytest.mark.pure
@pytest.mark.parametrize(("dark", "is_white"), [(39, True), (40, False)])
def test_more_than_19_in_20_of_the_border_is_white(dark: int, is_white: bool) -> None:
    rgb = np.asarray(shoe().resize((100, 100))).copy()  # four strips of 2 × 100
    rgb[0, 20 : 20 + dark] = 0
    assert stands_on_white(Photo(rgb, None, "png")) is is_white


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    shoe().save(tmp_path / "photos/shoe.jpg", quality=90)
    framed("plain").save(tmp_path / "photos/framed.png")
    (tmp_path / "keep.toml").write_text(KEEP)
    return tmp_path


def given(shop: Path, name: str = "out", *more: str | Path) -> tuple[str | Path, ...]:
    return ("--manifest", shop / "photos", "--output", shop / name, *more)


def last_run(output: Path) -> dict[str, dict[str, int]]:
    newest = json.loads((output / "report/latest.json").read_text())["run_id"]
    found: dict[str, dict[str, int]] = json.loads((output / f"runs/{newest}/run.json").read_text())
    return found


def test_what_is_kept_needs_no_map_until_a_policy_wants_it(shop: Path, u2netp: object) -> None:
    keep = ("--policy", shop / "keep.toml")
    small = ("--model", "u2netp")
    assert run("run", *given(shop, "out", *keep, *small)) == 0
    rows = {row["id"]: row for row in report_rows(shop / "out")}
    kept = rows["shoe"]
    assert kept["status"] == "processed"
    assert kept["mask_flags"] == ["already_white", "kept_original"]
    assert [kept[name] for name in ("map_key", "model", "threshold", "quality", "foreground_fraction")] == [None] * 5
    assert rows["framed"]["map_key"]
    assert last_run(shop / "out")["work"]["photos_predicted"] == 1
    with Image.open(shop / "out/images/shoe.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - np.asarray(shoe()).astype(int)).mean() < 2
    assert run("verify", "--output", shop / "out") == 0
    assert run("run", *given(shop, "out", *keep, *small)) == 0  # the same once more
    assert last_run(shop / "out")["statuses"] == {"unchanged": 2}
    assert run("migrate", *given(shop, "out", *keep)) == 0  # nor does this need it
    assert report_rows(shop / "out")[1]["mask_flags"] == ["already_white", "kept_original"]

    assert run("plan", *given(shop, "out", *small)) == 0
    assert run("run", *given(shop, "out", *small)) == 0
    assert last_run(shop / "out")["work"]["photos_predicted"] == 1
    assert run("run", *given(shop, "fresh", *small)) == 0
    both = [report_rows(shop / name) for name in ("out", "fresh")]
    for old, new in zip(*both, strict=True):
        assert (old["id"], old["map_key"], old["output_sha256"]) == (new["id"], new["map_key"], new["output_sha256"])

    assert run("run", *given(shop, "out", *keep, *small)) == 0  # and back: the map is there, and says nothing
    again = {row["id"]: row for row in report_rows(shop / "out")}["shoe"]
    assert (again["map_key"], again["output_sha256"]) == (None, kept["output_sha256"])


def test_a_migration_to_a_policy_that_wants_the_map_says_that_there_is_none(shop: Path, u2netp: object) -> None:
    assert run("run", *given(shop, "out", "--policy", shop / "keep.toml", "--model", "u2netp")) == 0
    picture = (shop / "out/images/shoe.jpg").read_bytes()
    run("migrate", *given(shop, "out", "--policy", "0.7"))
    row = {row["id"]: row for row in report_rows(shop / "out")}["shoe"]
    assert (row["status"], row["code"]) == ("failed", "no_map")
    assert (shop / "out/images/shoe.jpg").read_bytes() == picture  # which stays meanwhile
    assert run("migrate", *given(shop, "out", "--policy", "0.7", "--missing", "predict", "--model", "u2netp")) == 0
    row = {row["id"]: row for row in report_rows(shop / "out")}["shoe"]
    assert (row["status"], row["code"]) == ("processed", None)
    assert row["map_key"]


def test_one_photo_under_two_rules_is_kept_for_one_of_them(shop: Path, u2netp: object) -> None:
    (shop / "m.csv").write_text("id,uri,category\na,photos/shoe.jpg,kept\nb,photos/shoe.jpg,\n")
    (shop / "p.toml").write_text('[category.kept]\non_already_white = "keep"\n')
    flags = ("--manifest", shop / "m.csv", "--output", shop / "out", "--policy", shop / "p.toml", "--model", "u2netp")
    assert run("run", *flags) == 0
    a, b = report_rows(shop / "out")
    assert "kept_original" in a["mask_flags"]
    assert "kept_original" not in b["mask_flags"]
    assert (a["map_key"], b["map_key"] is None) == (None, False)
    assert run("run", *flags) == 0
    assert {row["status"] for row in report_rows(shop / "out")} == {"unchanged"}


def test_a_lost_map_is_told_from_one_that_was_never_made(shop: Path, u2netp: object) -> None:
    assert run("run", *given(shop, "out", "--policy", shop / "keep.toml", "--model", "u2netp")) == 0
    for stored in (shop / "out/maps").rglob("*.png"):
        stored.unlink()
    (shop / "out/images/shoe.jpg").write_bytes(b"")
    assert run("verify", "--output", shop / "out") == 1
    assert run("verify", "--output", shop / "out", "--repair") == 0
    rows = {row["id"]: row for row in report_rows(shop / "out")}
    assert (rows["shoe"]["map_key"], bool(rows["framed"]["map_key"])) == (None, True)
    assert run("verify", "--output", shop / "out") == 0
