"""What a marketplace asks of a picture: data that decide how it is made, and by which the written file is checked."""

from __future__ import annotations

import io
import tomllib
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.resources import files
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transforms.errors import in_one_line
from transforms.pixels.composite import composite
from transforms.pixels.frame import parse_canvas
from transforms.pixels.opencv import cv2

NEARLY = 250
"""A level from which on a pixel counts as background where the background need not be exactly white."""
ROUNDED = 0.01
"""By how much a share or a ratio may miss what is asked: pixels are whole."""


class ProfileError(Exception):
    """A profile that cannot be used; one line."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is asked of a picture. What is None is not asked.

    formats: those that are taken, the preferred one first. Sides, pixels and bytes: of the picture and its file.
    ratio: of width to height, as `4:5`. minimum_fill, maximum_fill: share of the picture that the product's box spans,
    in the direction that binds. white: the background is exactly that. whole: the product is not cut off.
    frame: settings for the rules of a policy that do not say otherwise.
    """

    name: str
    formats: tuple[str, ...] | None = None
    minimum_shorter_side: int | None = None
    minimum_longer_side: int | None = None
    maximum_longer_side: int | None = None
    maximum_sum_of_sides: int | None = None
    maximum_pixels: int | None = None
    maximum_bytes: int | None = None
    ratio: str | None = None
    minimum_fill: float | None = None
    maximum_fill: float | None = None
    white: bool | None = None
    whole: bool | None = None
    frame: tuple[tuple[str, Any], ...] = ()

    def canonical(self) -> dict[str, Any]:
        """Write it as plain data, which read_profile reads again."""
        form = {name: value for name, value in asdict(self).items() if value is not None}
        return {**form, "frame": dict(self.frame), **({"formats": list(self.formats)} if self.formats else {})}


@lru_cache(maxsize=1)
def _published() -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__package__).joinpath("profiles.toml").read_text("utf-8"))


def profile_names() -> list[str]:
    """Name the profiles that come with whitesweep."""
    return list(_published())


def named_profile(name: str) -> Profile:
    """Give the profile of a marketplace. name: one of profile_names."""
    return read_profile({"name": name, **_published()[name]}, name)


def read_profile(table: dict[str, Any], where: str) -> Profile:
    """Make a profile of a table: its keys are those of Profile, each with a value, or a list of value and source.

    Raises:
        ProfileError: a key is none of these, or its value cannot be.
    """
    found: dict[str, Any] = {"name": where}
    hints = get_type_hints(Profile)
    for name, value in table.items():
        if name not in hints:
            raise ProfileError(f"{where}: {in_one_line(name)!r} is none of {', '.join(hints)}")
        if name == "frame":
            if not isinstance(value, dict):
                raise ProfileError(f"{where}: frame: expected a table of settings of a policy's rule")
            found[name] = tuple(sorted(value.items()))
            continue
        if isinstance(value, list) and len(value) == 2 and (name != "formats" or isinstance(value[0], list)):
            value = value[0]
        found[name] = _checked(name, value, hints[name], where)
    return Profile(**found)


def _checked(name: str, value: Any, hint: Any, where: str) -> Any:
    if name == "formats":
        if not isinstance(value, list) or not value or not all(one in ("jpeg", "png", "webp") for one in value):
            raise ProfileError(f'{where}: formats is {value!r}, expected a list of "jpeg", "png" and "webp"')
        return tuple(value)
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] or [hint]
    right = isinstance(value, (int, float) if kinds[0] is float else kinds[0]) and not (
        isinstance(value, bool) and kinds[0] is not bool
    )
    if right and isinstance(value, (int, float)) and not isinstance(value, bool):
        right = 0 < value <= 1 if kinds[0] is float else value > 0
    if right and name == "ratio":
        try:
            right = parse_canvas(str(value))[2]
        except ValueError:
            right = False
    if not right:
        expected = {bool: "true or false", int: "a whole number above 0", float: "a share above 0, 1 at most"}
        raise ProfileError(f"{where}: {name} is {value!r}, expected {expected.get(kinds[0], 'a ratio such as 4:5')}")
    return float(value) if kinds[0] is float else value


def violations(data: bytes, painted: NDArray[np.uint8] | None, is_cut: bool, profile: Profile) -> tuple[str, ...]:
    """Decode a written picture, and say in what it is not what a profile asks. Each begins with a word of its own.

    Args:
        data: its file. painted: its pixels before they were encoded, uint8 [H, W, 3 or 4]; None if the file is a
            photo's own. is_cut: whether the product is cut off at a side of its photo.
    """
    image = Image.open(io.BytesIO(data))
    format = (image.format or "").lower()
    rgb = _on_white(image)
    height, width = rgb.shape[:2]
    level = 255 if profile.white else NEARLY
    background = cv2.inRange(rgb, (level,) * 3, (255,) * 3).reshape(height, width)
    _, _, across, down = cv2.boundingRect(cv2.bitwise_not(background))
    fill = max(across / width, down / height)
    longer, shorter = max(width, height), min(width, height)
    found = []

    def bounds(word: str, said: str, value: float, least: float | None, most: float | None, slack: float = 0) -> None:
        if least is not None and value < least - slack:
            found.append(f"{word}: {said} {value:.4g}, at least {least:g}")
        if most is not None and value > most + slack:
            found.append(f"{word}: {said} {value:.9g}, at most {most:g}")

    if profile.formats is not None and format not in profile.formats:
        found.append(f"format: {format}, expected {' or '.join(profile.formats)}")
    bounds("size", "shorter side", shorter, profile.minimum_shorter_side, None)
    bounds("size", "longer side", longer, profile.minimum_longer_side, profile.maximum_longer_side)
    bounds("size", "sum of sides", width + height, None, profile.maximum_sum_of_sides)
    bounds("size", "pixels", width * height, None, profile.maximum_pixels)
    bounds("bytes", "of the file", len(data), None, profile.maximum_bytes)
    if profile.ratio is not None:
        wide, high, _ = parse_canvas(profile.ratio)
        if abs(width * high / (height * wide) - 1) > ROUNDED:
            found.append(f"ratio: {width}x{height}, expected {profile.ratio}")
    bounds("fill", "share", fill, profile.minimum_fill, profile.maximum_fill, ROUNDED)
    if profile.white:
        found += _not_white(rgb, painted, background, is_cut)
    if profile.whole and is_cut:
        found.append("cropped: the product is cut off at a side of its photo")
    return tuple(found)


def _not_white(
    rgb: NDArray[np.uint8], painted: NDArray[np.uint8] | None, white: NDArray[np.uint8], is_cut: bool
) -> list[str]:
    """Say so if what was painted white is not white, or the border is not. white: 255 where it is, uint8 [H, W]."""
    found = []
    wanted = rgb if painted is None else painted[..., :3]
    wanted = cv2.inRange(np.ascontiguousarray(wanted), (255,) * 3, (255,) * 3).reshape(white.shape)
    off = cv2.countNonZero(cv2.subtract(wanted, white))
    if off:
        share = off / cv2.countNonZero(wanted)
        found.append(f"white: {share:.2%} of the background is not 255/255/255")
    border = [white[0], white[-1], white[:, 0], white[:, -1]]
    if not is_cut and any((side == 0).any() for side in border):
        found.append("border: is not white all around")
    return found


def _on_white(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("RGB", "L"):
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))
    return composite(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(pixels[..., 3]))
