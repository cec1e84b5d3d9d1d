"""Decoding: upright, sRGB, 8 bit; and a defined outcome for every hostile file."""

from __future__ import annotations

import importlib.util
import io
import resource
import struct
import sys
import threading
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, shared
from pictures import picture, png, tiff
from PIL import Image, ImageCms

from transforms.errors import FAILURE_CODES, PhotoError
from transforms.pixels import decode as module
from transforms.pixels.decode import Limits, decode, decode_opened, open_photo
from transforms.pixels.formats import icc
from transforms.pixels.formats.colour import to_srgb

pytestmark = [pytest.mark.pure, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]  # of damaged metadata


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


def outcome_of(data: bytes) -> str:
    """Give a file's code, or `read`."""
    try:
        decode(data, Limits(max_pixels=10_000_000))
    except PhotoError as error:
        return error.code if "\n" not in error.message else f"of two lines: {error}"
    return "read"


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


def test_a_photo_may_have_128_mib_and_100_megapixels() -> None:
    assert Limits() == Limits(max_bytes=128 * 1024 * 1024, max_pixels=100_000_000)


def test_an_empty_file_is_called_so() -> None:
    with pytest.raises(PhotoError, match=r"the file is empty \(0 bytes\)"):
        decode(b"")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EOFError(), "truncated", "cannot be decoded: EOFError"),
        (OSError("image file is Truncated\n(3 bytes)"), "truncated", "cannot be decoded: image file is Truncated"),
        (OSError("unexpected end of file"), "truncated", "cannot be decoded: unexpected end of file"),
        (ValueError("not enough image data"), "truncated", "cannot be decoded: not enough image data"),
        (RuntimeError(" Unsupported thing "), "unsupported_format", "cannot be decoded: Unsupported thing"),
        (KeyError("x"), "corrupt", "cannot be decoded: 'x'"),
    ],
)
def test_whatever_a_decoder_raises_is_one_line_with_a_code(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, said: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    image = open_photo(encoded(draw_product(1, (20, 20)), "PNG"))
    monkeypatch.setattr(module, "_open", fail)
    monkeypatch.setattr(module, "to_srgb", fail)
    data = encoded(draw_product(1, (20, 20)), "PNG")
    with pytest.raises(PhotoError) as header:
        open_photo(data)
    with pytest.raises(PhotoError) as pixels:
        decode_opened(image)
    for caught in (header, pixels):
        assert (caught.value.code, caught.value.message) == (code, said)


def test_a_cut_jpeg_and_a_tile_beyond_the_limit_are_called_so() -> None:
    jpeg = encoded(draw_product(1, (64, 48)), "JPEG")
    with pytest.raises(PhotoError, match="the JPEG ends before its pixels do"):
        decode(jpeg[:-200])
    tile = tiff(picture(), 8, 2, tile=64)  # 40 × 24 pixels within it
    with pytest.raises(PhotoError, match="a tile of 4096 pixels, the limit is 4095"):
        decode(tile, Limits(max_pixels=4095))
    assert decode(tile, Limits(max_pixels=4096)).size == (40, 24)


def test_premultiplied_grey_is_grey_and_alpha() -> None:
    image = Image.fromarray(np.array([[[200, 255], [100, 128]]], np.uint8), "LA").convert("La")
    rgb, alpha = to_srgb(image, b"")
    assert alpha is not None
    assert alpha.tolist() == [[255, 128]]
    assert np.abs(rgb.astype(int) - [[[200] * 3, [100] * 3]]).max() <= 1


def test_a_transparent_colour_of_sixteen_bits_is_that_very_colour() -> None:
    samples = np.array([[[1, 2, 3], [1, 2, 4], [60_000, 2, 3]]])
    photo = decode(png(samples, 2, 16, (b"tRNS", struct.pack(">HHH", 1, 2, 3))))
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[0, 255, 255]]


