"""The products of the sample catalog, each a handful of shapes with materials; about 1 to 2 units tall, on y = 0."""

import numpy as np

from sample.raymarch import Material, Paint, Part, column, smooth
from sample.shapes import (
    Array,
    Shape,
    arc,
    around,
    blend,
    box,
    cut,
    cylinder,
    ellipsoid,
    length,
    meet,
    mirrored,
    move,
    prism,
    rod,
    sphere,
    torus,
    tube,
    turn,
    turnery,
    union,
)
from sample.surfaces import banded, cotton, label, mix, mottled, noise, rgb, rough, sectors, timber, woven

Product = tuple[Part, ...]


def glazed(colour: str | Paint) -> Material:
    """Glazed ceramic."""
    return Material(rgb(colour) if isinstance(colour, str) else colour, roughness=0.12)


def plastic(colour: str, roughness: float = 0.35) -> Material:
    """Moulded plastic or paint."""
    return Material(rgb(colour), roughness=roughness)


def metal(colour: str, roughness: float = 0.22) -> Material:
    """Bare metal."""
    return Material(rgb(colour), roughness=roughness, metal=1.0)


def cloth(colour: str | Paint, weave: float = 0.0003) -> Material:
    """Woven cloth."""
    paint = cotton(colour) if isinstance(colour, str) else colour
    return Material(paint, roughness=0.95, sheen=0.7, relief=woven(weave))


def leather(colour: str) -> Material:
    """Grained leather."""
    return Material(mottled(colour, 0.1, 3), roughness=0.5, relief=rough(0.0012, 14))


def wooden(light: str = "#c79a63", dark: str = "#8a5a30", axis: int = 0) -> Material:
    """Oiled wood."""
    return Material(timber(light, dark, axis), roughness=0.45)


STEEL, GOLD, BRASS, BLACK = metal("#c9ccd0"), metal("#f0c46a", 0.15), metal("#d0a85a", 0.3), plastic("#1b1b1d", 0.3)


def mug() -> Product:
    """A cup of coffee; the handle makes a hole."""
    cup = turnery([(0, 0.38), (0.06, 0.42), (0.95, 0.45)], wall=0.045, rounding=0.015)
    handle = cut(move(turn(torus(0.24, 0.055), "x", 90), 0.46, 0.5), cylinder(0.42, 3.0))
    glaze = glazed(banded((0, "#e4dfd2"), (0.3, "#2f5d73"), (0.7, "#e4dfd2")))
    return Part(blend(0.05, cup, handle), glaze), Part(move(cylinder(0.405, 0.02), y=0.84), plastic("#23110a", 0.05))


def wine() -> Product:
    """A bottle with a paper label and a foil capsule."""
    glass = turnery(
        [(0, 0.29), (0.04, 0.32), (1.12, 0.32), (1.3, 0.27), (1.46, 0.13), (1.6, 0.105), (2.05, 0.10)], rounding=0.02
    )
    paper = label(("CASA", 40), ("Olivara", 92), ("TINTO RESERVA", 34), ("2019", 44), ink="#3b2b20", paper="#efe6d2",
                  centre=0.62, half=0.3, wrap=0.325, wide=0.36)  # fmt: skip
    front = meet(move(cylinder(0.325, 0.30, 0.001), y=0.62), move(box(0.4, 0.4, 0.3, 0.001), y=0.62, z=0.22))
    return (
        Part(glass, Material(rgb("#16301a"), roughness=0.04, glass=0.35)),
        Part(front, Material(paper, roughness=0.8)),
        Part(move(cylinder(0.112, 0.26, 0.02), y=1.85), metal("#7a1f2b", 0.35)),
        Part(move(torus(0.105, 0.022), y=1.99), metal("#7a1f2b", 0.35)),
    )


def parcel() -> Product:
    """A taped cardboard box."""
    print_ = label(("THIS SIDE UP", 58), ("fragile", 90), ("24 x 0.5 l", 46), ink="#4a3524", paper="#b98e5f",
                   centre=0.42, half=0.26, wide=0.42)  # fmt: skip

    def kraft(p: Array) -> Array:
        fibre = 1 + 0.05 * noise(p[0] * 3, p[1] * 14, p[2] * 3) + 0.05 * noise(p[0] * 1.5, p[1] * 1.5, p[2] * 1.5)
        flap = 1 - 0.5 * (np.abs(p[2]) < 0.004) * (p[1] > 0.8)
        return np.where(p[2] > 0.5, print_(p), column(rgb("#b98e5f"))) * fibre * flap

    return (
        Part(move(box(0.75, 0.45, 0.56, 0.015), y=0.45), Material(kraft, roughness=0.85, relief=rough(0.0008, 9))),
        Part(move(box(0.752, 0.004, 0.10, 0.003), y=0.90), plastic("#c9a36a", 0.2)),
        Part(mirrored(move(box(0.004, 0.1, 0.10, 0.003), 0.751, 0.80)), plastic("#c9a36a", 0.2)),
    )


