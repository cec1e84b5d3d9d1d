"""The public face: it does what a run does, on one photo, on rows of another pipeline, and in Beam's RunInference."""

from __future__ import annotations

import doctest
import inspect
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.transforms.combiners import CountCombineFn
from apache_beam.transforms.window import FixedWindows
from conftest import EXPECTED, ROOT, SHARED, draw_product, newest, report_rows, run
from gs import emulator
from numpy.typing import NDArray
from PIL import Image

import pipeline.model_handler
import pipeline.put_on_white
import whitesweep
from model.load import load
from pipeline.checks import make_settings
from pipeline.flags import make_parser
from transforms import network, storage
from transforms.output.maps import read_map
from whitesweep import PhotoError, PhotoOutcome, PutOnWhite, RequestError, U2NetModelHandler, cut_out

pytestmark = pytest.mark.usefixtures("u2netp")
SMALL: dict[str, Any] = {"model": "u2netp"}


def file_of(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def see_through(size: tuple[int, int]) -> Image.Image:
    image = draw_product(5, size).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(size))
    return image


PHOTOS = {
    "plain.jpg": file_of(draw_product(1, (240, 320)), quality=92),
    "round.webp": file_of(draw_product(2, (160, 160)), "WEBP", quality=90),
    "see-through.png": file_of(see_through((200, 150)), "PNG"),
    "four-colours.jpg": file_of(draw_product(3, (200, 260)).convert("CMYK")),
    "deep.tif": file_of(
        Image.fromarray(np.asarray(draw_product(4, (90, 120)).convert("L")).astype(np.uint16) * 257), "TIFF"
    ),
    "grey.bmp": file_of(draw_product(6, (120, 90)).convert("L"), "BMP"),
}
POLICY = """
[default]
threshold = 0.5
minimum_component = 20

[category.soft]
method = "ramp"

[[rule]]
match = { colour = "red" }
method = "otsu"
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos of many kinds, and one of the shared photos where they are."""
    folder = tmp_path_factory.mktemp("photos")
    for name, data in PHOTOS.items():
        (folder / name).write_bytes(data)
    for real in sorted((SHARED / "catalog").rglob("*.jpg"))[:1]:
        (folder / "real.jpg").write_bytes(real.read_bytes())
    return folder


def rows_of(photos: Path) -> list[dict[str, Any]]:
    categories, colours = [None, "soft"], [None, "blue", "red"]
    return [
        {"id": path.stem, "uri": str(path), "category": categories[n % 2], "attributes": {"colour": colours[n % 3]}}
        for n, path in enumerate(sorted(photos.iterdir()))
    ]


