"""A photo that the policy keeps is republished upright, in sRGB and without what its file says of camera and place."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, report_rows, run
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from transforms.pixels.decode import decode
from transforms.pixels.render import OutputSettings, render, settings_sha256
from transforms.pixels.types import SaliencyMap
from transforms.settings import load_policy

KEEP = '[default]\non_no_subject = "keep"\non_already_white = "keep"\n'
ANY = load_policy("soft").default
XMP = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    "<rdf:Description xmlns:c='http://purl.org/dc/elements/1.1/' c:rights='Acme'/></rdf:RDF></x:xmpmeta>"
)
NOTHING = SaliencyMap(np.zeros((320, 320), np.uint8), "")


def telling(name: str, picture: Image.Image) -> bytes:
    """Write a photo that lies on its side, in another colour space, and says where it was made."""
    exif = Image.Exif()
    exif[274], exif[272] = 6, "SecretCam"
    exif.get_ifd(0x8825)[1] = "N"
    file = io.BytesIO()
    picture.save(file, name, exif=exif.tobytes(), icc_profile=rotated_profile(), quality=95, comment=b"secret")
    return file.getvalue()


def said_in_png(xmp: str) -> PngInfo:
    chunks = PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", xmp)
    return chunks


def rotated_profile() -> bytes:
    """Make sRGB's profile with red and green exchanged: no viewer without it shows the right colours."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    table = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = table[b"rXYZ"], table[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data).replace(b"s\0R\0G\0B", b"s\0w\0a\0p").replace(b"sRGB", b"swap")


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_kept_photos_say_nothing_of_themselves(name: str, tmp_path: Path) -> None:
    data = telling(name, draw_product(1, (90, 60)))
    assert b"SecretCam" in data
    (tmp_path / "keep.toml").write_text(KEEP)
    policy = load_policy(str(tmp_path / "keep.toml"))
    photo = decode(data)
    cutout = render(data, photo, NOTHING, policy.default, OutputSettings(policy))
    assert "kept_original" in cutout.mask_flags
    with Image.open(io.BytesIO(cutout.data)) as image:
        assert (image.format, image.size) == (name.upper(), (60, 90))
        assert set(image.getexif()) <= {ExifTags.IFD.Exif}  # its colour space stands in it
        assert set(image.getexif().get_ifd(ExifTags.IFD.Exif)) <= {ExifTags.Base.ColorSpace}
        assert not {"icc_profile", "xmp", "comment", "photoshop"} & image.info.keys()
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - photo.rgb).mean() < 2
    assert b"SecretCam" not in cutout.data
    assert b"secret" not in cutout.data
    plain = load_policy("keep")
    assert render(data, photo, NOTHING, plain.default, OutputSettings(plain)).data == cutout.data
    as_it_was = OutputSettings(policy, keep_metadata=True)
    assert render(data, photo, NOTHING, policy.default, as_it_was).data == data


def test_pictures_are_made_again_for_the_difference() -> None:
    for policy in ("0.7", "keep"):
        rule = load_policy(policy).default
        assert len({settings_sha256(rule, OutputSettings(keep_metadata=keep)) for keep in (False, True)}) == 2


