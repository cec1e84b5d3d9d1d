"""Peak memory of a local run: by the number of photos, and with photos of fifty megapixels among them.

    python -m benchmarks.memory --photos FOLDER [--model u2netp] [--counts 1000 10000]

The photos are the given ones, each made another file by a few bytes behind its end; all but twenty have a map already
(any map: it costs the same memory), so that ten thousand take minutes. Beside the peaks stands what is left of them
without what the model alone takes.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.process import measured
from model.engine import choose_precision, engine_of
from transforms.maps import MapSettings, map_key, store_map
from transforms.sharpen import SIDE, Sharpening
from transforms.types import MapOrigin, SaliencyMap
from weights.files import locate

PREDICTED = 20
LARGE = 10  # photos of 50 megapixels
BESIDE = 40  # photos of one megapixel beside them

MODEL_ALONE = """
import sys, threading
import numpy as np
from model.cpus import available_cpus
from model.engine import EngineConfig, load
from weights.files import locate
engine = load(EngineConfig(locate(sys.argv[1]), "cpu", sys.argv[2]))
black = np.zeros((1, 320, 320, 3), np.uint8)
threads = [threading.Thread(target=engine.predict, args=(black,)) for _ in range(available_cpus())]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
WITHOUT_MODEL = "import numpy, model.openvino_engine"


def make_catalog(photos: list[Path], folder: Path, output: Path, count: int, settings: MapSettings) -> None:
    """Make so many different files, and maps of most."""
    folder.mkdir()
    y, x = np.mgrid[:SIDE, :SIDE]
    round_thing = np.clip(400 - 2 * np.hypot(y - SIDE / 2, x - SIDE / 2), 0, 255).astype(np.uint8)
    for number, photo in enumerate(islice(cycle(photos), count)):
        data = photo.read_bytes() + str(number).encode()
        (folder / f"{number:06d}{photo.suffix}").write_bytes(data)
        if number >= PREDICTED:
            key = map_key(hashlib.sha256(data).hexdigest(), settings)
            store_map(f"{output}/maps", SaliencyMap(round_thing, key))


def make_large(photos: list[Path], folder: Path) -> None:
    """Make photos of fifty megapixels, and of one."""
    folder.mkdir()
    for number, photo in enumerate(islice(cycle(photos), LARGE + BESIDE)):
        size = (6120, 8170) if number < LARGE else (900, 1200)
        with Image.open(photo) as image:
            image.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=92)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", default="u2netp", choices=["u2net", "u2netp"])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000])
    flags = parser.parse_args()
    # First of all: a process counts no less than the one that starts it, and looking at the weights reads them.
    empty = measured([sys.executable, "-c", WITHOUT_MODEL]).peak
    photos = sorted(path for path in flags.photos.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    precision = choose_precision("auto", locate(flags.model), engine_of("cpu"))
    settings = MapSettings(MapOrigin(flags.model, locate(flags.model).sha256, precision), Sharpening())
    model = measured([sys.executable, "-c", MODEL_ALONE, flags.model, precision]).peak - empty
    print(
        f"{flags.model} in {precision} takes {model:.0f} MB\n\n| photos | peak, MB | without the model |\n|---|---|---|"
    )
    command = [sys.executable, "-m", "pipeline", "run", "--model", flags.model]
    with tempfile.TemporaryDirectory(prefix="whitesweep-memory-") as scratch:
        catalogs = []
        for count in flags.counts:
            folder, output = Path(scratch) / str(count), Path(scratch) / f"out-{count}"
            make_catalog(photos, folder, output, count, settings)
            catalogs.append((f"{count}", folder, output))
        large = Path(scratch) / "large"
        make_large(photos, large)
        catalogs.append((f"{LARGE} of 50 megapixels among {BESIDE} of one", large, Path(scratch) / "out-large"))
        for name, folder, output in catalogs:
            peak = measured([*command, "--manifest", str(folder), "--output", str(output)]).peak
            print(f"| {name} | {peak:.0f} | {peak - model:.0f} |", flush=True)


if __name__ == "__main__":
    main()
