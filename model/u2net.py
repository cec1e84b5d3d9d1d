"""U²-Net and its small sibling U²-Net-p, for inference.

Qin et al., "U²-Net: Going deeper with nested U-structure for salient object detection", Pattern Recognition 2020.
Layers and parameter names are those of the authors' published checkpoints (`stage1.rebnconvin.conv_s1.weight` …), with
batch norm folded into the convolutions (model/checkpoint.py), so the modules here hold convolutions only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.checkpoint import State


class ConvReLU(nn.Module):
    """A dilated 3×3 convolution and ReLU: the authors' REBNCONV with its batch norm folded in."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H, W]."""
        return functional.relu_(self.conv_s1(x))


class RSU(nn.Module):
    """A residual U-block of a given depth (RSU7 … RSU4): a small U-Net whose output is added to its input features."""

    def __init__(self, depth: int, channels_in: int, channels_mid: int, channels_out: int) -> None:
        super().__init__()
        self.depth = depth
        self.rebnconvin = ConvReLU(channels_in, channels_out)
        for level in range(1, depth + 1):
            first, last = level == 1, level == depth
            block = ConvReLU(channels_out if first else channels_mid, channels_mid, self._dilation(level, last))
            self.add_module(f"rebnconv{level}", block)
        for level in range(depth - 1, 0, -1):
            block = ConvReLU(
                2 * channels_mid, channels_out if level == 1 else channels_mid, self._dilation(level, False)
            )
            self.add_module(f"rebnconv{level}d", block)

    def _dilation(self, level: int, last: bool) -> int:
        return 2 if last else 1

    def _down(self, x: Tensor, level: int) -> Tensor:
        return x if level == self.depth - 1 else shrink(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H, W]."""
        features = self.rebnconvin(x)
        skips, x = [], features
        for level in range(1, self.depth):
            x = self.get_submodule(f"rebnconv{level}")(x)
            skips.append(x)
            x = self._down(x, level)
        x = self.get_submodule(f"rebnconv{self.depth}")(x)
        for level in range(self.depth - 1, 0, -1):
            skip = skips.pop()
            x = self.get_submodule(f"rebnconv{level}d")(torch.cat((grow_to(x, skip), skip), dim=1))
        return x + features


class RSU4F(RSU):
    """The flat residual U-block: dilations 1, 2, 4, 8 take the place of pooling, so the resolution never changes."""

    def __init__(self, channels_in: int, channels_mid: int, channels_out: int) -> None:
        super().__init__(4, channels_in, channels_mid, channels_out)

    def _dilation(self, level: int, last: bool) -> int:
        return 1 << (level - 1)

    def _down(self, x: Tensor, level: int) -> Tensor:
        return x


class U2Net(nn.Module):
    """The nested U: six encoder stages, five decoder stages, six side outputs fused into one saliency logit."""

    def __init__(self, encoder: list[RSU], decoder: list[RSU], side_channels: tuple[int, ...]) -> None:
        super().__init__()
        for number, stage in enumerate(encoder, start=1):
            self.add_module(f"stage{number}", stage)
        for number, stage in zip((5, 4, 3, 2, 1), decoder, strict=True):
            self.add_module(f"stage{number}d", stage)
        for number, channels in enumerate(side_channels, start=1):
            self.add_module(f"side{number}", nn.Conv2d(channels, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

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


def u2net() -> U2Net:
    """Build U²-Net (43.98 M parameters), uninitialised."""
    return U2Net(
        encoder=[
            RSU(7, 3, 32, 64),
            RSU(6, 64, 32, 128),
            RSU(5, 128, 64, 256),
            RSU(4, 256, 128, 512),
            RSU4F(512, 256, 512),
            RSU4F(512, 256, 512),
        ],
        decoder=[
            RSU4F(1024, 256, 512),
            RSU(4, 1024, 128, 256),
            RSU(5, 512, 64, 128),
            RSU(6, 256, 32, 64),
            RSU(7, 128, 16, 64),
        ],
        side_channels=(64, 64, 128, 256, 512, 512),
    )


def u2netp() -> U2Net:
    """Build U²-Net-p (1.13 M parameters): every stage 16 channels wide inside and 64 outside."""
    return U2Net(
        encoder=[RSU(7, 3, 16, 64), RSU(6, 64, 16, 64), RSU(5, 64, 16, 64), RSU(4, 64, 16, 64)]
        + [RSU4F(64, 16, 64) for _ in range(2)],
        decoder=[RSU4F(128, 16, 64), *(RSU(depth, 128, 16, 64) for depth in (4, 5, 6, 7))],
        side_channels=(64,) * 6,
    )


ARCHITECTURES: dict[str, Callable[[], U2Net]] = {"u2net": u2net, "u2netp": u2netp}


def build(model: str, state: State) -> U2Net:
    """Build a network in evaluation mode, float32 on the CPU, from what checkpoint.network_state gives.

    Args:
        model: a key of ARCHITECTURES.
        state: its parameters; they are copied.
    """
    with torch.device("meta"):  # no time spent on random initial values
        network = ARCHITECTURES[model]()
    network.load_state_dict({name: torch.tensor(array) for name, array in state.items()}, assign=True)
    return network.eval().requires_grad_(False)


def shrink(x: Tensor) -> Tensor:
    """Halve the resolution by 2×2 max pooling, rounding odd sizes up."""
    return functional.max_pool2d(x, 2, stride=2, ceil_mode=True)


def grow_to(x: Tensor, like: Tensor) -> Tensor:
    """Resize to the height and width of another tensor, bilinearly."""
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
