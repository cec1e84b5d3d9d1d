"""Measure outlines: how near they run to the true ones, whether they fray, and what of the old background they carry.

    python -m benchmarks.edges --work FOLDER [--sod FOLDER] [--catalog MANIFEST]

Three sets are rendered, of the sample catalog's thirty products: as they are, white before near-white walls (also with
the noise of a sensor and JPEG), and on strong colours, whose exact coverage is known. SOD has photos and masks;
a catalog of real photos has no true masks, so only its rims are counted.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.engine import EngineConfig
from model.load import load
from sample.raymarch import photograph
from sample.scenes import catalog
from sample.surfaces import sweep
from transforms.pixels.composite import composite
from transforms.pixels.decode import decode
from transforms.pixels.policy import Rule
from transforms.pixels.sharpen import network_input
from transforms.pixels.threshold import Mask, make_mask
from transforms.pixels.types import Photo
from weights.files import locate

RULES = {
    "before": Rule(refine="none", edge="cut"),
    "refined": Rule(edge="cut"),
    "blended": Rule(refine="none"),
    "both": Rule(),
}
PALE, WALLS = (0.78, 0.77, 0.75), ("#e9e8e4", "#eeeeec", "#e2e0da")
STRONG = ("#c01818", "#128a2a", "#1540c0", "#c8a000")
LONGER_SIDE = {"as they are": 0, "at 2,000 px": 2000, "white on near-white": 1000, "on strong colours": 800}
NEAR = 3
"""Pixels beside the true outline in which colours are compared."""
RIM_ABOVE = 0.2
"""Of a photo with a rim, the share of the inner two pixels that are nearer to the background's colour."""


@dataclass(frozen=True)
class Case:
    """A photo (uint8 [H, W, 3]), its map (uint8 [320, 320]) and coverage (0..1 [H, W]; None if it is not known)."""

    rgb: NDArray[np.uint8]
    pixels: NDArray[np.uint8]
    coverage: NDArray[np.float32] | None


def draw(name: str, id: str, folder: Path) -> None:
    """Render a scene of the sample catalog for a set, unless it is there."""
    if (folder / f"{id}.npy").exists():
        return
    scene = next(scene for scene in catalog() if scene.id == id)
    assert scene.shot is not None
    shot, number = replace(scene.shot, seed=7), sum(map(ord, id))
    if name == "white on near-white":
        parts = tuple(
            replace(part, material=replace(part.material, colour=PALE, metal=0.0, glass=0.0, glow=0.0))
            for part in shot.parts
        )
        shot = replace(shot, parts=parts, backdrop=sweep(WALLS[number % len(WALLS)]), aperture=0.0, exposure=1.0)
    elif name == "on strong colours":
        shot = replace(shot, backdrop=sweep(STRONG[number % len(STRONG)]), aperture=0.0)
    scale = LONGER_SIDE[name] / max(scene.size) if LONGER_SIDE[name] else 1
    photo, coverage = photograph(shot, *(round(side * scale) for side in scene.size))
    Image.fromarray(photo).save(folder / f"{id}.png")
    np.save(folder / f"{id}.npy", coverage.astype(np.float32))


def drawn(name: str, work: Path) -> list[tuple[NDArray[np.uint8], NDArray[np.float32] | None]]:
    """Render a set: photos and their coverage."""
    folder, ids = work / name, [scene.id for scene in catalog() if scene.shot]
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        list(workers.map(draw, [name] * len(ids), ids, [folder] * len(ids)))
    return [(decode((folder / f"{id}.png").read_bytes()).rgb, np.load(folder / f"{id}.npy")) for id in ids]


