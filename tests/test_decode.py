"""Decoding: upright, sRGB, 8 bit; and a defined outcome for every hostile file."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, shared
from PIL import Image, ImageCms

from transforms.decode import Limits, decode
from transforms.types import PhotoError


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def test_plain_rgb_pixels_are_what_they_were() -> None:
    image = draw_product(1, (50, 40))
    photo = decode(encoded(image, "PNG"))
    assert np.array_equal(photo.rgb, np.asarray(image))
    assert photo.rgb.dtype == np.uint8
    assert photo.alpha is None
    assert photo.size == (50, 40)
    assert photo.format == "png"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_reads_every_format(name: str) -> None:
    image = draw_product(1, (64, 48))
    photo = decode(encoded(image, name))
    assert photo.format == name.lower()
    assert np.abs(photo.rgb.astype(int) - np.asarray(image)).mean() < 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_is_upright(orientation: int) -> None:
    image = draw_product(1, (60, 40))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL.Image.Transpose, made by the camera's turn
    stored = image.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(photo.rgb, np.asarray(image))


def test_the_eight_orientations_of_real_cameras_agree() -> None:
    for kind in ("Landscape", "Portrait"):
        first = decode((shared("decode") / f"orientation/{kind}_1.jpg").read_bytes())
        for number in range(2, 9):
            other = decode((shared("decode") / f"orientation/{kind}_{number}.jpg").read_bytes())
            assert other.size == first.size
            assert np.abs(other.rgb[::10, ::10].astype(int) - first.rgb[::10, ::10]).mean() < 12


def test_alpha_is_kept_apart() -> None:
    image = draw_product(1, (30, 20)).convert("RGBA")
    alpha = np.arange(600, dtype=np.uint8).reshape(20, 30)
    image.putalpha(Image.fromarray(alpha))
    photo = decode(encoded(image, "PNG"))
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, alpha)
    assert np.array_equal(photo.rgb, np.asarray(image)[..., :3])


def test_an_opaque_alpha_counts_as_none() -> None:
    assert decode(encoded(draw_product(1, (30, 20)).convert("RGBA"), "PNG")).alpha is None


def test_palette_transparency_is_alpha() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 1)
    photo = decode(encoded(image, "PNG", transparency=1))
    assert photo.alpha is not None
    assert photo.alpha[0, 0] == 0
    assert photo.alpha[1, 1] == 255
    assert tuple(photo.rgb[1, 1]) == (255, 0, 0)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    photo = decode(encoded(Image.fromarray(values), "PNG"))
    assert np.abs(photo.rgb[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


def test_cmyk_without_a_profile_is_readable() -> None:
    photo = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert photo.rgb[4, 4, 0] > 200
    assert photo.rgb[4, 4, 2] < 60


def test_a_wide_profile_is_converted_to_srgb() -> None:
    folder = shared("decode") / "mixed"
    photo = decode((folder / "p3.png").read_bytes())
    stored = np.asarray(Image.open(folder / "p3.png").convert("RGB"))
    assert not np.array_equal(photo.rgb, stored)
    assert photo.rgb[0, 0, 0] == 255  # P3's red lies outside sRGB


def test_an_srgb_profile_changes_nothing_and_a_broken_one_is_ignored() -> None:
    image = draw_product(1, (30, 20))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"this is no profile", srgb[:200]):
        assert np.array_equal(decode(encoded(image, "PNG", icc_profile=profile)).rgb, np.asarray(image))


def test_the_first_picture_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert tuple(decode(data).rgb[4, 4]) == (255, 0, 0)


def code_of(data: bytes, limits: Limits = Limits()) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(data, limits)
    assert "\n" not in caught.value.message
    return caught.value.code


def test_failures_have_their_codes() -> None:
    jpeg = encoded(draw_product(1, (200, 150)), "JPEG")
    png = encoded(draw_product(1, (200, 150)), "PNG")
    assert code_of(b"") == "not_an_image"
    assert code_of(b"hello, I am a text file") == "not_an_image"
    assert code_of(jpeg[: len(jpeg) // 2]) == "truncated"
    assert code_of(png[: len(png) // 2]) == "truncated"
    assert code_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "unsupported_format"
    assert code_of(b"%PDF-1.7") == "unsupported_format"
    assert code_of(jpeg, Limits(max_pixels=29_999)) == "too_many_pixels"
    assert decode(jpeg, Limits(max_pixels=30_000)).size == (200, 150)
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 255
    assert code_of(bytes(damaged)) in ("corrupt", "truncated")


def test_every_hostile_file_is_a_photo_or_a_failure_of_one_line() -> None:
    outcomes, messages = {}, []
    for path in sorted(shared("decode").rglob("*.*")):
        try:
            photo = decode(path.read_bytes())
            assert photo.rgb.dtype == np.uint8
            assert photo.rgb.shape[2] == 3
            outcomes[path.name] = "ok"
        except PhotoError as error:
            outcomes[path.name] = error.code
            messages.append(error.message)
    assert not [message for message in messages if "\n" in message]
    good_png = [name for name in outcomes if name[0] != "x" and (shared("decode") / "pngsuite" / name).exists()]
    assert {outcomes[name] for name in good_png} == {"ok"}
    # Only the checksum of xcsn0g01's pixel data is wrong, not the data: zlib's own sum inside it is right.
    assert {name for name in outcomes if name[0] == "x" and outcomes[name] == "ok"} == {"xcsn0g01.png"}
    assert outcomes["truncated.jpg"] == outcomes["truncated.png"] == "truncated"
    assert outcomes["65536-uint32-limit.png"] == "too_many_pixels"
    assert outcomes["check.svg"] == "unsupported_format"


def test_threads_may_decode_at_once() -> None:
    data = [encoded(draw_product(seed, (64, 64)), name) for seed, name in enumerate(("JPEG", "PNG", "WEBP", "GIF") * 4)]
    errors: list[Exception] = []

    def work(item: bytes) -> None:
        try:
            decode(item)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(item,)) for item in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_sixteen_bit_grey_keeps_its_transparent_level_and_its_sense() -> None:
    values = np.array([[0, 30_000], [0x12FF, 65_535]], np.uint16)
    photo = decode(encoded(Image.fromarray(values), "PNG", transparency=0x12FF))
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[255, 255], [0, 255]]
    inverted = decode(encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0}))
    assert inverted.rgb[..., 0].tolist() == [[255, 138], [236, 0]]


def test_megabytes_of_metadata_are_no_damage() -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    assert decode(encoded(draw_product(1, (20, 20)), "PNG", pnginfo=info)).size == (20, 20)
