"""Check delivered pictures against what marketplaces ask, knowing nothing of whitesweep but its report's columns.

    python -m benchmarks.compliance --output amazon --marketplace amazon

Files are decoded by OpenCV, the figures are written down here a second time, and what is background is seen in the
picture alone. Prints where this and the column `compliant` disagree, and the exit code is 1 if they do anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

MAGIC = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}
SILHOUETTE = 250
"""What is darker belongs to the product, whoever looks."""
RIM = 3
"""Pixels beside it that may be of its outline."""
SPECKS = 0.0002
"""Share of the picture that may be off white beyond: a product has pale parts."""

ASKED: dict[str, dict[str, Any]] = {
    "amazon": {
        "types": "jpg png",
        "longer": (500, 10_000),
        "fill": (0.85, 1),
        "bytes": 10e6,
        "pure": True,
        "whole": True,
    },
    "google": {"types": "jpg png webp", "shorter": 500, "pixels": 64e6, "fill": (0.75, 0.9), "bytes": 16e6},
    "walmart": {"types": "jpg png", "ratio": 1.0, "bytes": 5e6, "pure": True},
    "ebay": {"types": "jpg png webp", "longer": (500, 12_000), "sum": 12_000, "bytes": 12e6},
    "zalando": {"types": "jpg", "longer": (1100, 1e9), "ratio": 1 / 1.44, "bytes": 20e6},
    "shopify": {"types": "jpg png webp", "longer": (1, 5000), "pixels": 20e6, "bytes": 20e6},
}


def wrong_with(file: Path, asked: dict[str, Any], row: dict[str, Any]) -> list[str]:
    """Say in words what is wrong with one picture. row: of the report, for where the photo's product was cut off."""
    data = file.read_bytes()
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), "?")
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    high, wide = picture.shape[:2]
    darkest = picture.min(2)
    product = (darkest < SILHOUETTE).astype(np.uint8)
    seen = darkest < (255 if asked.get("pure") else SILHOUETTE)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    fill = 0.0 if not len(rows) else max((rows[-1] - rows[0] + 1) / high, (columns[-1] - columns[0] + 1) / wide)
    cut = row["bbox_left"] == 0 or row["bbox_top"] == 0
    cut = cut or row["bbox_right"] == row["width"] or row["bbox_bottom"] == row["height"]
    found = []
    if kind not in asked["types"].split() or file.suffix != f".{kind}":
        found.append("format")
    low, most = asked.get("longer", (1, 1e9))
    if not low <= max(high, wide) <= most or min(high, wide) < asked.get("shorter", 1):
        found.append("size")
    if high * wide > asked.get("pixels", 1e12) or high + wide > asked.get("sum", 1e9):
        found.append("size")
    if "ratio" in asked and abs(wide / high / asked["ratio"] - 1) > 0.012:
        found.append("ratio")
    least, most = asked.get("fill", (0, 1))
    if not least - 0.01 <= fill <= most + 0.01:
        found.append("fill")
    if len(data) > asked["bytes"]:
        found.append("bytes")
    if asked.get("pure"):
        beside = cv2.dilate(product, np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8))
        _, pieces = cv2.connectedComponents(1 - product, connectivity=4)
        rim = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
        outside = np.isin(pieces, np.setdiff1d(rim, [0]))  # white cloth within a product is none
        off = (darkest < 255) & (beside == 0) & outside
        if off.mean() > SPECKS:
            found.append("white")
        edge = np.concatenate([darkest[0], darkest[-1], darkest[:, 0], darkest[:, -1]])
        if not cut and (edge < 255).any():
            found.append("border")
    if asked.get("whole") and cut:
        found.append("cropped")
    return found


def main() -> int:
    """Check the pictures of the newest report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--marketplace", choices=ASKED, required=True)
    flags = parser.parse_args()
    report = json.loads((flags.output / "report/latest.json").read_text())["report"]
    counts: Counter[str] = Counter()
    disagree = 0
    for shard in sorted((flags.output / report).glob("part-*.parquet")):
        for row in pq.read_table(shard).to_pylist():
            if row["compliant"] is None:
                continue
            found = wrong_with(flags.output / row["output_uri"], ASKED[flags.marketplace], row)
            counts["pictures"] += 1
            counts["compliant"] += not found
            counts.update(set(found))
            if (not found) != row["compliant"]:
                disagree += 1
                print(f"{row['id']}: here {found or 'well'}, in the report {row['violations'] or 'well'}")
    print(f"{flags.marketplace}: {dict(counts)}, {disagree} disagreements")
    return 1 if disagree else 0


if __name__ == "__main__":
    sys.exit(main())