@pytest.fixture(scope="module")
def whole_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `run` makes of these rows."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "policy.toml").write_text(POLICY)
    lines = ["id,uri,category,colour"]
    lines += [f"{r['id']},{r['uri']},{r['category'] or ''},{r['attributes']['colour'] or ''}" for r in rows_of(photos)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    arguments = ("--policy", folder / "policy.toml", "--background", "#f4f4f4", "--model", "u2netp")
    assert run("run", "--manifest", folder / "manifest.csv", "--output", folder / "out", *arguments) == 0
    return folder / "out"


def settings_of(whole_run: Path) -> dict[str, Any]:
    return {"policy": str(whole_run.parent / "policy.toml"), "background": "#f4f4f4", **SMALL}


COLLECTED: list[Any] = []


def collect(element: Any) -> None:
    """Keep an element for the test: a list of the test's own would be pickled."""
    COLLECTED.append(element)


def collected() -> list[Any]:
    """Give what was collected, once."""
    found = COLLECTED[:]
    COLLECTED.clear()
    return found


def put(rows: Any, output: Path | str, **settings: Any) -> list[Any]:
    """Put rows on white; give their outcomes by id."""
    with beam.Pipeline(runner="FnApiRunner") as root:
        _ = root | beam.Create(rows) | PutOnWhite(output, **{**SMALL, **settings}) | beam.Map(collect)
    return sorted(collected(), key=lambda outcome: (outcome.id, outcome.status))


# One photo


def test_a_cutout_is_what_a_run_writes(photos: Path, whole_run: Path) -> None:
    rows = {row["id"]: row for row in report_rows(whole_run)}
    assert len({row["rule"] for row in rows.values()}) == 3
    for row in rows_of(photos):
        colour, data = row["attributes"]["colour"], Path(row["uri"]).read_bytes()
        attributes = {"colour": colour} if colour else None
        said = rows[row["id"]]
        cutout = cut_out(data, category=row["category"], attributes=attributes, **settings_of(whole_run))
        assert cutout.data == (whole_run / said["output_uri"]).read_bytes(), row["id"]
        assert cutout.threshold == said["threshold"]
        assert {name: getattr(cutout.statistics, name) for name in ("coverage_70", "components", "bbox_left")} == {
            name: said[name] for name in ("coverage_70", "components", "bbox_left")
        }
        assert list(cutout.mask_flags) == said["mask_flags"]
        found = whitesweep.saliency_map(data, **SMALL)
        assert (found == read_map(f"{whole_run}/maps", said["map_key"]).pixels).all(), row["id"]


def test_of_a_map_that_is_given_the_network_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PHOTOS["plain.jpg"]
    found = whitesweep.saliency_map(data, **SMALL)
    expected = cut_out(data, "otsu", **SMALL)
    monkeypatch.setattr("transforms.one_photo.the_engine", None)
    assert cut_out(data, "otsu", saliency=found, **SMALL) == expected
    with pytest.raises(ValueError, match=r"saliency: expected uint8 \[320, 320\], not float64 \[320, 320\]"):
        cut_out(data, saliency=found / 255, **SMALL)  # type: ignore[arg-type]


def test_a_photo_fails_as_its_row_does(catalog: Path, tmp_path: Path) -> None:
    blank = file_of(Image.new("RGB", (80, 60), "white"), "PNG")
    (catalog.parent / "blank.png").write_bytes(blank)
    names = ("cut.jpg", "text.jpg", "empty.jpg", "blank.png", "two.png")
    limits: dict[str, Any] = {"max_pixels": 100_000}
    outcomes = {
        row.uri: row for row in put([{"uri": name} for name in names], tmp_path / "o", folder=catalog.parent, **limits)
    }
    codes = {}
    for name in names:
        with pytest.raises(PhotoError) as caught:
            cut_out((catalog.parent / name).read_bytes(), **limits, **SMALL)
        codes[name] = caught.value.code
        assert (caught.value.code, caught.value.message) == (outcomes[name].code, outcomes[name].message)
    assert list(codes.values()) == ["truncated", "not_an_image", "not_an_image", "no_subject", "too_many_pixels"]
    with pytest.raises(PhotoError, match="too_large"):
        cut_out(blank, max_bytes=len(blank) - 1, **SMALL)
    with pytest.raises(PhotoError, match="no_subject"):
        cut_out(blank, max_bytes=len(blank), **SMALL)


def test_a_fault_of_ours_is_a_photo_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: Any) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("transforms.one_photo.render", fault)
    with pytest.raises(PhotoError, match="internal_error: ZeroDivisionError: no luck; this is a fault of whitesweep"):
        cut_out(PHOTOS["plain.jpg"], **SMALL)


