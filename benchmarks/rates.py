"""How fast photos go through: the engine alone, the whole pipeline, and what the same cores do without a network."""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from model.engine import Engine, EngineConfig
from model.load import load
from model.machine import available_cpus, keep_buffers
from transforms.pixels.decode import decode
from transforms.pixels.encode import encode
from weights.architecture import SIDE, convolutions
from weights.convert import safetensors_bytes
from weights.files import WeightsFile, locate

GFLOP = {"u2net": 117.2, "u2netp": 39.5}
"""Of one photo."""

MEGAPIXEL = (1024, 1024)
DIFFERENT = 24
"""Photos that differ to the eye. The others are the same pixels with another comment in the file: other bytes, so other
photos to the pipeline, each decoded, predicted and written by itself."""


def random_weights(model: str, file: Path) -> WeightsFile:
    """Make weights of the right shapes: as fast as the published ones, and nearly every mask is the whole photo."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in convolutions(model):
        last = name == "outconv"
        scale = 0.003 if last else np.sqrt(2 / np.prod(shape[1:]))  # He et al. 2015: activations keep their size
        state[f"{name}.weight"] = (rng.standard_normal(shape) * scale).astype(np.float32)
        state[f"{name}.bias"] = np.full(shape[0], 3.0 if last else 0.0, np.float32)
    file.write_bytes(safetensors_bytes(state))
    return locate(model, str(file))


def make_photos(folder: Path, count: int, source: Path | None) -> list[Path]:
    """Make JPEG photos of a megapixel, all of different bytes: enlarged ones of a folder, or drawn ones."""
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".png")) if source else []
    different = []
    for number in range(min(count, DIFFERENT)):
        if found:
            with Image.open(found[number % len(found)]) as photo:
                picture = photo.convert("RGB").resize(MEGAPIXEL, Image.Resampling.BICUBIC)
        else:
            picture = _draw(number)
        picture.save(folder / "one.jpg", quality=92)
        different.append((folder / "one.jpg").read_bytes())
    (folder / "one.jpg").unlink()
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        comment = f"photo {number}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        data = different[number % len(different)]
        path.write_bytes(data[:2] + marker + data[2:])
    return paths


def _draw(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    width, height = MEGAPIXEL
    image = Image.fromarray(rng.normal(170, 8, (height, width, 3)).clip(0, 255).astype(np.uint8))
    box = (0.25 * width, 0.2 * height, 0.75 * width, 0.85 * height)
    ImageDraw.Draw(image).ellipse(box, fill=tuple(int(c) for c in rng.integers(0, 255, 3)))
    return image.filter(ImageFilter.GaussianBlur(1))


def load_engine(weights: WeightsFile, device: str, precision: str, batch_size: int | None = None) -> Engine:
    """Load an engine, once what the one before has left is gone."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return load(EngineConfig(weights, device, precision, batch_size))


def engine_rate(engine: Engine, threads: int, seconds: float) -> float:
    """Measure photos a second, full batches of noise from several threads at once for about that long."""
    images = np.random.default_rng(0).integers(0, 256, (engine.batch_size, SIDE, SIDE, 3), np.uint8)
    engine.predict(images)
    done = [0] * threads
    start = threading.Barrier(threads + 1)

    def call(number: int) -> None:
        start.wait()
        while time.perf_counter() < stop:
            engine.predict(images)
            done[number] += len(images)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for caller in callers:
        caller.start()
    began = time.perf_counter()
    stop = began + seconds
    start.wait()
    for caller in callers:
        caller.join()
    return sum(done) / (time.perf_counter() - began)


def _start_worker() -> None:
    keep_buffers()


def _decode_and_encode(photo: Path, output: Path) -> None:
    (output / photo.name).write_bytes(encode(decode(photo.read_bytes()).rgb, "jpeg"))


def bare_rate(photos: list[Path], output: Path) -> float:
    """Measure photos a second that processes on all cores read, decode, encode and write, with nothing in between."""
    output.mkdir(parents=True)
    cores = available_cpus()
    # Spawned, as a process that has used a GPU must not fork.
    pool = ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), _start_worker)
    with pool:
        list(pool.map(_decode_and_encode, photos[:cores] * 2, itertools.repeat(output)))  # starts the processes
        began = time.perf_counter()
        list(pool.map(_decode_and_encode, photos, itertools.repeat(output), chunksize=4))
        return len(photos) / (time.perf_counter() - began)


@dataclass(frozen=True)
class PipelineRun:
    """One run of the pipeline. wall: seconds of the command as a whole. run: its run.json. peak: MB of memory."""

    photos: int
    wall: float
    run: dict[str, Any]
    peak: float

    @property
    def seconds(self) -> float:
        """Seconds without the start of the interpreter and its imports."""
        return float(self.run["seconds"])


def run_pipeline(photos: list[Path], work: Path, name: str, flags: list[str]) -> PipelineRun:
    """Run the pipeline on photos as a user would, one worker thread a core."""
    manifest = work / f"{name}.csv"
    manifest.write_text("id,uri\n" + "".join(f"{photo.stem},{photo}\n" for photo in photos))
    output = work / name
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(manifest), "--output", str(output)]
    command += ["--max_failure_fraction", "1", f"--direct_num_workers={available_cpus()}", *flags]
    began = time.perf_counter()
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if found.returncode:
        raise SystemExit(found.stdout + found.stderr)
    latest = json.loads((output / "report/latest.json").read_text())["run_id"]
    run = json.loads((output / "runs" / latest / "run.json").read_text())
    return PipelineRun(len(photos), wall, run, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
