"""Measure what a GPU does for the pipeline: its own rate, the engine's, the whole pipeline's, and whether maps agree.

    python -m benchmarks.gpu [--work FOLDER] [--photos FOLDER] [--count 2000] [--weights random]

Prints Markdown for RESULTS.md. Runs on whatever there is, a CPU too (there with `--batch_size 2 --count 6`), and says
which. `--weights random` needs no checkpoint and is as fast, but its maps mean nothing, so of parity only the bits are
checked.

Why photos are not decoded and encoded on the GPU: nvJPEG (torchvision's decode_jpeg and encode_jpeg on cuda) gives
other pixels and bytes than libjpeg-turbo. As torchvision calls it, it enlarges 4:2:0 chroma by nearest neighbour where
Pillow interpolates (sgl-project/sglang#34163): a picture would depend on the machine that it was made on.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.card import SAMPLES, Card, describe_card, matrix_rate, sampled
from benchmarks.parity import compare, differences, predict_all, read_inputs
from benchmarks.rates import (
    GFLOP,
    bare_rate,
    engine_rate,
    load_engine,
    make_photos,
    random_weights,
    run_pipeline,
)
from model.engine import PRECISIONS, DeviceError
from model.load import choose_precision, engine_of
from model.machine import available_cpus
from weights.files import WeightsError, WeightsFile, locate

PARTS = ("engine", "pipeline", "parity")
COMPARED = 16
"""Photos whose maps are compared: a CPU takes half a second for each."""


def show(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table, row by row as they come."""
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    print(flush=True)


def find_weights(model: str, kind: str, work: Path) -> tuple[WeightsFile, bool]:
    """Give the published weights, or random ones if those are asked for or missing; and whether they are published."""
    if kind == "published":
        try:
            return locate(model), True
        except WeightsError as error:
            print(f"{model}: {error}; random weights instead.")
    return random_weights(model, work / f"random-{model}.safetensors"), False


def usable(precisions: Sequence[str], weights: WeightsFile, device: str) -> list[str]:
    """Leave out the precisions that the device does not compute in, and say so."""
    found = []
    for precision in precisions:
        try:
            found.append(choose_precision(precision, weights, engine_of(device)))
        except (DeviceError, WeightsError) as error:
            print(f"Left out: {error}.")
    return found


def measure_engine(flags: argparse.Namespace, card: Card, weights: WeightsFile, precisions: Sequence[str]) -> None:
    """Measure the engine alone, by precision, batch size and number of callers."""
    print(f"### The engine alone: {flags.model}, {GFLOP[flags.model]} GFLOP a photo\n")
    rates = {precision: matrix_rate(card.device, precision) for precision in precisions}
    rate_of = {name: f"{rate / 1e12:.3g} TFLOP/s in {name}" for name, rate in rates.items()}
    print(f"Large square matrices, best of several: {', '.join(rate_of.values())}.")
    names = set()

    def rows() -> Iterable[Sequence[object]]:
        for precision in precisions:
            for batch_size in flags.batch_size:
                engine = load_engine(weights, card.device, precision, batch_size)
                names.add(engine.name)
                for threads in flags.threads:
                    photos = engine_rate(engine, threads, flags.seconds)
                    flops = photos * GFLOP[flags.model] * 1e9
                    yield (
                        precision,
                        f"{batch_size}"
                        if engine.batch_size == batch_size
                        else f"{batch_size}, fell to {engine.batch_size}",
                        threads,
                        f"{photos:.1f}",
                        f"{flops / 1e12:.2f}",
                        f"{flops / rates[precision]:.0%}",
                        memory_peak(card),
                    )
                del engine

    columns = ("precision", "batch", "threads", "photos a second", "TFLOP/s", "of the matrix rate", "GPU memory")
    show(columns, rows())
    print(f"By {'; '.join(sorted(names))}. The photos are noise: it takes the most power.\n")


def memory_peak(card: Card) -> str:
    """Say how much of the GPU's memory torch has held at most since the engine was loaded."""
    if card.device != "cuda":
        return "–"
    import torch

    return f"{torch.cuda.max_memory_reserved() / 2**30:.1f} GiB"