def noisy(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add what a small sensor and JPEG add."""
    random, file = np.random.default_rng(1), io.BytesIO()
    grain = random.normal(0, 5, (*rgb.shape[:2], 1)) + random.normal(0, 2, rgb.shape)
    Image.fromarray(np.clip(rgb + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Give the pixels of a mask that touch its background."""
    return mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def boundary_f(mask: NDArray[np.bool_], truth: NDArray[np.bool_], within: float) -> float:
    """Give the F1 of two outlines, each allowed to lie so many pixels off."""
    ours, theirs = outline(mask), outline(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    near = [cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, 5) <= within for line in (ours, theirs)]
    precision, recall = near[1][ours].mean(), near[0][theirs].mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def length(mask: NDArray[np.bool_]) -> float:
    """Give the length of a mask's outlines in pixels."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(line, True) for line in lines))


def mean_around(
    rgb: NDArray[np.float64], of: NDArray[np.bool_], side: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give the mean colour of an area in a window around each pixel, and where the window holds any of it."""
    weight = of.astype(np.float64)
    count = cv2.boxFilter(weight, -1, (side, side), normalize=False)
    total = cv2.boxFilter(rgb * weight[..., None], -1, (side, side), normalize=False)
    return total / np.maximum(count, 1e-9)[..., None], count > 0.5


def colour_error(case: Case, mask: Mask, before: NDArray[np.bool_]) -> float:
    """Give the mean difference from the true picture on white, in levels, along the outline.

    before: a mask; where it is not about right, no pixel counts.
    """
    assert case.coverage is not None
    rgb, coverage = case.rgb.astype(np.float64), case.coverage
    wall, known = mean_around(rgb, coverage <= 0, 31)
    true = np.clip(rgb + (1 - coverage[..., None]) * (255 - wall), 0, 255)
    window = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)

    def beside(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
        plane = area.astype(np.uint8)
        return (cv2.dilate(plane, window) > 0) & (cv2.erode(plane, window) == 0)

    compared = beside(coverage >= 0.5) & beside(before) & known
    picture = composite(case.rgb, mask.alpha, rim=mask.rim)
    return float(np.abs(picture - true)[compared].mean()) if compared.sum() > 100 else float("nan")


def has_rim(case: Case, mask: Mask) -> bool:
    """Tell whether a picture's rim is of the old background: two pixels deep, where that differs from the product."""
    inside = (mask.alpha >= 128).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    rgb = case.rgb.astype(np.float64)
    product, one = mean_around(rgb, cv2.erode(inside, around, iterations=4) > 0, 21)
    ground, other = mean_around(rgb, cv2.dilate(inside, around, iterations=3) == 0, 21)
    shown = rgb.copy()
    if mask.rim is not None:
        shown.reshape(-1, 3)[mask.rim.places] = mask.rim.rgb
    apart = ground - product
    size = (apart**2).sum(-1)
    share = ((shown - product) * apart).sum(-1) / np.maximum(size, 1)
    ring = (inside > 0) & (cv2.erode(inside, around, iterations=2) == 0) & one & other & (size > 900)
    return bool(ring.sum() > 50 and (share[ring] > 0.5).mean() > RIM_ABOVE)


def print_table(name: str, cases: list[Case]) -> None:
    """Print how each rule does on a set."""
    print(f"\n{name}, {len(cases)} photos\n")
    print("| rule | IoU | boundary F at 0.15 % | at 1 px | at 3 px | outline | colour error | with a rim |")
    print("|---|---|---|---|---|---|---|---|")
    usual = [make_mask(RULES["before"], c.pixels, c.rgb.shape[1::-1], c.rgb).alpha >= 128 for c in cases]
    for rule, settings in RULES.items():
        rows, rims = [], 0
        for case, before in zip(cases, usual, strict=True):
            made = make_mask(settings, case.pixels, case.rgb.shape[1::-1], case.rgb)
            mask = made.alpha >= 128
            rims += has_rim(case, made)
            found = [np.nan] * 6
            found[4] = length(mask) / max(length(before), 1)
            if case.coverage is not None:
                truth = case.coverage >= 0.5
                found[0] = (mask & truth).sum() / max((mask | truth).sum(), 1)
                found[1:4] = [boundary_f(mask, truth, w) for w in (0.0015 * max(mask.shape), 1, 3)]
                found[5] = colour_error(case, made, before) if name == "on strong colours" else np.nan
            rows.append(found)
        means = [np.nanmean(column) if not np.isnan(column).all() else np.nan for column in np.array(rows).T]
        cells = [f"{mean:.{digits}f}" for mean, digits in zip(means, (4, 3, 3, 3, 3, 1), strict=True)]
        print(f"| {rule} | {' | '.join('' if cell == 'nan' else cell for cell in cells)} | {rims} |")


def sod(folder: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32] | None]]:
    """Read photos and true masks that are not empty."""
    for path in sorted((folder / "images").iterdir()):
        with Image.open(folder / "masks" / f"{path.stem}.png") as mask:
            truth = (np.asarray(mask.convert("L")) >= 128).astype(np.float32)
        if truth.any():
            yield decode(path.read_bytes()).rgb, truth


def photos(manifest: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32] | None]]:
    """Read the photos of a manifest."""
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield decode((manifest.parent / row["uri"]).read_bytes()).rgb, None


def main() -> None:
    """Render, predict, and print a table for each set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="where rendered photos are kept")
    parser.add_argument("--sod", type=Path, metavar="FOLDER", help="a folder with images and masks")
    parser.add_argument("--catalog", type=Path, metavar="MANIFEST", help="a CSV manifest of real photos")
    flags = parser.parse_args()
    engine = load(EngineConfig(locate("u2net"), "auto", "auto"))

    def predicted(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return engine.predict(network_input(Photo(rgb, None, "png"))[None])[0]

    for name in LONGER_SIDE:
        found = drawn(name, flags.work)
        made = [Case(rgb, predicted(rgb), coverage) for rgb, coverage in found]
        print_table(name, made)
        if name == "white on near-white":
            print_table(f"{name}, with noise", [replace(case, rgb=noisy(case.rgb)) for case in made])
    if flags.sod:
        print_table("SOD", [Case(rgb, predicted(rgb), truth) for rgb, truth in sod(flags.sod)])
    if flags.catalog:
        print_table("the catalog", [Case(rgb, predicted(rgb), None) for rgb, _ in photos(flags.catalog)])


if __name__ == "__main__":
    main()
