"""What a JPEG leaves of an exactly white background, at what size, quality and time.

    python -m benchmarks.rings --output DIR    # of a run with --format png

For each way of writing: share of the background's pixels that are not exactly white after decoding, the worst of them,
PSNR of the rest, bytes a picture, and core-ms a megapixel of encoding and of the check of a profile.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transforms.pixels.encode import encode
from transforms.pixels.profile import named_profile, violations
from transforms.pixels.pure import pure_jpeg

Pixels = NDArray[np.uint8]


def ordinary(quality: int, optimize: bool = True) -> Callable[[Pixels], bytes]:
    """Give a way of writing an ordinary JPEG, 4:4:4."""

    def write(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "jpeg", quality=quality, subsampling=0, optimize=optimize)
        return buffer.getvalue()

    return write


def pure(quality: int) -> Callable[[Pixels], bytes]:
    """Give a way of writing a JPEG whose white is white."""
    return lambda pixels: pure_jpeg(pixels, {"quality": quality, "optimize": True})


WAYS: dict[str, Callable[[Pixels], bytes]] = {
    "quality 95, Huffman tables of the standard": ordinary(95, optimize=False),
    "quality 95": ordinary(95),
    "quality 98": ordinary(98),
    "quality 100": ordinary(100),
    **{f"pure, quality {quality}": pure(quality) for quality in (95, 90, 80, 60, 40)},
    "PNG": lambda pixels: encode(pixels, "png"),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    pictures = [
        np.asarray(Image.open(file).convert("RGB"))
        for file in sorted(parser.parse_args().output.glob("images/**/*.png"))
    ]
    megapixels = sum(picture.shape[0] * picture.shape[1] for picture in pictures) / 1e6
    amazon = named_profile("amazon")
    print("| JPEG, 4:4:4 | background off white | worst | PSNR of the rest | bytes a picture | encode | check |")
    print("|---|---|---|---|---|---|---|")
    for name, write in WAYS.items():
        off = background = worst = nbytes = 0
        errors, values, encoding, checking = 0.0, 0, 0.0, 0.0
        for picture in pictures:
            began = time.process_time()
            data = write(picture)
            encoded = time.process_time()
            violations(data, picture, False, amazon)
            encoding, checking = encoding + encoded - began, checking + time.process_time() - encoded
            decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            white = (picture == 255).all(2)
            off += int((decoded[white] < 255).any(1).sum())
            background += int(white.sum())
            worst = max(worst, 255 - int(decoded[white].min(initial=255)))
            difference = decoded[~white].astype(float) - picture[~white]
            errors, values, nbytes = errors + float((difference**2).sum()), values + difference.size, nbytes + len(data)
        psnr = f"{10 * np.log10(255**2 * values / errors):.1f} dB" if errors else "exact"
        print(
            f"| {name} | {off / background:.4%} | {worst} | {psnr} | {nbytes / len(pictures):.0f} "
            f"| {1000 * encoding / megapixels:.1f} | {1000 * checking / megapixels:.1f} |"
        )


if __name__ == "__main__":
    main()
