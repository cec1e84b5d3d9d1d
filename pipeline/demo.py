"""The demo: render the sample catalog, run the main job on it, and measure the masks against the true ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.contact_sheet import contact_sheet
from pipeline.errors import RequestError
from pipeline.execute import run
from pipeline.options import RunRequest, check_run, check_settings
from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.output.earlier import newest_report
from transforms.output.maps import load_map
from transforms.pixels.composite import flattened
from transforms.pixels.decode import decode
from transforms.pixels.threshold import make_mask


def demo(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Render, run, measure; give the exit code of the run."""
    from sample import write_sample

    if not storage.is_local(flags.output):
        raise RequestError(f"--output {flags.output}: the demo writes to a local folder")
    output = Path(flags.output).absolute()
    flags.output, flags.manifest = str(output / "white"), [str(output / "catalog" / "manifest.csv")]
    check_settings(flags, others)
    print("rendering the sample catalog …", flush=True)
    try:
        write_sample(output / "catalog")
    except (OSError, FatalError, PhotoError) as error:
        raise RequestError(f"--output {output}: cannot be written: {error}") from error
    request = check_run(flags, others)
    print("putting it on white …", flush=True)
    code = run(request)
    if code == 0:
        rows = read_report(request)
        scores = [score for row in rows if (score := sample_iou(row, request, output / "catalog")) is not None]
        print(f"mean IoU of the masks with the true ones, {len(scores)} photos: {np.mean(scores):.4f}")
        pairs = [
            (str(output / "catalog" / row["uri"]), f"{flags.output}/{row['output_uri']}")
            for row in rows
            if row["output_uri"]
        ]
        sheet = output / "before-after.png"
        contact_sheet(pairs, pairs_a_row=4, side=200).save(sheet)
        print(f"look at:  {sheet}")
    return code


def read_report(request: RunRequest) -> list[dict[str, Any]]:
    """Read the rows of a run's report, sorted by id."""
    report = newest_report(request.info.folder)
    rows = [row for at in range(len(report)) for row in report.read(at).to_pylist()]
    return sorted(rows, key=lambda row: str(row["id"]))


def sample_iou(row: dict[str, Any], request: RunRequest, catalog: Path) -> float | None:
    """Compare one mask with the true one, or give None if there is none."""
    path = catalog / "masks" / f"{row['id']}.png"
    saliency = load_map(request.settings.maps_folder, row["map_key"]) if row["map_key"] else None
    if not path.exists() or saliency is None:
        return None
    with Image.open(path) as image:
        truth = np.asarray(image) >= 128
    _, rule = request.settings.pictures.policy.rule_for(row["category"], dict(row["attributes"]), row["id"], row["uri"])
    photo = decode(storage.read(str(catalog / row["uri"])).data)
    mask = make_mask(rule, saliency.pixels, photo.size, flattened(photo))
    return intersection_over_union(mask.alpha >= 128, truth)


def intersection_over_union(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Give |A ∩ B| / |A ∪ B| of two masks of one shape; two empty ones agree wholly."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0
