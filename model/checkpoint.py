"""A checkpoint as the engines want it: the authors' names, batch norm folded away, every shape checked. No torch.

Batch norm is an affine map once training is over, so it is folded into the convolution before it, and what is left of
the network is convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from weights.architecture import convolutions
from weights.files import WeightsError, WeightsFile, read

BATCH_NORM_EPSILON = 1e-5  # torch's default, which the authors trained with

State = dict[str, NDArray[np.float32]]
"""`<name>.weight` [out, in, kH, kW] and `<name>.bias` [out] of each of the 119 convolutions."""


def load_state(weights: WeightsFile) -> State:
    """Read a checkpoint, its sha256 checked, and bring it to the form that the engines want.

    Raises:
        WeightsError: the file is missing, altered, or no checkpoint of this model.
    """
    try:
        return network_state(weights.model, read(weights))
    except ValueError as error:
        raise WeightsError(f"{weights.path}: {error}; give the right --model or --weights") from error


def network_state(model: str, state: Mapping[str, NDArray]) -> State:
    """Fold batch norm if there is any, and check that all parameters of the network are there and nothing else.

    Raises:
        ValueError: a parameter is missing, unknown, or of the wrong shape (one line).
    """
    folded = fold_batch_norm(state)
    wanted: dict[str, tuple[int, ...]] = {}
    for name, shape in convolutions(model):
        wanted |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in sorted(wanted.keys() | folded.keys()):
        if name not in folded or name not in wanted:
            raise ValueError(
                f"not a {model} checkpoint: parameter {name} is {'missing' if name in wanted else 'unknown'}"
            )
        if folded[name].shape != wanted[name]:
            shapes = f"{folded[name].shape} instead of {wanted[name]}"
            raise ValueError(f"not a {model} checkpoint: parameter {name} has shape {shapes}")
    return folded


def fold_batch_norm(state: Mapping[str, NDArray]) -> State:
    """Fold each `bn_s1` into the `conv_s1` beside it: w' = w·γ/√(σ²+ε), b' = (b−μ)·γ/√(σ²+ε)+β, in float64.

    A state dict without batch norm comes back unchanged (as float32).
    """
    folded: dict[str, NDArray] = {name: array for name, array in state.items() if ".bn_s1." not in name}
    for name in [name for name in folded if name.endswith(".conv_s1.weight")]:
        block = name.removesuffix(".conv_s1.weight")
        if f"{block}.bn_s1.weight" not in state:
            continue
        gamma, beta, mean, variance = (
            state[f"{block}.bn_s1.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        bias = state.get(f"{block}.conv_s1.bias", np.zeros_like(mean)).astype(np.float64)
        folded[name] = state[name].astype(np.float64) * scale[:, None, None, None]
        folded[f"{block}.conv_s1.bias"] = (bias - mean) * scale + beta
    return {name: np.ascontiguousarray(array, np.float32) for name, array in folded.items()}
