"""Measure the ranges that --precision int8 needs, and write them beside the code (model/<model>_int8.json).

    python -m benchmarks.calibrate --images FOLDER … [--each 24] [--model u2net]

Of each folder so many pictures are taken, spread evenly over its files, each whole and in three parts. None of them may
be of a set that accuracy is judged by. Maps that are stored already keep their key, and so stay until --force.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import openvino_graph
from model.checkpoint import State, load_state
from model.int8 import Largest, ranges_file, ranges_json
from model.machine import available_cpus
from model.openvino_int8 import sources
from model.openvino_ops import ops, ov
from transforms.errors import PhotoError
from transforms.pixels.decode import decode
from transforms.pixels.sharpen import network_input
from weights.files import locate

PARTS = ((0, 0, 1, 1), (0, 0, 0.6, 0.6), (0.4, 0, 1, 0.6), (0.2, 0.3, 0.9, 1))  # left, top, right, bottom
KEPT = ("stage1.rebnconvin.conv_s1", "side", "outconv")  # a picture of three channels, and what makes the map


def read_inputs(folder: Path, each: int) -> Iterator[NDArray[np.uint8]]:
    """Make the network's inputs of a folder's pictures, as a run with default settings would."""
    photos = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            photos.append(decode(path.read_bytes()))
        except PhotoError:
            continue
    for number in np.unique(np.linspace(0, len(photos) - 1, each).astype(int)):
        photo = photos[number]
        width, height = photo.size
        for left, top, right, bottom in PARTS:
            part = photo.rgb[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
            yield network_input(replace(photo, rgb=np.ascontiguousarray(part), alpha=None))


def with_largest(model: str, state: State) -> tuple[ov.Model, list[str]]:
    """Build the network with the largest value of each channel as outputs, of every tensor that may be quantized.

    That are the tensors of convolutions that read nothing but outputs of blocks and stages, which are never negative.
    """
    graph = openvino_graph.build(model, state, bf16=True)  # for bfloat16, as that is what the other nodes will run in
    found: dict[str, ov.Node] = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Convolution" and not node.get_friendly_name().startswith(KEPT):
            tensors = {source.get_friendly_name(): source for source in sources(node.input_value(0))}
            if all(name.startswith("stage") for name in tensors):
                found |= tensors
    largest = [ops.reduce_max(source, np.array([0, 2, 3])) for source in found.values()]
    return ov.Model(largest, graph.get_parameters(), model), list(found)


def measure(model: str, state: State, images: list[NDArray[np.uint8]]) -> Largest:
    """Find the largest value of each channel over all images, in float32."""
    graph, names = with_largest(model, state)
    threads = available_cpus()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
    compiled = ov.Core().compile_model(graph, "CPU", settings)

    def one(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return list(compiled.create_infer_request().infer([image[None]]).values())

    with ThreadPoolExecutor(threads) as pool:
        found = zip(*pool.map(one, images), strict=True)
        return {name: np.max(values, 0) for name, values in zip(names, found, strict=True)}


def main() -> None:
    """Measure, and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, metavar="FOLDER", help="pictures of all kinds")
    parser.add_argument("--each", type=int, default=24, metavar="N", help="pictures of a folder (default: %(default)s)")
    parser.add_argument("--model", default="u2net", choices=["u2net", "u2netp"])
    flags = parser.parse_args()
    weights = locate(flags.model)
    images = [image for folder in flags.images for image in read_inputs(folder, flags.each)]
    file = ranges_file(flags.model)
    file.write_text(ranges_json(weights, measure(flags.model, load_state(weights), images)), encoding="utf-8")
    print(f"{file}: of {len(images)} pictures and parts of pictures")


if __name__ == "__main__":
    main()
