"""How close the whole pipeline comes to the network alone, and what every step beside it costs.

    python -m benchmarks.throughput [--photos FOLDER] [--count 60] [--megapixels 1.08] [--model u2net] [--rounds 3]

Three measurements, on JPEG photos of one size made of the given ones:

- the engine alone, a caller a core: photos a second, and processor time a photo;
- each step in one thread, in processor milliseconds a megapixel: functions as the pipeline calls them, best of rounds;
- `run` as a user starts it, over many photos and over a fifth as many. Of the difference, so without start-up, come
  photos a second against the engine's, and, with every map in the store already, the processor time of all but network
  and sharpening.

Engine and runs take turns, so that noise meets both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.process import Measured, measured
from model.engine import Engine, EngineConfig
from model.load import choose_precision, engine_of, load
from model.machine import available_cpus, keep_buffers
from transforms.deliver import finish
from transforms.output.run import RunInfo
from transforms.pixels.decode import decode
from transforms.pixels.sharpen import network_input
from transforms.pixels.types import SaliencyMap
from transforms.process import prepare
from transforms.settings import RunSettings
from transforms.types import PlannedRow
from weights.files import locate

CALLS = 4  # of each caller and round; more only take time
STEPS = 12  # photos whose steps are timed


def make_photos(source: Path, folder: Path, count: int, megapixels: float) -> None:
    """Make distinct JPEG photos of one size of those in a folder, turn and turn about."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    folder.mkdir(parents=True)
    for number in range(count):
        with Image.open(found[number % len(found)]) as photo:
            scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
            size = round(photo.width * scale), round(photo.height * scale)
            large = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        large.save(folder / f"{number:05d}.jpg", quality=92)
        with open(folder / f"{number:05d}.jpg", "ab") as end:  # after the picture's end, where no decoder looks
            end.write(f"{number}".encode())


def engine_alone(engine: Engine, inputs: list[np.ndarray]) -> tuple[float, float]:
    """Let a caller a core predict; give photos a second, and processor seconds a photo."""
    callers = available_cpus()

    def call(first: int) -> None:
        for number in range(CALLS):
            engine.predict(inputs[(first * CALLS + number) % len(inputs)][None])

    threads = [threading.Thread(target=call, args=(first,)) for first in range(callers)]
    began, busy = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    count = callers * CALLS
    return count / (time.perf_counter() - began), (time.process_time() - busy) / count


def time_steps(photos: list[Path], engine: Engine, config: EngineConfig) -> dict[str, float]:
    """Take photos through every step but the network, in this thread; give processor seconds of each step, by photo."""
    clock, time.perf_counter = time.perf_counter, time.thread_time  # what Effort measures with
    best: dict[str, list[dict[str, float]]] = {}
    maps = {path: engine.predict(network_input(decode(path.read_bytes()))[None])[0] for path in photos}
    with tempfile.TemporaryDirectory() as output:
        run = RunInfo(RunSettings(output, engine=config))
        for _ in range(5):
            shutil.rmtree(output)
            for path in photos:
                began = time.thread_time()
                work = prepare([PlannedRow(path.stem, path.name, str(path))], run)
                object.__setattr__(work, "saliency", SaliencyMap(maps[path], work.map_key))
                object.__setattr__(work, "is_new_map", True)
                (outcome,) = finish(work, run)
                spent = dict(outcome.effort.seconds)
                spent["digests, rows"] = time.thread_time() - began - sum(spent.values())
                best.setdefault(path.name, []).append(spent)
    time.perf_counter = clock
    names = best[photos[0].name][0]
    return {name: statistics.mean(min(spent[name] for spent in spents) for spents in best.values()) for name in names}


def run(folder: Path, output: Path, model: str) -> Measured:
    """Run the pipeline over a folder, as a user does."""
    command = ["-m", "pipeline", "run", "--manifest", str(folder), "--output", str(output), "--model", model]
    return measured([sys.executable, *command])


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/catalog/images"), metavar="FOLDER")
    parser.add_argument("--count", type=int, default=60, help="photos of the longer run (default: %(default)s)")
    parser.add_argument("--megapixels", type=float, default=1.08)
    parser.add_argument("--model", default="u2net", choices=["u2net", "u2netp"])
    parser.add_argument("--rounds", type=int, default=3)
    flags = parser.parse_args()
    keep_buffers()
    weights = locate(flags.model)
    precision = choose_precision("auto", weights, engine_of("cpu"))
    engine = load(EngineConfig(weights, "cpu", precision))
    with tempfile.TemporaryDirectory(prefix="whitesweep-throughput-") as scratch:
        work, many, few = Path(scratch), flags.count, max(1, flags.count // 5)
        make_photos(flags.photos, work / "many", many, flags.megapixels)
        photos = sorted((work / "many").iterdir())
        (work / "few").mkdir()
        for path in photos[:few]:
            os.link(path, work / "few" / path.name)
        sizes = [Image.open(path).size for path in photos]
        megapixels = statistics.mean(width * height for width, height in sizes) / 1e6
        steps = time_steps(photos[:STEPS], engine, EngineConfig(weights, "cpu", precision))
        inputs = [network_input(decode(path.read_bytes())) for path in photos[:STEPS]]
        engine_alone(engine, inputs)
        alone: list[tuple[float, float]] = []
        runs: dict[str, list[Measured]] = {"few": [], "many": []}
        again: dict[str, list[Measured]] = {"few": [], "many": []}
        for number in range(flags.rounds):
            for name in runs:
                alone.append(engine_alone(engine, inputs))
                runs[name].append(run(work / name, work / f"{name}{number}", flags.model))
            for name in again:
                output = work / f"again-{name}{number}"
                shutil.copytree(work / f"{name}{number}" / "maps", output / "maps")
                again[name].append(run(work / name, output, flags.model))
    more = many - few
    best, busy = max(rate for rate, _ in alone), statistics.median(busy for _, busy in alone)
    rate = statistics.median(
        more / (long.seconds - short.seconds) for short, long in zip(runs["few"], runs["many"], strict=True)
    )
    beside = statistics.median(
        (long.busy - short.busy) / more for short, long in zip(again["few"], again["many"], strict=True)
    )
    print(f"{flags.model} {precision}, {engine.name}, {available_cpus()} cores, {many} photos of {megapixels:.2f} MP\n")
    print(f"engine alone: {best:.2f} photos a second at best, {busy * 1000:.0f} core-ms a photo")
    print(f"pipeline: {rate:.2f} photos a second without start-up, {rate / best:.0%} of the engine alone")
    print(f"peak resident memory: {max(one.peak for one in runs['many']):.0f} MB\n")
    print("| step | core-ms a megapixel |\n|---|---|")
    for name, seconds in sorted(steps.items(), key=lambda item: -item[1]):
        print(f"| {name} | {seconds * 1000 / megapixels:.2f} |")
    print(f"| sum | {sum(steps.values()) * 1000 / megapixels:.2f} |")
    print(f"| through Beam with every map stored: all but network and sharpening | {beside * 1000 / megapixels:.2f} |")


if __name__ == "__main__":
    main()
