"""OpenVINO, and the operations in it that openvino_graph.py and openvino_int8.py share.

OpenVINO comes without its telemetry: importing that would fork a process that reports to its makers, from every worker.
"""

from __future__ import annotations

import sys
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # then it takes its own stub

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["Tensor", "grow_to", "ops", "ov", "shrink", "size"]

Tensor: TypeAlias = ov.Node | ov.Output


def shrink(x: Tensor) -> Tensor:
    """Halve the resolution by 2×2 max pooling, rounding odd sizes up."""
    return ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "ceil").output(0)


def grow_to(x: ov.Node, like: Tensor) -> ov.Node:
    """Resize to the height and width of another node, bilinearly."""
    return ops.interpolate(
        x,
        size(like),
        "linear_onnx",
        "sizes",
        coordinate_transformation_mode="half_pixel",
        axes=np.array([2, 3]),
        name=f"{x.get_friendly_name()} grown",
    )


def size(x: Tensor) -> NDArray[np.int64]:
    """Give a node's height and width."""
    return np.array(x.get_output_shape(0)[2:] if isinstance(x, ov.Node) else x.get_shape()[2:], np.int64)
