"""The sample catalog: what its manifest, photos and masks promise."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sample import writing
from sample.scenes import Scene, catalog


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render the sample once for all tests."""
    return writing.write_sample(tmp_path_factory.mktemp("sample")).parent


def special(kind: str) -> Scene:
    (scene,) = (s for s in catalog() if s.special == kind)
    return scene


def photo_of(scene: Scene, folder: Path) -> Path:
    return folder / "images" / f"{scene.id}.{scene.format}"


def mask_of(scene: Scene, folder: Path) -> np.ndarray:
    return np.asarray(Image.open(folder / "masks" / f"{scene.id}.png"))


def test_the_manifest_lists_every_photo(folder: Path) -> None:
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == ["id", "uri", "category", "colour"]
    assert len({row["id"] for row in rows}) == len(rows) >= 28
    listed = {(folder / row["uri"]).resolve() for row in rows}
    assert listed == {path.resolve() for path in (folder / "images").iterdir()}
    assert all(all(row.values()) for row in rows)


def test_sizes_and_formats_vary(folder: Path) -> None:
    pictures = [Image.open(photo_of(s, folder)) for s in catalog()]
    assert {picture.format for picture in pictures} == {"JPEG", "PNG", "WEBP"}
    sizes = {scene.size for scene in catalog()}
    assert {(300, 300), (2000, 1500)} <= sizes
    assert all(any(test(w, h) for w, h in sizes) for test in (int.__lt__, int.__gt__, int.__eq__))


@pytest.mark.parametrize("scene", [s for s in catalog() if s.special != "truncated"], ids=lambda s: s.id)
def test_masks_fit_the_upright_photos(scene: Scene, folder: Path) -> None:
    upright = ImageOps.exif_transpose(Image.open(photo_of(scene, folder)))
    mask = Image.open(folder / "masks" / f"{scene.id}.png")
    assert mask.mode == "L"
    assert mask.size == upright.size == scene.size
    values = np.asarray(mask)
    assert set(np.unique(values)) <= {0, 255}
    share = (values == 255).mean()
    assert share == 0 if scene.special == "blank" else 0.05 < share < 0.8


@pytest.mark.parametrize("name", ["mug-blue", "ring-sapphire", "watch-classic", "bracelet-beads", "handbag-cognac"])
def test_holes_are_background(name: str, folder: Path) -> None:
    from scipy import ndimage

    mask = np.asarray(Image.open(folder / "masks" / f"{name}.png")) > 0
    assert (ndimage.binary_fill_holes(mask) & ~mask).mean() > 0.005


def test_product_stands_out_from_its_surroundings(folder: Path) -> None:
    for scene in catalog():
        if scene.special in ("truncated", "blank"):
            continue
        upright = ImageOps.exif_transpose(Image.open(photo_of(scene, folder))).convert("RGB")
        pixels, mask = np.asarray(upright, dtype=float), mask_of(scene, folder) > 0
        assert np.abs(pixels[mask].mean(0) - pixels[~mask].mean(0)).max() > 12, scene.id


def test_one_photo_is_stored_rotated(folder: Path) -> None:
    scene = special("rotated")
    stored = Image.open(photo_of(scene, folder))
    assert stored.getexif()[0x0112] in (6, 8)
    assert stored.size == scene.size[::-1]
    # The lamp stands: upright, its foot is below its shade, which shines.
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("L"), dtype=float)
    mask = mask_of(scene, folder) > 0
    half = len(mask) // 2
    assert upright[:half][mask[:half]].mean() > 1.5 * upright[half:][mask[half:]].mean()


def test_one_photo_is_cmyk(folder: Path) -> None:
    picture = Image.open(photo_of(special("cmyk"), folder))
    assert (picture.format, picture.mode) == ("JPEG", "CMYK")
    assert "icc_profile" not in picture.info


def test_one_photo_has_alpha_with_rubbish_under_it(folder: Path) -> None:
    scene = special("alpha")
    picture = Image.open(photo_of(scene, folder))
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    pixels = np.asarray(picture)
    alpha, mask = pixels[..., 3], mask_of(scene, folder)
    assert np.unique(alpha).size > 50, "the edge is soft"
    assert ((alpha >= 128) == (mask == 255)).mean() > 0.995
    assert pixels[alpha == 0][:, :3].std() > 50


def test_one_photo_is_truncated(folder: Path) -> None:
    scene = special("truncated")
    assert not (folder / "masks" / f"{scene.id}.png").exists()
    picture = Image.open(photo_of(scene, folder))
    assert picture.size == scene.size
    with pytest.raises(OSError, match="truncated"):
        picture.load()


def test_one_photo_is_blank(folder: Path) -> None:
    pixels = np.asarray(Image.open(photo_of(special("blank"), folder)), dtype=float)
    assert 0 < pixels.std(axis=(0, 1)).max() < 3


def test_one_photo_is_already_on_white(folder: Path) -> None:
    scene = special("white")
    pixels = np.asarray(Image.open(photo_of(scene, folder)))
    border = np.concatenate([pixels[:4].ravel(), pixels[-4:].ravel(), pixels[:, :4].ravel(), pixels[:, -4:].ravel()])
    assert (border == 255).all()
    assert (pixels[mask_of(scene, folder) == 0] >= 250).mean() > 0.97


@pytest.mark.parametrize("name", ["cactus-pot", "wine-olivara", "sneaker-navy"])
def test_the_same_bytes_every_time(name: str) -> None:
    (scene,) = (s for s in catalog() if s.id == name)
    small = replace(scene, size=(scene.size[0] // 4, scene.size[1] // 4))
    assert writing.render(small) == writing.render(small)


def test_an_interrupted_render_is_completed(folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    lost = [half / "images/cactus-pot.jpg", half / "masks/cactus-pot.png", half / "images/rubber-duck.jpg"]
    for path in (*lost, half / "manifest.csv"):
        path.unlink()
    (half / writing.STAMP).write_text(f"{writing.VERSION} unfinished\n")
    kept = half / "images/mug-blue.jpg"
    before = kept.stat().st_mtime_ns
    assert writing.write_sample(half) == half / "manifest.csv"
    # This also shows that a process pool and another order of photos change no byte.
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.relative_to(half): path.read_bytes() for path in half.rglob("*") if path.is_file()} == files
    assert kept.stat().st_mtime_ns == before


def test_a_complete_sample_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ProcessPoolExecutor", None)
    assert writing.write_sample(folder) == folder / "manifest.csv"


def test_a_sample_of_another_version_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "catalog", lambda: (special("blank"),))
    manifest = writing.write_sample(tmp_path)
    photo = photo_of(special("blank"), tmp_path)
    good = photo.read_bytes()
    photo.write_bytes(b"old")
    (tmp_path / writing.STAMP).write_text("0\n")
    assert writing.write_sample(tmp_path) == manifest
    assert photo.read_bytes() == good


def test_an_unwritable_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OSError, match="taken"):
        writing.write_sample(tmp_path / "taken")
