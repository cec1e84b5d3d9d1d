"""Measure how well `quality` and other figures of a map rank photos whose mask is wrong.

    python -m benchmarks.quality --images FOLDER --masks FOLDER [--model u2net u2netp] [--work FOLDER]

Masks are those of the default policy, and wrong is an IoU with the true one below 0.8. Each photo is taken as it is,
and damaged in the ways of DAMAGES. Maps are kept in --work, so that a second call predicts nothing. Of two models,
the second is tried as a second opinion on the first one's masks.
"""

from __future__ import annotations

import argparse
import io
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import rankdata, spearmanr

from model.engine import EngineConfig
from model.load import load
from model.machine import available_cpus
from pipeline.demo import intersection_over_union
from transforms.pixels.decode import decode
from transforms.pixels.methods import level
from transforms.pixels.policy import Rule
from transforms.pixels.sharpen import network_input
from transforms.pixels.statistics import describe, quality_of
from transforms.pixels.threshold import make_mask
from transforms.pixels.types import MaskStatistics, Photo
from weights.files import locate

WRONG_BELOW = 0.8
RESAMPLES = 2000


def blur(image: Image.Image) -> Image.Image:
    """Blur by a hundredth of the shorter side (standard deviation)."""
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 100))


def noise(image: Image.Image) -> Image.Image:
    """Add Gaussian noise of 40 levels."""
    pixels = np.asarray(image)
    random = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    return Image.fromarray(np.clip(pixels + random.normal(0, 40, pixels.shape), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> Image.Image:
    """Store as JPEG of quality 5."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=5)
    return Image.open(file).convert("RGB")


def faint(image: Image.Image) -> Image.Image:
    """Leave a fifth of the contrast."""
    return ImageEnhance.Contrast(image).enhance(0.2)


def crop(image: Image.Image) -> Image.Image:
    """Keep the left three fifths: the one damage that is done to the true mask, too."""
    return image.crop((0, 0, max(1, image.width * 3 // 5), image.height))


DAMAGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "low contrast": faint,
    "crop": crop,
}

SIGNALS: dict[str, Callable[[MaskStatistics], float]] = {
    "uncertain_fraction": lambda s: -s.uncertain_fraction,
    "uncertain_fraction / coverage_70": lambda s: -s.uncertain_fraction / s.coverage_70 if s.coverage_70 else -np.inf,
    "quality": lambda s: s.quality,
}
"""Figures by name, each so that more is better. The second is the one to beat."""


@dataclass(frozen=True)
class Judged:
    """One photo: how it was damaged, its mask's figures, its mask's IoU with the true one, and its map."""

    damage: str
    statistics: MaskStatistics
    iou: float
    pixels: NDArray[np.uint8]


def judge(photo: Photo, pixels: NDArray[np.uint8], truth: NDArray[np.bool_], damage: str) -> Judged:
    """Make the default mask of a map (uint8 [320, 320]) and compare it with the true one (bool [H, W])."""
    mask = make_mask(Rule(), pixels, photo.size, photo.rgb)
    statistics, _ = describe(pixels, mask.cleaned, mask.alpha, mask.threshold, photo)
    return Judged(damage, statistics, intersection_over_union(mask.alpha >= 128, truth), pixels)


def measure(images: Path, masks: Path, model: str, work: Path) -> list[Judged]:
    """Predict and judge each photo that has a mask of the same name, in each state."""
    engine = load(EngineConfig(locate(model), "auto", "auto"))
    jobs = [(damage, image) for image in sorted(images.iterdir()) for damage in DAMAGES]

    def one(job: tuple[str, Path]) -> Judged | None:
        damage, path = job
        if not (masks / f"{path.stem}.png").exists():
            return None
        with Image.open(masks / f"{path.stem}.png") as mask:
            true = mask.convert("L")
        rgb = DAMAGES[damage](Image.fromarray(decode(path.read_bytes()).rgb))
        truth = np.asarray(crop(true) if damage == "crop" else true) >= 128
        photo = Photo(np.asarray(rgb), None, "png")
        stored = work / images.parent.name / model / damage / f"{path.stem}.png"
        if not stored.exists():
            stored.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(engine.predict(network_input(photo)[None])[0]).save(stored)
        return judge(photo, np.asarray(Image.open(stored)), truth, damage) if truth.any() else None

    with ThreadPoolExecutor(available_cpus()) as pool:
        return [found for found in pool.map(one, jobs) if found]


def auroc(score: NDArray[np.float64], wrong: NDArray[np.bool_]) -> float:
    """Give the chance that a wrong mask scores below a right one, ties counted half; 0.5 if there is but one kind."""
    low, high = np.count_nonzero(wrong), np.count_nonzero(~wrong)
    if not low or not high:
        return 0.5
    return float((rankdata(score)[~wrong].sum() - high * (high + 1) / 2) / (low * high))


def gain(better: NDArray[np.float64], base: NDArray[np.float64], wrong: NDArray[np.bool_]) -> str:
    """Give by how much one score's AUROC is above another's, with a 95 % interval over resampled photos."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = random.integers(0, len(wrong), len(wrong))
        found.append(auroc(better[chosen], wrong[chosen]) - auroc(base[chosen], wrong[chosen]))
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{auroc(better, wrong) - auroc(base, wrong):+.3f} [{low:+.3f}, {high:+.3f}]"


def print_tables(judged: list[Judged]) -> None:
    """Print how each figure ranks, what it gains by damage, and the mean IoU in each band of quality."""
    iou = np.array([j.iou for j in judged])
    scores = {name: np.array([signal(j.statistics) for j in judged], float) for name, signal in SIGNALS.items()}
    wrong = iou < WRONG_BELOW
    base, quality = scores["uncertain_fraction / coverage_70"], scores["quality"]
    print(f"{len(judged)} masks, {np.count_nonzero(wrong)} with an IoU below {WRONG_BELOW}\n")
    print("| figure | Spearman with IoU | AUROC | wrong of the 20 worst |\n|---|---|---|---|")
    for name, score in scores.items():
        worst = np.argsort(score, kind="stable")[:20]
        rank = spearmanr(score, iou).statistic
        print(f"| {name} | {rank:.3f} | {auroc(score, wrong):.3f} | {np.count_nonzero(wrong[worst])} |")
    print("\n| damage | wrong | AUROC | above uncertain_fraction / coverage_70 |\n|---|---|---|---|")
    for damage in [*DAMAGES, "all"]:
        of = np.array([damage in (j.damage, "all") for j in judged])
        counts = f"{np.count_nonzero(wrong[of])} of {np.count_nonzero(of)}"
        above = gain(quality[of], base[of], wrong[of])
        print(f"| {damage} | {counts} | {auroc(quality[of], wrong[of]):.3f} | {above} |")
    print("\n| quality | masks | mean IoU | wrong |\n|---|---|---|---|")
    for low, high in ((0, 0.01), (0.01, 0.5), (0.5, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        of = (quality >= low) & (quality < high)
        if of.any():
            print(f"| {low}–{min(high, 1)} | {np.count_nonzero(of)} | {iou[of].mean():.2f} | {wrong[of].mean():.0%} |")


def print_second_opinion(first: list[Judged], second: list[Judged]) -> None:
    """Print what it gains to score the mask of the first network by the mean of both networks' maps."""
    iou = np.array([j.iou for j in first])
    wrong, alone = iou < WRONG_BELOW, np.array([j.statistics.quality for j in first])
    threshold = Rule().how.threshold(dict(Rule().parameters), first[0].pixels)
    means = [
        ((one.pixels.astype(np.uint16) + other.pixels + 1) // 2).astype(np.uint8)
        for one, other in zip(first, second, strict=True)
    ]
    both = np.array([quality_of(mean, one.pixels >= level(threshold)) for mean, one in zip(means, first, strict=True)])
    print("\nscored by the mean of both networks' maps, above quality:\n\n| damage | wrong | gain |\n|---|---|---|")
    for damage in ("none", "all"):
        of = np.array([damage in (j.damage, "all") for j in first])
        counts = f"{np.count_nonzero(wrong[of])} of {np.count_nonzero(of)}"
        print(f"| {damage} | {counts} | {gain(both[of], alone[of], wrong[of])} |")


def main() -> None:
    """Predict, judge, and print Markdown tables for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="photos")
    parser.add_argument("--masks", type=Path, required=True, metavar="FOLDER", help="their true masks, <name>.png")
    parser.add_argument("--model", nargs="+", default=["u2net"], choices=["u2net", "u2netp"])
    parser.add_argument("--work", type=Path, default=Path("/tmp/whitesweep-quality"), help="where maps are kept")
    flags = parser.parse_args()
    judged = []
    for model in flags.model:
        print(f"\n{model}, photos of {flags.images}\n")
        judged.append(measure(flags.images, flags.masks, model, flags.work))
        print_tables(judged[-1])
    if len(judged) == 2:
        print_second_opinion(*judged)


if __name__ == "__main__":
    main()
