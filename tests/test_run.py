"""The whole pipeline on real weights: every row accounted for, and the same bytes from every runner."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import EXPECTED, ROOT, digests, draw_product, make_catalog, report_rows, run, run_json
from gs import emulator
from PIL import Image
from scipy import ndimage

from model.engine import EngineConfig
from model.load import load
from transforms import saliency, storage
from transforms.errors import PhotoError
from transforms.pixels.sharpen import network_input
from transforms.pixels.types import Photo

pytestmark = pytest.mark.usefixtures("u2netp")
SETTINGS = ("--model", "u2netp", "--max_failure_fraction", "1")


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One catalog for the whole file; who changes it takes a copy."""
    return make_catalog(tmp_path_factory.mktemp("shop") / "catalog")


@pytest.fixture(scope="module")
def first_run(catalog: Path, tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """The catalog, run with the defaults, once."""
    output = tmp_path_factory.mktemp("first") / "out"
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS) == 0
    return output


@pytest.fixture
def reference(first_run: Path, tmp_path: Path) -> Path:
    """A copy of that run's output."""
    return shutil.copytree(first_run, tmp_path / "reference", copy_function=shutil.copy2)


def test_every_row_is_accounted_for(catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = tmp_path / "out"
    assert run("run", "--manifest", catalog, "--output", reference, *SETTINGS) == 0
    rows = report_rows(reference)
    assert len(rows) == len(catalog.read_text().splitlines()) - 1
    found = {row["id"]: row["code"] or row["status"] for row in rows if row["id"] != "twin"}
    assert found == EXPECTED
    twins = [row for row in rows if row["id"] == "twin"]
    assert sorted((row["code"] or row["status"], row["uri"]) for row in twins) == [
        ("duplicate_id", "two.png"),
        ("processed", "one.jpg"),
    ]
    for row in rows:
        if row["status"] == "processed":
            data = (reference / row["output_uri"]).read_bytes()
            assert len(data) == row["output_bytes"]
            with Image.open(reference / row["output_uri"]) as picture:
                assert picture.size == (row["width"], row["height"])
                corner = np.asarray(picture.convert("RGB"))[:8, :8]
            assert (corner == 255).all()
            assert 0.05 < row["foreground_fraction"] < 0.9
            assert (reference / "maps" / row["map_key"][:2] / f"{row['map_key']}.png").exists()
            assert row["threshold"] == 0.7
            assert row["model"] == "u2netp"
        else:
            assert row["stage"]
            assert row["message"]
            assert "\n" not in row["message"]
    written = {path.relative_to(reference).as_posix() for path in (reference / "images").rglob("*") if path.is_file()}
    assert written == {row["output_uri"] for row in rows if row["output_uri"]}
    latest = json.loads((reference / "report/latest.json").read_text())
    counts = json.loads((reference / "runs" / latest["run_id"] / "run.json").read_text())
    assert counts["rows"] == len(rows) == sum(counts["statuses"].values())
    assert sum(counts["failures"].values()) == counts["statuses"]["failed"]
    assert {path.name[:5] for path in (reference / latest["report"]).iterdir()} == {"part-"}
    printed = capsys.readouterr().out
    assert "15 rows in" in printed
    assert "rows a second" in printed
    for code, count in counts["failures"].items():
        assert f"{count} {code}:" in printed
    assert not list(reference.rglob("*whitesweep-tmp"))


def test_one_photo_under_three_ids_goes_through_the_network_once(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = []
    predict = saliency.predict_each

    def count(engine: Any, images: list[Any]) -> list[Any]:
        predicted.extend(images)
        return predict(engine, images)

    monkeypatch.setattr(saliency, "predict_each", count)
    reference = tmp_path / "out"
    assert run("run", "--manifest", catalog, "--output", reference, *SETTINGS) == 0
    assert len(predicted) == 4
    rows = {row["id"]: row for row in report_rows(reference) if row["status"] == "processed"}
    assert rows["one"]["map_key"] == rows["again"]["map_key"] == rows["twin"]["map_key"]
    assert len(list((reference / "maps").rglob("*.png"))) == 4


VARIANTS = {
    "one worker": ["--direct_num_workers", "1"],
    "four workers": ["--direct_num_workers", "4"],
    "batches of one": ["--batch_size", "1"],
    "batches of eight": ["--batch_size", "8", "--direct_num_workers", "1"],
    "every bundle replayed": ["--direct_runner_bundle_repeat", "2", "--direct_running_mode", "in_memory"],
    "worker processes": ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"],
    "bundle-based runner": ["--runner", "BundleBasedDirectRunner"],
    "portable runner": ["--runner", "PortableRunner", "--job_endpoint", "embed", "--environment_type", "LOOPBACK"],
    "DirectRunner": ["--runner", "DirectRunner"],
    "maps kept": [],
    "maps made anew": ["--force"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_bytes_from_every_runner(
    variant: str, reference: Path, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    output = reference if variant.startswith("maps") else tmp_path / "other"
    expected = digests(reference)
    if variant == "maps kept":
        shutil.rmtree(reference / "report")
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS, *VARIANTS[variant]) == 0
    assert digests(output) == expected


def test_worker_processes_start_from_a_path_with_a_space(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "a folder" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    processes = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    photo, output = catalog.parent / "one.jpg", tmp_path / "out"
    assert run("run", "--manifest", photo, "--output", output, *SETTINGS, *processes) == 0
    assert sys.executable == str(python)


def test_the_same_bytes_from_a_shuffled_manifest(reference: Path, catalog: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(catalog.parent, tmp_path / "shuffled" / "catalog") / catalog.name
    header, *lines = catalog.read_text().splitlines()
    nameless = [line for line in lines if line.startswith("nowhere")]  # its message says on which line it stands
    lines = [line for line in lines if line not in nameless]
    outputs = []
    for seed in (1, 2):
        random.Random(seed).shuffle(lines)
        copy.write_text("\n".join([header, *lines]) + "\n")
        output = tmp_path / f"shuffled{seed}"
        assert run("run", "--manifest", copy, "--output", output, *SETTINGS) == 0
        outputs.append(digests(output))
    assert outputs[0] == outputs[1]
    pictures = {name: digest for name, digest in digests(reference).items() if not name.startswith("report/")}
    assert pictures == {name: digest for name, digest in outputs[0].items() if not name.startswith("report/")}


@pytest.fixture
def worker_pool() -> Iterator[str]:
    """A worker process of its own, as a cluster has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # the pool starts `python` by name
    }
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", "--service_port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as pool:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        pool.terminate()


def test_the_same_bytes_from_the_portable_runner_with_a_worker_elsewhere(
    reference: Path, catalog: Path, tmp_path: Path, worker_pool: str
) -> None:
    output = tmp_path / "other"
    portable = ["--runner", "PortableRunner", "--job_endpoint", "embed", "--environment_type", "EXTERNAL"]
    portable += ["--environment_config", worker_pool]
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS, *portable) == 0
    assert digests(output) == digests(reference)


def gs_digests(base: str) -> dict[str, Any]:
    """Digest an output under gs:// as conftest.digests does a folder."""
    import hashlib

    from benchmarks.identity import without_history

    found = {}
    for uri in storage.list_files(base):
        name = uri[len(base) + 1 :]
        if name.startswith(("images/", "maps/")) or "/part-" in name:
            data = storage.read(uri).data
            if name.startswith("report/"):
                name, data = "report/" + name.rsplit("/", 1)[1], without_history(data)
            found[name] = hashlib.sha256(data).hexdigest()
    return found


def test_the_same_bytes_in_an_object_store(reference: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        assert run("run", "--manifest", catalog, "--output", "gs://shop/out", *SETTINGS) == 0
        assert gs_digests("gs://shop/out") == digests(reference)


def test_photos_and_manifest_from_an_object_store(
    reference: Path, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulator(monkeypatch, "shop"):
        for path in catalog.parent.iterdir():
            storage.write(f"gs://shop/in/{path.name}", path.read_bytes())
        output = tmp_path / "from-gs"
        assert run("run", "--manifest", "gs://shop/in/manifest.csv", "--output", output, *SETTINGS) == 0
    ours, theirs = digests(output), digests(reference)
    assert {n: d for n, d in ours.items() if n[0] != "r"} == {n: d for n, d in theirs.items() if n[0] != "r"}
    for mine, other in zip(report_rows(output), report_rows(reference), strict=True):
        differs = {name for name in mine if mine[name] != other[name]}
        assert differs <= {
            "source_version",
            "message",
            "failing_since",
        }  # a file's version is its time, an object's its generation


def test_pixels_the_mask_leaves_are_the_photos_own_and_the_rest_is_white(catalog: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("run", "--manifest", catalog.parent / "two.png", "--output", output, *SETTINGS) == 0
    (row,) = report_rows(output)
    picture = np.asarray(Image.open(output / row["output_uri"]))
    photo = np.asarray(Image.open(catalog.parent / "two.png"))
    white = (picture == 255).all(axis=2)
    inside = ndimage.binary_erosion(~white, np.ones((3, 3)), iterations=3, border_value=1)  # but for the outline
    assert np.array_equal(picture[inside], photo[inside])
    assert 0.1 < inside.mean() < 1
    assert 0 < white.mean() < 1
    assert abs((~white).mean() - row["foreground_fraction"]) < 0.02
    cut = tmp_path / "cut"
    (tmp_path / "cut.toml").write_text('[default]\nedge = "cut"\n')
    policy = ("--policy", tmp_path / "cut.toml")
    assert run("run", "--manifest", catalog.parent / "two.png", "--output", cut, *SETTINGS, *policy) == 0
    (row,) = report_rows(cut)
    picture = np.asarray(Image.open(cut / row["output_uri"]))
    white = (picture == 255).all(axis=2)
    assert np.array_equal(picture[~white], photo[~white])
    assert abs((~white).mean() - row["foreground_fraction"]) < 0.01


@pytest.mark.parametrize(
    ("arguments", "endings", "mode"),
    [
        (["--format", "webp"], {".webp"}, "RGB"),
        (["--format", "jpeg"], {".jpg"}, "RGB"),
        (["--background", "transparent"], {".png", ".webp"}, "RGBA"),
        (["--policy", "soft", "--background", "#102030"], {".jpg", ".png", ".webp"}, "RGB"),
        (["--policy", "otsu", "--interpolation", "nearest", "--sharpen", "0"], {".jpg", ".png", ".webp"}, "RGB"),
    ],
)
def test_settings_reach_the_pictures(
    arguments: list[str], endings: set[str], mode: str, catalog: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS, *arguments) == 0
    pictures = [path for path in (output / "images").rglob("*") if path.is_file()]
    assert {path.suffix for path in pictures} == endings
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == mode
            if "#102030" in arguments and path.suffix != ".jpg":
                assert picture.getpixel((0, 0)) == (16, 32, 48)


def test_maps_are_not_predicted_again(reference: Path, catalog: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (reference / "maps").rglob("*.png")}
    run("run", "--manifest", catalog, "--output", reference, *SETTINGS, "--policy", "otsu")
    assert {path: path.stat().st_mtime_ns for path in (reference / "maps").rglob("*.png")} == before
    assert "predict" not in run_json(reference)["step_seconds"]


def test_a_killed_run_leaves_nothing_half_written_and_is_finished_by_the_same_command(
    catalog: Path, tmp_path: Path, reference: Path
) -> None:
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(catalog), "--output", str(output), *SETTINGS]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        for _ in range(600):
            if list(output.glob("images/**/*.*")):
                break
            time.sleep(0.05)
        process.kill()
    assert not (output / "report" / "latest.json").exists()
    wholes = digests(reference)
    for name, digest in digests(output).items():
        if not name.endswith(storage.TEMPORARY):
            assert digest == wholes[name]
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS) == 0
    assert digests(output) == wholes


def test_the_picture_is_written_before_its_row_says_so(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write

    def fail(uri: str, data: bytes, content_type: str = "application/octet-stream", **more: Any) -> None:
        if uri.endswith("images/two.png"):
            raise PhotoError("write_failed", f"{uri}: input/output error")
        write(uri, data, content_type, **more)

    monkeypatch.setattr(storage, "write", fail)
    output = tmp_path / "out"
    assert run("run", "--manifest", catalog, "--output", output, *SETTINGS) == 0
    rows = {row["id"]: row for row in report_rows(output) if row["id"] != "twin"}
    assert (rows["two"]["stage"], rows["two"]["code"]) == ("write", "write_failed")
    assert rows["two"]["output_uri"] is None
    assert {id: row["code"] or row["status"] for id, row in rows.items() if id != "two"} == {
        id: outcome for id, outcome in EXPECTED.items() if id != "two"
    }


def test_a_committed_report_is_not_discarded_for_what_comes_after(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PhotoError("read_failed", "run.json: input/output error")

    output = tmp_path / "out"
    arguments = ("run", "--manifest", catalog.parent / "one.jpg", "--output", output, *SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.execute.read_run", fail)
        assert run(*arguments) == 1
    assert len(report_rows(output)) == 1
    assert run(*arguments) == 0
    assert run_json(output)["statuses"] == {"unchanged": 1}


def test_a_large_photo_and_its_small_copy_have_nearly_the_same_map(u2netp: Any) -> None:
    large = draw_product(5, (3000, 2250))
    small = large.resize((600, 450), Image.Resampling.BOX)
    inputs = [network_input(Photo(np.asarray(image), None, "png")) for image in (large, small)]
    maps = load(EngineConfig(u2netp, "cpu", "fp32")).predict(np.stack(inputs)).astype(int)
    masks = maps >= 0.7 * 255
    assert np.abs(maps[0] - maps[1]).mean() < 2
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.96