def test_sixteen_linear_bits_of_other_primaries_are_converted() -> None:
    p3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
    srgb = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    linear = np.random.default_rng(0).uniform(0.02, 0.9, (9, 11, 3))
    ours = np.clip(linear @ (np.linalg.inv(srgb) @ p3).T, 0, 1)
    expected = 255 * np.where(ours <= 0.0031308, 12.92 * ours, 1.055 * ours ** (1 / 2.4) - 0.055)
    chunk = b"x\0\0" + zlib.compress(icc.write_profile(p3, 1.0))
    found = decode(png(np.rint(linear * 65535), 2, 16, (b"iCCP", chunk))).rgb
    assert np.abs(found - expected).max() <= 3


@pytest.mark.parametrize(("length", "code"), [(63, "truncated"), (64, "corrupt")])
def test_a_file_of_less_than_64_bytes_ends_within_its_header(length: int, code: str) -> None:
    assert code_of(b"GIF89a".ljust(length - 1, b"\1") + b";") == code


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
    assert outcomes["truncated.jpg"] == outcomes["truncated.png"] == "truncated"
    assert outcomes["65536-uint32-limit.png"] == "too_many_pixels"
    assert outcomes["check.svg"] == "unsupported_format"


def pngsuite(pattern: str) -> list[Path]:
    return sorted((shared("decode") / "pngsuite").glob(pattern))


def test_the_good_files_of_pngsuite_are_as_libvips_has_them() -> None:
    pyvips = pytest.importorskip("pyvips")
    for path in pngsuite("[!x]*.png"):
        data = path.read_bytes()
        photo, image = decode(data), pyvips.Image.new_from_buffer(data, "")
        deep = image.format == "ushort"
        pixels = image.numpy().reshape(image.height, image.width, -1).astype(float) / (65535 if deep else 255)
        alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else np.ones(pixels.shape[:2])
        rgb = np.broadcast_to(pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1], photo.rgb.shape)
        if (
            b"gAMA" in data
            and not 44_000 <= (gamma := int.from_bytes(data[data.index(b"gAMA") + 4 :][:4], "big")) <= 47_000
        ):
            linear = rgb ** (100_000 / gamma)  # libvips does not look at gAMA
            rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.abs(photo.rgb - rgb * 255).max() <= 2, path.name
        assert np.abs((255 if photo.alpha is None else photo.alpha) - alpha * 255).max() <= 1, path.name


def test_the_damaged_files_of_pngsuite_are_refused() -> None:
    for path in pngsuite("x*.png"):
        assert code_of(path.read_bytes()) in ("corrupt", "not_an_image", "truncated"), path.name


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


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RGB", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"quality": 100, "subsampling": 0, "optimize": True}),
        ("RGB", {"restart_marker_blocks": 2}),
        ("L", {"restart_marker_blocks": 1}),
        ("L", {"progressive": True, "optimize": True}),
        ("CMYK", {}),
    ],
)
def test_a_jpeg_cut_anywhere_is_read_if_it_lacks_its_end_marker_only(kind: str, options: dict[str, Any]) -> None:
    image = draw_product(1, (37, 29))
    image.paste((255, 255, 255), (0, 16, 37, 29))  # where a flat area is missing, zeros would look right
    data = encoded(image.convert(kind), "JPEG", **options)
    whole = decode(data).rgb
    for length in range(4, len(data)):
        if length >= len(data) - 2:
            assert np.array_equal(decode(data[:length]).rgb, whole)
        else:
            assert code_of(data[:length]) == "truncated", length


@pytest.mark.parametrize("options", [{}, {"tile_size": 64}, {"alpha": True}])
@pytest.mark.parametrize("open_ended", [False, True])
def test_a_heic_cut_anywhere_is_truncated(options: dict[str, Any], open_ended: bool) -> None:
    heif = pytest.importorskip("pillow_heif")
    image, buffer = draw_product(1, (150, 130)), io.BytesIO()
    if "alpha" in options:
        image.putalpha(image.convert("L"))
    heif.from_pillow(image).save(buffer, tile_size=options.get("tile_size", 0))
    data = buffer.getvalue()
    if open_ended:  # a last box without a length ends where the file does
        at = data.index(b"mdat") - 4
        data = data[:at] + bytes(4) + data[at + 4 :]
    assert decode(data).size == (150, 130)
    for length in range(len(data) - 1, 40, -3):
        assert code_of(data[:length]) == "truncated", length