def beach_ball() -> Product:
    """A striped ball."""
    paint = sectors(
        "#d8402f", "#efeae0", "#2e6fb0", "#efeae0", "#e8b32c", "#efeae0", cap=0.965, centre=(0, 0.7, 0), tilt=0.5
    )
    return (Part(move(sphere(0.7), y=0.7), Material(paint, roughness=0.22, relief=rough(0.002, 1.5))),)


def ring() -> Product:
    """A gold ring with a stone, standing up."""
    band = move(turn(torus(0.6, 0.07, 1.0), "x", 90), y=0.67)
    below = around(lambda p: 0.75 * p[0] - 0.66 * p[1] - 0.17, 8)
    above = around(lambda p: 0.6 * p[0] + 0.8 * p[1] - 0.15, 8, first=22.5)
    stone = move(meet(meet(below, above), lambda p: p[1] - 0.09), y=1.54)
    claws = around(rod((0.08, 1.28, 0), (0.225, 1.57, 0), 0.022), 4)
    return (
        Part(blend(0.04, band, move(cylinder(0.1, 0.04), y=1.28), claws), GOLD),
        Part(stone, Material(rgb("#4f86d8"), roughness=0.02, glass=0.6)),
    )


def lamp() -> Product:
    """A table lamp, switched on."""
    # A cone less a slightly narrower one, open above and below.
    shade = move(cut(turnery([(0, 0.56), (0.62, 0.36)]), turnery([(-0.15, 0.593), (0.77, 0.297)]), 0.004), y=1.1)

    def lit(p: Array) -> Array:
        warm = np.exp(-(((p[1] - 1.35) / 0.3) ** 2))
        return column(rgb("#efdcb8")) * (1 + 0.05 * noise(p[0] * 2, p[1] * 20, p[2] * 2)) * (0.5 + 0.9 * warm)

    foot = turnery(
        [(0, 0.3), (0.05, 0.31), (0.12, 0.2), (0.3, 0.24), (0.55, 0.2), (0.75, 0.07), (0.85, 0.05)], rounding=0.01
    )
    return (
        Part(shade, Material(lit, roughness=0.9, glow=0.55)),
        Part(foot, glazed("#2c5f63")),
        Part(move(cylinder(0.025, 0.5), y=1.15), BRASS),
        Part(move(sphere(0.1), y=1.3), Material((1.0, 0.85, 0.6), glow=3.0)),
    )


def fruit_bowl() -> Product:
    """A bowl of oranges."""
    bowl = turnery(
        [(0, 0.3), (0.05, 0.3), (0.1, 0.36), (0.3, 0.68), (0.5, 0.84), (0.56, 0.86)], wall=0.04, rounding=0.012
    )
    peel = Material(mottled("#e07a17", 0.08, 2), roughness=0.4, relief=rough(0.004, 7))
    fruit = [(-0.32, 0.5, 0.2, 0.27), (0.3, 0.52, 0.22, 0.28), (0.0, 0.53, -0.33, 0.29), (0.02, 0.82, 0.02, 0.27)]
    oranges = union(*(move(sphere(r), x, y, z) for x, y, z, r in fruit))
    glaze = glazed(banded((0, "#d9d4c8"), (0.47, "#3f6b8c"), (0.52, "#d9d4c8")))
    return Part(bowl, glaze), Part(oranges, peel), Part(move(sphere(0.03), 0.03, 1.085, 0.03), plastic("#55602a", 0.8))


def vase() -> Product:
    """A tall vase with a running glaze."""
    body = turnery(
        [(0, 0.22), (0.05, 0.26), (0.45, 0.5), (0.8, 0.48), (1.15, 0.2), (1.4, 0.13), (1.62, 0.2), (1.66, 0.21)],
        wall=0.03, rounding=0.01,
    )  # fmt: skip

    def glaze(p: Array) -> Array:
        edge = p[1] + 0.07 * noise(p[0] * 1.4, p[1] * 0.3, p[2] * 1.4)
        drip = mix(rgb("#b9805a"), rgb("#33596b"), smooth(0.50, 0.53, edge))
        return mix(drip, rgb("#9fc2c0"), 0.7 * smooth(1.0, 1.5, edge)) * (1 + 0.1 * noise(p[0] * 6, p[1] * 6, p[2] * 6))

    return (Part(body, Material(glaze, roughness=0.1, relief=rough(0.0012, 3))),)


# Where the sole's outline is: circles at x, z with their radii.
SOLE = (
    (-0.74, 0, 0.24),
    (-0.45, 0.01, 0.23),
    (-0.1, 0.03, 0.22),
    (0.25, 0.05, 0.26),
    (0.58, 0.03, 0.26),
    (0.78, 0, 0.2),
)
LACES = ((-0.14, 0.70), (-0.03, 0.68), (0.08, 0.655), (0.19, 0.63))