def measure_pipeline(
    flags: argparse.Namespace, weights: WeightsFile, published: bool, photos: list[Path], precision: str, work: Path
) -> None:
    """Measure the pipeline end to end, and beside it the same cores without Beam and without a network."""
    print(f"### The pipeline: {flags.model} in {precision}, {len(photos)} JPEG photos of a megapixel\n")
    own = [] if published else ["--weights", weights.path]
    choice = ["--model", flags.model, "--precision", precision, *own, *shlex.split(flags.run_flags)]
    short = run_pipeline(photos[: max(1, len(photos) // 4)], work, "quarter", choice)
    with sampled(work / "samples.csv") as usage:
        whole = run_pipeline(photos, work, "whole", choice)
    bare = bare_rate(photos, work / "bare")
    rate = whole.photos / whole.seconds
    statuses = ", ".join(f"{count} {status}" for status, count in whole.run["statuses"].items())
    print(f"{statuses}; {available_cpus()} workers; the command took {whole.wall:.1f} s, peak {whole.peak:.0f} MB.")
    rows = [
        ("pipeline", f"{rate:.1f}", f"{rate / bare:.2f}"),
        ("the same cores, decode and encode only, no Beam", f"{bare:.1f}", "1"),
    ]
    if whole.seconds > short.seconds and whole.photos > short.photos:
        more = (whole.photos - short.photos) / (whole.seconds - short.seconds)
        rows.insert(
            1, ("pipeline, each further photo (all against the first quarter)", f"{more:.1f}", f"{more / bare:.2f}")
        )
    show(("", "photos a second", "of the bare rate"), rows)
    spent = sum(whole.run["step_seconds"].values())
    print(f"Steps: {spent:.1f} s in all, {spent / whole.seconds / available_cpus():.0%} of the worker threads' time.")
    steps = sorted(whole.run["step_seconds"].items(), key=lambda item: -item[1])
    show(("step", "ms a photo", "share"), [(n, f"{1000 * s / whole.photos:.2f}", f"{s / spent:.0%}") for n, s in steps])
    busy = usage.busiest()
    if busy:
        print("The GPU meanwhile, five samples a second, of those in which it did anything: mean / median / highest.")
        show(SAMPLES, [[busy.get(name, "–") for name in SAMPLES]])
    else:
        print("No nvidia-smi, so nothing is known of a GPU's load.\n")


def check_parity(
    card: Card, photos: list[Path], precisions: Sequence[str], flags: argparse.Namespace, work: Path
) -> None:
    """Compare this device's maps with the CPU's in float32, and with themselves."""
    images = read_inputs(photos[:COMPARED])
    print(f"### The same maps? {len(images)} photos, {card.device} against the CPU in fp32\n")
    bits = []

    def rows() -> Iterable[Sequence[object]]:
        for model in dict.fromkeys((*flags.parity_model, flags.model)):
            weights, published = find_weights(model, flags.weights, work)
            expected = predict_all(load_engine(weights, "cpu", "fp32"), images) if published else None
            for precision in precisions:
                engine = load_engine(weights, card.device, precision, flags.batch_size[0])
                bits.append((model, precision, engine.batch_size, *differences(engine, images).values()))
                if expected is not None:
                    found = compare(predict_all(engine, images), expected)
                    iou = f"{found.iou:.4f} / {found.lowest_iou:.4f}"
                    yield model, precision, iou, f"{found.flipped:.5%}", found.levels, f"{found.mean:.4f}"
                del engine

    columns = ("model", "precision", "IoU at 0.7, mean / lowest", "cells flipped at 0.7", "largest difference", "mean")
    show(columns, rows())
    print("Map cells that differ when the same photos come otherwise; all must be 0.")
    show(("model", "precision", "batch", "again", "other places of the batch", "alone", "from eight threads"), bits)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, help="scratch folder (default: a temporary one)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to enlarge (default: drawn ones)")
    parser.add_argument("--count", type=int, default=2000, help="photos for the pipeline")
    parser.add_argument("--model", default="u2net", choices=sorted(GFLOP))
    parser.add_argument("--weights", default="published", choices=["published", "random"])
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp16", "fp32"], choices=PRECISIONS)
    parser.add_argument("--batch_size", nargs="+", type=int, default=[16, 8, 32, 64], help="the first is for parity")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4, 16], help="callers at once")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement of the engine")
    parser.add_argument("--parity_model", nargs="*", default=["u2netp"], choices=sorted(GFLOP), help="beside --model")
    parser.add_argument("--run_flags", default="", help="more flags of the pipeline, in one word")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    flags = parser.parse_args()
    if flags.work:
        flags.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=flags.work, prefix="gpu-") as folder:
        work = Path(folder)
        card = describe_card()
        print(f"## {card.name}\n")
        print("\n".join(card.lines) + "\n")
        weights, published = find_weights(flags.model, flags.weights, work)
        precisions = usable(flags.precision, weights, card.device)
        photos = make_photos(work / "photos", flags.count, flags.photos)
        if "pipeline" in flags.parts:  # first, while this process holds nothing of the GPU
            measure_pipeline(flags, weights, published, photos, precisions[0], work)
        if "engine" in flags.parts:
            measure_engine(flags, card, weights, precisions)
        if "parity" in flags.parts:
            check_parity(card, photos, precisions, flags, work)


if __name__ == "__main__":
    main()
