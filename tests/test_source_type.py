"""That a machine made a photo is said in its picture; nothing else of what its file says is."""

from __future__ import annotations

import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from conftest import draw_product
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from transforms.pixels.decode import decode
from transforms.pixels.encode import encode
from transforms.pixels.policy import Policy
from transforms.pixels.render import OutputSettings, render
from transforms.pixels.source_type import SCHEME, find, packet
from transforms.pixels.types import SaliencyMap

TERM = "trainedAlgorithmicMedia"
ELEMENT = (
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    "<rdf:Description xmlns:e='http://iptc.org/std/Iptc4xmpExt/2008-02-29/' xmlns:c='http://purl.org/dc/elements/1.1/'>"
    f"<c:rights>secret</c:rights><e:DigitalSourceType>{SCHEME}{TERM}</e:DigitalSourceType></rdf:Description></rdf:RDF>"
    "</x:xmpmeta>"
)


def photo(name: str, xmp: str) -> bytes:
    file, picture = io.BytesIO(), draw_product(1, (90, 60))
    if name == "png":
        said = PngInfo()
        said.add_itxt("XML:com.adobe.xmp", xmp)
        picture.save(file, name, pnginfo=said)
    else:
        exif = Image.Exif()
        exif[272] = "SecretCam"
        picture.save(file, name, xmp=xmp.encode(), exif=exif.tobytes())
    return file.getvalue()


@pytest.mark.pure
@pytest.mark.parametrize("output", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("source", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("xmp", [packet(TERM), ELEMENT])
def test_it_is_carried_over_and_nothing_else(source: str, output: str, xmp: str) -> None:
    data = photo(source, xmp)
    opened = decode(data)
    assert opened.source_type == TERM
    settings = OutputSettings(format=output)
    pixels = np.full((320, 320), 255, np.uint8)
    made = render(data, opened, SaliencyMap(pixels, ""), Policy().default, settings).data
    assert find(made) == TERM
    assert b"ecret" not in made
    with Image.open(io.BytesIO(made)) as picture:
        picture.load()
        assert set(picture.info) <= {
            "xmp",
            "XML:com.adobe.xmp",
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
            "exif",
            "srgb",
        } | {*("loop", "background", "timestamp", "duration", "dpi")}
        said = picture.info.get("xmp") or picture.info["XML:com.adobe.xmp"].encode()
    assert said == packet(TERM).encode()


@pytest.mark.pure
@pytest.mark.parametrize("xmp", ["", "<x/>", f"{SCHEME}", f"{SCHEME}{'x' * 70}", f"{SCHEME}<script>"])
def test_what_says_nothing_adds_nothing(xmp: str) -> None:
    opened = decode(photo("jpeg", xmp or " "))
    assert opened.source_type == ""
    assert encode(opened.rgb, "png", opened.source_type) == encode(opened.rgb, "png")


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_another_reader_finds_it(name: str) -> None:
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    made = encode(np.asarray(draw_product(2, (60, 50))), name, TERM)
    done = subprocess.run(["exiftool", "-j", "-n", "-"], input=made, capture_output=True, check=True)
    (said,) = json.loads(done.stdout)
    assert said["DigitalSourceType"] == SCHEME + TERM
    assert said.get("ColorSpace", said.get("SRGBRendering")) == (0 if name == "png" else 1)  # sRGB
    assert not {key for key in said if "GPS" in key or key in ("Model", "Make", "Artist")}