def sneaker() -> Product:
    """A running shoe, toe to the right."""

    def slab(low: float, high: float, grow: float) -> Shape:
        outline = blend(0.3, *(
            move(cylinder(r + grow, 1.0), x, 0, z)
            for x, z, r in SOLE
        ))  # fmt: skip
        layer = prism(outline, (high - low) / 2, 0.025)
        # The toe curls up a little.
        return lambda p: layer(np.stack([p[0], p[1] - (low + high) / 2 - 0.12 * np.maximum(p[0] - 0.35, 0) ** 2, p[2]]))

    upper = blend(
        0.3,
        move(ellipsoid(0.36, 0.5, 0.27), -0.62, 0.42),
        move(ellipsoid(0.42, 0.3, 0.26), -0.1, 0.36, 0.02),
        move(ellipsoid(0.5, 0.24, 0.27), 0.45, 0.28, 0.03),
        rod((-0.72, 0.35, 0), (-0.8, 0.98, 0), 0.14, 0.1),
    )
    upper = meet(upper, lambda p: 0.14 - p[1])
    opening = union(move(turn(ellipsoid(0.3, 0.42, 0.17), "z", -16), -0.5, 0.98), move(box(0.4, 0.3, 0.5), -0.45, 1.3))
    tongue = move(turn(ellipsoid(0.05, 0.28, 0.15), "z", 44), -0.22, 0.70, 0.01)
    laces = [
        rod((x, y, -0.15), (x + 0.03, y + 0.01, 0.18), 0.024)
        for x, y in ((-0.16, 0.66), (-0.03, 0.60), (0.1, 0.54), (0.22, 0.49))
    ]

    def fabric(p: Array) -> Array:
        colour = cotton("#33475c", 1.2)(p)
        # A swept stripe on the side, a lighter heel and toe.
        stripe = np.abs(p[1] - 0.36 - 0.30 * (p[0] + 0.2) ** 2 + 0.12 * p[0]) < 0.045
        colour = np.where(stripe & (np.abs(p[0] + 0.1) < 0.42), column(rgb("#e8e4da")), colour)
        colour = mix(colour, rgb("#d8552e"), smooth(-0.76, -0.78, -p[0]) * 0 + smooth(0.74, 0.76, -p[0]))
        return mix(colour, rgb("#26323f"), smooth(0.5, 0.52, p[0] + 0.25 * np.abs(p[1] - 0.2)))

    return (
        Part(cut(upper, opening, 0.05), Material(fabric, roughness=0.85, sheen=0.5, relief=woven(0.0004, 290))),
        Part(slab(0.05, 0.24, 0.0), Material(mottled("#e9e6df", 0.02), roughness=0.6)),
        Part(slab(0.0, 0.06, -0.015), plastic("#d8552e", 0.6)),
        Part(union(*laces), cloth("#e8e4da")),
        Part(tongue, cloth("#2a3a4c")),
    )


def chair() -> Product:
    """A wooden chair with spindles: much of what lies inside its outline is background."""
    legs = mirrored(
        union(
            rod((0.40, 0.75, 0.36), (0.48, 0.03, 0.44), 0.045, 0.032),
            rod((0.36, 0.75, -0.34), (0.44, 0.03, -0.46), 0.045, 0.032),
        )
    )
    rails = union(
        mirrored(rod((0.45, 0.3, 0.41), (0.41, 0.3, -0.42), 0.02)), rod((-0.43, 0.3, 0), (0.43, 0.3, 0), 0.02)
    )
    seat = cut(move(box(0.5, 0.045, 0.47, 0.04), y=0.78), move(ellipsoid(0.42, 0.05, 0.38), y=0.835), 0.04)
    spindles = union(*(rod((x, 0.8, -0.38), (x * 1.15, 1.6, -0.56), 0.02) for x in (-0.3, -0.15, 0.0, 0.15, 0.3)))
    posts = mirrored(rod((0.42, 0.78, -0.38), (0.5, 1.66, -0.56), 0.032))
    crest = meet(
        move(turn(box(0.56, 0.11, 0.4, 0.03), "x", -12), y=1.66, z=-0.5),
        move(cut(cylinder(1.53, 1), cylinder(1.47, 2)), 0, 1.6, 0.94),
    )
    beech = wooden("#c99f6b", "#9a6d3f", axis=1)
    return (
        Part(union(legs, rails, spindles, posts), beech),
        Part(seat, wooden("#c99f6b", "#9a6d3f", axis=2)),
        Part(crest, wooden()),
    )


def stool() -> Product:
    """A round stool with a steel foot ring."""
    legs = around(rod((0.28, 1.1, 0), (0.5, 0.02, 0), 0.04, 0.03), 4, first=45)
    return (
        Part(legs, wooden("#4a3526", "#2c1e15", axis=1)),
        Part(move(cylinder(0.46, 0.05, 0.03), y=1.14), wooden("#7a563a", "#4d3321")),
        Part(move(cylinder(0.44, 0.09, 0.085), y=1.24), leather("#8a4526")),
        Part(move(torus(0.415, 0.02), y=0.4), STEEL),
    )


def pan() -> Product:
    """A frying pan with a riveted handle."""
    dish = turnery([(0, 0.72), (0.03, 0.76), (0.22, 0.92), (0.25, 0.94)], wall=0.035, rounding=0.012)
    handle = cut(
        blend(0.08, rod((0.93, 0.19, 0), (1.2, 0.33, 0), 0.05), rod((1.2, 0.33, 0), (1.95, 0.42, 0), 0.075, 0.085)),
        move(cylinder(0.04, 0.3), 1.9, 0.42),
        0.03,
    )
    inside = Material(mottled("#2b2b2d", 0.15, 8), roughness=0.38)
    return (
        Part(dish, inside),
        Part(handle, plastic("#1d1c1b", 0.5)),
        Part(rod((0.9, 0.18, 0), (1.17, 0.32, 0), 0.055), STEEL),
        Part(move(torus(0.935, 0.018), y=0.245), STEEL),
    )


