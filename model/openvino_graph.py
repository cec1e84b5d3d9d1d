"""U²-Net as an OpenVINO graph, built straight from the parameters: the same network as u2net.py, without torch.

(Converting the torch module gives the same graph, but takes 8 s and 1 GB for u2net in every process that does it.)
"""

from __future__ import annotations

import numpy as np

from model.checkpoint import State
from model.engine import MEAN, SIDE, STD
from model.openvino_runtime import ops, ov
from weights.convert import SIDE_STAGES, STAGES

FLAT = ("stage5", "stage6", "stage5d")  # RSU4F: dilated instead of pooled


class _Builder:
    """Builds nodes from parameters; a node maps [1, C, H, W] to [1, C', H', W']."""

    def __init__(self, state: State) -> None:
        self.state = state

    def convolution(self, x: ov.Node, name: str, dilation: int = 1) -> ov.Node:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        pad = [dilation * (weight.shape[2] // 2)] * 2
        y = ops.convolution(x, ops.constant(weight), [1, 1], pad, pad, [dilation, dilation], name=name)
        return ops.add(y, ops.constant(bias[None, :, None, None]))

    def block(self, x: ov.Node, name: str, dilation: int = 1) -> ov.Node:
        return ops.relu(self.convolution(x, f"{name}.conv_s1", dilation))

    def stage(self, x: ov.Node, name: str, depth: int) -> ov.Node:
        flat = name in FLAT
        dilations = [1 << level if flat else 1 + (level == depth - 1) for level in range(depth)]
        features = self.block(x, f"{name}.rebnconvin")
        skips, x = [], features
        for level in range(1, depth):
            x = self.block(x, f"{name}.rebnconv{level}", dilations[level - 1])
            skips.append(x)
            if not flat and level < depth - 1:
                x = shrink(x)
        x = self.block(x, f"{name}.rebnconv{depth}", dilations[depth - 1])
        for level in range(depth - 1, 0, -1):
            skip = skips.pop()
            dilation = dilations[level - 1] if flat else 1
            x = self.block(ops.concat([grow_to(x, skip), skip], 1), f"{name}.rebnconv{level}d", dilation)
        return ops.add(x, features)


def build(model: str, state: State) -> ov.Model:
    """Build the network: uint8 [1, 320, 320, 3] RGB in, float32 [1, 320, 320] probability out.

    Args:
        model: `u2net` or `u2netp`.
        state: its parameters, as checkpoint.load_state gives them.
    """
    builder, depths = _Builder(state), {name: depth for name, depth, *_ in STAGES[model]}
    images = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="images")
    x, skips = normalise(images), []
    for number in range(1, 6):
        x = builder.stage(x, f"stage{number}", depths[f"stage{number}"])
        skips.append(x)
        x = shrink(x)
    outputs = {"stage6": builder.stage(x, "stage6", depths["stage6"])}
    x = outputs["stage6"]
    for number in range(5, 0, -1):
        skip, name = skips.pop(), f"stage{number}d"
        x = outputs[name] = builder.stage(ops.concat([grow_to(x, skip), skip], 1), name, depths[name])
    sides = [builder.convolution(outputs[stage], f"side{n}") for n, stage in enumerate(SIDE_STAGES, start=1)]
    logits = builder.convolution(ops.concat([sides[0], *(grow_to(side, sides[0]) for side in sides[1:])], 1), "outconv")
    return ov.Model([ops.squeeze(ops.sigmoid(logits), [1])], [images], model)


def normalise(images: ov.Node) -> ov.Node:
    """Normalise as the authors do (see torch_engine.normalise)."""
    pixels = ops.convert(ops.transpose(images, [0, 3, 1, 2]), np.float32)
    largest = ops.maximum(ops.reduce_max(pixels, [1, 2, 3], True), np.float32(1))
    mean, std = (np.array(values, np.float32)[None, :, None, None] for values in (MEAN, STD))
    return ops.divide(ops.subtract(ops.divide(pixels, largest), mean), std)


def shrink(x: ov.Node) -> ov.Node:
    """Halve the resolution by 2×2 max pooling, rounding odd sizes up."""
    return ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "ceil").output(0)


def grow_to(x: ov.Node, like: ov.Node) -> ov.Node:
    """Resize to the height and width of another node, bilinearly."""
    size = np.array(like.get_output_shape(0)[2:] if isinstance(like, ov.Node) else like.get_shape()[2:], np.int64)
    return ops.interpolate(
        x, size, "linear_onnx", "sizes", coordinate_transformation_mode="half_pixel", axes=np.array([2, 3])
    )
