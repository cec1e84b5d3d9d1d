"""ONNX file -> state dict with the authors' parameter names -> safetensors bytes, the same bytes every time.

The exporter folded batch norm into the convolutions and numbered the tensors, so names are found by order: the Conv
nodes of the file stand in execution order, and `convolutions` lists the same convolutions in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from weights.files import WeightsError

if TYPE_CHECKING:
    import numpy as np

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

Shape = tuple[int, int, int, int]

# One row a stage, in execution order: name, depth of the U, channels in, mid, out. RSU4F has the shapes of RSU4.
STAGES: dict[str, list[tuple[str, int, int, int, int]]] = {
    "u2net": [
        ("stage1", 7, 3, 32, 64),
        ("stage2", 6, 64, 32, 128),
        ("stage3", 5, 128, 64, 256),
        ("stage4", 4, 256, 128, 512),
        ("stage5", 4, 512, 256, 512),
        ("stage6", 4, 512, 256, 512),
        ("stage5d", 4, 1024, 256, 512),
        ("stage4d", 4, 1024, 128, 256),
        ("stage3d", 5, 512, 64, 128),
        ("stage2d", 6, 256, 32, 64),
        ("stage1d", 7, 128, 16, 64),
    ],
    "u2netp": [
        ("stage1", 7, 3, 16, 64),
        ("stage2", 6, 64, 16, 64),
        ("stage3", 5, 64, 16, 64),
        ("stage4", 4, 64, 16, 64),
        ("stage5", 4, 64, 16, 64),
        ("stage6", 4, 64, 16, 64),
        ("stage5d", 4, 128, 16, 64),
        ("stage4d", 4, 128, 16, 64),
        ("stage3d", 5, 128, 16, 64),
        ("stage2d", 6, 128, 16, 64),
        ("stage1d", 7, 128, 16, 64),
    ],
}
SIDE_STAGES = ("stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6")  # what side1 … side6 read


def convolutions(model: str) -> Iterator[tuple[str, Shape]]:
    """Yield the 119 convolutions in execution order: the authors' name, and the weight's shape [out, in, kH, kW]."""
    channels_of = {}
    for stage, depth, channels_in, mid, out in STAGES[model]:
        channels_of[stage] = out
        yield f"{stage}.rebnconvin.conv_s1", (out, channels_in, 3, 3)
        yield f"{stage}.rebnconv1.conv_s1", (mid, out, 3, 3)
        for level in range(2, depth + 1):
            yield f"{stage}.rebnconv{level}.conv_s1", (mid, mid, 3, 3)
        for level in range(depth - 1, 1, -1):
            yield f"{stage}.rebnconv{level}d.conv_s1", (mid, 2 * mid, 3, 3)
        yield f"{stage}.rebnconv1d.conv_s1", (out, 2 * mid, 3, 3)
    for number, stage in enumerate(SIDE_STAGES, start=1):
        yield f"side{number}", (1, channels_of[stage], 3, 3)
    yield "outconv", (1, len(SIDE_STAGES), 1, 1)


def state_dict_from_onnx(model: str, onnx_file: bytes) -> dict[str, FloatArray]:
    """Read the float32 parameters of an exported U²-Net: `<name>.weight` [out, in, kH, kW] and `<name>.bias` [out].

    Raises:
        WeightsError: the file is not this network, node for node and shape for shape.
    """
    import onnx  # here, because only a first set-up converts

    try:
        graph = onnx.load_model_from_string(onnx_file).graph
    except Exception as error:  # protobuf's DecodeError, which has no public home that stays put
        raise WeightsError(f"{model}: not an ONNX file ({error}); fetch it again") from error
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    names = list(convolutions(model))
    if len(nodes) != len(names):
        raise WeightsError(
            f"{model}: the ONNX file has {len(nodes)} convolutions instead of {len(names)}; not this network"
        )
    state = {}
    for node, (name, shape) in zip(nodes, names, strict=True):
        if len(node.input) != 3 or not tensors.keys() >= set(node.input[1:]):
            raise WeightsError(f"{model}: {name} in the ONNX file has no stored weight and bias; not this network")
        for part, tensor, wanted in zip(("weight", "bias"), node.input[1:], (shape, shape[:1]), strict=True):
            array = onnx.numpy_helper.to_array(tensors[tensor])
            if array.shape != wanted or array.dtype != "float32":
                found = f"{array.dtype} {list(array.shape)} instead of float32 {list(wanted)}"
                raise WeightsError(f"{model}: {name}.{part} in the ONNX file is {found}; not this network")
            state[f"{name}.{part}"] = array
    return state


def safetensors_bytes(state: Mapping[str, FloatArray]) -> bytes:
    """Lay float32 arrays out in the safetensors format: header length (u64, little-endian), JSON header, then the data.

    By hand, because the result is pinned by its sha256 and the library promises no fixed order or padding of its own.
    """
    header, end = {}, 0
    for name, array in state.items():
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [begin, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)  # the data begins aligned
    return b"".join(
        [len(head).to_bytes(8, "little"), head, *(array.astype("<f4").tobytes() for array in state.values())]
    )