def books() -> Product:
    """Four books in a pile."""
    parts: list[Part] = []
    y = 0.0
    pages = Material(lambda p: column(rgb("#e6dcc4")) * (1 - 0.16 * (np.sin(p[1] * 420) > 0.2)), roughness=0.9)
    for x, z, thick, angle, code, title, ink in (
        (0.78, 0.55, 0.13, 4, "#2f4a63", "SMALL ISLANDS", "#d8c48a"),
        (0.72, 0.5, 0.10, -7, "#a34434", "Bread & Salt", "#f0e4d0"),
        (0.66, 0.48, 0.085, 12, "#d7c9a8", "notes on colour", "#3a3a38"),
        (0.56, 0.4, 0.12, -3, "#3d5a46", "THE LONG RIVER", "#e0cf9a"),
    ):  # fmt: skip
        title_paint = label((title, 44), ink=ink, paper=code, centre=0.0, half=thick * 4, wide=x * 0.9, frame=False)

        def place(shape: Shape, at: float = y + thick, degrees: float = angle) -> Shape:
            return move(turn(shape, "y", degrees), y=at)

        def cover(p: Array, paint: Paint = title_paint, at: float = y + thick, front: float = z) -> Array:
            q = p - column((0.0, at, 0.0))
            return paint(q) * (1 + 0.05 * noise(p[0] * 8, p[1] * 8, p[2] * 8))

        boards = union(move(box(x, 0.014, z, 0.01), y=thick - 0.014), move(box(x, 0.014, z, 0.01), y=0.014 - thick))
        spine = move(box(x, thick, 0.02, 0.018), z=z)
        parts.append(Part(place(union(boards, spine)), Material(cover, roughness=0.7, relief=woven(0.0004, 220))))
        parts.append(Part(place(move(box(x - 0.035, thick - 0.02, z - 0.03, 0.004), z=-0.005)), pages))
        y += 2 * thick
    return tuple(parts)


def headphones() -> Product:
    """Headphones, standing on their cups."""
    band = move(turn(meet(torus(0.72, 0.05, 1.9), move(box(2, 2, 1), z=-1)), "x", 90), y=0.675)
    cups = mirrored(move(turn(cylinder(0.34, 0.09, 0.06), "z", 82), 0.74, 0.345))
    pads = mirrored(move(turn(torus(0.23, 0.1), "z", 82), 0.60, 0.345))
    yokes = mirrored(
        union(
            rod((0.735, 0.72, 0), (0.70, 0.90, 0), 0.045),
            move(turn(turn(meet(torus(0.36, 0.025), move(box(1, 1, 1), z=-1)), "x", 90), "y", 90), 0.76, 0.345),
        )
    )
    caps = mirrored(move(turn(cylinder(0.2, 0.02, 0.01), "z", 82), 0.84, 0.335))
    return (
        Part(band, leather("#4a3328")), Part(cups, plastic("#26282b", 0.4)), Part(pads, leather("#3a2a22")),
        Part(yokes, STEEL), Part(caps, metal("#b08a5a", 0.3)),
    )  # fmt: skip


def teapot() -> Product:
    """A teapot with spout and handle."""
    body = turnery(
        [(0, 0.3), (0.04, 0.36), (0.2, 0.56), (0.42, 0.62), (0.62, 0.54), (0.78, 0.3), (0.80, 0.29)], rounding=0.02
    )
    spout = tube([(0.5, 0.28, 0), (0.72, 0.42, 0), (0.82, 0.62, 0), (0.96, 0.78, 0)], 0.13, 0.055)
    handle = move(turn(torus(0.29, 0.055), "x", 90), -0.58, 0.48)
    mouth = move(turn(cylinder(0.035, 0.1), "z", -40), 1.0, 0.83)
    glaze = Material(mottled("#7c9a86", 0.1, 5), roughness=0.14)
    lid = turnery(
        [(0, 0.29), (0.03, 0.3), (0.1, 0.2), (0.13, 0.05), (0.17, 0.055), (0.22, 0.075), (0.27, 0.05), (0.28, 0.03)],
        rounding=0.01,
    )
    return Part(cut(blend(0.09, body, spout, handle), mouth, 0.02), glaze), Part(move(lid, y=0.80), glaze)


