"""Procedural colours and grounds: noise, wood, cloth, printed labels, and the rooms products stand in."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from sample.raymarch import Backdrop, Colour, Paint, Relief, column, smooth
from sample.shapes import Array, length


def rgb(code: str) -> Colour:
    """Turn an sRGB code such as "#c08040" into linear RGB."""
    values = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(values < 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear[0]), float(linear[1]), float(linear[2])


def mix(a: Array | Colour, b: Array | Colour, share: Array) -> Array:
    """Mix two colours; share [N] is that of the second."""
    first = column(a) if isinstance(a, tuple) else a
    second = column(b) if isinstance(b, tuple) else b
    return first + (second - first) * share


@cache
def tile(dimensions: int) -> Array:
    """Return periodic fractal noise, standard deviation 1: [512, 512] or [64, 64, 64]."""
    side, widths = (512, (1, 2, 4, 8, 16, 32)) if dimensions == 2 else (64, (0.8, 1.6, 3.2, 6.4))
    white = np.random.default_rng(dimensions).standard_normal((side,) * dimensions)
    total = np.zeros_like(white)
    for width in widths:
        octave = ndimage.gaussian_filter(white, width, mode="wrap")
        white = np.roll(white, side // 3, axis=0)
        total += octave / octave.std() * width**0.75
    return np.asarray(total / total.std(), dtype=np.float64)


def noise(*at: Array) -> Array:
    """Sample fractal noise [N] at 2 or 3 coordinates; the largest features are about 1 wide."""
    grid = tile(len(at))
    scale = 64.0 if len(at) == 2 else 12.0
    where = np.stack([np.asarray(c) * scale for c in at])
    return np.asarray(ndimage.map_coordinates(grid, where, order=1, mode="grid-wrap", prefilter=False))


def fading(size: Array, period: float) -> Array:
    """Return how much of a pattern of this period is left at this pixel size: none when it would alias."""
    return np.clip(1.6 - 3.2 * size / period, 0, 1)


# --- paints for products: points [3, N] -> linear RGB --------------------------------------------------------------


def timber(light: str, dark: str, axis: int = 0, scale: float = 1.0) -> Paint:
    """Wood with its grain along an axis."""

    def paint(p: Array) -> Array:
        along, a, b = (p[(axis + i) % 3] * scale for i in range(3))
        warp = noise(along * 0.25, a * 0.9, b * 0.9)
        ring = 0.5 + 0.5 * np.sin(length(a + 0.4, b + 0.9) * 34 + warp * 3.2)
        fibre = noise(along * 0.8 + 3, a * 16, b * 16)
        return mix(rgb(light), rgb(dark), np.clip(0.42 * ring**1.5 + 0.16 * warp + 0.16 * fibre + 0.22, 0, 1))

    return paint


def mottled(colour: str, amount: float = 0.12, scale: float = 2.0) -> Paint:
    """A colour with slight unevenness."""

    def paint(p: Array) -> Array:
        return column(rgb(colour)) * (1 + amount * noise(p[0] * scale, p[1] * scale, p[2] * scale))

    return paint


def cotton(colour: str, scale: float = 1.0) -> Paint:
    """Woven cloth; the weave follows the dominant plane loosely."""

    def paint(p: Array) -> Array:
        f = 290 * scale
        weave = np.sin(p[0] * f + 1.3 * np.sin(p[2] * 3)) * np.sin(p[1] * f) + 0.5 * np.sin(p[2] * f)
        return column(rgb(colour)) * (1 + 0.05 * weave + 0.08 * noise(p[0] * 5, p[1] * 5, p[2] * 5))

    return paint


def banded(*bands: tuple[float, str], soft: float = 0.006) -> Paint:
    """Level bands: each colour begins at its height and reaches to the next."""

    def paint(p: Array) -> Array:
        colour = np.broadcast_to(column(rgb(bands[0][1])), p.shape)
        for start, code in bands[1:]:
            colour = mix(colour, rgb(code), smooth(start - soft, start + soft, p[1]))
        return colour

    return paint


def sectors(*codes: str, cap: float = 0.0, centre: tuple[float, float, float] = (0, 0, 0), tilt: float = 0.0) -> Paint:
    """Colours in turn around a tilted axis, with white caps at the poles; a beach ball."""

    def paint(p: Array) -> Array:
        q = p - column(centre)
        c, s = float(np.cos(tilt)), float(np.sin(tilt))
        x, y = c * q[0] - s * q[1], s * q[0] + c * q[1]
        turn = (np.arctan2(q[2], x) / (2 * np.pi) + 0.5) * len(codes)
        palette = np.array([rgb(code) for code in codes]).T
        colour = palette[:, np.minimum(turn.astype(np.intp), len(codes) - 1)]
        top = np.abs(y) / np.maximum(length(x, y, q[2]), 1e-9)
        return mix(colour, (0.85, 0.84, 0.8), smooth(cap - 0.004, cap + 0.004, top)) if cap else colour

    return paint


@cache
def printed(lines: tuple[tuple[str, int], ...], ink: str, paper: str, frame: bool) -> Array:
    """Set lines of (text, size) in the middle of a square sheet; linear RGB [3, 512, 512]."""
    sheet = Image.new("RGB", (512, 512), paper)
    draw = ImageDraw.Draw(sheet)
    y = 256 - sum(size * 1.25 for _, size in lines) / 2
    for text, size in lines:
        draw.text((256, y + size * 0.6), text, fill=ink, font=ImageFont.load_default(size), anchor="mm")
        y += size * 1.25
    if frame:
        draw.rectangle((18, 18, 493, 493), outline=ink, width=5)
        draw.line((120, 400, 392, 400), fill=ink, width=3)
    values = np.asarray(sheet, dtype=np.float64) / 255
    return np.moveaxis(np.where(values < 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4), 2, 0)


def label(
    *lines: tuple[str, int],
    ink: str,
    paper: str,
    centre: float,
    half: float,
    wrap: float = 0.0,
    wide: float = 0.0,
    frame: bool = True,
) -> Paint:
    """A printed sheet around height centre, half as high; wrapped about a cylinder of radius wrap, or flat on z."""

    def paint(p: Array) -> Array:
        across = np.arctan2(p[0], np.maximum(p[2], -9.0)) * wrap if wrap else p[0]
        u, v = across / (wide or half), (centre - p[1]) / half
        sheet = printed(lines, ink, paper, frame)
        at = np.stack([(v + 1) * 255.5, (u + 1) * 255.5])
        inside = (np.abs(u) < 1) & (np.abs(v) < 1) & (p[2] > 0)
        seen = np.stack(
            [ndimage.map_coordinates(plane, at, order=1, mode="nearest", prefilter=False) for plane in sheet]
        )
        return np.where(inside, seen, column(rgb(paper)))

    return paint


def rough(height: float, scale: float) -> Relief:
    """An uneven surface."""
    return lambda p: height * noise(p[0] * scale, p[1] * scale, p[2] * scale)


def woven(height: float, scale: float = 290.0) -> Relief:
    """A fine weave."""
    return lambda p: height * (np.sin(p[0] * scale) * np.sin(p[1] * scale) + 0.6 * np.sin(p[2] * scale))


# --- paints for floors and walls: [x, z or y, pixel size] -> linear RGB ----------------------------------------------


def plain(code: str, unevenness: float = 0.02) -> Paint:
    """A painted or paper ground."""
    return lambda p: column(rgb(code)) * (1 + unevenness * noise(p[0] * 0.35, p[1] * 0.35))


def planks(light: str, dark: str, width: float = 0.62, gap: float = 0.006) -> Paint:
    """Wooden boards that run across the picture."""

    def paint(p: Array) -> Array:
        row = np.floor(p[1] / width)
        x = p[0] + row * 7.31
        tone = noise(row * 0.37 + 0.5, row * 0.71)
        warp = noise(x * 0.22, p[1] * 0.9 + row * 3)
        ring = 0.5 + 0.5 * np.sin(p[1] * 19 + warp * 3.6 + row)
        fibre = noise(x * 0.5, p[1] * 9) * fading(p[2], 0.03) + 0.6 * noise(x * 1.4, p[1] * 34) * fading(p[2], 0.012)
        colour = mix(
            rgb(light), rgb(dark), np.clip(0.35 * ring**2 + 0.16 * warp + 0.15 * fibre + 0.14 * tone + 0.2, 0, 1)
        )
        if gap:
            near = np.abs(p[1] / width - np.round(p[1] / width)) * width
            colour = colour * (
                1 - 0.65 * np.clip((gap + p[2] - near) / (p[2] + 0.002), 0, 1) * np.clip(gap / p[2], 0, 1)
            )
        return colour

    return paint


def linen(code: str, period: float = 0.022) -> Paint:
    """A table cloth: threads of uneven brightness, and soft folds."""

    def paint(p: Array) -> Array:
        x, z = p[0] + 0.01 * noise(p[0] * 0.6, p[1] * 0.6), p[1]
        f = 2 * np.pi / period
        thread = np.sin(x * f) * np.sin(z * f) * 0.5 + 0.35 * noise(x * 0.4, z * 12) + 0.35 * noise(x * 12, z * 0.4)
        fold = noise(x * 0.35 + z * 0.12, z * 0.16) * 0.5 + noise(x * 1.1, z * 1.3) * 0.2
        return column(rgb(code)) * (1 + 0.15 * thread * fading(p[2], period) + 0.09 * fold)

    return paint


def marble(light: str, vein: str) -> Paint:
    """Veined stone."""

    def paint(p: Array) -> Array:
        warp = noise(p[0] * 0.35, p[1] * 0.35)
        line = np.abs(noise(p[0] * 0.22 + warp * 0.06 + 4, p[1] * 0.3 + warp * 0.05))
        thin = np.exp(-line * 16) * 0.6 + np.exp(-line * 4) * 0.18
        return mix(rgb(light), rgb(vein), np.clip(thin + 0.05 * warp, 0, 1))

    return paint


def concrete(code: str) -> Paint:
    """Cast concrete: clouds and fine pores."""

    def paint(p: Array) -> Array:
        cloud = noise(p[0] * 0.3, p[1] * 0.3) * 0.08 + noise(p[0] * 1.9, p[1] * 1.9) * 0.05
        pores = smooth(1.5, 2.4, noise(p[0] * 4.0, p[1] * 4.0)) * fading(p[2], 0.03)
        return column(rgb(code)) * (1 + cloud - 0.3 * pores)

    return paint


Thing = tuple[
    str, float, float, float, float, str
]  # kind, centre x and y, half sizes, colour; "+" before it: it shines


def hung(ground: Paint, things: Sequence[Thing]) -> Paint:
    """A wall with things on it or before it: "box", "disc", "jar" (shaded as a cylinder)."""

    def paint(p: Array) -> Array:
        colour = ground(p)
        for kind, x, y, half_x, half_y, code in things:
            u, v = (p[0] - x) / half_x, (p[1] - y) / half_y
            inside = length(u, v) < 1 if kind == "disc" else (np.abs(u) < 1) & (np.abs(v) < 1)
            shine = 3.2 if code[0] == "+" else 1.0
            tone = column(rgb(code.lstrip("+"))) * (shine * np.ones_like(u))
            if kind == "jar":
                tone = tone * (1.05 - 0.7 * smooth(-0.7, 1.2, u))
            colour = np.where(inside, tone, colour)
        return colour

    return paint


LIVING_ROOM: tuple[Thing, ...] = (
    ("box", 0, -1.35, 9, 1.3, "#8a6a4c"),
    ("box", 0, -0.02, 9, 0.03, "#5d4632"),
    ("box", -2.3, 2.3, 0.75, 1.0, "#2e2c2a"),
    ("box", -2.3, 2.3, 0.68, 0.92, "#d8d2c4"),
    ("disc", -2.35, 2.2, 0.36, 0.5, "#b5653f"),
    ("box", 2.1, 2.75, 0.95, 0.06, "#6b4c33"),
    ("jar", 1.5, 3.15, 0.16, 0.36, "#46707c"),
    ("jar", 1.95, 3.05, 0.13, 0.25, "#c9a25e"),
    ("box", 2.35, 3.2, 0.07, 0.42, "#8f3b34"),
    ("box", 2.5, 3.15, 0.06, 0.36, "#2f4858"),
    ("box", 2.64, 3.22, 0.06, 0.42, "#c8bda6"),
    ("disc", 2.9, 1.2, 0.55, 0.65, "#4c6a3d"),
    ("disc", 3.3, 1.7, 0.45, 0.5, "#5f7f48"),
    ("jar", 3.0, 0.35, 0.34, 0.42, "#d9d4ca"),
)
KITCHEN: tuple[Thing, ...] = (
    ("box", 2.2, 2.2, 1.5, 1.7, "#f2efe6"),
    ("box", 2.2, 2.2, 1.38, 1.58, "+#dfe9ee"),
    ("box", 2.2, 2.2, 0.05, 1.6, "#f2efe6"),
    ("box", -2.6, 3.3, 1.5, 1.0, "#7f8f88"),
    ("box", -2.6, 3.3, 0.015, 1.0, "#4c5652"),
    ("box", 0, -0.2, 9, 0.2, "#cfc6b6"),
    ("box", 0, -1.9, 9, 1.5, "#72827c"),
    ("jar", -1.7, 0.4, 0.22, 0.42, "#b9794f"),
    ("jar", -2.3, 0.3, 0.2, 0.32, "#d8cdb8"),
    ("jar", -2.9, 0.5, 0.17, 0.52, "#33453f"),
    ("disc", -1.7, 1.1, 0.34, 0.4, "#55763f"),
)
EVENING: tuple[Thing, ...] = tuple(
    (
        "disc",
        -3.6 + 7.4 * ((i * 0.618) % 1),
        0.4 + 3.2 * ((i * 0.381) % 1),
        0.10,
        0.10,
        ("+#ffb45e", "+#ffd9a0", "+#ff8a4c")[i % 3],
    )
    for i in range(17)
)
FLAT: tuple[Thing, ...] = (
    ("box", 0, 0.11, 9, 0.11, "#efece4"),
    ("box", -2.5, 2.9, 0.8, 0.6, "#3b3733"),
    ("box", -2.5, 2.9, 0.72, 0.52, "#e4ddd0"),
    ("disc", -2.6, 2.8, 0.3, 0.3, "#c98a4b"),
    ("box", -2.2, 3.0, 0.16, 0.26, "#5b7680"),
    ("jar", 3.0, 0.45, 0.42, 0.45, "#b5714c"),
    ("disc", 2.75, 1.5, 0.5, 0.65, "#47663b"),
    ("disc", 3.3, 1.7, 0.45, 0.6, "#5a7c49"),
    ("disc", 3.0, 2.2, 0.36, 0.5, "#6a8d55"),
)


# --- backdrops ---------------------------------------------------------------------------------------------------


def sweep(code: str, wall: str | None = None, mirror: float = 0.0) -> Backdrop:
    """Seamless studio paper."""
    return Backdrop(
        plain(code, 0), plain(wall or code, 0), depth=2.6, edge=2.6, sweep=1.6, mirror=mirror, bounce=rgb(code)
    )


def table(top: Paint, wall: Paint, bounce: str, mirror: float = 0.0, edge: float = 1.7) -> Backdrop:
    """A table top before a wall far behind it."""
    return Backdrop(top, wall, depth=5.5, edge=edge, mirror=mirror, bounce=rgb(bounce))


def room(floor: Paint, wall: Paint, bounce: str, depth: float = 2.2, mirror: float = 0.0) -> Backdrop:
    """A floor that meets a wall."""
    return Backdrop(floor, wall, depth=depth, edge=depth, mirror=mirror, bounce=rgb(bounce))