@pytest.mark.parametrize("data", ["photo.jpg", Path("photo.jpg"), None, io.BytesIO(b"")])
def test_a_path_is_not_bytes(data: Any) -> None:
    with pytest.raises(TypeError, match="data: expected the bytes of a photo's file, not"):
        cut_out(data, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"policy": "otus"}, "--policy otus: expected a threshold such as 0.7, fixed"),
        ({"policy": "nowhere.toml"}, "--policy nowhere.toml: .*no such file"),
        ({"policy": 7}, "--policy 7: threshold is 7.0, expected"),
        ({"background": "whitte"}, "--background whitte: expected a colour"),
        ({"background": "transparent", "format": "jpeg"}, "JPEG cannot be transparent"),
        ({"format": "jpg"}, "--format jpg: expected same, jpeg, png, webp"),
        ({"model": "u3net"}, "no model 'u3net'; there are u2net, u2netp"),
        ({"weights": "nowhere.pth", "model": "u2netp"}, "nowhere.pth: no such weights file"),
        ({"device": "gpu"}, "--device gpu: expected auto, cpu, cuda"),
        ({"precision": "fp8"}, "--precision fp8: expected auto, fp32"),
        ({"sharpen": 5000}, "--sharpen 5000: must be from 0 to 1000"),
        ({"max_pixels": 0}, "--max_pixels 0: must be from 1"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(wrong: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        cut_out(PHOTOS["plain.jpg"], **{**SMALL, **wrong})
    assert len(str(caught.value).splitlines()) == 1
    root = beam.Pipeline(runner="FnApiRunner")
    with pytest.raises(RequestError, match=said):
        root | beam.Create([{}]) | PutOnWhite(tmp_path / "out", **{**SMALL, **wrong})
    assert not (tmp_path / "out").exists()


def test_a_policy_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(whitesweep.PolicyError, match=r"--policy otus: expected a threshold such as 0\.7, fixed"):
        whitesweep.load_policy("otus")


def test_numbers_and_paths_are_policies_too(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[default]\nthreshold = 0.5")
    policies = ["0.5", 0.5, tmp_path / "policy.toml", whitesweep.load_policy("0.5")]
    assert len({cut_out(PHOTOS["plain.jpg"], policy, **SMALL).data for policy in policies}) == 1  # type: ignore[arg-type]


def test_settings_are_the_flags_of_run() -> None:
    flags = vars(make_parser().parse_args(["run", "--manifest", "m", "--output", "o"]))
    ours = inspect.signature(make_settings).parameters
    assert {name: p.default for name, p in ours.items() if name not in ("output", "local")} == {
        name: flags[name] for name in ours if name not in ("output", "local")
    }
    for public in (cut_out, PutOnWhite, whitesweep.saliency_map, whitesweep.network_input, U2NetModelHandler):
        for name, parameter in inspect.signature(public).parameters.items():
            if name in ours and name != "output":
                assert parameter.default == flags[name], (public, name)
    with pytest.raises(TypeError, match="treshold"):
        cut_out(PHOTOS["plain.jpg"], treshold=0.5)  # type: ignore[call-arg]


def test_one_network_for_photo_after_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = Counter[str]()
    network.release_engine()
    monkeypatch.setattr(network, "load", lambda config: loads.update([config.weights.model]) or load(config))
    for name in ("plain.jpg", "round.webp"):
        cut_out(PHOTOS[name], **SMALL)
    assert loads == {"u2netp": 1}


def test_beam_maps_photos_with_them() -> None:
    with beam.Pipeline(runner="FnApiRunner") as root:
        photos = root | beam.Create([PHOTOS["plain.jpg"]])
        _ = photos | beam.Map(cut_out, "0.5", model="u2netp") | "Cutout" >> beam.Map(collect)
        _ = photos | beam.Map(whitesweep.saliency_map, model="u2netp") | "Map" >> beam.Map(collect)
        _ = photos | beam.Map(whitesweep.network_input) | "Input" >> beam.Map(collect)
    found = collected()
    assert cut_out(PHOTOS["plain.jpg"], "0.5", **SMALL) in [one for one in found if isinstance(one, whitesweep.Cutout)]
    assert sorted(one.shape for one in found if isinstance(one, np.ndarray)) == [(320, 320), (320, 320, 3)]


# Rows of another pipeline


class Item(NamedTuple):
    uri: str
    id: str
    category: str | None
    attributes: dict[str, str]


def test_rows_end_as_in_a_run(photos: Path, whole_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    outcomes = put(rows_of(photos), output, **settings_of(whole_run))
    said = [{**row, "attributes": dict(row["attributes"])} for row in report_rows(whole_run)]
    assert [outcome._asdict() for outcome in outcomes] == said
    for room in ("images", "maps"):
        ours = {p.relative_to(output): p.read_bytes() for p in (output / room).rglob("*") if p.is_file()}
        assert ours == {p.relative_to(whole_run): p.read_bytes() for p in (whole_run / room).rglob("*") if p.is_file()}
    assert sorted(os.listdir(output)) == ["images", "maps"]
    assert str(newest(whole_run)) not in str(list(output.rglob("*")))


def test_bad_rows_cost_themselves_only(catalog: Path, tmp_path: Path) -> None:
    lines = catalog.read_text().splitlines()[1:]
    rows = [dict(zip(("id", "uri", "category", "colour"), line.split(","), strict=True)) for line in lines]
    outcomes = put(rows, tmp_path / "out", folder=catalog.parent)
    assert len(outcomes) == len(rows)
    assert {o.id: o.code or o.status for o in outcomes if o.id != "twin"} == EXPECTED
    assert [o.code for o in outcomes if o.id == "twin"] == ["duplicate_id", None]
    pictures = sorted((tmp_path / "out/images").rglob("*.*"))
    assert len(pictures) == sum(o.status == "processed" for o in outcomes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 7, "uri": "one.jpg"}, ("7", None)),
        ({"id": 7.0, "uri": Path("one.jpg"), "attributes": None}, ("7", None)),
        ({"uri": "one.jpg", "id": None}, ("one", None)),
        ({"ID": "a", "URI": "one.jpg", "price": 3}, ("a", None)),
        (Item("one.jpg", "tuple", None, {"a": "b"}), ("tuple", None)),
        (beam.Row(id="row", uri="one.jpg", category="c"), ("row", None)),
        ({"id": "nothing"}, ("nothing", "row: no uri")),
        ({}, ("", "row: no uri")),
        ({"id": "n", "uri": float("nan")}, ("n", "row: no uri")),
        ("one.jpg", ("", "row: str: expected a dict, a beam.Row or a NamedTuple with a uri")),
        (("a", "one.jpg"), ("", "row: tuple: expected a dict, a beam.Row or a NamedTuple with a uri")),
        ({"uri": "one.jpg", "attributes": "red"}, ("", "row: attributes: expected a dict, not str")),
        ({"uri": "one.jpg", "attributes": {"id": "x"}}, ("", "row: attributes: 'id' is a column of the row")),
        ({"uri": "one.jpg", "c": 1, "attributes": {"c": 2}}, ("", "row: attributes: 'c' is a column of the row")),
        ({"id": "in", "uri": "out/images/one.jpg"}, ("in", "row: the photo out/images/one.jpg lies in")),
        ({"id": "ftp", "uri": "ftp://x/one.jpg"}, ("ftp", "cannot read ftp:// addresses")),
    ],
)
def test_rows_of_every_kind(row: Any, said: tuple[str, str | None], tmp_path: Path) -> None:
    from transforms.plain_rows import _apart, manifest_row
    from transforms.process import prepare

    made = _apart(manifest_row(row, str(tmp_path)), str(tmp_path / "out"))
    if made.failure is None and said[1] is not None:
        from transforms.output.run import RunInfo
        from transforms.types import PlannedRow

        failure = prepare([PlannedRow(*made.values())], RunInfo(make_settings(output=str(tmp_path), **SMALL))).failure
    else:
        failure = made.failure
    assert made.id == said[0]
    assert (failure is None) == (said[1] is None)
    if failure is not None:
        assert str(said[1]) in failure.message
        assert failure.code == "bad_row"


def test_columns_and_attributes_are_text(tmp_path: Path) -> None:
    from transforms.plain_rows import manifest_row

    row = manifest_row({"uri": "a.jpg", "price": 3.0, "attributes": {"sizes": [1, 2], "new": True, "x": None}}, "/p")
    assert row.attributes == {"price": "3", "sizes": "[1, 2]", "new": "true"}
    assert row.source == "/p/a.jpg"


def test_rows_that_fail_for_different_reasons_are_told_apart(tmp_path: Path) -> None:
    rows: list[Any] = ["text", {"attributes": 1}, {}, {}]
    messages = Counter(outcome.message for outcome in put(rows, tmp_path / "out"))
    assert sorted(messages.values()) == [1, 1, 2]


def test_a_fault_of_ours_is_logged_with_its_traceback(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("transforms.pixels.render.paint", fault)
    said: list[str] = []
    monkeypatch.setattr("transforms.plain_rows.LOGGER.error", lambda text, *parts: said.append(text % parts))
    (outcome,) = put([{"uri": str(photos / "plain.jpg")}], tmp_path / "out")
    assert outcome.code == "internal_error"
    assert len(said) == 1
    assert 'in fault\n    raise ZeroDivisionError("no luck")' in said[0]


def test_a_bucket_is_a_folder_too(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        storage.write("gs://shop/photos/plain.jpg", (photos / "plain.jpg").read_bytes())
        (outcome,) = put([{"uri": "plain.jpg"}], "gs://shop/white", folder="gs://shop/photos", background="#f4f4f4")
        assert (outcome.status, outcome.output_uri) == ("processed", "images/plain.jpg")
        picture = storage.read(f"gs://shop/white/{outcome.output_uri}").data
    assert picture == cut_out((photos / "plain.jpg").read_bytes(), background="#f4f4f4", **SMALL).data


def test_a_second_time_maps_are_taken_from_the_store(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    rows = [{"id": "a", "uri": str(photos / "plain.jpg")}]
    (first,) = put(rows, tmp_path / "out")
    monkeypatch.setattr("transforms.saliency.predict_each", None)
    (second,) = put(rows, tmp_path / "out", format="png")
    assert (second.map_key, second.output_uri) == (first.map_key, "images/a.png")
    assert os.listdir(tmp_path / "out/images") == ["a.png"]


def test_schema_transforms_take_outcomes(photos: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "uri": str(photos / "plain.jpg")}, {"id": "b", "uri": "nowhere.jpg"}]
    with beam.Pipeline(runner="FnApiRunner") as root:
        outcomes = root | beam.Create(rows) | PutOnWhite(tmp_path / "out", **SMALL)
        counts = outcomes | beam.GroupBy("status").aggregate_field("id", CountCombineFn(), "rows")
        _ = counts | beam.Map(collect)
    assert sorted((row.status, row.rows) for row in collected()) == [("failed", 1), ("processed", 1)]


def test_an_outcome_survives_its_coder(photos: Path, tmp_path: Path) -> None:
    rows = [{"id": "a", "uri": str(photos / "see-through.png"), "colour": "é"}, {"id": "b", "uri": "nowhere.jpg"}]
    coder = beam.coders.registry.get_coder(PhotoOutcome)
    assert isinstance(coder, beam.coders.RowCoder)
    outcomes = put(rows, tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["processed", "failed"]
    for outcome in outcomes:
        assert coder.decode(coder.encode(outcome)) == outcome


def test_a_stream_and_windows_are_refused(tmp_path: Path) -> None:
    rows = beam.Pipeline(runner="FnApiRunner") | beam.Create([{"uri": "a.jpg"}])
    said = "bounded PCollection in the global window"
    with pytest.raises(RequestError, match=said):
        rows | beam.WindowInto(FixedWindows(5)) | "Windows" >> PutOnWhite(tmp_path / "out", **SMALL)
    rows.is_bounded = False
    with pytest.raises(RequestError, match=said):
        rows | "Stream" >> PutOnWhite(tmp_path / "out", **SMALL)


def test_an_output_that_cannot_be_is_refused(whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "images").symlink_to("/tmp")
    outputs: list[tuple[Any, str]] = [
        ("", "--output is empty"),
        ("gs://", "names no bucket"),
        ("https://example.com/out", "expected a folder or a gs:// address"),
        (tmp_path / "file/out", "is not a folder"),
        (tmp_path, "is a symbolic link"),
        (whole_run, "holds what `run` has written"),
    ]
    for output, said in outputs:
        with pytest.raises(RequestError, match=said):
            beam.Pipeline(runner="FnApiRunner") | beam.Create([{}]) | PutOnWhite(output, **SMALL)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(RequestError, match="no permission to write"):
        beam.Pipeline(runner="FnApiRunner") | beam.Create([{}]) | PutOnWhite(tmp_path / "out", **SMALL)


# Beam's RunInference


def infer(handler: U2NetModelHandler, examples: Any) -> tuple[dict[Any, Any], Any]:
    root = beam.Pipeline(runner="FnApiRunner")
    results = root | beam.Create(examples, reshuffle=False) | RunInference(KeyedModelHandler(handler))
    _ = results | beam.Map(collect)
    result = root.run()
    return dict(collected()), result.metrics().query()


@pytest.fixture(scope="module")
def maps() -> dict[str, NDArray[np.uint8]]:
    """The map of each photo, alone."""
    return {name: whitesweep.saliency_map(data, **SMALL) for name, data in PHOTOS.items()}


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_run_inference_gives_each_photo_its_own_map(batch_size: int | None, maps: dict[str, NDArray[np.uint8]]) -> None:
    inputs = {name: whitesweep.network_input(data) for name, data in PHOTOS.items()}
    found, metrics = infer(U2NetModelHandler("u2netp", batch_size=batch_size), list(inputs.items()))
    assert sorted(found) == sorted(PHOTOS)
    for name, result in found.items():
        assert (result.example == inputs[name]).all()
        assert result.inference.dtype == np.uint8
        assert (result.inference == maps[name]).all(), name
    assert len({result.inference.tobytes() for result in found.values()}) == len(PHOTOS)
    ours = {m.key.metric.name: m.committed for m in metrics["distributions"] if m.key.metric.namespace == "U2Net"}
    assert ours["inference_request_batch_size"].max == min(batch_size or 16, len(PHOTOS))


class Fussy:
    """An engine that takes three photos at a time, and none that begins with 13."""

    batch_size = 3
    size_bytes = 0

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.sizes.append(len(images))
        if 13 in images[:, 0, 0, 0]:
            raise ValueError("unlucky")
        return images[:, :, :, 0]


def test_a_photo_that_fails_costs_no_neighbour() -> None:
    engine: Any = Fussy()
    batch: list[Any] = [np.full((320, 320, 3), n, np.uint8) for n in range(10, 18)]
    batch.insert(2, np.zeros((10, 10, 3)))
    results: list[Any] = list(U2NetModelHandler("u2netp").run_inference(batch, engine))
    codes = [r.inference.code if isinstance(r.inference, PhotoError) else int(r.inference[0, 0]) for r in results]
    assert codes == [10, 11, "inference_failed", 12, "inference_failed", 14, 15, 16, 17]
    assert results[2].inference.message.endswith("as network_input gives it, not float64 [10, 10, 3]")
    assert max(engine.sizes) == 3
    assert all(result.example is example for result, example in zip(results, batch, strict=True))


def test_a_handler_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect.getmodule(load), "_has_cuda", lambda: False)
    with pytest.raises(whitesweep.FatalError, match="no usable CUDA device on this machine"):
        U2NetModelHandler("u2netp", device="cuda").load_model()
    for name, value in {"model": "u3net", "device": "gpu", "batch_size": 0, "weights": "nowhere.pth"}.items():
        with pytest.raises(RequestError, match=str(value)):
            U2NetModelHandler(**{**SMALL, name: value})
    with pytest.raises(RequestError, match="takes none, not steps"):
        RunInference(U2NetModelHandler("u2netp"), inference_args={"steps": 3}).expand(
            beam.Pipeline() | beam.Create([1])
        )


def test_a_handler_tells_the_bytes_of_a_batch() -> None:
    handler = U2NetModelHandler("u2netp")
    assert handler.get_num_bytes([np.zeros((320, 320, 3), np.uint8)] * 5) == 5 * 320 * 320 * 3
    assert handler.share_model_across_processes() is False


def test_handler_pipeline_and_single_photos_share_one_network(photos: Path, tmp_path: Path) -> None:
    engine = U2NetModelHandler("u2netp").load_model()
    cut_out(PHOTOS["plain.jpg"], **SMALL)
    put([{"uri": str(photos / "plain.jpg")}], tmp_path / "out")
    assert list(network._loaded.values()) == [engine]


# The module itself


def python(program: str, folder: Path, path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


LIGHT = """
import gc, sys
import PIL.Image
before = PIL.Image.MAX_IMAGE_PIXELS, gc.get_threshold()
import whitesweep
heavy = "apache_beam", "torch", "openvino", "pyarrow", "requests", "google.cloud.storage"
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, loaded
assert (PIL.Image.MAX_IMAGE_PIXELS, gc.get_threshold()) == before
assert set(whitesweep.__all__) >= {name for name in vars(whitesweep) if name in ("cut_out", "Policy")}
import io
file = io.BytesIO()
import PIL.ImageDraw
photo = PIL.Image.new("RGB", (300, 200), "#b0a890")
PIL.ImageDraw.Draw(photo).ellipse((80, 40, 220, 170), fill="#a02020")
photo.save(file, "JPEG")
cutout = whitesweep.cut_out(file.getvalue(), "otsu", model="u2netp", weights=WEIGHTS)
assert cutout.content_type == "image/jpeg"
assert "apache_beam" not in sys.modules and "torch" not in sys.modules
for name in whitesweep.__all__:
    getattr(whitesweep, name)
assert "apache_beam" in sys.modules
print(whitesweep.__file__)
"""


def test_installed_elsewhere_it_is_light(tmp_path: Path, u2netp: Any) -> None:
    """Without Beam and an engine until they are needed, and all of it with what setup.py names."""
    build = [sys.executable, "setup.py", "-q", "build", f"--build-base={tmp_path}/b", f"--build-lib={tmp_path}/lib"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (tmp_path / "cwd").mkdir()
    said = python(LIGHT.replace("WEIGHTS", repr(u2netp.path)), tmp_path / "cwd", tmp_path / "lib")
    assert said.strip() == str(tmp_path / "lib/whitesweep.py")


@pytest.mark.parametrize("module", [whitesweep, pipeline.put_on_white, pipeline.model_handler])
def test_every_example_is_true(module: Any) -> None:
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.attempted >= 8
    assert result.failed == 0


def test_everything_public_is_told() -> None:
    told = whitesweep.__doc__ or ""
    for name in whitesweep.__all__:
        assert inspect.getdoc(getattr(whitesweep, name)), name
        assert f"`{name}`" in told or name in ("Cutout", "MaskStatistics", "PhotoOutcome"), name
    with pytest.raises(AttributeError, match="no attribute 'cutout'"):
        whitesweep.cutout  # noqa: B018