def watch() -> Product:
    """A wrist watch with its strap closed: a hole to look through."""
    strap = move(turn(torus(0.55, 0.035, 5.0), "z", 90), y=0.583, z=-0.25)
    case = move(turn(cylinder(0.4, 0.07, 0.03), "x", 90), y=0.683, z=0.33)

    def dial(p: Array) -> Array:
        x, y = p[0], p[1] - 0.683
        radius, angle = length(x, y), np.arctan2(x, y)
        step = np.pi / 6
        tick = np.abs(angle - step * np.round(angle / step)) * radius
        ink = (tick < 0.012) & (radius > 0.23) & (radius < 0.30)
        for degrees, reach, wide in ((305.0, 0.16, 0.016), (52.0, 0.25, 0.011)):
            hx, hy = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
            ink |= (np.abs(x * hy - y * hx) < wide) & (x * hx + y * hy > -0.03) & (x * hx + y * hy < reach)
        face = mix(rgb("#1d3a57"), rgb("#0d1c2e"), np.clip(radius * 2.5, 0, 1))
        return np.where(ink, column(rgb("#f2ead8")), face)

    return (
        Part(meet(strap, move(box(2, 2, 2), y=2.0)), leather("#6b3f24")),
        Part(union(case, move(turn(cylinder(0.05, 0.05), "z", 90), 0.44, 0.683, 0.33)), STEEL),
        Part(move(turn(torus(0.36, 0.03), "x", 90), y=0.683, z=0.40), STEEL),
        Part(move(turn(cylinder(0.335, 0.02, 0.005), "x", 90), y=0.683, z=0.39), Material(dial, roughness=0.08)),
    )


def bracelet() -> Product:
    """A string of beads, lying."""
    beads = around(move(sphere(0.115), 0.8, 0.115), 21)

    def stone(p: Array) -> Array:
        which = np.round(np.arctan2(p[2], p[0]) / (2 * np.pi) * 21) % 3
        colour = np.where(
            which == 0, column(rgb("#23556a")), np.where(which == 1, column(rgb("#c9b48a")), column(rgb("#7a3328")))
        )
        return colour * (1 + 0.22 * noise(p[0] * 6, p[1] * 6, p[2] * 6))

    spacers = around(move(turn(cylinder(0.05, 0.012), "x", 90), 0.8, 0.115), 21, first=360 / 42)
    return Part(beads, Material(stone, roughness=0.12)), Part(spacers, GOLD)


def cactus() -> Product:
    """A cactus in a clay pot."""
    pot = turnery([(0, 0.3), (0.02, 0.32), (0.45, 0.42), (0.46, 0.47), (0.6, 0.49)], wall=0.05, rounding=0.015)

    def ribbed(radius: float, height: float) -> Shape:
        solid = ellipsoid(radius, height, radius)
        return lambda p: (
            solid(p) * 0.75 + 0.022 * np.cos(14 * np.arctan2(p[2], p[0])) * np.clip(length(p[0], p[2]) * 8, 0, 1)
        )

    plant = blend(
        0.05,
        move(ribbed(0.29, 0.62), y=0.98),
        move(ribbed(0.16, 0.26), 0.32, 1.05, 0.08),
        move(ribbed(0.13, 0.2), -0.3, 1.15, 0.05),
    )

    def green(p: Array) -> Array:
        crest = smooth(0.75, 0.95, -np.cos(14 * np.arctan2(p[2], p[0])))
        spine = crest * smooth(0.5, 0.8, np.sin(p[1] * 50))
        return mix(rgb("#4f7a45"), rgb("#d9d8b0"), spine * 0.8) * (1 + 0.12 * noise(p[0], p[1], p[2]))

    return (
        Part(pot, Material(mottled("#b5673f", 0.1, 2), roughness=0.85, relief=rough(0.001, 8))),
        Part(
            move(cylinder(0.43, 0.02), y=0.54),
            Material(mottled("#4a3a2c", 0.4, 9), roughness=1.0, relief=rough(0.012, 9)),
        ),
        Part(plant, Material(green, roughness=0.6, relief=rough(0.0015, 9))),
    )


def perfume() -> Product:
    """A square flacon with a golden collar."""
    name = label(
        ("fleur", 120),
        ("de minuit", 70),
        ("eau de parfum 50 ml", 34),
        ink="#6a4a20",
        paper="#e7c3b4",
        centre=0.5,
        half=0.22,
        frame=False,
    )

    def rose(p: Array) -> Array:
        liquid = mix(rgb("#e7a9a0"), rgb("#f3dcd4"), smooth(0.70, 0.72, p[1]))
        return np.where((p[2] > 0.2) & (np.abs(p[1] - 0.5) < 0.2) & (np.abs(p[0]) < 0.21), name(p), liquid)

    return (
        Part(move(box(0.42, 0.46, 0.25, 0.06), y=0.46), Material(rose, roughness=0.03, glass=0.45)),
        Part(move(cylinder(0.17, 0.05), y=0.95), GOLD),
        Part(move(box(0.2, 0.2, 0.2, 0.03), y=1.2), plastic("#201a1c", 0.08)),
    )


