"""Fixtures: photos made in code, the shared photos where they are, weights, and whole runs of the command line."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parent.parent
HEAVY = ("apache_beam", "model", "onnxruntime", "openvino", "torch")
PROCESSES_AND_SERVERS = {"os.fork", "os.posix_spawn", "socket.bind", "socket.connect", "subprocess.Popen"}
SHARED = ROOT.parent / "shared" / "data"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of a run of the pure tests (`-m pure`), pass over all other files: importing them alone takes half a minute."""
    is_file = collection_path.suffix == ".py"
    if config.option.markexpr == "pure" and is_file and "pytest.mark.pure" not in collection_path.read_text():
        return True
    return None


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Hold a run of the pure tests to what they promise: no Beam, no network, no other process, no server."""
    if collector.config.option.markexpr == "pure" and isinstance(collector, pytest.Session):
        sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in PROCESSES_AND_SERVERS or (event == "import" and arguments[0].partition(".")[0] in HEAVY):
        raise RuntimeError(f"a pure test needs none of this: {event} {arguments[0]}")


def shared(name: str) -> Path:
    """Give a folder of shared test data, or skip the test where it is missing."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder


def draw_product(seed: int, size: tuple[int, int]) -> Image.Image:
    """Draw a round, shaded, striped thing on a soft background: enough of a product for the network to find."""
    rng = np.random.default_rng(seed)
    width, height = size
    wall = rng.uniform(90, 200, 3)
    slope = np.linspace(0.8, 1.2, height)[:, None, None]
    pixels = np.broadcast_to(wall * slope, (height, width, 3)) + rng.normal(0, 3, (height, width, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    left, top, right, bottom = 0.25 * width, 0.2 * height, 0.75 * width, 0.85 * height
    shadow = Image.new("L", size, 0)
    ImageDraw.Draw(shadow).ellipse((left, bottom - 0.1 * height, right, bottom + 0.05 * height), fill=120)
    image.paste((20, 20, 25), mask=shadow.filter(ImageFilter.GaussianBlur(width / 40)))
    brush = ImageDraw.Draw(image)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    brush.ellipse((left, top, right, bottom), fill=colour)
    for step in range(4):
        y = top + (bottom - top) * (0.3 + 0.12 * step)
        brush.line(
            (left + 0.1 * width, y, right - 0.1 * width, y), fill=tuple(255 - c for c in colour), width=width // 40
        )
    return image.filter(ImageFilter.GaussianBlur(0.6))


BRAKES = ("failure_fraction", "gone_fraction", "emptied_fraction", "foreground_shift")
BRAKES_OFF = tuple(f"--max_{name}=1" for name in BRAKES)
"""What lets a test change a catalog as it likes."""


def beside_the_plan(stderr: str) -> str:
    """Leave out of what a run says on stderr what it says of its plan."""
    ours: tuple[str, ...] = ("whitesweep: plan: ", "whitesweep: settings differ from the run before: ")
    ours += tuple(f"whitesweep: {phase}: " for phase in ("reading manifests and planning", "photos", "report"))
    return "".join(line for line in stderr.splitlines(keepends=True) if not line.startswith(ours))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged for the user, line by line, whatever another test has made of the logger."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("whitesweep")
    monkeypatch.setattr(logger, "handlers", [Lines()])
    logger.setLevel(logging.INFO)
    return lines


@pytest.fixture(scope="session")
def u2netp() -> Any:
    """The published u2netp weights, fetched if they are not there yet."""
    return _weights("u2netp")


@pytest.fixture(scope="session")
def u2net() -> Any:
    """The published u2net weights, fetched if they are not there yet."""
    return _weights("u2net")


def _weights(model: str) -> Any:
    from weights.fetch import fetch
    from weights.files import locate

    fetch(model)
    return locate(model)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A small catalog with everything that goes wrong in it; gives the manifest."""
    return make_catalog(tmp_path / "catalog")


def make_catalog(folder: Path) -> Path:
    """Make the small catalog in a folder, and give its manifest."""
    folder.mkdir()
    draw_product(1, (240, 320)).save(folder / "one.jpg", quality=92)
    draw_product(2, (400, 300)).save(folder / "two.png")
    draw_product(3, (160, 160)).save(folder / "three.webp", quality=90)
    draw_product(4, (300, 200)).convert("RGBA").save(folder / "four.png")
    whole = (folder / "one.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.jpg").write_bytes(b"")
    lines = [
        "id,uri,category,colour",
        "one,one.jpg,round,red",
        "two,two.png,round,",
        "sub/three,three.webp,,blue",
        "vier & mehr,four.png,flat,",
        "again,one.jpg,round,the same photo under a second id",
        "cut,cut.jpg,,",
        "text,text.jpg,,",
        "empty,empty.jpg,,",
        "gone,gone.jpg,,",
        "nowhere,,round,",
        "twin,one.jpg,,",
        "twin,two.png,,",
        "../up,one.jpg,,",
        "/root,one.jpg,,",
        "nul\0nul,one.jpg,,",
    ]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


EXPECTED = {
    "one": "processed",
    "two": "processed",
    "sub/three": "processed",
    "vier & mehr": "processed",
    "again": "processed",
    "cut": "truncated",
    "text": "not_an_image",
    "empty": "not_an_image",
    "gone": "not_found",
    "nowhere": "bad_row",
    "../up": "bad_id",
    "/root": "bad_id",
    "nul\0nul": "bad_id",
}
"""What becomes of each id of the catalog fixture, but for `twin`: one processed, one duplicate_id."""


def run(*arguments: str | Path) -> int:
    """Run the command line in this process; give its exit code."""
    from pipeline.cli import main

    return main([str(argument) for argument in arguments])


def newest(output: Path) -> Path:
    """Give the folder of the newest complete report."""
    return output / str(json.loads((output / "report/latest.json").read_text())["report"])


def record(output: Path) -> Path:
    """Give the folder of what else there is of the run that made the newest complete report."""
    return output / "runs" / str(json.loads((output / "report/latest.json").read_text())["run_id"])


def gone(output: Path) -> list[str]:
    """List the pictures that the run which made the newest report named as gone."""
    from transforms.output.commit import read_gone  # here, as it brings Arrow

    return [one.name for one in read_gone(str(output), record(output).name) if one.name is not None]


def run_json(output: Path) -> dict[str, Any]:
    """Read the run.json of the newest complete report."""
    found: dict[str, Any] = json.loads((record(output) / "run.json").read_text())
    return found


def report_rows(output: Path) -> list[dict[str, Any]]:
    """Read the rows of the newest report under an output folder, sorted by id."""
    shards = newest(output).glob("part-*.parquet")
    rows = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
    return sorted(rows, key=lambda row: (str(row["id"]), str(row["status"])))


def digests(output: Path) -> dict[str, str]:
    """Digest every picture and map under an output folder, and every shard of its newest report, by name.

    What a report tells of the runs before is left out.
    """
    from benchmarks.identity import without_history

    found = {}
    report = newest(output).relative_to(output).as_posix() if (output / "report/latest.json").exists() else None
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.is_file() and not name.startswith(("report/", "runs/")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif report is not None and name.startswith(f"{report}/part-"):
            found["report/" + path.name] = hashlib.sha256(without_history(path.read_bytes())).hexdigest()
    return found


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Change into an empty folder; the function lists what is in it."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return lambda: sorted(os.listdir(folder))
