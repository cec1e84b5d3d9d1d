"""The one table of U²-Net and of U²-Net-p: their stages, and what every reader and builder of them derives from these.

Qin et al., "U²-Net: Going deeper with nested U-structure for salient object detection", Pattern Recognition 2020. Names
are those of the authors' published checkpoints (`stage1.rebnconvin.conv_s1.weight` …). Imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

SIDE = 320  # pixels; the side of the square that the authors trained on
MEAN = (0.485, 0.456, 0.406)  # of red, green, blue, once a picture is divided by its own maximum
STD = (0.229, 0.224, 0.225)

Shape = tuple[int, int, int, int]


class Stage(NamedTuple):
    """One residual U-block: its name, the depth of its U, and the channels that come in, run inside, and go out.

    flat: dilated where others are pooled, so that the resolution never changes (the authors' RSU4F).
    """

    name: str
    depth: int
    channels_in: int
    channels_mid: int
    channels_out: int
    flat: bool = False

    def dilation(self, level: int) -> int:
        """Give the dilation of the convolutions of a level, 1 … depth, on the way down and on the way up."""
        return 1 << (level - 1) if self.flat else 1 + (level == self.depth)

    def pools(self, level: int) -> bool:
        """Tell whether the resolution is halved behind a level on the way down."""
        return not self.flat and level < self.depth - 1


STAGES: dict[str, tuple[Stage, ...]] = {
    "u2net": (
        Stage("stage1", 7, 3, 32, 64),
        Stage("stage2", 6, 64, 32, 128),
        Stage("stage3", 5, 128, 64, 256),
        Stage("stage4", 4, 256, 128, 512),
        Stage("stage5", 4, 512, 256, 512, flat=True),
        Stage("stage6", 4, 512, 256, 512, flat=True),
        Stage("stage5d", 4, 1024, 256, 512, flat=True),
        Stage("stage4d", 4, 1024, 128, 256),
        Stage("stage3d", 5, 512, 64, 128),
        Stage("stage2d", 6, 256, 32, 64),
        Stage("stage1d", 7, 128, 16, 64),
    ),
    "u2netp": (
        Stage("stage1", 7, 3, 16, 64),
        Stage("stage2", 6, 64, 16, 64),
        Stage("stage3", 5, 64, 16, 64),
        Stage("stage4", 4, 64, 16, 64),
        Stage("stage5", 4, 64, 16, 64, flat=True),
        Stage("stage6", 4, 64, 16, 64, flat=True),
        Stage("stage5d", 4, 128, 16, 64, flat=True),
        Stage("stage4d", 4, 128, 16, 64),
        Stage("stage3d", 5, 128, 16, 64),
        Stage("stage2d", 6, 128, 16, 64),
        Stage("stage1d", 7, 128, 16, 64),
    ),
}
"""By model, its stages in execution order: six encoders, then five decoders, each of which reads the stage before it,
grown, and the encoder of its number."""

MODELS = tuple(STAGES)

SIDE_STAGES = ("stage1d", "stage2d", "stage3d", "stage4d", "stage5d", "stage6")  # what side1 … side6 read


def convolutions(model: str) -> Iterator[tuple[str, Shape]]:
    """Yield the 119 convolutions in execution order: the authors' name, and the weight's shape [out, in, kH, kW]."""
    channels_of = {}
    for stage, depth, channels_in, mid, out, _ in STAGES[model]:
        channels_of[stage] = out
        yield f"{stage}.rebnconvin.conv_s1", (out, channels_in, 3, 3)
        yield f"{stage}.rebnconv1.conv_s1", (mid, out, 3, 3)
        for level in range(2, depth + 1):
            yield f"{stage}.rebnconv{level}.conv_s1", (mid, mid, 3, 3)
        for level in range(depth - 1, 1, -1):
            yield f"{stage}.rebnconv{level}d.conv_s1", (mid, 2 * mid, 3, 3)
        yield f"{stage}.rebnconv1d.conv_s1", (out, 2 * mid, 3, 3)
    for number, stage in enumerate(SIDE_STAGES, start=1):
        yield f"side{number}", (1, channels_of[stage], 3, 3)
    yield "outconv", (1, len(SIDE_STAGES), 1, 1)