def test_a_progressive_jpeg_that_lacks_scans_is_truncated() -> None:
    data = encoded(draw_product(1, (64, 48)), "JPEG", progressive=True)
    scans = [i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xda", b"\xff\xc4")]
    for start in scans[3:]:
        assert code_of(data[:start]) == "truncated"


@pytest.mark.parametrize(
    "name", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"]
)
def test_a_file_cut_anywhere_is_whole_or_refused(name: str) -> None:
    image = draw_product(1, (24, 20))
    data = encoded(image, name) if name.isupper() else encoded(image, "TIFF", compression=name)
    whole = decode(data).rgb
    for length in range(20, len(data)):
        outcome = outcome_of(data[:length])
        assert outcome in ("truncated", "corrupt") or np.array_equal(decode(data[:length]).rgb, whole), length
    assert code_of(data[: len(data) // 2]) == "truncated"


def test_a_jpeg_without_end_is_not_completed_by_zeros_or_garbage() -> None:
    data = encoded(draw_product(1, (64, 48)), "JPEG")
    whole, rng = decode(data).rgb, np.random.default_rng(1)
    assert np.array_equal(decode(data[:-2] + bytes(4000)).rgb, whole)
    for length in range(len(data) - 3, len(data) // 2, -40):
        assert code_of(data[:length] + bytes(4000)) == "truncated"
        assert code_of(data[:length] + rng.integers(0, 255, 4000).astype(np.uint8).tobytes()) == "truncated"
    assert code_of(data[:-2] + rng.integers(0, 255, 4000).astype(np.uint8).tobytes()) == "truncated"


def bombs() -> dict[str, bytes]:
    """Make headers of more than 100 megapixels, over a few bytes of pixels."""
    image = draw_product(1, (64, 64))
    png = bytearray(encoded(image, "PNG"))
    png[16:24] = struct.pack(">II", 65535, 65535)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    jpeg = bytearray(encoded(image, "JPEG"))
    frame = jpeg.index(b"\xff\xc0") + 5
    jpeg[frame : frame + 4] = b"\xff\xff\xff\xff"
    gif = bytearray(encoded(image, "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(encoded(image, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    tiff = bytearray(encoded(image, "TIFF"))
    for tag in (256, 257):
        at = tiff.index(struct.pack("<HHI", tag, 4, 1)) + 8
        tiff[at : at + 4] = struct.pack("<I", 60000)
    files = {"png": png, "jpeg": jpeg, "gif": gif, "bmp": bmp, "tiff": tiff}
    lossless = bytearray(encoded(image, "WEBP", lossless=True))
    lossless[21:25] = struct.pack("<I", 0x0FFFFFFF)
    lossy = bytearray(encoded(image, "WEBP"))
    lossy[26:30] = b"\xff\x3f\xff\x3f"
    extended = bytearray(encoded(image, "WEBP", icc_profile=b"x" * 200))
    extended[24:30] = b"\xff\xff\x00\xff\xff\x00"
    files |= {"webp lossless": lossless, "webp lossy": lossy, "webp extended": extended}
    files["avif"] = with_size(encoded(image, "AVIF"), 17_000)
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer)
    files["heic"] = with_size(buffer.getvalue(), 17_000)
    files["heic, huge"] = with_size(buffer.getvalue(), 60_000)
    return {name: bytes(data) for name, data in files.items()}


def with_size(data: bytes, side: int) -> bytearray:
    changed = bytearray(data)
    at = changed.index(b"ispe") + 8
    changed[at : at + 8] = struct.pack(">II", side, side)
    return changed


def test_too_many_pixels_are_refused_by_the_header() -> None:
    for name, data in bombs().items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert code_of(data) == "too_many_pixels", name
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, name


def test_heic_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(sys.modules, "transforms.pixels.formats.heif", raising=False)
    with pytest.raises(PhotoError) as caught:
        decode(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100))
    assert caught.value.code == "unsupported_format"
    assert "pip install" in caught.value.message


def test_heic_and_avif_are_known_by_any_of_their_brands() -> None:
    heif = pytest.importorskip("pillow_heif")
    image, buffer = draw_product(1, (64, 64)), io.BytesIO()
    heif.from_pillow(image).save(buffer)
    heic, avif = buffer.getvalue(), encoded(image, "AVIF")
    for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"miaf"):
        assert decode(heic[:8] + brand + heic[12:]).format == "heic"
    for brand in (b"avif", b"mif1", b"msf1", b"miaf"):
        assert decode(avif[:8] + brand + avif[12:]).format == "avif"
    for brand in (b"mp42", b"qt  ", b"3gp5", b"isom", b"crx "):
        assert code_of(b"\0\0\0\x14ftyp" + brand + bytes(60)) == "unsupported_format"


def test_heic_gives_the_same_pixels_in_any_thread() -> None:
    heif = pytest.importorskip("pillow_heif")
    image, buffer = draw_product(3, (700, 500)), io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=80, tile_size=256)
    with ThreadPoolExecutor(8) as pool:
        photos = list(pool.map(decode, [buffer.getvalue()] * 16))
    assert len({photo.rgb.tobytes() for photo in photos}) == 1


def test_a_profile_is_srgb_by_what_it_does_not_by_its_name() -> None:
    image = draw_product(1, (30, 20))
    plain = np.asarray(image)
    linear = icc.write_profile(
        np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]), 1.0
    )
    named = linear.replace("whitesweep".encode("utf-16-be"), "sRGB linea".encode("utf-16-be"))
    assert np.abs(decode(encoded(image, "PNG", icc_profile=named)).rgb.astype(int) - plain).mean() > 20
    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name in ("JPEG", "PNG", "WEBP", "TIFF"):
        with_profile, without = (
            decode(encoded(image, name, **options)).rgb for options in ({"icc_profile": usual}, {})
        )
        assert np.array_equal(with_profile, without)