def candle() -> Product:
    """A scented candle in an amber jar."""
    paper = label(
        ("No. 7", 100),
        ("CEDAR & FIG", 48),
        ("soy wax 220 g", 36),
        ink="#2a2622",
        paper="#efe9dc",
        centre=0.48,
        half=0.27,
        wrap=0.455,
        wide=0.36,
    )
    front = meet(move(cylinder(0.455, 0.27, 0.001), y=0.48), move(box(0.36, 0.5, 0.4, 0.001), y=0.48, z=0.3))
    return (
        Part(
            turnery([(0, 0.40), (0.05, 0.45), (0.95, 0.45), (1.0, 0.43)], wall=0.03, rounding=0.012),
            Material(rgb("#7a3b12"), roughness=0.05, glass=0.4),
        ),
        Part(front, Material(paper, roughness=0.8)),
        Part(move(cylinder(0.415, 0.36), y=0.42), Material(rgb("#e9d9b8"), roughness=0.7, glow=0.1)),
        Part(rod((0, 0.75, 0), (0.01, 0.9, 0), 0.012), BLACK),
        Part(move(ellipsoid(0.03, 0.08, 0.03), 0.01, 0.96), Material((1.0, 0.62, 0.2), glow=4.0)),
    )


def dispenser() -> Product:
    """A soap dispenser with a pump."""
    paper = label(
        ("hand soap", 84),
        ("olive & sage", 56),
        ("300 ml", 40),
        ink="#40503c",
        paper="#cfd6c2",
        centre=0.52,
        half=0.24,
        wrap=0.36,
        wide=0.3,
        frame=False,
    )
    return (
        Part(
            turnery([(0, 0.33), (0.04, 0.36), (0.9, 0.36), (1.02, 0.3), (1.1, 0.15), (1.14, 0.15)], rounding=0.02),
            Material(paper, roughness=0.5),
        ),
        Part(move(cylinder(0.16, 0.08, 0.02), y=1.18), BLACK),
        Part(
            union(
                move(cylinder(0.045, 0.15), y=1.35),
                tube([(-0.08, 1.5, 0), (0.2, 1.5, 0), (0.4, 1.47, 0), (0.45, 1.38, 0)], 0.05, 0.035),
            ),
            BLACK,
        ),
    )


def toy_car() -> Product:
    """A wooden-looking toy car in enamel."""
    body = cut(
        blend(0.14, move(box(0.95, 0.2, 0.4, 0.12), y=0.36), move(box(0.5, 0.24, 0.36, 0.14), -0.08, 0.66)),
        mirrored(
            union(
                move(turn(cylinder(0.25, 0.2), "x", 90), 0.55, 0.22, 0.4),
                move(turn(cylinder(0.25, 0.2), "x", 90), 0.55, 0.22, -0.4),
            )
        ),
        0.03,
    )

    def enamel(p: Array) -> Array:
        glass = (
            (p[1] > 0.60) & (p[1] < 0.80) & (np.abs(p[0] + 0.08) < 0.44) & (np.abs(np.abs(p[0] + 0.08) - 0.03) > 0.03)
        )
        stripe = (np.abs(p[2]) < 0.16) & (np.abs(np.abs(p[2]) - 0.05) > 0.02) & ((p[1] > 0.84) | (p[1] < 0.58))
        colour = np.where(glass, column(rgb("#1b2830")), column(rgb("#c23227")))
        return np.where(stripe, column(rgb("#efe8da")), colour)

    wheels = mirrored(mirrored(move(turn(cylinder(0.21, 0.08, 0.03), "x", 90), 0.55, 0.21, 0.36)), axis=2)
    hubs = mirrored(mirrored(move(turn(cylinder(0.1, 0.09, 0.03), "x", 90), 0.55, 0.21, 0.37)), axis=2)
    lights = mirrored(move(sphere(0.08), 0.92, 0.42, 0.24), axis=2)
    return (
        Part(body, Material(enamel, roughness=0.12)),
        Part(wheels, plastic("#1a1a1b", 0.7)),
        Part(union(hubs, lights), STEEL),
    )


def camera() -> Product:
    """A rangefinder camera."""
    lens = turn(
        union(
            move(cylinder(0.36, 0.08, 0.02), y=0.30),
            move(cylinder(0.31, 0.2, 0.02), y=0.4),
            move(cylinder(0.33, 0.05, 0.01), y=0.46),
        ),
        "x",
        90,
    )
    knurled = around(move(box(0.01, 0.05, 0.012, 0.003), 0.335, 0.44), 60)
    name = label(("HALDEN", 120), ink="#2a2a2a", paper="#c9ccd0", centre=1.02, half=0.17, wide=0.19, frame=False)

    def skin(p: Array) -> Array:
        return np.where(
            (np.abs(p[1] - 1.02) < 0.06) & (p[2] > 0.15) & (np.abs(p[0]) < 0.18), name(p), column(rgb("#c9ccd0"))
        )

    return (
        Part(move(box(0.85, 0.34, 0.24, 0.1), y=0.44), leather("#1c1b1b")),
        Part(
            union(
                move(box(0.85, 0.12, 0.25, 0.06), y=0.86),
                move(box(0.85, 0.06, 0.25, 0.04), y=0.06),
                move(box(0.3, 0.12, 0.22, 0.04), y=0.98),
            ),
            Material(skin, roughness=0.28, metal=0.8),
        ),
        Part(move(union(lens, turn(knurled, "x", 90)), y=0.46), plastic("#202124", 0.3)),
        Part(move(turn(torus(0.25, 0.03), "x", 90), y=0.46, z=0.6), STEEL),
        Part(move(ellipsoid(0.24, 0.24, 0.07), y=0.46, z=0.555), Material(rgb("#20203a"), roughness=0.02)),
        Part(
            union(
                move(cylinder(0.12, 0.06, 0.01), -0.58, 1.01),
                move(cylinder(0.09, 0.07, 0.01), 0.55, 1.01),
                move(cylinder(0.05, 0.1, 0.02), 0.33, 1.0),
            ),
            STEEL,
        ),
        Part(
            union(
                move(box(0.1, 0.06, 0.02, 0.01), 0.55, 0.86, 0.25), move(box(0.07, 0.05, 0.02, 0.01), -0.5, 0.86, 0.25)
            ),
            Material(rgb("#141c26"), roughness=0.02),
        ),
    )


