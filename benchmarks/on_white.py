"""Measure how often a photo is wrongly taken for one on white, and how often one on white is not noticed.

    python -m benchmarks.on_white --images FOLDER [--masks FOLDER] [--cutouts FOLDER]

Photos of scenes (--images) are shown as they are, and in white frames of eight kinds: none of them is on white. Where
there are true masks (--masks) their products are put on white, with and without a shadow below them, and stored as
JPEG; so are the pictures of an output folder (--cutouts). All of those are.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from transforms.pixels.on_white import stands_on_white
from transforms.pixels.types import Photo

KINDS = (".jpg", ".jpeg", ".png", ".webp")


def files(folder: str) -> list[Path]:
    """List the pictures below a folder."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in KINDS)


def stored(picture: Image.Image, quality: int = 90) -> Image.Image:
    """Store as JPEG, and read it again."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def placed(picture: Image.Image, mask: Image.Image, margin: float, turned: float = 0) -> Image.Image:
    """Put the masked part of a picture on white, with a margin that is a part of its sides."""
    width, height = (round(side * (1 + 2 * margin)) for side in picture.size)
    at = (width - picture.width) // 2, (height - picture.height) // 2
    white, layer, alpha = (
        Image.new(mode, (width, height), colour) for mode, colour in (("RGB", "white"),) * 2 + (("L", 0),)
    )
    layer.paste(picture, at)
    alpha.paste(mask, at)
    if turned:
        layer, alpha = (one.rotate(turned, Image.Resampling.BICUBIC) for one in (layer, alpha))
    white.paste(layer, (0, 0), alpha)
    return white


def in_frames(scene: Image.Image, another: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Show a scene as it is and in white frames."""
    size = width, height = scene.size
    full, shaped = Image.new("L", size, 255), [Image.new("L", size, 0) for _ in range(3)]
    ImageDraw.Draw(shaped[0]).rounded_rectangle((0, 0, width - 1, height - 1), min(size) // 8, fill=255)
    ImageDraw.Draw(shaped[1]).ellipse((0, 0, width - 1, height - 1), fill=255)
    shaped[2].paste(255, (width // 12, height // 12, width - width // 12, height - height // 12))
    yield "as it is", scene
    yield "thin frame", stored(placed(scene, full, 0.05))
    yield "wide frame", stored(placed(scene, full, 0.25))
    yield "round corners", stored(placed(scene, shaped[0], 0.1))
    yield "aslant", stored(placed(scene, full, 0.15, 5))
    yield "oval", stored(placed(scene, shaped[1], 0.1))
    yield "soft edge", stored(placed(scene, shaped[2].filter(ImageFilter.GaussianBlur(width / 40)), 0.05))
    both = Image.new("RGB", (width * 23 // 10, height * 12 // 10), "white")
    both.paste(scene, (width // 10, height // 10))
    both.paste(another.resize(size), (width * 12 // 10, height // 10))
    yield "two scenes", stored(both)
    instant = Image.new("RGB", size, "white")
    instant.paste(scene.crop((0, 0, width, height * 8 // 10)))
    yield "wide below", stored(placed(instant, full, 0.06))


def on_white(photo: Image.Image, mask: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """Put a product on white, alone and with a shadow."""
    mask = mask.convert("L").resize(photo.size).filter(ImageFilter.GaussianBlur(1))
    yield "product", stored(placed(photo, mask, 0.15))
    shadow = mask.filter(ImageFilter.GaussianBlur(photo.width / 60)).point(lambda level: level * 35 // 100)
    away = Image.new("L", photo.size, 0)
    away.paste(shadow, (photo.width // 60, photo.height // 60))
    dark = Image.composite(Image.new("RGB", photo.size), Image.new("RGB", photo.size, "white"), away)
    dark.paste(photo, (0, 0), mask)
    yield "product, shadow", stored(placed(dark, Image.new("L", photo.size, 255), 0.15))


def main() -> None:
    """Count, and print a line for each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", required=True)
    parser.add_argument("--masks")
    parser.add_argument("--cutouts")
    flags = parser.parse_args()
    taken: Counter[tuple[bool, str]] = Counter()
    shown: Counter[tuple[bool, str]] = Counter()

    def show(is_white: bool, kind: str, picture: Image.Image) -> None:
        shown[is_white, kind] += 1
        taken[is_white, kind] += stands_on_white(Photo(np.asarray(picture), None, "png"))

    masks = {path.stem: path for path in files(flags.masks)} if flags.masks else {}
    for folder in flags.images:
        scenes = files(folder)
        for number, path in enumerate(scenes):
            scene, another = (Image.open(one).convert("RGB") for one in (path, scenes[number - 1]))
            for kind, picture in in_frames(scene, another):
                show(False, kind, picture)
            for kind, picture in on_white(scene, Image.open(masks[path.stem])) if path.stem in masks else ():
                show(True, kind, picture)
    for path in files(flags.cutouts) if flags.cutouts else ():
        show(True, "cutout", stored(Image.open(path), 75))
    for is_white, kind in sorted(shown):
        said = "on white" if is_white else "not on white"
        print(f"{said:14}{kind:18}{taken[is_white, kind]:5} of {shown[is_white, kind]} are taken for one on white")


if __name__ == "__main__":
    main()
