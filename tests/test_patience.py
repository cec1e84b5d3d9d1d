"""Bombs that cost processor time or memory and not pixels: each ends, and says why."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from conftest import draw_product, report_rows, run
from PIL import Image

from transforms.errors import PhotoError
from transforms.pixels.decode import decode
from transforms.pixels.formats import patience
from transforms.pixels.formats.patience import PatientFile, by_small_blocks


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def progressive(scans: int, size: tuple[int, int] = (1200, 900)) -> bytes:
    """Write a JPEG with its last scan over and over: each goes over all pixels, and takes some bytes."""
    data = encoded(Image.new("RGB", size, (120, 90, 30)), "jpeg", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * scans + data[-2:]


def segments(marker: int, content: bytes, count: int) -> bytes:
    """Write a JPEG with a segment over and over."""
    data = encoded(Image.new("RGB", (64, 48)), "jpeg")
    return data[:2] + (struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content) * count + data[2:]


def png_with(kind: bytes, content: bytes, count: int = 1) -> bytes:
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    data = encoded(Image.new("RGB", (64, 48)), "png")
    return data[:33] + chunk * count + data[33:]


def directory(entries: int, size: int) -> bytes:
    """Write EXIF of so many bytes, of which each entry names all."""
    tags = b"".join(struct.pack("<HHII", 1000 + number, 1, size, 0) for number in range(entries))
    return (b"II*\0" + struct.pack("<IH", 8, entries) + tags + bytes(4)).ljust(size, b"\0")


def code_of(data: bytes) -> str | None:
    try:
        decode(data)
    except PhotoError as error:
        return error.code
    return None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "bomb",
    [
        progressive(2000),
        segments(0xE1, b"Exif\0\0" + bytes(60_000), 300),
        segments(0xE5, b"", 400_000),
        png_with(b"abCd", b"", 300_000),
        png_with(b"tEXt", b"a\0b", 200_000),
    ],
    ids=["scans", "exif", "segments", "chunks", "texts"],
)
def test_what_takes_too_long_is_told_no(bomb: bytes) -> None:
    assert code_of(bomb) == "timeout"


def test_many_scans_are_read_if_they_are_quick() -> None:
    assert code_of(progressive(100, (64, 48))) is None


def test_a_directory_that_names_the_same_bytes_over_and_over_takes_no_memory() -> None:
    jpeg = segments(0xE1, b"Exif\0\0" + directory(5000, 60_048), 1)
    assert code_of(jpeg) == "corrupt"
    assert code_of(png_with(b"eXIf", directory(60_000, 30_000_000))) is None  # damaged EXIF costs no photo
    assert code_of(png_with(b"eXIf", b"Exif\0\0" * 1_000_000)) is None
    assert code_of(directory(60_000, 2_000_000)) == "corrupt"  # as a TIFF


def test_a_tile_larger_than_any_picture_is_too_many_pixels() -> None:
    tags = [(256, 100), (257, 100), (258, 8), (259, 8), (262, 1), (277, 1), (322, 30_000), (323, 30_000)]
    pixels = zlib.compress(bytes(1000))
    offset = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags += [(324, offset), (325, len(pixels))]
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    assert code_of(b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed + bytes(4) + pixels) == "too_many_pixels"


def test_orientation_is_still_read_from_exif() -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name in ("jpeg", "png", "webp", "avif", "tiff"):
        data = encoded(Image.new("RGB", (60, 40)), name, exif=exif.tobytes())
        assert decode(data).size == (40, 60), name


def test_only_suspicious_files_are_read_by_small_blocks() -> None:
    for data, small in ((progressive(1), False), (progressive(100, (64, 48)), True)):
        image = Image.open(PatientFile(data))
        by_small_blocks(image, data)
        assert (getattr(image, "decodermaxblock", None) == patience.SMALL_BLOCK) == small


@pytest.mark.usefixtures("impatient")
def test_a_bomb_is_one_failed_row(tmp_path: Path, u2netp: object) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "bomb.jpg").write_bytes(progressive(2000))
    for number in range(3):
        draw_product(number, (200, 240)).save(photos / f"{number}.jpg")
    run("run", "--manifest", photos, "--output", tmp_path / "out", "--model", "u2netp", "--max_failure_fraction", "1")
    codes = {row["id"]: row["code"] for row in report_rows(tmp_path / "out")}
    assert codes.pop("bomb") == "timeout"
    assert set(codes.values()) == {None}
