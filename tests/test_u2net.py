"""The network: the authors' own, to the last digits that float32 has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_product, shared
from PIL import Image
from skimage.transform import resize

from model.checkpoint import fold_batch_norm, load_state, network_state
from model.u2net import U2Net, build
from weights.architecture import MEAN, STD
from weights.fetch import fetch
from weights.files import locate

PARAMETERS = {"u2net": 43.98e6, "u2netp": 1.13e6}


def official_input(rgb: np.ndarray) -> torch.Tensor:
    """Preprocess as the authors' own scripts do, by the library that they use: float32 [1, 3, 320, 320]."""
    image = resize(rgb, (320, 320), order=1, anti_aliasing=False, mode="constant")
    image = (image / image.max() - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))


@pytest.mark.parametrize("model", ["u2net", "u2netp"])
def test_agrees_with_onnx_runtime_on_the_published_file(model: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    fetch(model, keep_onnx=True)
    weights = locate(model)
    session = onnxruntime.InferenceSession(
        str(Path(weights.path).with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )
    network = build(model, load_state(weights))
    photo = official_input(np.asarray(draw_product(1, (400, 300))))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 320, 320)).astype(np.float32))
    for image in (photo, noise):
        theirs = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
        ours = network(image).sigmoid().numpy()
        assert np.abs(ours - theirs).max() <= 1e-4


@pytest.mark.parametrize("model", ["u2net", "u2netp"])
def test_meets_the_maps_that_the_authors_saved(model: str) -> None:
    folder = shared("golden")
    network = build(model, load_state(locate(model)))
    differences, overlaps = [], []
    for saved in sorted((folder / model).glob("*.png")):
        photo = np.asarray(Image.open(next((folder / "images").glob(f"{saved.stem}.*"))).convert("RGB"))
        probability = network(official_input(photo)).sigmoid()[0, 0].double().numpy()
        probability = (probability - probability.min()) / (probability.max() - probability.min())
        grey = Image.fromarray((probability * 255).astype(np.uint8))  # the authors truncate, then resize
        ours = np.asarray(grey.resize((photo.shape[1], photo.shape[0]), Image.Resampling.BILINEAR)).astype(float)
        theirs = np.asarray(Image.open(saved).convert("L")).astype(float)
        differences.append(np.abs(ours - theirs).mean())
        mask, truth = ours >= 0.7 * 255, theirs >= 0.7 * 255
        overlaps.append((mask & truth).sum() / (mask | truth).sum())
    assert len(differences) == 10
    assert np.mean(differences) <= 0.1
    if model == "u2net":
        assert min(overlaps) >= 0.99


@pytest.mark.parametrize("model", ["u2net", "u2netp"])
def test_has_the_published_number_of_parameters(model: str) -> None:
    with torch.device("meta"):
        network = U2Net(model)
    folded_away = 112 * 3  # of each folded batch norm, only the bias is left; negligible here
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(PARAMETERS[model], rel=0.01, abs=folded_away)


def unfolded(model: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Make a state dict as the authors' training writes it: random, with batch norm."""
    rng = np.random.default_rng(seed)

    def random(shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    with torch.device("meta"):
        names = U2Net(model).state_dict()
    state: dict[str, np.ndarray] = {}
    for name, tensor in names.items():
        state[name] = random(tuple(tensor.shape)) / max(1, tensor[0].numel()) ** 0.5
        if name.endswith("conv_s1.bias"):
            norm = name.replace("conv_s1.bias", "bn_s1")
            for part in ("weight", "bias", "running_mean"):
                state[f"{norm}.{part}"] = 1 + np.float32(0.1) * random(tuple(tensor.shape))
            state[f"{norm}.running_var"] = 0.5 + np.abs(random(tuple(tensor.shape)))
            state[f"{norm}.num_batches_tracked"] = np.array(7)
    return state


def test_folding_batch_norm_changes_nothing_but_the_form() -> None:
    state = unfolded("u2netp")
    folded = fold_batch_norm(state)
    block, x = "stage1.rebnconv3", torch.randn(2, 16, 20, 20)
    norm = torch.nn.BatchNorm2d(16).eval()
    norm.load_state_dict(
        {k.removeprefix(f"{block}.bn_s1."): torch.tensor(v) for k, v in state.items() if f"{block}.bn_s1." in k}
    )

    def convolve(parameters: dict[str, np.ndarray]) -> torch.Tensor:
        weight, bias = (torch.tensor(parameters[f"{block}.conv_s1.{part}"]) for part in ("weight", "bias"))
        return torch.nn.functional.conv2d(x, weight, bias, padding=1)

    with torch.inference_mode():
        theirs, ours = norm(convolve(state)), convolve(folded)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not [name for name in folded if "bn_s1" in name]
    build("u2netp", network_state("u2netp", state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("outconv.weight"), "outconv.weight is missing"),
        (lambda s: s.update(extra=np.zeros(1)), "extra is unknown"),
        (lambda s: s.update({"side1.bias": np.zeros(2)}), r"side1.bias has shape \(2,\) instead of \(1,\)"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_in_one_line(change: Any, message: str) -> None:
    state = unfolded("u2netp")
    change(state)
    with pytest.raises(ValueError, match=message):
        network_state("u2netp", state)
