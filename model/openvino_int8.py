"""Int8 nodes for the graph of openvino_graph.py: convolutions that read nothing but tensors of known range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.int8 import ACTIVATION, Array, Largest, round_filters, step
from model.openvino_ops import Tensor, ops, ov, shrink


def sources(x: Tensor) -> Iterator[ov.Node]:
    """Yield the tensors that a tensor is put together of, through concatenation and pooling, in order."""
    node = x.get_node() if isinstance(x, ov.Output) else x
    if node.get_type_name() not in ("Concat", "MaxPool"):
        yield node
        return
    for number in range(node.get_input_size() if node.get_type_name() == "Concat" else 1):
        yield from sources(node.input_value(number))


class Quantizer:
    """Makes the int8 nodes of one graph: of all convolutions that read nothing but tensors of known range.

    A FakeQuantize stands right behind the operation that makes the tensor, before any pooling and concatenation: there
    the plugin fuses it, and whatever moves the tensor moves bytes.
    """

    def __init__(self, largest: Largest) -> None:
        self.steps = {name: step(array) for name, array in largest.items()}
        self._integers: dict[str, Tensor] = {}

    def knows(self, x: Tensor) -> bool:
        """Tell whether a tensor can be had as integers."""
        return all(source.get_friendly_name() in self.steps for source in sources(x))

    def convolution(self, x: Tensor, weight: Array, pad: list[int], dilation: int, name: str) -> ov.Node:
        """Convolve in integers; the plugin multiplies the sum by its step, adds what follows, and rounds once."""
        steps = np.concatenate([self.steps[source.get_friendly_name()] for source in sources(x)])
        rounded, scale = round_filters(weight * steps[None, :, None, None])
        filters = ops.multiply(ops.convert(ops.constant(rounded), np.float32), ops.constant(scale[:, None, None, None]))
        return ops.convolution(self.integers(x), filters, [1, 1], pad, pad, [dilation, dilation], name=name)

    def integers(self, x: Tensor) -> Tensor:
        """Give a tensor in steps: whole numbers from 0 to 255."""
        node = x.get_node() if isinstance(x, ov.Output) else x
        name, inputs = node.get_friendly_name(), node.input_values()
        if name not in self._integers:
            if node.get_type_name() == "Concat":
                made = ops.concat([self.integers(one) for one in inputs], 1)
            elif node.get_type_name() == "MaxPool":
                made = shrink(self.integers(inputs[0]))
            else:
                ceiling = ops.constant(self.steps[name][None, :, None, None] * ACTIVATION)
                nothing, top = ops.constant(np.float32(0)), ops.constant(np.float32(ACTIVATION))
                made = ops.fake_quantize(node, nothing, ceiling, nothing, top, ACTIVATION + 1)
            self._integers[name] = made
        return self._integers[name]
