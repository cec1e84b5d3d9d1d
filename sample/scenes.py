"""What the sample catalog shows: thirty products and one empty backdrop, each with its scene, size and file format."""

from dataclasses import dataclass
from functools import cache

from sample import products
from sample.raymarch import Rig, Shot
from sample.surfaces import (
    EVENING,
    FLAT,
    KITCHEN,
    LIVING_ROOM,
    concrete,
    hung,
    linen,
    marble,
    plain,
    planks,
    room,
    sweep,
    table,
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One photo of the catalog; size in pixels, upright. `special` says what is odd about the file, if anything."""

    id: str
    category: str
    colour: str
    size: tuple[int, int]
    format: str  # jpg, png or webp
    shot: Shot | None  # None: nothing is in the picture
    special: str = ""  # rotated, alpha, cmyk, truncated, blank, white


LEFT = Rig()
RIGHT = Rig(key=(0.6, 0.7, 0.45), fill=(-0.8, 0.3, 0.5))
WINDOW = Rig(key=(-0.85, 0.5, 0.25), key_colour=(2.5, 2.4, 2.25), softness=0.22, sky=(0.40, 0.44, 0.50))
WARM = Rig(key=(-0.5, 0.7, 0.3), key_colour=(2.4, 1.9, 1.35), softness=0.14, sky=(0.36, 0.32, 0.30))
TOP = Rig(key=(-0.2, 0.95, 0.25), softness=0.25)
BACK = Rig(
    key=(0.5, 0.7, -0.3),
    key_colour=(2.6, 2.4, 2.1),
    fill=(-0.5, 0.4, 0.7),
    fill_colour=(0.75, 0.75, 0.75),
    softness=0.18,
)
HARD = Rig(key=(0.5, 0.75, 0.4), key_colour=(2.9, 2.75, 2.4), softness=0.05)
DUSK = Rig(key=(-0.7, 0.55, 0.4), key_colour=(1.7, 1.45, 1.2), sky=(0.22, 0.24, 0.32), fill_colour=(0.3, 0.34, 0.5))

OAK = planks("#b39470", "#7f5a38")
WALNUT = planks("#80583a", "#452a18", width=0.8, gap=0.004)
PALE = planks("#d3c1a3", "#aa9069", width=0.5)
BOARDS = planks("#a87e55", "#6b4527", width=0.34)
STONE, SLATE = marble("#dad7d1", "#78746f"), marble("#3a3d40", "#9a9a98")
LIVING = hung(plain("#b9b2a3"), LIVING_ROOM)
COOKING = hung(plain("#b7b4a4"), KITCHEN)
NIGHT = hung(plain("#2b2522"), EVENING)
FLAT_WALL = hung(plain("#c2c4bd"), FLAT)
BATHROOM = hung(plain("#8fa39a"), KITCHEN[:4])
GREEN_WALL = hung(plain("#5f7468"), FLAT)


@cache
def catalog() -> tuple[Scene, ...]:
    """List the photos in the order of the manifest."""
    p = products
    return (
        Scene("mug-blue", "kitchen", "blue", (1000, 800), "jpg", Shot(
            p.mug(), table(OAK, LIVING, "#8a6a44", mirror=0.5), WINDOW, -28, 20, fill=0.62, aperture=0.03)),
        Scene("wine-olivara", "drinks", "green", (768, 1024), "jpg", Shot(
            p.wine(), table(WALNUT, NIGHT, "#4a3020", mirror=1.0), WARM, 8, 8, fill=0.8, aperture=0.035)),
        Scene("parcel-24", "packaging", "brown", (800, 600), "jpg", Shot(
            p.parcel(), room(concrete("#8f8c86"), concrete("#a5a29b"), "#8f8c86"), LEFT, -32, 22, fill=0.66), "cmyk"),
        Scene("beach-ball", "toys", "multicolour", (600, 600), "jpg", Shot(
            p.beach_ball(), sweep("#9fb7c4"), HARD, 20, 16, fill=0.66)),
        Scene("ring-sapphire", "jewellery", "gold", (700, 700), "png", Shot(
            p.ring(), sweep("#2a2c31", "#3a3e46", mirror=2.2), RIGHT, -30, 14, fill=0.7, exposure=1.15)),
        Scene("lamp-petrol", "lighting", "petrol", (750, 1000), "jpg", Shot(
            p.lamp(), table(OAK, GREEN_WALL, "#8a6a44", mirror=0.4, edge=0.9), DUSK, 0, 8, fill=0.82), "rotated"),
        Scene("fruit-bowl", "kitchen", "white", (1080, 720), "jpg", Shot(
            p.fruit_bowl(), table(linen("#c9c2b2"), COOKING, "#b8b0a0"), WINDOW, 0, 20, fill=0.66, aperture=0.03)),
        Scene("vase-drip", "decoration", "blue", (700, 1000), "webp", Shot(
            p.vase(), table(PALE, FLAT_WALL, "#b09a78", edge=1.2), RIGHT, 40, 10, fill=0.74)),
        Scene("sneaker-navy", "shoes", "navy", (900, 720), "jpg", Shot(
            p.sneaker(), sweep("#d8d8d8"), TOP, -24, 12, fill=0.82), "white"),
        Scene("chair-beech", "furniture", "beech", (880, 1100), "jpg", Shot(
            p.chair(), room(BOARDS, FLAT_WALL, "#8a6038", depth=2), WINDOW, -32, 14, view=32, aperture=0.008)),
        Scene("stool-leather", "furniture", "cognac", (640, 800), "jpg", Shot(
            p.stool(), room(concrete("#9b9892"), plain("#7f8f94"), "#9b9892", depth=1.6), LEFT, 15, 15, fill=0.78)),
        Scene("pan-iron", "kitchen", "black", (900, 600), "png", Shot(
            p.pan(), table(STONE, COOKING, "#cfccc6", mirror=0.6, edge=2.4), LEFT, 28, 32, fill=0.78)),
        Scene("books-four", "books", "multicolour", (800, 620), "jpg", Shot(
            p.books(), table(WALNUT, LIVING, "#5a3a24", mirror=0.4), WINDOW, -20, 17, fill=0.68, aperture=0.03)),
        Scene("headphones-brown", "audio", "brown", (2000, 1500), "jpg", Shot(
            p.headphones(), sweep("#b3aca2", "#c2bcb3"), LEFT, -32, 12, fill=0.72)),
        Scene("teapot-sage", "kitchen", "green", (1000, 750), "webp", Shot(
            p.teapot(), table(linen("#b9a58c", 0.03), LIVING, "#a8947a"), RIGHT, -14, 17, fill=0.7, aperture=0.03)),
        Scene("watch-classic", "jewellery", "brown", (800, 800), "jpg", Shot(
            p.watch(), table(SLATE, NIGHT, "#3a3d40", mirror=1.2), RIGHT, -34, 16, fill=0.72, exposure=1.1)),
        Scene("bracelet-beads", "jewellery", "multicolour", (800, 600), "jpg", Shot(
            p.bracelet(), table(linen("#dcd6ca", 0.026), plain("#cfc8bc"), "#d0c8ba", edge=4), TOP, 0, 38, fill=0.74)),
        Scene("cactus-pot", "plants", "green", (300, 300), "jpg", Shot(
            p.cactus(), table(PALE, FLAT_WALL, "#b09a78"), WINDOW, 10, 14, fill=0.76)),
        Scene("perfume-rose", "beauty", "rose", (800, 1000), "jpg", Shot(
            p.perfume(), sweep("#d9b9ad", "#e4cbc0", mirror=1.4), BACK, -22, 12, fill=0.66)),
        Scene("candle-cedar", "decoration", "amber", (750, 750), "jpg", Shot(
            p.candle(), table(WALNUT, NIGHT, "#4a3020", mirror=0.8), DUSK, 5, 15, fill=0.62, aperture=0.035)),
        Scene("soap-olive", "beauty", "green", (600, 800), "png", Shot(
            p.dispenser(), table(STONE, BATHROOM, "#d5d2cc", mirror=0.8), WINDOW, -6, 12, fill=0.76)),
        Scene("toy-car", "toys", "red", (1000, 680), "jpg", Shot(
            p.toy_car(), table(PALE, LIVING, "#b89f7c", mirror=0.4), HARD, -32, 18, exposure=0.85)),
        Scene("camera-halden", "electronics", "silver", (1120, 840), "jpg", Shot(
            p.camera(), table(OAK, LIVING, "#8a6a44", mirror=0.5), LEFT, -24, 16, fill=0.7, aperture=0.03)),
        Scene("radio-walnut", "audio", "walnut", (960, 720), "jpg", Shot(
            p.radio(), table(concrete("#b0aca4"), GREEN_WALL, "#a5a198", edge=1.2), WINDOW, -24, 11, fill=0.74)),
        Scene("teddy-bear", "toys", "brown", (800, 900), "png", Shot(
            p.teddy(), sweep("#d6cfc2"), LEFT, -20, 10, fill=0.84), "alpha"),
        Scene("cushion-stripes", "textiles", "blue", (900, 900), "jpg", Shot(
            p.cushion(), room(BOARDS, plain("#a8aca3"), "#8a6038", depth=1.2), RIGHT, 18, 10, fill=0.72)),
        Scene("rubber-duck", "toys", "yellow", (640, 480), "jpg", Shot(
            p.duck(), sweep("#86b3b8", "#9cc4c6", mirror=0.8), LEFT, -30, 14, fill=0.78)),
        Scene("kettlebell-16", "sports", "black", (800, 1000), "jpg", Shot(
            p.kettlebell(), room(concrete("#77756f"), concrete("#8d8a84"), "#77756f"), HARD, -14, 12, fill=0.68)),
        Scene("handbag-cognac", "bags", "cognac", (900, 900), "webp", Shot(
            p.handbag(), sweep("#c9b79f", "#d6c8b4"), LEFT, -28, 12, fill=0.7)),
        Scene("paprika-tin", "food", "red", (720, 960), "jpg", Shot(
            p.spice_tin(), table(OAK, COOKING, "#8a6a44", mirror=0.3), WINDOW, -26, 12, aperture=0.03), "truncated"),
        Scene("backdrop-empty", "kitchen", "none", (800, 600), "jpg", None, "blank"),
    )  # fmt: skip
