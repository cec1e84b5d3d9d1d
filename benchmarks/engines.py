"""The network alone on this machine's cores: our engines beside ONNX Runtime on the authors' file, as rembg runs it.

    python -m benchmarks.engines [--model u2net u2netp] [--rounds 3] [--photos 4]

Every engine gets all cores the way it is fastest: ours take a photo a core, ONNX Runtime all cores for each photo. They
take turns; of each the best round counts, and the ratio is to ONNX Runtime in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.engine import PRECISIONS, DeviceError, Engine, EngineConfig
from model.load import choose_precision
from model.machine import available_cpus
from model.openvino_engine import OpenVinoEngine
from model.torch_engine import TorchEngine
from weights.architecture import MODELS, SIDE
from weights.fetch import fetch
from weights.files import locate


def of_engine(engine: Engine, images: NDArray[np.uint8]) -> Callable[[], object]:
    """Give a call that predicts every image, a caller a core."""
    pool = ThreadPoolExecutor(available_cpus())
    return lambda: list(pool.map(lambda image: engine.predict(image[None]), images))


def of_onnx_runtime(model: str, images: NDArray[np.uint8]) -> Callable[[], object]:
    """Give a call that predicts every image with ONNX Runtime on its own threads."""
    file = fetch(model, keep_onnx=True).with_suffix(".onnx")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    inputs = [np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / 255 for image in images]
    return lambda: [session.run(None, {name: one}) for one in inputs]


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=4, help="photos a round, for each core")
    flags = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (flags.photos * available_cpus(), SIDE, SIDE, 3), np.uint8)
    print("| model | engine | ms a photo | times as fast as ONNX Runtime |\n|---|---|---|---|")
    for model in flags.model:
        calls = {f"ONNX Runtime {onnxruntime.__version__} fp32": of_onnx_runtime(model, images)}
        weights = locate(model)
        for name, kind in (("openvino", OpenVinoEngine), ("torch", TorchEngine)):
            for precision in PRECISIONS:
                try:
                    choose_precision(precision, weights, name)
                except DeviceError:
                    continue
                engine = kind(EngineConfig(weights, "cpu", precision))
                calls[f"{engine.name} {precision}"] = of_engine(engine, images)
        best = dict.fromkeys(calls, float("inf"))
        for number in range(flags.rounds + 1):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                if number:  # the first warms up
                    best[name] = min(best[name], (time.perf_counter() - began) / len(images))
        reference = next(iter(best.values()))
        for name, seconds in best.items():
            print(f"| {model} | {name} | {seconds * 1000:.0f} | {reference / seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
