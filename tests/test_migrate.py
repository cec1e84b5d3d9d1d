"""Migrations: what a full run under the policy would give, byte for byte, without the network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BRAKES_OFF, EXPECTED, ROOT, beside_the_plan, digests, make_catalog, report_rows, run, run_json

from transforms import storage
from transforms.errors import PhotoError

pytestmark = pytest.mark.usefixtures("u2netp")
MODEL = ("--model", "u2netp")
LENIENT = BRAKES_OFF

POLICIES = {
    "fixed": '[default]\nthreshold = 0.5\ninterpolation = "nearest"\n',
    "otsu": '[default]\nmethod = "otsu"\nfloor = 0.3\nceiling = 0.9\n',
    "soft": '[default]\nmethod = "soft"\n',
    "ramp": '[default]\nmethod = "ramp"\nthreshold = 0.6\nwidth = 0.3\n',
    "hysteresis": '[default]\nmethod = "hysteresis"\nlow = 0.3\nhigh = 0.9\nholes = "fill"\n',
    "framed": '[default]\ncanvas = "300x200"\nfill = 0.7\nenlarge = 3\n[category.hat]\nposition = "bottom"\n',
    "ladder": '[default]\nmethod = "ladder"\nminimum_share = 0.3\nminimum_component = 50\n',
    "by category": '[category.round]\nmethod = "soft"\n[[rule]]\nmatch = { colour = "blue" }\nthreshold = 0.9\n',
    "minmax": '[default]\nnormalize = "minmax"\n',
    "keeping": '[default]\nthreshold = 1.0\non_no_subject = "keep"\non_already_white = "keep"\n',
    "white": '[default]\nthreshold = 1.0\non_no_subject = "white"\n',
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """The small catalog, run under 0.7, once."""
    folder = tmp_path_factory.mktemp("ran")
    manifest = make_catalog(folder / "catalog")
    assert run("run", "--manifest", manifest, "--output", folder / "first", *MODEL, *LENIENT) == 0
    return folder


@pytest.fixture
def catalog(ran: Path) -> Path:
    """Its manifest; who changes the photos takes a copy."""
    return ran / "catalog" / "manifest.csv"


@pytest.fixture
def first(ran: Path, tmp_path: Path) -> Path:
    """A copy of its output, times kept."""
    return shutil.copytree(ran / "first", tmp_path / "first", copy_function=shutil.copy2)


@pytest.mark.parametrize("name", POLICIES)
def test_a_migration_gives_the_bytes_of_a_full_run(name: str, first: Path, catalog: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICIES[name])
    full = tmp_path / "full"
    assert run("run", "--manifest", catalog, "--output", full, "--policy", policy, *MODEL, *LENIENT) == 0
    elsewhere = tmp_path / "elsewhere"
    common: tuple[str | Path, ...] = ("--manifest", catalog, "--policy", policy, *LENIENT)
    assert run("migrate", "--output", elsewhere, "--from", first, *common) == 0
    assert digests(elsewhere) == digests(full)
    assert run("migrate", "--output", first, *common) == 0
    expected = digests(full)
    assert digests(first) == expected
    assert "predict" not in run_json(first)["step_seconds"]


def test_a_migration_and_back_is_where_it_began(first: Path, catalog: Path) -> None:
    before = digests(first)
    for policy in ("soft", "0.7"):
        assert run("migrate", "--manifest", catalog, "--output", first, "--policy", policy, *LENIENT) == 0
    assert digests(first) == before


def test_pictures_that_would_not_change_are_not_rewritten(first: Path, catalog: Path) -> None:
    pictures = [path for path in (first / "images").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in pictures}
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT) == 0
    assert {path: path.stat().st_mtime_ns for path in pictures} == before
    whole = digests(first)
    pictures[0].unlink()
    pictures[1].write_bytes(b"x" * pictures[1].stat().st_size)  # as a migration leaves them that was killed on its way
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT) == 0
    assert {n: d for n, d in digests(first).items() if n in whole} == whole


def test_a_store_that_does_not_answer_costs_one_row(
    first: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = storage.holds

    def fail(uri: str, data: bytes) -> bool:
        if uri.endswith("images/two.png"):
            raise PhotoError("timeout", f"{uri}: no answer in time")
        return holds(uri, data)

    monkeypatch.setattr(storage, "holds", fail)
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT) == 0
    rows = {row["id"]: row for row in report_rows(first) if row["id"] != "twin"}
    assert (rows["two"]["stage"], rows["two"]["code"]) == ("write", "timeout")
    assert rows["one"]["status"] == "processed"


def test_a_photo_without_a_map_is_a_failed_row_or_goes_through_the_network(first: Path, catalog: Path) -> None:
    rows = {row["id"]: row for row in report_rows(first)}
    key = rows["two"]["map_key"]
    (first / "maps" / key[:2] / f"{key}.png").unlink()
    whole = digests(first)
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT) == 0
    rows = {row["id"]: row for row in report_rows(first) if row["id"] != "twin"}
    assert (rows["two"]["stage"], rows["two"]["code"]) == ("maps", "no_map")
    assert {id: row["code"] or row["status"] for id, row in rows.items() if id != "two"} == {
        id: outcome for id, outcome in EXPECTED.items() if id != "two"
    }
    predict = ("--missing", "predict", *MODEL)
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT, *predict) == 0
    restored = digests(first)
    assert (first / "maps" / key[:2] / f"{key}.png").exists()
    assert {n: d for n, d in restored.items() if n in whole} == whole


def test_a_photo_that_changed_since_has_no_map(first: Path, catalog: Path, tmp_path: Path) -> None:
    catalog = shutil.copytree(catalog.parent, tmp_path / "changed", copy_function=shutil.copy2) / catalog.name
    (catalog.parent / "two.png").write_bytes((catalog.parent / "four.png").read_bytes())
    assert run("migrate", "--manifest", catalog, "--output", first, "--policy", "0.7", *LENIENT) == 0
    assert {row["id"]: row["code"] for row in report_rows(first)}["two"] == "no_map"


def test_no_torch_is_needed(first: Path, catalog: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('torch is broken here')\n")
    command = [sys.executable, "-m", "pipeline", "migrate", "--manifest", str(catalog), "--output", str(first)]
    environment = {**os.environ, "PYTHONPATH": f"{broken}{os.pathsep}{ROOT}"}
    found = subprocess.run(
        [*command, "--policy", "otsu", *LENIENT],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert beside_the_plan(found.stderr) == ""
    assert found.returncode == 0
    assert "6 processed" in found.stdout


def test_nothing_to_migrate_from_is_exit_2(catalog: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("migrate", "--manifest", catalog, "--output", tmp_path / "none", "--policy", "0.5") == 2
    assert "nothing to start from" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert run("migrate", "--manifest", catalog, "--output", tmp_path / "none") == 2
    assert "--policy" in capsys.readouterr().err
