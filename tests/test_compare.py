"""Comparisons: what two policies make of drawn maps, and of a catalog."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import BRAKES_OFF, run
from PIL import Image

from pipeline.contact_sheet import compared as drawn
from pipeline.contact_sheet import lay_out
from transforms.compare import Comparison, MappedRow, compare_row, most_changed, summarise
from transforms.output.maps import store_map
from transforms.pixels.types import SaliencyMap
from transforms.settings import load_policy

KEY = "ab" + "0" * 62


def row(id: str = "x", category: str | None = None) -> MappedRow:
    return MappedRow(id, f"{id}.jpg", category, {}, KEY)


def test_two_thresholds_on_a_drawn_map(tmp_path: Path) -> None:
    pixels = np.zeros((320, 320), np.uint8)
    pixels[:64] = 255  # a fifth, certain
    pixels[64:96] = 153  # a tenth, at 0.6
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    found = compare_row(row(), str(tmp_path), load_policy("0.7"), load_policy("0.5"))
    assert found.foreground_a == pytest.approx(0.2)
    assert found.foreground_b == pytest.approx(0.3)
    assert found.flipped == pytest.approx(0.1)
    assert found.iou == pytest.approx(2 / 3)
    assert (found.rule_a, found.threshold_a, found.threshold_b) == ("default", 0.7, 0.5)
    same = compare_row(row(), str(tmp_path), load_policy("0.7"), load_policy("0.8"))
    assert (same.iou, same.flipped) == (1.0, 0.0)


def test_a_photo_that_is_kept_is_all_there(tmp_path: Path) -> None:
    pixels = np.zeros((320, 320), np.uint8)
    pixels[:64] = 255
    store_map(str(tmp_path), SaliencyMap(pixels, KEY))
    found = compare_row(row(), str(tmp_path), load_policy("0.7"), load_policy("keep"))
    assert (found.foreground_a, found.foreground_b, found.iou) == (0.2, 1.0, 0.2)
    tile = Image.new("RGB", (40, 30), "red")
    _, _, cut, kept = drawn(tile, pixels, [load_policy(word).default for word in ("0.7", "keep")], 40)
    assert np.asarray(cut)[-1, 0].tolist() == [255, 255, 255]
    assert np.asarray(kept).tobytes() == np.asarray(tile).tobytes()


def test_two_empty_masks_agree_and_a_lost_map_is_null(tmp_path: Path) -> None:
    assert compare_row(row(), str(tmp_path), load_policy("0.7"), load_policy("0.5")).iou is None
    store_map(str(tmp_path), SaliencyMap(np.zeros((320, 320), np.uint8), KEY))
    assert compare_row(row(), str(tmp_path), load_policy("0.7"), load_policy("0.5")).iou == 1.0


def compared(id: str, iou: float | None, category: str | None = None) -> Comparison:
    flipped = None if iou is None else (1 - iou) / 2
    return Comparison(id, "", category, {}, KEY, iou=iou, flipped=flipped)


def test_the_worst_come_first_and_what_does_not_change_not_at_all() -> None:
    found = most_changed(
        [compared("c", 0.5), compared("a", 1.0), compared("b", 0.5), compared("d", 0.1), compared("e", None)]
    )
    assert [c.id for c in found] == ["d", "b", "c"]
    assert [c.id for c in most_changed([compared(str(n), n / 300) for n in range(200)])] == [str(n) for n in range(100)]


def test_the_summary_adds_up_by_category() -> None:
    found = summarise([compared("a", 1.0, "hat"), compared("b", 0.5, "hat"), compared("c", 0.8), compared("d", None)])
    assert list(found) == ["all", "category (none)", "category hat"]
    assert found["all"]["rows"] == 4
    assert found["all"]["changed"] == 2
    assert found["all"]["changed_much"] == 2
    assert found["category hat"]["mean_iou"] == 0.75
    assert found["category (none)"]["without_map"] == 1


def test_a_comparison_of_a_catalog(
    u2netp: object, catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, output = tmp_path / "first", tmp_path / "compared"
    lenient = ("--max_failure_fraction", "1")
    assert run("run", "--manifest", catalog, "--output", first, "--model", "u2netp", *lenient) == 0
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run("compare", "--from", first, "--policy", "0.9", "--policy", "0.1", "--output", output) == 0
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()} == before
    rows = pq.read_table(output / "comparison.parquet").to_pylist()
    assert len(rows) == 6
    assert all(r["foreground_b"] > r["foreground_a"] and 0 < r["iou"] < 1 for r in rows)
    summary = json.loads((output / "comparison.json").read_text())
    assert summary["all"]["rows"] == summary["all"]["changed"] == 6
    assert [r["iou"] for r in summary["most_changed"]] == sorted(r["iou"] for r in rows)
    with Image.open(output / "most-changed.png") as sheet:
        pixels = np.asarray(sheet)
    assert len(np.unique(pixels[46:206, 6:166].reshape(-1, 3), axis=0)) > 100  # the photo was found
    printed = capsys.readouterr().out
    assert "A: 0.9   B: 0.1" in printed
    assert "category round" in printed
    assert [r["iou"] for r in rows] == sorted(r["iou"] for r in rows)
    policy = tmp_path / "round.toml"
    policy.write_text("[category.round]\nthreshold = 0.1\n")
    assert run("compare", "--from", first, "--policy", policy, "--output", output) == 0  # beside what is in force
    printed = capsys.readouterr().out
    assert f"A: in force   B: {policy}" in printed
    assert "category round" in printed
    assert "categories do not change" in printed
    assert printed.count("  category") <= 1
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", policy, *BRAKES_OFF) == 0
    assert run("compare", "--from", first, "--policy", policy, "--output", output) == 0
    assert json.loads((output / "comparison.json").read_text())["all"]["changed"] == 0
    for record in (first / "runs").glob("*/run.json"):
        record.write_text("{}")
    assert run("compare", "--from", first, "--policy", policy, "--output", output) == 2
    assert "does not tell the policy in force; give --policy twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--policy"),
        (["--policy", "0.5", "--policy", "otsu", "--policy", "soft"], "given 3 times"),
        (["--policy", "0.5", "--policy", "magic"], "--policy magic: expected"),
        (["--policy", "0.5", "--policy", "otsu"], "nothing to compare on"),
    ],
)
def test_wrong_requests(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert run("compare", "--from", tmp_path, "--output", output, *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not output.exists()


def test_captions_fit_whatever_an_id_is() -> None:
    tiles = [[Image.new("RGB", (50, 50), "red")] * 2] * 3
    ids = ["short", "x" * 500, "\u202e日本\n<script>🙂\ud800"]
    sheet = lay_out(tiles, 1, 60, ids, ("photo", "A: " + "y" * 100))
    assert sheet.size == (2 * 66 + 6 + 6, 20 + 3 * (66 + 20) + 6)
    rows = np.asarray(sheet.convert("L"))
    for number in range(3):
        line = rows[20 + 6 + number * 86 : 20 + 6 + number * 86 + 16]
        assert (line < 100).any(), "a caption is there"
        assert not (line[:, -8:] < 100).any(), "and ends within its group"
