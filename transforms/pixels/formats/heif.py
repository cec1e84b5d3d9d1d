"""HEIC by pillow-heif (the extra `heif`), without registering it with Pillow, which reads AVIF itself."""

from __future__ import annotations

import pillow_heif
from PIL import Image

from transforms.pixels.formats.patience import PatientFile

# Depth maps, thumbnails and other pictures beside the photo are not looked at; the worker threads are the parallelism.
pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
pillow_heif.options.DECODE_THREADS = 1


def open_image(data: bytes) -> Image.Image:
    """Open the primary picture. It is decoded upright: the container's turns are applied, and EXIF's is taken out.

    Raises:
        SyntaxError: with the decoder's reason.
    """
    image: Image.Image = pillow_heif.HeifImageFile(PatientFile(data))
    return image
