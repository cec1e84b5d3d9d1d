"""Contact sheets: pictures before and after, small, side by side in one picture."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from transforms import storage
from transforms.errors import PhotoError
from transforms.pixels.composite import composite
from transforms.pixels.decode import Limits
from transforms.pixels.methods import Pixels
from transforms.pixels.policy import Rule
from transforms.pixels.threshold import make_mask

GAP = 6  # pixels between pictures
TEXT, LINE = 13, 20  # pixels: the size of captions, and the room that each has
INK = (20, 20, 20)
PAPER = (196, 200, 205, 255)  # grey enough that white backgrounds stand out


def contact_sheet(pairs: Iterable[tuple[str, str]], pairs_a_row: int, side: int) -> Image.Image:
    """Lay out pairs of before and after.

    Args:
        pairs: URIs of photo and cutout; a picture that cannot be read stays blank.
        pairs_a_row: pairs beside each other.
        side: pixels of the square that each picture is fitted into.
    """
    return lay_out([[_tile(before, side), _tile(after, side)] for before, after in pairs], pairs_a_row, side)


def lay_out(
    groups: Sequence[Sequence[Image.Image]],
    groups_a_row: int,
    side: int,
    captions: Sequence[str] = (),
    headings: Sequence[str] = (),
) -> Image.Image:
    """Lay out groups of pictures, none larger than a square of `side` pixels; an empty one leaves its place free.

    Args:
        groups: the pictures. groups_a_row: groups beside each other. side: pixels.
        captions: a line above each group. headings: a word above each column of pictures, once at the top.
    """
    rows, longest = max(1, -(-len(groups) // groups_a_row)), max(map(len, groups), default=0)
    width, line = longest * (side + GAP) + GAP, LINE if captions else 0
    top = LINE if headings else 0
    height = side + GAP + line
    sheet = Image.new("RGB", (groups_a_row * width + GAP, top + rows * height + GAP), PAPER[:3])
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for column in range(min(groups_a_row, len(groups)) if headings else 0):
        for position, word in enumerate(headings):
            left = column * width + GAP + position * (side + GAP)
            draw.text((left, GAP), _fitted(word, side, font), INK, font)
    for number, group in enumerate(groups):
        row, column = divmod(number, groups_a_row)
        above = top + row * height + GAP
        if number < len(captions):
            room = width - 2 * GAP
            draw.text((column * width + GAP, above), _fitted(captions[number], room, font), INK, font)
        for position, tile in enumerate(group):
            left = column * width + GAP + position * (side + GAP) + (side - tile.width) // 2
            sheet.paste(tile, (left, above + line + (side - tile.height) // 2))
    return sheet


def _fitted(text: str, room: int, font: Any) -> str:
    """Shorten a line in its middle until it fits; what the font has no sign for becomes a box."""
    text = " ".join(text.split())
    cut = text
    while len(text) > 4 and font.getlength(cut) > room:
        middle = len(text) // 2
        text = text[: middle - 1] + text[middle + 1 :]
        cut = text[: len(text) // 2] + "…" + text[len(text) // 2 :]
    return cut


def compared(photo: Image.Image | None, pixels: Pixels, rules: Iterable[Rule], side: int) -> list[Image.Image]:
    """Draw a photo (without one, its map), the map, and what each rule makes of them. pixels: uint8 [320, 320]."""
    plain = Image.fromarray(pixels)
    tile = photo or plain.resize((side, side)).convert("RGB")

    def drawn(rule: Rule) -> Image.Image:
        if rule.how.keeps:
            return tile
        if rule.how.drops:
            return Image.new("RGB", tile.size, PAPER[:3])
        rgb = np.asarray(tile)
        mask = make_mask(rule, pixels, tile.size, rgb)
        return Image.fromarray(composite(rgb, mask.alpha, rim=mask.rim))

    return [tile, plain.resize(tile.size), *map(drawn, rules)]


def _tile(uri: str, side: int) -> Image.Image:
    return open_tile(uri, side) or Image.new("RGB", (side, side), PAPER[:3])


def open_tile(uri: str, side: int, allow_private: bool = False) -> Image.Image | None:
    """Open a picture small, upright and on paper, fitted into a square; None if it cannot be read.

    allow_private: as in storage.read.
    """
    try:
        with Image.open(io.BytesIO(storage.read(uri, Limits().max_bytes, allow_private).data)) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = ImageOps.contain(ImageOps.exif_transpose(image).convert("RGBA"), (side, side))
            paper = Image.new("RGBA", small.size, PAPER)
            return Image.alpha_composite(paper, small).convert("RGB")
    except (PhotoError, OSError, SyntaxError, ValueError):
        return None