def radio() -> Product:
    """A small radio in a wooden case with a cloth grille."""

    def grille(p: Array) -> Array:
        return column(rgb("#6f6a60")) * (1 + 0.35 * np.sin(p[0] * 130) * np.sin(p[1] * 130))

    knobs = union(*(move(turn(cylinder(0.09, 0.05, 0.015), "x", 90), 0.63, y, 0.43) for y in (0.32, 0.60)))
    dial = label(
        ("88  94  100  106", 66),
        ("FM", 60),
        ink="#5a3a20",
        paper="#efdcae",
        centre=0.83,
        half=0.09,
        wide=0.15,
        frame=False,
    )
    handle = move(turn(meet(torus(0.62, 0.03), move(box(1, 1, 1), z=-1)), "x", 62), y=1.0, z=0.05)
    return (
        Part(
            cut(move(box(0.9, 0.5, 0.4, 0.09), y=0.55), move(box(0.82, 0.42, 0.06, 0.04), y=0.55, z=0.42), 0.02),
            wooden("#8c5a34", "#5a3419"),
        ),
        Part(move(box(0.82, 0.42, 0.03, 0.02), y=0.55, z=0.36), Material(rgb("#d6c9ae"), roughness=0.5)),
        Part(
            move(box(0.5, 0.36, 0.03, 0.02), -0.25, 0.55, 0.385),
            Material(grille, roughness=0.95, relief=woven(0.002, 130)),
        ),
        Part(
            move(box(0.15, 0.09, 0.02, 0.01), 0.56, 0.83, 0.385),
            Material(lambda p: dial(p - column((0.56, 0.0, 0.0))), roughness=0.1, glow=0.25),
        ),
        Part(knobs, BRASS),
        Part(handle, leather("#4a2c1c")),
        Part(mirrored(mirrored(move(cylinder(0.06, 0.03), 0.7, 0.03, 0.28)), axis=2), BLACK),
    )


def teddy() -> Product:
    """A teddy bear."""
    limbs = mirrored(union(
        rod((0.3, 0.82, 0.08), (0.56, 0.55, 0.3), 0.14, 0.13), rod((0.22, 0.2, 0.12), (0.42, 0.18, 0.62), 0.18, 0.17),
        move(sphere(0.155), 0.31, 1.58, -0.02),
    ))  # fmt: skip
    body = blend(0.14, move(ellipsoid(0.4, 0.46, 0.36), y=0.5), move(ellipsoid(0.4, 0.36, 0.35), y=1.26), limbs)
    plush = Material(mottled("#a8713f", 0.13, 14), roughness=1.0, sheen=1.2, relief=rough(0.0022, 22))
    pale = Material(mottled("#d8b98a", 0.10, 14), roughness=1.0, sheen=0.9, relief=rough(0.002, 22))
    soles = mirrored(
        union(
            move(turn(ellipsoid(0.12, 0.12, 0.05), "y", 20), 0.475, 0.18, 0.765),
            move(ellipsoid(0.1, 0.1, 0.06), 0.33, 1.59, 0.1),
        )
    )
    eyes = union(mirrored(move(sphere(0.045), 0.14, 1.34, 0.315)), move(ellipsoid(0.07, 0.05, 0.05), 0, 1.26, 0.485))
    bow = blend(
        0.03,
        mirrored(move(turn(ellipsoid(0.17, 0.09, 0.05), "z", 15), 0.15, 0.93, 0.36)),
        move(sphere(0.06), 0, 0.93, 0.38),
    )
    return (
        Part(body, plush), Part(union(move(ellipsoid(0.19, 0.15, 0.17), y=1.18, z=0.3), soles), pale),
        Part(eyes, plastic("#15100d", 0.08)), Part(bow, cloth("#9a2f2f")),
    )  # fmt: skip


def cushion() -> Product:
    """A striped cushion, standing."""

    def pillow(p: Array) -> Array:
        # Thick in the middle, thin at the seams; the sides draw in between the corners.
        x, y = np.abs(p[0]) / 0.86, np.abs(p[1]) / 0.86
        x, y = x * (1.09 - 0.09 * np.minimum(y, 1) ** 2), y * (1.09 - 0.09 * np.minimum(x, 1) ** 2)
        return ((x**3.2 + y**3.2 + (np.abs(p[2]) / 0.4) ** 1.5) ** 0.4 - 1) * 0.22

    def stripes(p: Array) -> Array:
        band = np.sin(p[0] * 15) > 0.35
        thin = np.abs(np.sin(p[0] * 7.5 + 0.55)) > 0.992
        colour = np.where(band, column(rgb("#3f5f7a")), column(rgb("#e4dccb")))
        return np.where(thin, column(rgb("#b5533c")), colour) * (cotton("#ffffff", 1.0)(p))

    def folds(p: Array) -> Array:
        return 0.007 * np.sin(p[0] * 6 + 2.1 * np.sin(p[1] * 3.1)) * np.sin(p[1] * 5 + 1.7 * np.sin(p[0] * 2.6))

    shape = move(turn(pillow, "x", -14), y=0.80)
    return (Part(shape, Material(stripes, roughness=1.0, sheen=0.5, relief=folds)),)