@pytest.mark.parametrize("output", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "tiff", "avif"])
def test_pictures_say_all_that_their_photos_say_if_that_is_asked_for(source: str, output: str, tmp_path: Path) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("no exiftool on this machine")
    exif = Image.Exif()
    exif[274], exif[272], exif[33432] = 6, "SecretCam", "(c) Acme"
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 30.0, 0.0)})
    exif.get_ifd(ExifTags.IFD.Exif).update({36867: "2026:01:02 03:04:05", 40962: 90, 40963: 60})
    file = io.BytesIO()
    more: dict[str, Any] = {"pnginfo": said_in_png(XMP)} if source == "png" else {"xmp": XMP.encode()}
    if source == "tiff":
        more = {}
    draw_product(1, (90, 60)).save(file, source, exif=exif.tobytes(), **more)
    data = file.getvalue()
    if source == "jpeg":  # Photoshop's segment, by hand: IPTC's by-line
        iptc = b"\x1c\x02\x50\x00\x03Ann"
        said = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08" + iptc
        data = data[:2] + b"\xff\xed" + (len(said) + 2).to_bytes(2, "big") + said + data[2:]
    rule, photo = load_policy("soft").default, decode(data)
    saliency = SaliencyMap(np.full((320, 320), 255, np.uint8), "")
    found = {}
    for keep in (False, True):
        picture = tmp_path / f"{keep}.{output}"
        picture.write_bytes(render(data, photo, saliency, rule, OutputSettings(format=output, keep_metadata=keep)).data)
        told = subprocess.run(["exiftool", "-json", "-n", picture], check=True, capture_output=True).stdout
        found[keep] = json.loads(told)[0]
        with Image.open(picture) as image:
            assert image.size == (60, 90)  # upright, and nobody is told to turn it again
            assert image.getexif().get(274, 1) == 1
    said_of: dict[str, Any] = {"Model": "SecretCam", "Copyright": "(c) Acme", "DateTimeOriginal": "2026:01:02 03:04:05"}
    said_of |= {"GPSLatitudeRef": "N", "GPSLatitude": 52.5}
    if source != "tiff":
        said_of |= {"Rights": "Acme"}
    if (source, output) == ("jpeg", "jpeg"):
        said_of |= {"By-line": "Ann"}
    for name, value in said_of.items():
        assert found[True].get(name) == value, name
        assert name not in found[False]
    assert "ExifImageWidth" not in found[True]
    assert found[True]["ColorSpace"] == 1
    assert "Warning" not in found[True]


def test_metadata_that_cannot_be_repeated_costs_no_photo() -> None:
    file = io.BytesIO()
    draw_product(1, (90, 60)).save(file, "webp", xmp=b"<x>" + b"a" * 300_000, exif=b"Exif\0\0II*\0" + b"\xff" * 50)
    photo = decode(file.getvalue())
    for output in ("jpeg", "png", "webp"):
        settings = OutputSettings(format=output, keep_metadata=True)
        made = render(file.getvalue(), photo, SaliencyMap(np.full((320, 320), 255, np.uint8), ""), ANY, settings)
        assert decode(made.data).size == (90, 60)
        assert len(made.data) < 100_000


def test_a_run_and_a_migration_keep_alike(tmp_path: Path, u2netp: object) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(telling("jpeg", Image.new("RGB", (90, 60), "white")))
    (tmp_path / "keep.toml").write_text(KEEP)
    given = ("--manifest", photos, "--output", tmp_path / "out", "--policy", tmp_path / "keep.toml")
    assert run("run", *given, "--model", "u2netp") == 0
    picture = tmp_path / "out/images/a.jpg"
    kept = picture.read_bytes()
    assert b"SecretCam" not in kept
    assert run("run", *given, "--model", "u2netp") == 0
    assert report_rows(tmp_path / "out")[0]["status"] == "unchanged"
    assert run("run", *given, "--model", "u2netp", "--keep_metadata") == 0
    assert picture.read_bytes() == (photos / "a.jpg").read_bytes()
    assert run("migrate", *given) == 0
    assert picture.read_bytes() == kept


def test_a_rule_by_id_touches_its_row_alone(tmp_path: Path, u2netp: object) -> None:
    for number in range(3):
        draw_product(number, (90, 60)).save(tmp_path / f"p{number}.png")
    (tmp_path / "m.csv").write_text("id,uri\n" + "".join(f"p{number},p{number}.png\n" for number in range(3)))
    (tmp_path / "p.toml").write_text('[[rule]]\nmatch = { id = "p1" }\nmethod = "keep"\n')
    given = ("run", "--manifest", tmp_path / "m.csv", "--output", tmp_path / "out", "--model", "u2netp")
    assert run(*given) == 0
    assert run(*given, "--policy", tmp_path / "p.toml") == 0
    rows = {row["id"]: row for row in report_rows(tmp_path / "out")}
    assert {id: row["status"] for id, row in rows.items()} == {"p0": "unchanged", "p1": "processed", "p2": "unchanged"}
    assert (rows["p1"]["rule"], rows["p1"]["method"]) == ("rule 1", "keep")
    assert "kept_original" in rows["p1"]["mask_flags"]
    assert 0 < rows["p1"]["foreground_fraction"] < 1  # of the mask, all the same
    with Image.open(tmp_path / "out/images/p1.png") as kept, Image.open(tmp_path / "p1.png") as photo:
        assert kept.convert("RGB").tobytes() == photo.convert("RGB").tobytes()
    assert run(*given) == 0  # and back
    assert [row["status"] for row in report_rows(tmp_path / "out")] == ["unchanged", "processed", "unchanged"]
