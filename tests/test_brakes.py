"""Brakes stop a run before a mistake is published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import digests, draw_product, report_rows, run

from transforms import trial
from transforms.brakes import Brakes, Effect

pytestmark = pytest.mark.usefixtures("u2netp")
MODEL = ("--model", "u2netp")
STRICT = "[default]\nminimum_component = 100000\n"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    for number in range(20):
        draw_product(number, (100, 80)).save(folder / f"p{number}.png")
    write_manifest(folder, range(20))
    assert run("run", "--manifest", folder / "m.csv", "--output", folder / "out", *MODEL) == 0
    return folder


def write_manifest(folder: Path, numbers: range) -> None:
    (folder / "m.csv").write_text("\n".join(["id,uri", *(f"p{n},p{n}.png" for n in numbers)]) + "\n")


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def night(shop: Path, *more: str, command: str = "run") -> int:
    network = MODEL if command == "run" else ()
    return run(command, "--manifest", shop / "m.csv", "--output", shop / "out", *network, *more)


def stops(shop: Path, capsys: pytest.CaptureFixture[str], said: str, *more: str, command: str = "run") -> None:
    """Run into a brake: nothing is touched, the newest report stays, and the plan says so too."""
    before, latest = digests(shop / "out"), (shop / "out/report/latest.json").read_text()
    records = set((shop / "out/runs").iterdir())
    start = ("--from", str(shop / "out")) if command == "migrate" else MODEL
    assert run("plan", "--manifest", shop / "m.csv", "--output", shop / "out", *start, *more) == 1
    assert f"a brake would stop this run: {said}" in capsys.readouterr().out
    assert night(shop, *more, command=command) == 1
    printed = capsys.readouterr().err
    assert f"the run stopped: {said}" in printed
    assert "the same command goes on" not in printed
    assert digests(shop / "out") == before
    assert (shop / "out/report/latest.json").read_text() == latest
    (record,) = set((shop / "out/runs").iterdir()) - records
    stopped = json.loads((record / "run.json").read_text())
    assert (stopped["exit_code"], said in stopped["reason"]) == (1, True)
    assert len(list((shop / "out/report").glob("run=*"))) == 1


@pytest.mark.parametrize("prune", [(), ("--prune",)])
def test_a_manifest_that_has_shrunk(shop: Path, capsys: pytest.CaptureFixture[str], prune: tuple[str, ...]) -> None:
    write_manifest(shop, range(1, 20))
    assert night(shop) == 0  # 5 % and no more
    write_manifest(shop, range(2, 20))
    said = "1 of the 19 rows of the report before are in the manifests no longer, more than 5.00% allowed"
    capsys.readouterr()
    shutil.rmtree(min((shop / "out/report").glob("run=*")))
    stops(shop, capsys, f"{said}; if that is meant, give --max_gone_fraction 1", *prune)
    assert night(shop, "--max_gone_fraction", "1", *prune) == 0
    assert len(report_rows(shop / "out")) == 18
    assert (shop / "out/images/p1.png").exists() is not bool(prune)


def test_a_night_that_would_do_too_much_again(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "20 of the 20 rows of the report before would be done again, more than 50.00% allowed"
    stops(shop, capsys, said, "--max_changed_fraction", "0.5", "--sharpen", "0")
    assert night(shop, "--max_changed_fraction", "0.5", "--force") == 0  # that is asked for
    for number in range(20, 60):
        shutil.copy(shop / "p1.png", shop / f"p{number}.png")
    write_manifest(shop, range(60))
    assert night(shop, "--max_changed_fraction", "0") == 0  # new rows are no change


@pytest.mark.parametrize("command", ["run", "migrate"])
def test_a_policy_that_empties_pictures(shop: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (shop / "p.toml").write_text(STRICT)
    policy = ("--policy", str(shop / "p.toml"), "--max_failure_fraction", "1")
    said = "20 of the 20 rows whose settings differ lose their product, more than 2.00% allowed"
    stops(shop, capsys, f"{said}; if that is meant, give --max_emptied_fraction 1", *policy, command=command)
    wide = ("--max_emptied_fraction", "1")
    stops(
        shop, capsys, "the mean foreground of the 20 rows whose settings differ moves", *policy, *wide, command=command
    )
    assert night(shop, *policy, *wide, "--max_foreground_shift", "1", command=command) == 0
    assert not list((shop / "out/images").iterdir())


def test_what_the_sample_does_not_show_stops_at_the_commit(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "p.toml").write_text(STRICT)
    policy = ("--policy", str(shop / "p.toml"), "--max_failure_fraction", "1")
    monkeypatch.setattr(trial, "SAMPLE", 0)
    latest = (shop / "out/report/latest.json").read_text()
    assert night(shop, *policy) == 1
    assert "the report is not published, but pictures have been written: 20 of the 20 rows" in capsys.readouterr().err
    assert (shop / "out/report/latest.json").read_text() == latest
    assert run("verify", "--output", shop / "out", "--repair") == 0  # back to the report that counts
    assert len(list((shop / "out/images").iterdir())) == 20


def test_the_first_run_and_a_repair_have_no_brake(shop: Path) -> None:
    (shop / "p.toml").write_text(STRICT)
    everything = ("--policy", str(shop / "p.toml"), "--max_failure_fraction", "1")
    strictest = tuple(
        word for name in ("gone", "changed", "emptied") for word in (f"--max_{name}_fraction", "0")
    )  # and yet a first run
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "new", *MODEL, *everything, *strictest) == 0
    for path in (shop / "out/images").iterdir():
        path.unlink()
    assert run("verify", "--output", shop / "out", "--repair") == 0


@pytest.mark.parametrize("flag", ["gone_fraction", "changed_fraction", "emptied_fraction", "foreground_shift"])
def test_a_share_is_from_0_to_1(shop: Path, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    assert night(shop, f"--max_{flag}", "1.5") == 2
    assert f"--max_{flag} 1.5: must be from 0 to 1" in capsys.readouterr().err


def effect(*rows: tuple[str, float, float]) -> Effect:
    found = Effect()
    for category, before, after in rows:
        found.compare(category, before, after, after < 0.001)
    return found


def test_few_rows_are_no_policy_gone_wrong() -> None:
    brakes = Brakes(max_emptied_fraction=0.02, max_foreground_shift=0.05)
    assert brakes.on_effect(Effect()) is None
    assert brakes.on_effect(effect(*[("hat", 0.3, 0.3)] * 8, *[("hat", 0.02, 0.0)] * 2)) is None
    held = brakes.on_effect(effect(*[("hat", 0.3, 0.3)] * 8, *[("hat", 0.02, 0.0)] * 3))
    assert held is not None
    assert held.startswith("3 of the 11 rows whose settings differ lose their product")


def test_a_category_is_told_of_by_name() -> None:
    brakes = Brakes(max_emptied_fraction=0.1, max_foreground_shift=0.05)
    rows = [("hat", 0.3, 0.3)] * 500
    held = brakes.on_effect(effect(*rows, *[("glasses", 0.2, 0.3)] * 20))
    assert held is not None
    assert "the 20 rows of category glasses whose settings differ moves from 20.0% to 30.0%" in held
    assert brakes.on_effect(effect(*rows, *[("glasses", 0.2, 0.3)] * 19)) is None
