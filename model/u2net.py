"""U²-Net and its small sibling U²-Net-p in torch, for inference, built from the table in weights/architecture.py.

Batch norm is folded into the convolutions (checkpoint.py), so the modules here hold convolutions only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.checkpoint import State
from weights.architecture import SIDE_STAGES, STAGES, Stage


class ConvReLU(nn.Module):
    """A dilated 3×3 convolution and ReLU: the authors' REBNCONV with its batch norm folded in."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H, W]."""
        return functional.relu_(self.conv_s1(x))


class RSU(nn.Module):
    """A residual U-block (RSU7 … RSU4, RSU4F): a small U-Net whose output is added to its input features."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        mid, out = stage.channels_mid, stage.channels_out
        self.rebnconvin = ConvReLU(stage.channels_in, out)
        for level in range(1, stage.depth + 1):
            self.add_module(f"rebnconv{level}", ConvReLU(out if level == 1 else mid, mid, stage.dilation(level)))
        for level in range(stage.depth - 1, 0, -1):
            block = ConvReLU(2 * mid, out if level == 1 else mid, stage.dilation(level))
            self.add_module(f"rebnconv{level}d", block)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H, W]."""
        features = self.rebnconvin(x)
        skips, x = [], features
        for level in range(1, self.stage.depth):
            x = self.get_submodule(f"rebnconv{level}")(x)
            skips.append(x)
            if self.stage.pools(level):
                x = shrink(x)
        x = self.get_submodule(f"rebnconv{self.stage.depth}")(x)
        for level in range(self.stage.depth - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat((grow_to(x, skip), skip), dim=1))
        return x + features


class U2Net(nn.Module):
    """The nested U: six encoder stages, five decoder stages, six side outputs fused into one saliency logit."""

    def __init__(self, model: str) -> None:
        """Build a network of STAGES, uninitialised."""
        super().__init__()
        channels_of = {}
        for stage in STAGES[model]:
            channels_of[stage.name] = stage.channels_out
            self.add_module(stage.name, RSU(stage))
        for number, name in enumerate(SIDE_STAGES, start=1):
            self.add_module(f"side{number}", nn.Conv2d(channels_of[name], 1, 3, padding=1))
        self.outconv = nn.Conv2d(len(SIDE_STAGES), 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images [N, 3, H, W] to saliency logits [N, 1, H, W] (sigmoid gives the probability)."""
        skips = []
        for number in range(1, 6):
            x = self.get_submodule(f"stage{number}")(x)
            skips.append(x)
            x = shrink(x)
        x = self.get_submodule("stage6")(x)
        scales = [x]
        for number in range(5, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"stage{number}d")(torch.cat((grow_to(x, skip), skip), dim=1))
            scales.append(x)
        sides = [
            self.get_submodule(f"side{number}")(scale) for number, scale in zip(range(6, 0, -1), scales, strict=True)
        ]
        sides.reverse()
        return self.outconv(torch.cat([sides[0], *(grow_to(side, sides[0]) for side in sides[1:])], dim=1))


def build(model: str, state: State) -> U2Net:
    """Build a network in evaluation mode, float32 on the CPU, from what checkpoint.network_state gives.

    Args:
        model: one of architecture.MODELS.
        state: its parameters; they are copied.
    """
    with torch.device("meta"):  # no time spent on random initial values
        network = U2Net(model)
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()}, assign=True)
    return network.eval().requires_grad_(False)


def shrink(x: Tensor) -> Tensor:
    """Halve the resolution by 2×2 max pooling, rounding odd sizes up."""
    return functional.max_pool2d(x, 2, stride=2, ceil_mode=True)


def grow_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize to the height and width of another tensor, bilinearly."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
