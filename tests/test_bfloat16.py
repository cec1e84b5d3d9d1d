"""Parameters for bfloat16: filters keep their sums, and a large constant travels apart, to no effect but precision."""

from __future__ import annotations

import numpy as np
import torch

from model import openvino_graph
from model.bfloat16 import constant_part, round_filters, to_bfloat16
from model.checkpoint import State
from model.openvino_ops import ov
from weights.architecture import convolutions


def random_state(seed: int = 0) -> State:
    """Draw parameters of u2netp that keep activations near 1."""
    random, state = np.random.default_rng(seed), {}
    for name, shape in convolutions("u2netp"):
        state[f"{name}.weight"] = random.normal(0, (1 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        state[f"{name}.bias"] = random.normal(0, 0.1, shape[:1]).astype(np.float32)
    return state


def maps(model: ov.Model) -> np.ndarray:
    """Run a graph in float32 on a random picture."""
    image = np.random.default_rng(1).integers(0, 256, (1, 320, 320, 3), np.uint8)
    found: np.ndarray = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0]
    return found


def test_rounds_to_the_nearest_bfloat16() -> None:
    numbers = np.random.default_rng(0).normal(0, 10, 1000).astype(np.float32)
    numbers[:3] = 1 + 2**-8, 1 + 3 * 2**-8, 0  # two ties
    assert np.array_equal(to_bfloat16(numbers), torch.from_numpy(numbers).bfloat16().float().numpy())


def test_filters_keep_their_sums() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (8, 4, 3, 3)).astype(np.float32)
    rounded = round_filters(weight)
    assert np.array_equal(rounded, to_bfloat16(rounded))
    assert np.abs(rounded - weight).max() < 0.05
    lost, lost_before = (np.abs((w - weight).sum((2, 3))).mean() for w in (rounded, to_bfloat16(weight)))
    assert lost < lost_before / 20


def test_a_lone_tap_is_rounded_to_the_nearest() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (1, 6, 1, 1)).astype(np.float32)
    assert np.array_equal(round_filters(weight), to_bfloat16(weight))


def test_a_channel_is_constant_if_its_bias_is_large_and_its_weights_are_small() -> None:
    weight = np.zeros((4, 2, 3, 3), np.float32)
    weight[:, 0, 1, 1] = 1, -1, 9, 1
    assert constant_part(weight, np.array([228.3, 91.2, 91.2, 20], np.float32)).tolist() == [228, 91, 0, 0]


def test_the_graph_for_bfloat16_is_the_same_network() -> None:
    state = {name: round_filters(array) if array.ndim == 4 else array for name, array in random_state().items()}
    for block in ("stage2d.rebnconv2d", "stage4.rebnconv4", "stage5d.rebnconv3d"):
        state[f"{block}.conv_s1.weight"][5] *= 0.01
        state[f"{block}.conv_s1.bias"][5] = 70
    exact, ours = (maps(openvino_graph.build("u2netp", state, bf16)) for bf16 in (False, True))
    assert exact.std() > 0.01
    assert np.abs(ours - exact).max() < 1e-4
