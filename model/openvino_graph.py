"""U²-Net as an OpenVINO graph, built straight from the parameters: the same network as u2net.py, without torch.

(Converting the torch module gives the same graph, but takes 8 s and 1 GB for u2net in every process that does it.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.bfloat16 import constant_part, round_filters
from model.checkpoint import State
from model.openvino_int8 import Quantizer
from model.openvino_ops import grow_to, ops, ov, shrink, size
from weights.architecture import MEAN, SIDE, SIDE_STAGES, STAGES, STD, Stage

BOUND = float(np.finfo(np.float32).max)


class _Builder:
    """Builds nodes from parameters; a node maps [1, C, H, W] to [1, C', H', W'].

    bf16: the graph will run in bfloat16, which takes some care (see bfloat16.py); to float32 it makes no difference.
    int8: what makes the convolutions that run in int8, if any do; it knows tensors by their node's name.
    """

    def __init__(self, state: State, bf16: bool, int8: Quantizer | None) -> None:
        self.state, self.bf16, self.int8 = state, bf16, int8

    def convolution(self, x: ov.Node, name: str, dilation: int = 1, again: Sequence[int] = ()) -> ov.Node:
        """Convolve. again: input channels that stand a second time behind the others."""
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"][None, :, None, None]
        pad = [dilation * (weight.shape[2] // 2)] * 2
        if self.int8 and self.int8.knows(x):
            return ops.add(self.int8.convolution(x, weight, pad, dilation, name), ops.constant(bias))
        if self.bf16:
            weight = round_filters(weight)
        weight = np.concatenate([weight, weight[:, list(again)]], 1) if again else weight
        y = ops.convolution(x, ops.constant(weight), [1, 1], pad, pad, [dilation, dilation], name=name)
        if self.bf16:
            y = ops.clamp(y, -BOUND, BOUND)  # or the plugin makes the bias the convolution's own, and rounds it
        return ops.add(y, ops.constant(bias))

    def block(self, x: ov.Node, name: str, dilation: int = 1, again: Sequence[int] = ()) -> ov.Node:
        return ops.relu(self.convolution(x, f"{name}.conv_s1", dilation, again), name=name)

    def stage(self, x: ov.Node, stage: Stage) -> ov.Node:
        features = self.block(x, f"{stage.name}.rebnconvin")
        skips, x = [], features
        for level in range(1, stage.depth):
            x = self.block(x, f"{stage.name}.rebnconv{level}", stage.dilation(level))
            skips.append(x)
            if stage.pools(level):
                x = shrink(x)
        below = f"{stage.name}.rebnconv{stage.depth}"
        x = self.block(x, below, stage.dilation(stage.depth))
        for level in range(stage.depth - 1, 0, -1):
            x, again = self.join(x, below, skips.pop())
            below = f"{stage.name}.rebnconv{level}d"
            x = self.block(x, below, stage.dilation(level), again)
        return ops.add(x, features, name=stage.name)

    def join(self, x: ov.Node, block: str, skip: ov.Node) -> tuple[ov.Node, Sequence[int]]:
        """Set a block's output, grown, before the skip, and behind both what is constant in the block's channels.

        Returns:
            All channels, and which of the block's those last ones belong to: none in float32.
        """
        constant = constant_part(self.state[f"{block}.conv_s1.weight"], self.state[f"{block}.conv_s1.bias"])
        channels = np.flatnonzero(constant).tolist() if self.bf16 else []
        if not channels:
            return ops.concat([grow_to(x, skip), skip], 1), []
        rest = ops.subtract(x, ops.constant(constant[None, :, None, None]))
        maps = np.ones((1, len(channels), *size(skip)), np.float32) * constant[None, channels, None, None]
        return ops.concat([grow_to(rest, skip), skip, ops.constant(maps)], 1), channels


def build(model: str, state: State, bf16: bool = False, int8: Quantizer | None = None) -> ov.Model:
    """Build the network: uint8 [1, 320, 320, 3] RGB in, float32 [1, 320, 320] probability out.

    Args:
        model: one of architecture.MODELS.
        state: its parameters, as checkpoint.load_state gives them.
        bf16: whether it will run in bfloat16.
        int8: what makes some of its convolutions int8.
    """
    builder, stages = _Builder(state, bf16, int8), {stage.name: stage for stage in STAGES[model]}
    images = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="images")
    x, skips = normalise(images), []
    for number in range(1, 6):
        x = builder.stage(x, stages[f"stage{number}"])
        skips.append(x)
        x = shrink(x)
    x = builder.stage(x, stages["stage6"])
    outputs = {"stage6": x}
    for number in range(5, 0, -1):
        skip, name = skips.pop(), f"stage{number}d"
        x = outputs[name] = builder.stage(ops.concat([grow_to(x, skip), skip], 1), stages[name])
    sides = [builder.convolution(outputs[stage], f"side{n}") for n, stage in enumerate(SIDE_STAGES, start=1)]
    logits = builder.convolution(ops.concat([sides[0], *(grow_to(side, sides[0]) for side in sides[1:])], 1), "outconv")
    return ov.Model([ops.squeeze(ops.sigmoid(logits), [1])], [images], model)


def normalise(images: ov.Node) -> ov.Node:
    """Normalise as the authors do (see torch_engine.normalise)."""
    pixels = ops.convert(ops.transpose(images, [0, 3, 1, 2]), np.float32)
    largest = ops.maximum(ops.reduce_max(pixels, [1, 2, 3], True), np.float32(1))
    mean, std = (np.array(values, np.float32)[None, :, None, None] for values in (MEAN, STD))
    return ops.divide(ops.subtract(ops.divide(pixels, largest), mean), std)
