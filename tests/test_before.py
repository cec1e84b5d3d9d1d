"""What a report says of the report before: which pictures changed, and since when a row fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import BRAKES_OFF, draw_product, report_rows, run, run_json

pytestmark = pytest.mark.usefixtures("u2netp")


def night(shop: Path, *more: str, output: str = "out") -> dict[str, dict[str, Any]]:
    arguments = ("--manifest", shop / "m.csv", "--output", shop / output, "--model", "u2netp")
    assert run("run", *arguments, *BRAKES_OFF, *more) == 0
    return {row["id"] + (" again" if row["code"] == "duplicate_id" else ""): row for row in report_rows(shop / output)}


def changed(rows: dict[str, dict[str, Any]]) -> set[str]:
    return {id for id, row in rows.items() if row["picture_changed"]}


def failing(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    assert all(bool(row["failing_since"]) == (row["status"] == "failed") for row in rows.values())
    return {id: row["failing_since"] for id, row in rows.items() if row["failing_since"]}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(3):
        draw_product(number, (200, 160)).save(tmp_path / f"p{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    rows = [*(f"p{number},p{number}.png" for number in range(3)), "bad,bad.png", "twice,p0.png", "twice,p1.png"]
    (tmp_path / "m.csv").write_text("\n".join(["id,uri", *rows]) + "\n")
    return tmp_path


def test_what_changed_and_since_when_a_row_fails(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 1_767_225_600.0}  # 2026-01-01T00:00:00Z
    monkeypatch.setattr("pipeline.options.time.time", lambda: clock["now"])
    first, day = "2026-01-01T00:00:00Z", 24 * 3600

    rows = night(shop)
    assert changed(rows) == {"p0", "p1", "p2", "twice"}
    assert failing(rows) == {"bad": first, "twice again": first}

    clock["now"] += day
    rows = night(shop)
    assert (changed(rows), failing(rows)) == (set(), {"bad": first, "twice again": first})

    clock["now"] += day
    draw_product(9, (200, 160)).save(shop / "p0.png")  # another photo
    os.utime(shop / "p1.png")  # the same again
    shutil.move(shop / "p2.png", shop / "away.png")
    rows = night(shop)
    assert {row["status"] for id, row in rows.items() if id in ("p0", "p1")} == {"processed"}
    assert changed(rows) == {"p0", "twice"}  # which is the same photo
    assert rows["p2"]["output_uri"] == "images/p2.png"
    assert failing(rows) == {"bad": first, "twice again": first, "p2": "2026-01-03T00:00:00Z"}

    clock["now"] += day
    shutil.move(shop / "away.png", shop / "p2.png")
    rows = night(shop, "--retry_failed")
    assert (changed(rows), failing(rows)) == (set(), {"bad": first, "twice again": first})

    clock["now"] += day
    (shop / "strict.toml").write_text("[default]\nminimum_component = 100000\n")
    rows = night(shop, "--policy", str(shop / "strict.toml"))  # nothing is left of a mask, so the pictures go
    empty = {id for id, row in rows.items() if row["code"] == "no_subject"}
    assert empty
    assert changed(rows) >= empty
    assert {failing(rows)[id] for id in empty} == {"2026-01-05T00:00:00Z"}
    clock["now"] += day
    rows = night(shop, "--policy", str(shop / "strict.toml"))
    assert changed(rows) == set()
    assert {failing(rows)[id] for id in empty} == {"2026-01-05T00:00:00Z"}


def test_a_rewrite_of_the_same_bytes_is_no_change(shop: Path) -> None:
    night(shop)
    (shop / "out/images/p1.png").write_bytes(b"somebody's")
    rows = night(shop)
    assert rows["p1"]["status"] == "processed"
    assert run_json(shop / "out")["work"]["images_written"] == 1
    assert changed(rows) == set()  # beside the report; what lay there between is nobody's to tell
    assert changed(night(shop, "--force")) == set()
    assert changed(night(shop, "--format", "webp")) == {"p0", "p1", "p2", "twice"}
