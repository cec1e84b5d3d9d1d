"""Contact sheets: photos before and after, small, side by side in one picture."""

from __future__ import annotations

import io
from collections.abc import Iterable

from PIL import Image, ImageOps

from transforms import storage
from transforms.errors import PhotoError
from transforms.pixels.decode import Limits

GAP = 6  # pixels between pictures
PAPER = (196, 200, 205, 255)  # grey enough that white backgrounds stand out


def contact_sheet(pairs: Iterable[tuple[str, str]], pairs_a_row: int, side: int) -> Image.Image:
    """Lay out pairs of before and after; each picture is fitted into a square.

    Args:
        pairs: URIs of photo and cutout; a picture that cannot be read stays blank.
        pairs_a_row: pairs beside each other.
        side: pixels of a square.
    """
    tiles = [(_tile(before, side), _tile(after, side)) for before, after in pairs]
    rows = -(-len(tiles) // pairs_a_row)
    pair_width = 2 * side + 3 * GAP
    sheet = Image.new("RGB", (pairs_a_row * pair_width + GAP, rows * (side + GAP) + GAP), PAPER[:3])
    for number, pair in enumerate(tiles):
        row, column = divmod(number, pairs_a_row)
        for position, tile in enumerate(pair):
            left = column * pair_width + GAP + position * (side + GAP) + (side - tile.width) // 2
            sheet.paste(tile, (left, row * (side + GAP) + GAP + (side - tile.height) // 2))
    return sheet


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
