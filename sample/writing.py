"""Write the sample catalog: rendered product photos, their true masks, and a manifest. The same bytes every time."""

import csv
import io
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sample.raymarch import cut_out, photograph
from sample.scenes import Scene, catalog
from transforms import storage

VERSION = "1"  # raise it when the pictures change, so that folders of an older sample are written anew
STAMP = ".sample-version"
ORIENTATION, ROTATED_LEFT = 0x0112, 6  # EXIF tag; 6: turn the stored picture clockwise to see it upright


def write_sample(folder: Path) -> Path:
    """Render the catalog into a folder, unless it is there, and return the path of its manifest.csv.

    Photos of an interrupted attempt are kept, as every file appears whole or not at all.

    Raises:
        OSError, FatalError, PhotoError: the folder cannot be written.
    """
    scenes = catalog()
    manifest, stamp = folder / "manifest.csv", folder / STAMP
    done, begun = f"{VERSION}\n", f"{VERSION} unfinished\n"
    state = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    missing = [s for s in scenes if not all(path.exists() for path in files_of(s, folder))]
    if state == done and not missing and manifest.exists():
        return manifest
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if state not in (done, begun):
        missing = list(scenes)
        for path in (path for scene in scenes for path in files_of(scene, folder)):
            path.unlink(missing_ok=True)  # another version's, which must not pass for ours after an interruption
    storage.write(str(stamp), begun.encode())
    # The largest first, so that no worker is left with it at the end.
    missing.sort(key=lambda s: -s.size[0] * s.size[1])
    # Spawned, not forked: the caller may have loaded libraries whose threads do not survive a fork.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        for _ in workers.map(render_into, [s.id for s in missing], [folder] * len(missing)):
            pass
    storage.write(str(manifest), manifest_of(scenes))
    storage.write(str(stamp), done.encode())
    return manifest


def files_of(scene: Scene, folder: Path) -> list[Path]:
    """Return where the mask (if it has one) and the photo of a scene lie."""
    photo = folder / "images" / f"{scene.id}.{scene.format}"
    mask = folder / "masks" / f"{scene.id}.png"
    return [photo] if scene.special == "truncated" else [mask, photo]


def render_into(name: str, folder: Path) -> None:
    """Render the scene of this id and write its mask and its photo; scenes hold closures, which cannot be pickled."""
    scene = next(s for s in catalog() if s.id == name)
    photo, mask = render(scene)
    *mask_path, photo_path = files_of(scene, folder)
    for path in mask_path:
        storage.write(str(path), mask)
    storage.write(str(photo_path), photo)


def render(scene: Scene) -> tuple[bytes, bytes]:
    """Return a scene's photo and its mask as encoded files.

    The mask is 255 where the product covers at least half the pixel; its size is that of the upright photo.
    """
    pixels, coverage = expose(scene)
    mask = np.where(coverage >= 0.5, 255, 0).astype(np.uint8)
    return encode(scene, pixels, coverage), png(Image.fromarray(mask, "L"))


def expose(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the upright picture, uint8 [h, w, 3], and the product's coverage, 0..1 [h, w]."""
    width, height = scene.size
    seed = int.from_bytes(scene.id.encode(), "little") % 2**32  # each photo has its own grain
    if scene.shot is None:
        grain = np.random.default_rng(seed).normal(0, 1.2, (height, width, 3))
        blank = np.rint(np.array([203, 198, 189]) + grain)
        return blank.astype(np.uint8), np.zeros((height, width))
    take = cut_out if scene.special in ("white", "alpha") else photograph
    return take(replace(scene.shot, seed=seed), width, height)


def encode(scene: Scene, pixels: NDArray[np.uint8], coverage: NDArray[np.float64]) -> bytes:
    """Return the file of a photo, with what is special about it."""
    picture = Image.fromarray(pixels, "RGB")
    if scene.special == "alpha":
        return png(transparent(pixels, coverage))
    if scene.format == "png":
        return png(picture)
    buffer = io.BytesIO()
    if scene.format == "webp":
        picture.save(buffer, "WEBP", quality=90, method=4)
    elif scene.special == "rotated":
        exif = Image.Exif()
        exif[ORIENTATION] = ROTATED_LEFT
        picture.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=92, exif=exif)
    elif scene.special == "cmyk":
        picture.convert("CMYK").save(buffer, "JPEG", quality=92)
    else:
        picture.save(buffer, "JPEG", quality=92)
    whole = buffer.getvalue()
    return whole[: len(whole) * 6 // 10] if scene.special == "truncated" else whole


def transparent(pixels: NDArray[np.uint8], coverage: NDArray[np.float64]) -> Image.Image:
    """Cut the product out softly and leave rubbish in the colours nobody should see."""
    alpha = np.rint(np.clip(ndimage.gaussian_filter(coverage, 0.8), 0, 1) * 255).astype(np.uint8)
    rubbish = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    hidden = np.where(alpha[..., None] == 0, rubbish, pixels)
    return Image.fromarray(np.dstack([hidden, alpha]), "RGBA")


def png(picture: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def manifest_of(scenes: tuple[Scene, ...]) -> bytes:
    """Return the manifest as CSV, its uris relative to itself."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("id", "uri", "category", "colour"))
    rows.writerows((s.id, f"images/{s.id}.{s.format}", s.category, s.colour) for s in scenes)
    return text.getvalue().encode()
