"""The map store: keys that change with everything that matters, and maps that come back as they were."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.maps import load_map, map_key, map_uri, read_map, store_map
from transforms.pixels.sharpen import Sharpening
from transforms.pixels.types import SaliencyMap
from transforms.settings import MapOrigin, MapSettings

pytestmark = pytest.mark.pure

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


def test_keys_are_those_of_the_maps_that_are_stored_already() -> None:
    assert KEY == "96db4eb7d1f0fff469eb216b679382fea429ce5f54410dcd1bf52d9a9c313935"


def test_a_stored_map_comes_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (320, 320), np.uint8)
    assert load_map(str(tmp_path), KEY) is None
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    found = load_map(str(tmp_path), KEY)
    assert found is not None
    assert np.array_equal(found.pixels, pixels)
    assert Path(map_uri(str(tmp_path), KEY)).relative_to(tmp_path).as_posix() == f"{KEY[:2]}/{KEY}.png"


@pytest.mark.parametrize("damage", [b"", b"no png", "half", "other size", "other depth"])
def test_a_damaged_map_counts_as_none(tmp_path: Path, damage: bytes | str) -> None:
    size, depth = (32 if damage == "other size" else 320), (np.uint16 if damage == "other depth" else np.uint8)
    store_map(str(tmp_path), SaliencyMap(np.zeros((size, size), depth), KEY))
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


def test_a_store_that_does_not_answer_is_not_one_without_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(uri: str) -> None:
        raise PhotoError("timeout", uri)

    monkeypatch.setattr(storage, "read", fail)
    with pytest.raises(PhotoError, match="timeout"):
        load_map("gs://shop/maps", KEY)


keys = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def drawn_maps(draw: st.DrawFn) -> np.ndarray:
    """Draw a map: noise, or a few levels."""
    levels = np.array(draw(st.lists(st.integers(0, 255), min_size=1, max_size=4)), np.uint8)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = draw(st.booleans())
    return rng.integers(0, 256, (320, 320), np.uint8) if noise else np.asarray(rng.choice(levels, (320, 320)))


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn_maps(), keys, st.integers(0, 102_399), st.integers(1, 255), st.integers(0, 63))
def test_a_seal_is_broken_by_any_change_of_pixels_or_key(
    tmp_path: Path, pixels: np.ndarray, key: str, cell: int, change: int, digit: int
) -> None:
    folder, path = str(tmp_path), Path(map_uri(str(tmp_path), key))
    store_map(folder, SaliencyMap(pixels, key))
    found = load_map(folder, key)
    assert found is not None
    assert found.key == key
    assert np.array_equal(found.pixels, pixels)
    with Image.open(path) as image:
        stored, seal = np.asarray(image).copy(), str(image.info["whitesweep"])
    assert seal == f"{key} {hashlib.sha256(pixels.tobytes()).hexdigest()}"
    stored.flat[cell] ^= change
    other = key[:digit] + f"{int(key[digit], 16) ^ 1:x}" + key[digit + 1 :]
    for changed, text in ((stored, seal), (pixels, seal.replace(key, other)), (pixels, seal + " ")):
        info, buffer = PngInfo(), io.BytesIO()
        info.add_text("whitesweep", text)
        Image.fromarray(changed).save(buffer, "PNG", pnginfo=info, compress_level=1)
        path.write_bytes(buffer.getvalue())
        assert load_map(folder, key) is None
    Image.fromarray(pixels).save(path)  # without a seal
    assert load_map(folder, key) is None


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32), st.integers(1, 255))
def test_a_byte_of_its_file_changes_nothing_or_makes_it_none(tmp_path: Path, at: int, change: int) -> None:
    pixels = np.tile(np.arange(320, dtype=np.uint16).astype(np.uint8), (320, 1))
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    path = Path(map_uri(str(tmp_path), KEY))
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= change
    path.write_bytes(data)
    found = load_map(str(tmp_path), KEY)
    assert found is None or np.array_equal(found.pixels, pixels)