def duck() -> Product:
    """A rubber duck."""
    body = blend(
        0.16, move(ellipsoid(0.66, 0.42, 0.48), y=0.42), move(ellipsoid(0.22, 0.2, 0.2), -0.62, 0.66),
        move(sphere(0.38), 0.3, 1.08),
        mirrored(move(ellipsoid(0.36, 0.22, 0.1), -0.1, 0.5, 0.44), axis=2),
    )  # fmt: skip
    beak = move(
        blend(0.04, move(ellipsoid(0.2, 0.045, 0.17), y=0.03), move(ellipsoid(0.16, 0.04, 0.14), y=-0.04)), 0.68, 1.02
    )
    eyes = mirrored(move(ellipsoid(0.06, 0.075, 0.05), 0.55, 1.2, 0.245), axis=2)
    return (
        Part(body, Material(rgb("#f0b90f"), roughness=0.25)),
        Part(beak, plastic("#d9541a", 0.3)),
        Part(eyes, plastic("#101010", 0.05)),
    )


def kettlebell() -> Product:
    """A kettlebell; the grip makes a hole."""
    grip = tube(
        [
            (0.28, 0.8, 0),
            (0.38, 1.08, 0),
            (0.3, 1.27, 0),
            (0, 1.33, 0),
            (-0.3, 1.27, 0),
            (-0.38, 1.08, 0),
            (-0.28, 0.8, 0),
        ],
        0.085,
    )
    iron = blend(0.14, cut(move(sphere(0.55), y=0.48), move(box(1, 0.3, 1), y=-0.3), 0.05), grip)
    band = label(("16", 190), ("KG", 90), ink="#e8e4da", paper="#2b2c2f", centre=0.52, half=0.3, frame=False)

    def paint(p: Array) -> Array:
        colour = np.where(
            (p[2] > 0.25) & (p[1] < 0.8) & (p[1] > 0.2) & (np.abs(p[0]) < 0.29), band(p), column(rgb("#2b2c2f"))
        )
        return colour * (1 + 0.1 * noise(p[0] * 9, p[1] * 9, p[2] * 9))

    return (Part(iron, Material(paint, roughness=0.5, relief=rough(0.0022, 10))),)


def handbag() -> Product:
    """A leather bag with two handles."""

    def body(p: Array) -> Array:
        squeeze = 1 - 0.16 * np.clip(p[1], 0, 1.1)
        q = np.stack([p[0] / (1 - 0.10 * (1 - squeeze)), p[1] - 0.46, p[2] / squeeze])
        return box(0.72, 0.46, 0.27, 0.09)(q) * 0.85

    bend = [(x * 0.36, y + 0.9, 0.0) for x, y, _ in arc(0, 180, 1.0, 13) for y in [y * 0.52]]
    handles = union(move(turn(tube(bend, 0.028), "x", 0), z=0.16), move(tube(bend, 0.028), z=-0.14))
    flap = meet(lambda p: body(p) - 0.012, move(box(0.8, 0.3, 0.5, 0.1), y=0.86, z=0.2))
    rings = mirrored(move(turn(torus(0.06, 0.014), "x", 90), 0.36, 0.87, 0.20))
    return (
        Part(body, leather("#9a5a34")), Part(flap, leather("#84482a")), Part(handles, leather("#6b3a20")),
        Part(rings, BRASS),
        Part(move(box(0.09, 0.06, 0.03, 0.012), y=0.6, z=0.275), BRASS),
    )  # fmt: skip


def spice_tin() -> Product:
    """A tin with a printed wrapper, square."""
    paper = label(
        ("SMOKED", 70),
        ("Paprika", 110),
        ("de la Vera", 54),
        ("75 g", 40),
        ink="#f4e4c0",
        paper="#a3281e",
        centre=0.6,
        half=0.4,
        wide=0.36,
    )

    def wrapper(p: Array) -> Array:
        return np.where(np.abs(p[0]) < 0.37, paper(p), column(rgb("#a3281e"))) * (
            1 + 0.02 * noise(p[0] * 4, p[1] * 4, p[2] * 4)
        )

    return (
        Part(move(box(0.44, 0.56, 0.3, 0.05), y=0.58), Material(wrapper, roughness=0.25)),
        Part(
            union(
                move(box(0.45, 0.03, 0.31, 0.02), y=0.03),
                move(box(0.4, 0.06, 0.26, 0.05), y=1.16),
                move(cylinder(0.2, 0.05, 0.015), y=1.24),
            ),
            metal("#d8c084", 0.25),
        ),
    )
