"""Score saliency maps and masks against true masks. Runs in a virtual environment of its own (see accuracy.py).

Reads from standard input a JSON list of {"maps": folder, "masks": folder, "truth": folder}, one PNG a photo in each,
all of the photo's size; prints a JSON list of scores. Maps: MAE, maximum of the dataset's averaged F curve (β² = 0.3),
weighted F, S-measure. Masks: F (β² = 0.3) and IoU averaged over the photos, and the relaxed boundary F of the U²-Net
paper (3 px).
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics as sod

BETA2 = 0.3
RELAX = 3  # pixels


def read(path: Path) -> np.ndarray:
    """Read a grey picture, uint8 [H, W]."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture)


def f_measure(precision: float, recall: float) -> float:
    """Weigh precision and recall as the salient object literature does."""
    below = BETA2 * precision + recall
    return (1 + BETA2) * precision * recall / below if below else 0.0


def outline(mask: np.ndarray) -> np.ndarray:
    """Give the pixels of a mask that touch its background, bool [H, W]."""
    return mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def near(line: np.ndarray) -> np.ndarray:
    """Give the pixels within RELAX of a line, bool [H, W]."""
    if not line.any():
        return np.zeros_like(line)
    return cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, 5) <= RELAX


def boundary_f(mask: np.ndarray, truth: np.ndarray) -> float:
    """Give the F of two outlines, each allowed to lie RELAX pixels off."""
    ours, theirs = outline(mask), outline(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    return f_measure(near(theirs)[ours].mean(), near(ours)[theirs].mean())


def score(job: dict[str, str]) -> dict[str, float]:
    """Score one setting on one set of photos."""
    mae, curve, weighted, structure = sod.MAE(), sod.Fmeasure(beta=BETA2), sod.WeightedFmeasure(), sod.Smeasure()
    at_policy = []
    for path in sorted(Path(job["truth"]).glob("*.png")):
        truth = np.where(read(path) >= 128, 255, 0).astype(np.uint8)
        saliency, mask = read(Path(job["maps"]) / path.name), read(Path(job["masks"]) / path.name) >= 128
        for metric in (mae, curve, weighted, structure):
            metric.step(saliency, truth, normalize=True)
        wanted = truth > 0
        both, either = (mask & wanted).sum(), (mask | wanted).sum()
        precision, recall = both / max(mask.sum(), 1), both / max(wanted.sum(), 1)
        at_policy.append((f_measure(precision, recall), both / either if either else 1.0, boundary_f(mask, wanted)))
    f, iou, boundary = np.mean(at_policy, axis=0)
    return {
        "photos": len(at_policy),
        "MAE": float(mae.get_results()["mae"]),
        "max F": float(curve.get_results()["fm"]["curve"].max()),
        "weighted F": float(weighted.get_results()["wfm"]),
        "S": float(structure.get_results()["sm"]),
        "F": float(f),
        "IoU": float(iou),
        "boundary F": float(boundary),
    }


if __name__ == "__main__":
    json.dump([score(job) for job in json.load(sys.stdin)], sys.stdout)
