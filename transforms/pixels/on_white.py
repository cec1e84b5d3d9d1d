"""Whether a photo stands on white already: told from its pixels, without a map.

A white border alone does not say so: a photo of a whole scene may have a white frame. What lies within then has the
outline of a picture, a box or an oval, and a photo in which anything of size has that is not on white: a product of
such a shape is taken for a picture too, and goes through the network as usual. (benchmarks/on_white.py measures how
often either happens.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from transforms.pixels.opencv import cv2
from transforms.pixels.types import Photo
from weights.architecture import SIDE

WHITE_LEVEL = 250
WHITE_BORDER = 50  # such a part of the shorter side
ALREADY_WHITE_ABOVE = 0.95  # of the pixels in that border; a photo with transparency never is

SOMETHING = 0.001  # of the picture: with less on it, it is blank
OF_SIZE = 0.01  # of the picture
BOX_FROM = 0.93  # of the least box around an outline, which may stand aslant: what its convex hull covers
OVAL, OVAL_WITHIN = math.pi / 4, 0.02  # the same of an ellipse
FULL_FROM = 0.96  # of its convex hull: what an oval covers; of a product that is as long as wide it is less


def stands_on_white(photo: Photo) -> bool:
    """Tell whether a photo has a white border, and on the white something that is not itself a picture."""
    return photo.alpha is None and _has_white_border(photo) and _is_cut_out(photo.rgb)


def _has_white_border(photo: Photo) -> bool:
    border = max(1, min(photo.size) // WHITE_BORDER)
    strips = (photo.rgb[:border], photo.rgb[-border:], photo.rgb[:, :border], photo.rgb[:, -border:])
    count = sum(strip.shape[0] * strip.shape[1] for strip in strips)
    return sum(cv2.countNonZero(_white(strip)) for strip in strips) > ALREADY_WHITE_ABOVE * count


def _white(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.inRange(rgb, (WHITE_LEVEL,) * 3, (255,) * 3)


def _is_cut_out(rgb: NDArray[np.uint8]) -> bool:
    """Look at a photo in cells, of which its longer side has as many as a map at most."""
    height, width = rgb.shape[:2]
    each = max(1.0, max(height, width) / SIDE)
    size = max(1, round(width / each)), max(1, round(height / each))
    white = cv2.resize(_white(rgb).reshape(height, width), size, interpolation=cv2.INTER_AREA)
    cells = (white.reshape(size[::-1]) < 128).view(np.uint8)
    count, labels, pieces, _ = cv2.connectedComponentsWithStats(cells, connectivity=8)
    if cv2.countNonZero(cells) < SOMETHING * cells.size:
        return False
    large = [piece for piece in range(1, count) if pieces[piece, cv2.CC_STAT_AREA] >= OF_SIZE * cells.size]
    return not any(_is_picture((labels == piece).view(np.uint8)) for piece in large)


def _is_picture(piece: NDArray[np.uint8]) -> bool:
    """Tell whether a piece has the outline of a box or of an oval. piece: not 0 where it is, uint8 [H, W]."""
    outlines, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    hull = cv2.contourArea(cv2.convexHull(outline))
    _, (across, along), _ = cv2.minAreaRect(outline)
    if not hull or hull >= BOX_FROM * across * along:  # a bare line is a box, too
        return True
    is_oval = abs(hull / (across * along) - OVAL) <= OVAL_WITHIN
    return is_oval and cv2.contourArea(outline) >= FULL_FROM * hull
