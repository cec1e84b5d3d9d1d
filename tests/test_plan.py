"""A run says what it is going to do, and why; `plan` says the same, and does nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import digests, draw_product, run, run_json

from transforms.output.forecast import Rates, rates_of

pytestmark = pytest.mark.usefixtures("u2netp")
MODEL = ("--model", "u2netp")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """A shop with six photos, and a first run of them."""
    folder = tmp_path_factory.mktemp("ran")
    for number in range(6):
        draw_product(number, (200, 160)).save(folder / f"p{number}.png")
    write_manifest(folder, 6)
    assert run("run", "--manifest", folder / "m.csv", "--output", folder / "out", *MODEL) == 0
    return folder


def write_manifest(folder: Path, count: int) -> None:
    rows = [f"p{number},p{number}.png,{'hat' if number % 2 else 'shoe'}" for number in range(count)]
    (folder / "m.csv").write_text("\n".join(["id,uri,category", *rows]) + "\n")


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def plan(
    shop: Path, capsys: pytest.CaptureFixture[str], *more: str, code: int = 0, model: tuple[str, ...] = MODEL
) -> dict[str, Any]:
    before = digests(shop / "out")
    capsys.readouterr()
    assert run("plan", "--manifest", shop / "m.csv", "--output", shop / "out", "--json", *model, *more) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert digests(shop / "out") == before
    return found


def said(shop: Path, log: list[str], *more: str) -> str:
    """Run, and give what was logged."""
    log.clear()
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "out", *MODEL, *more) == 0
    return "\n".join(log)


def test_before_the_first_run(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shop / "out")
    found = plan(shop, capsys)
    assert found["to_do"] == {"new": 6}
    assert (found["photos_to_read"], found["photos_to_predict"], found["pictures_to_make"]) == (6, 6, 6)
    assert (found["seconds"], found["brake"], found["differences"]) == (None, None, [])
    assert not (shop / "out").exists()


def test_a_night_on_which_nothing_is_to_do(shop: Path, capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
    found = plan(shop, capsys)
    assert (found["rows"], found["unchanged"], found["to_do"]) == (6, 6, {})
    assert "plan: 6 rows: 6 unchanged, 0 to do" in said(shop, log)
    assert run_json(shop / "out")["plan"]["unchanged"] == 6


def test_each_row_is_told_why(shop: Path, capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
    draw_product(9, (90, 90)).save(shop / "p0.png")
    (shop / "out/images/p1.png").unlink()
    (shop / "p6.png").write_bytes((shop / "p5.png").read_bytes())
    write_manifest(shop, 7)
    with (shop / "m.csv").open("a") as manifest:
        manifest.write("p7,,\n")
    found = plan(shop, capsys)
    assert found["to_do"] == {"new": 1, "photo": 1, "picture": 1, "unusable": 1}
    assert (found["photos_to_read"], found["photos_to_predict"]) == (3, 2)
    told = said(shop, log, "--max_failure_fraction", "1")
    assert "(1 new, 1 with another photo, 1 whose picture is missing or altered, 1 that cannot be used)" in told
    assert "3 photos to read, 2 through the network" in told
    work = run_json(shop / "out")["work"]
    assert (work["photos_read"], work["photos_predicted"]) == (3, 1)  # the new one is a photo that was there before
    os.utime(shop / "p3.png")
    assert plan(shop, capsys)["to_do"] == {"photo": 1, "unusable": 1}


def test_other_settings_are_told_in_words(shop: Path, capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
    found = plan(shop, capsys, "--policy", "otsu", "--background", "#000")
    assert found["to_do"] == {"rendering": 6}
    assert found["photos_to_predict"] == 0
    assert found["differences"] == ["background #ffffff -> #000000", "policy 0.7 -> otsu"]
    found = plan(shop, capsys, "--sharpen", "0")
    assert (found["to_do"], found["photos_to_predict"]) == ({"map": 6}, 6)
    assert found["differences"] == ["sharpen 150 -> 0"]
    told = said(shop, log, "--sharpen", "0")
    assert "settings differ from the run before: sharpen 150 -> 0" in told
    assert "(6 under other settings of the map)" in told
    assert plan(shop, capsys)["photos_to_predict"] == 0  # back to maps that are stored
    policy = shop / "policy.toml"
    policy.write_text("[category.hat]\nthreshold = 0.5\n[category.shoee]\nthreshold = 0.5\n")
    found = plan(shop, capsys, "--sharpen", "0", "--policy", str(policy))
    assert found["to_do"] == {"rendering": 3}
    assert found["differences"] == ["policy: category hat is new", "policy: category shoee is new"]
    assert found["unmatched_rules"] == ["category shoee"]
    assert "no row matches category shoee of the policy" in said(shop, log, "--policy", str(policy))
    assert run_json(shop / "out")["plan"]["unmatched_rules"] == ["category shoee"]


def test_what_is_asked_for(shop: Path, capsys: pytest.CaptureFixture[str], log: list[str]) -> None:
    found = plan(shop, capsys, "--force")
    assert (found["to_do"], found["photos_to_predict"]) == ({"asked": 6}, 6)
    found = plan(shop, capsys, "--from", str(shop / "out"), "--policy", "otsu", model=())
    assert (found["to_do"], found["photos_to_predict"]) == ({"asked": 6}, 0)
    (shop / "p2.png").unlink()
    said(shop, log, "--max_failure_fraction", "1")
    found = plan(shop, capsys, "--retry_failed")
    assert (found["to_do"], found["unchanged"]) == ({"failed": 1}, 5)


def test_a_plan_takes_no_lease_and_loads_no_model(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.engine.Engine.__init__", None)
    monkeypatch.setattr("transforms.output.lease.Lease.acquire", None)
    assert plan(shop, capsys, "--force")["to_do"] == {"asked": 6}


def test_a_record_that_cannot_be_read_is_no_obstacle(
    shop: Path, capsys: pytest.CaptureFixture[str], log: list[str]
) -> None:
    for file in (shop / "out/runs").glob("*/run.json"):
        file.write_text("[]")
    found = plan(shop, capsys, "--policy", "otsu")
    assert (found["differences"], found["seconds"], found["to_do"]) == ([], None, {"rendering": 6})
    for file in (shop / "out/runs").glob("*/run.json"):
        file.write_text('{"settings": {"policy": 7, "network": "x", "format": null}, "work": {}}')
    assert plan(shop, capsys, "--policy", "otsu")["differences"] == []
    odd = {"settings": {"policy": {"default": 7}}, "work": 7, "statuses": {}, "step_seconds": [], "seconds": "x"}
    for file in (shop / "out/runs").glob("*/run.json"):
        file.write_text(json.dumps(odd))
    assert plan(shop, capsys, "--policy", "otsu")["differences"] == ["those of the run before cannot be read"]


def test_time_is_learnt_from_runs_before() -> None:
    network = {"model": "u2net", "weights_sha256": "0", "device": "cpu", "precision": "int8"}
    full = {
        "statuses": {"processed": 100},
        "rows": 100,
        "seconds": 21.0,
        "work": {"photos_read": 100, "photos_predicted": 100},
        "step_seconds": {"predict": 30.0, "encode": 10.0},  # of two workers
        "settings": {"network": network},
    }
    quiet = {**full, "seconds": 1.0, "work": {}, "step_seconds": {}}
    rates = rates_of([quiet, full], network)
    assert rates == Rates(1.0, 100, 0.05, 0.15)
    assert rates.seconds(100, 100, 100) == 21.0
    assert rates.seconds(100, 40, 0) == 3.0
    assert rates.seconds(1000, 0, 0) == 10.0
    alone = rates_of([full], network)  # no run without photos has shown what the start takes
    assert alone is not None
    assert alone.seconds(100_000, 0, 0) == 1.0
    assert alone.seconds(100, 100, 100) == 21.0
    other = rates_of([quiet, full], {**network, "model": "u2netp"})
    assert other is not None
    assert (other.seconds(100, 40, 0), other.seconds(100, 40, 40)) == (3.0, None)
    assert rates_of([quiet, {"reason": "stopped"}], network) is None