def test_nothing_but_a_photo_error_comes_of_damaged_files() -> None:
    """2,000 seeded mutations of one file a format and kind: bytes changed, cut out, doubled, and cut off."""
    image, rng = draw_product(1, (40, 30)), np.random.default_rng(2026)
    alpha = image.convert("RGBA")
    alpha.putalpha(image.convert("L"))
    profile = icc.from_codes(12, 13)
    seeds = [encoded(image, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")]
    seeds += [encoded(alpha, name, icc_profile=profile) for name in ("PNG", "WEBP", "TIFF", "AVIF")]
    seeds += [encoded(image, "TIFF", compression=how) for how in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")]
    seeds += [encoded(image, "JPEG", progressive=True, icc_profile=profile), encoded(image.convert("CMYK"), "JPEG")]
    seeds += [encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG")]
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif

        for each in (image, alpha):
            buffer = io.BytesIO()
            pillow_heif.from_pillow(each).save(buffer, quality=50)
            seeds.append(buffer.getvalue())
    outcomes: Counter[str] = Counter()
    for number in range(2000):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            at, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
            kind = rng.integers(5)
            if kind == 0:
                data[at : at + length] = b""
            elif kind == 1:
                data[at:at] = data[at : at + length]
            elif kind == 2 and rng.integers(3) == 0:
                del data[at:]
            else:
                data[at % 200 if kind == 3 else at] = int(rng.integers(256))  # headers more often than pixels
            if not data:
                break
        outcomes[outcome_of(bytes(data))] += 1
    assert set(outcomes) <= {"read", *FAILURE_CODES}
    assert outcomes["read"] > 100
    assert outcomes["corrupt"] > 100
