"""The map store: keys that change with everything that matters, and maps that come back as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from transforms.errors import PhotoError
from transforms.output.maps import load_map, map_key, map_uri, read_map, store_map
from transforms.pixels.sharpen import Sharpening
from transforms.pixels.types import SaliencyMap
from transforms.settings import MapOrigin, MapSettings

ORIGIN = MapOrigin("u2net", "w" * 64, "fp32")
SETTINGS = MapSettings(ORIGIN, Sharpening())
KEY = map_key("s" * 64, SETTINGS)


def test_the_key_changes_with_all_that_the_map_depends_on() -> None:
    others = [
        map_key("t" * 64, SETTINGS),
        map_key("s" * 64, replace(SETTINGS, origin=replace(ORIGIN, model="u2netp"))),
        map_key("s" * 64, replace(SETTINGS, origin=replace(ORIGIN, weights_sha256="v" * 64))),
        map_key("s" * 64, replace(SETTINGS, origin=replace(ORIGIN, precision="bf16"))),
        map_key("s" * 64, replace(SETTINGS, sharpening=Sharpening(percent=0))),
        map_key("s" * 64, replace(SETTINGS, sharpening=Sharpening(radius=3))),
    ]
    assert len({KEY, *others}) == 7
    assert map_key("s" * 64, replace(SETTINGS)) == KEY
    assert len(KEY) == 64


def test_a_stored_map_comes_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)
    assert load_map(str(tmp_path), KEY) is None
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    found = load_map(str(tmp_path), KEY)
    assert found is not None
    assert np.array_equal(found.pixels, pixels)
    assert Path(map_uri(str(tmp_path), KEY)).relative_to(tmp_path).as_posix() == f"{KEY[:2]}/{KEY}.png"


@pytest.mark.parametrize("damage", [b"", b"no png", "half", "other size"])
def test_a_damaged_map_counts_as_none(tmp_path: Path, damage: bytes | str) -> None:
    store_map(str(tmp_path), SaliencyMap(np.zeros((320, 320) if damage != "other size" else (32, 32), np.uint8), KEY))
    path = Path(map_uri(str(tmp_path), KEY))
    if damage == "half":
        path.write_bytes(path.read_bytes()[:60])
    elif isinstance(damage, bytes):
        path.write_bytes(damage)
    assert load_map(str(tmp_path), KEY) is None


def test_a_map_under_anothers_name_and_a_changed_one_count_as_none(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    other = map_key("t" * 64, SETTINGS)
    path = Path(map_uri(str(tmp_path), other))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Path(map_uri(str(tmp_path), KEY)).read_bytes())
    assert load_map(str(tmp_path), other) is None
    with pytest.raises(PhotoError, match="not the map that was stored under this name"):
        read_map(str(tmp_path), other)
    with Image.open(map_uri(str(tmp_path), KEY)) as image:
        text = PngInfo()
        text.add_text("whitesweep", image.info["whitesweep"])
        Image.fromarray(np.asarray(image) ^ np.uint8(1)).save(map_uri(str(tmp_path), KEY), pnginfo=text)
    assert load_map(str(tmp_path), KEY) is None
