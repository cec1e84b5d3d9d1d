"""Peak memory of a local run: by the number of photos, and with photos of fifty megapixels among them.

    python -m benchmarks.memory --photos FOLDER [--model u2netp] [--counts 1000 10000]
    python -m benchmarks.memory --modes          bytes a pixel, by format and mode: what pixel_budget.py reserves

The photos are the given ones, each made another file by a few bytes behind its end; all but twenty have a map already
(any map: it costs the same memory), so that ten thousand take minutes. Beside the peaks stands what is left of them
without what the model alone takes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.process import measured
from model.load import choose_precision, engine_of
from model.machine import keep_buffers
from transforms.output.maps import map_key, store_map
from transforms.pixel_budget import bytes_to_render
from transforms.pixels.decode import decode
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.sharpen import Sharpening, network_input
from transforms.pixels.types import SaliencyMap
from transforms.settings import MapOrigin, MapSettings
from weights.architecture import SIDE
from weights.files import locate

PREDICTED = 20
LARGE = 10  # photos of 50 megapixels
BESIDE = 40  # photos of one megapixel beside them

MODEL_ALONE = """
import sys, threading
import numpy as np
from model.machine import available_cpus
from model.engine import EngineConfig
    from model.load import load
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


def peak_bytes() -> float:
    """Give this process's own peak."""
    with open("/proc/self/status") as status:
        return 1024.0 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def take_one(data: bytes, output: str = "same") -> float:
    """Take a photo its whole way but for the network; give the bytes by which this process grew."""

    def take(data: bytes) -> None:
        photo = decode(data)
        network_input(photo)
        y, x = np.mgrid[:SIDE, :SIDE]
        round_thing = np.clip(400 - 2 * np.hypot(y - SIDE / 2, x - SIDE / 2), 0, 255).astype(np.uint8)
        settings = OutputSettings(format=output)
        render(data, photo, SaliencyMap(round_thing, ""), settings.policy.default, settings)

    keep_buffers()
    small = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(small, "webp")
    take(small.getvalue())  # whatever is loaded at first use
    before = peak_bytes()
    take(data)
    return peak_bytes() - before


def measure_modes() -> None:
    """Print a row for each format and mode that can be written."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (500, 750, 3), np.uint8)).resize((6000, 4000))
    deep = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    print("| format | mode | taken, bytes a pixel | reserved |\n|---|---|---|---|")
    for name in ("jpeg", "png", "webp", "avif", "tiff", "gif", "bmp"):
        for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"):
            file = io.BytesIO()
            try:
                (deep if mode == "I;16" else rgb.convert(mode)).save(file, name)
            except (OSError, ValueError):
                continue
            command = [sys.executable, "-m", "benchmarks.memory", "--one"]
            done = subprocess.run(command, input=file.getvalue(), capture_output=True, check=True)
            with Image.open(file) as image:
                reserved = bytes_to_render(image, len(file.getvalue()), "same") / (image.width * image.height)
            print(f"| {name} | {mode} | {float(done.stdout) / 24e6:.1f} | {reserved:.1f} |", flush=True)


def main() -> None:
    """Measure, and print Markdown."""
    if sys.argv[1:] == ["--one"]:
        print(take_one(sys.stdin.buffer.read()))
        return
    if sys.argv[1:] == ["--modes"]:
        measure_modes()
        return
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
