"""Measure masks against true ones, for one or several settings side by side.

    python -m benchmarks.accuracy --images FOLDER --masks FOLDER [--model u2net u2netp] [--policy 0.7 otsu] …

Every combination of the values given is scored. The metrics are those of PySODMetrics (boundary F is ours), which wants
an older NumPy than we do: it gets a small virtual environment of its own, made on first use in the folder --work.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.engine import PRECISIONS, EngineConfig
from model.load import load
from model.machine import available_cpus
from transforms.pixels.composite import composite, flattened
from transforms.pixels.decode import decode
from transforms.pixels.sharpen import Sharpening, network_input, sharpen
from transforms.pixels.threshold import make_mask
from transforms.pixels.types import Photo
from transforms.pixels.upsample import upsample
from transforms.settings import load_policy
from weights.architecture import SIDE
from weights.files import locate

METRICS = "pysodmetrics==1.6.2"
COLUMNS = ("MAE", "max F", "weighted F", "S", "F", "IoU", "boundary F")


@dataclass(frozen=True)
class Setting:
    """One combination: how maps are made (the first four), and how masks are made of them."""

    model: str
    precision: str
    sharpen: int
    resize: str
    policy: str
    interpolation: str

    @property
    def maps(self) -> str:
        """Name the maps that the setting needs."""
        return f"{self.model}-{self.precision}-{self.sharpen}-{self.resize}"


def make_input(photo: Photo, percent: int, resize: str) -> NDArray[np.uint8]:
    """Make the network's input as the pipeline does (`official`), or with an antialiased last resize (`aa`)."""
    if resize == "official":
        return network_input(photo, Sharpening(percent=percent))
    rgb = photo.rgb if photo.alpha is None else composite(photo.rgb, photo.alpha)
    if percent:
        rgb = sharpen(rgb, Sharpening(percent=percent))
    return np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def predict(setting: Setting, photos: dict[str, Photo]) -> dict[str, NDArray[np.uint8]]:
    """Predict every photo's map, several at once."""
    engine = load(EngineConfig(locate(setting.model), "auto", setting.precision))

    def one(photo: Photo) -> NDArray[np.uint8]:
        return engine.predict(make_input(photo, setting.sharpen, setting.resize)[None])[0]

    with ThreadPoolExecutor(available_cpus()) as pool:
        return dict(zip(photos, pool.map(one, photos.values()), strict=True))


def write_pictures(
    setting: Setting, photos: dict[str, Photo], maps: dict[str, NDArray[np.uint8]], folder: Path
) -> None:
    """Write each photo's upsampled map and its mask."""
    rule = load_policy(setting.policy).with_interpolation(setting.interpolation).default
    for name in ("maps", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for id, photo in photos.items():
        mask = make_mask(rule, maps[id], photo.size, flattened(photo)).alpha
        if photo.alpha is not None:
            mask = np.minimum(mask, photo.alpha)
        Image.fromarray(upsample(maps[id], photo.size)).save(folder / "maps" / f"{id}.png", compress_level=1)
        Image.fromarray(mask).save(folder / "masks" / f"{id}.png", compress_level=1)


def read_photos(images: Path, masks: Path, truth: Path) -> dict[str, Photo]:
    """Read the photos that have a mask of the same name, and copy those masks to one folder."""
    truth.mkdir(parents=True, exist_ok=True)
    photos = {}
    for path in sorted(images.iterdir()):
        mask = masks / f"{path.stem}.png"
        if mask.exists():
            photos[path.stem] = decode(path.read_bytes())
            with Image.open(mask) as picture:
                picture.convert("L").save(truth / f"{path.stem}.png", compress_level=1)
    return photos


def metrics_python(work: Path) -> Path:
    """Give the Python of the environment that holds the metrics, made if need be."""
    python = work / "venv" / "bin" / "python"
    if not (work / "venv" / "ready").exists():
        venv.create(work / "venv", with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", METRICS], check=True)
        (work / "venv" / "ready").touch()
    return python


def main() -> None:
    """Score, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="photos")
    parser.add_argument("--masks", type=Path, required=True, metavar="FOLDER", help="their true masks, <name>.png")
    parser.add_argument("--model", nargs="+", default=["u2net"], choices=["u2net", "u2netp"])
    parser.add_argument("--precision", nargs="+", default=["auto"], choices=["auto", *PRECISIONS])
    parser.add_argument("--sharpen", nargs="+", type=int, default=[150], metavar="PERCENT")
    parser.add_argument("--resize", nargs="+", default=["official"], choices=["official", "aa"])
    parser.add_argument("--policy", nargs="+", default=["0.7"], metavar="P")
    parser.add_argument("--interpolation", nargs="+", default=["bilinear"], choices=["bilinear", "nearest"])
    parser.add_argument("--work", type=Path, default=Path("/tmp/whitesweep-accuracy"), help="scratch folder")
    flags = parser.parse_args()
    python = metrics_python(flags.work)
    grid = (flags.model, flags.precision, flags.sharpen, flags.resize, flags.policy, flags.interpolation)
    settings = [Setting(*values) for values in itertools.product(*grid)]
    photos = read_photos(flags.images, flags.masks, flags.work / "truth" / flags.images.parent.name)
    made: dict[str, dict[str, NDArray[np.uint8]]] = {}
    jobs = []
    for number, setting in enumerate(settings):
        if setting.maps not in made:
            made = {setting.maps: predict(setting, photos)}
        folder = flags.work / str(number)
        write_pictures(setting, photos, made[setting.maps], folder)
        truth = flags.work / "truth" / flags.images.parent.name
        jobs.append({"maps": str(folder / "maps"), "masks": str(folder / "masks"), "truth": str(truth)})
    command = [str(python), str(Path(__file__).with_name("metrics.py"))]
    chunks = [json.dumps(jobs[start :: available_cpus()]) for start in range(available_cpus())]
    with ThreadPoolExecutor() as pool:
        found = list(
            pool.map(
                lambda c: json.loads(subprocess.run(command, input=c, stdout=-1, text=True, check=True).stdout), chunks
            )
        )
    print(f"{len(photos)} photos of {flags.images}\n")
    print(f"| model | precision | sharpen | resize | policy | interpolation | {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * (6 + len(COLUMNS))}")
    for number, setting in enumerate(settings):
        scores = found[number % available_cpus()][number // available_cpus()]
        values = (
            setting.model,
            setting.precision,
            setting.sharpen,
            setting.resize,
            setting.policy,
            setting.interpolation,
        )
        print(f"| {' | '.join(map(str, values))} | {' | '.join(f'{scores[c]:.4f}' for c in COLUMNS)} |")


if __name__ == "__main__":
    main()
