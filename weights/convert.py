"""ONNX file -> state dict with the authors' parameter names -> safetensors bytes, the same bytes every time.

The exporter folded batch norm into the convolutions and numbered the tensors, so names are found by order: the Conv
nodes of the file stand in execution order, and architecture.py lists the same convolutions in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from weights.architecture import convolutions
from weights.files import WeightsError

if TYPE_CHECKING:
    import numpy as np

    FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


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
