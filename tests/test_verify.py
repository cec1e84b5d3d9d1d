"""verify finds every way in which a folder can differ from its report, and --repair mends just that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import BRAKES_OFF, digests, draw_product, gone, newest, record, report_rows, run, run_json
from gs import emulator

from transforms import storage
from transforms.verify import PROBLEMS, check_rows

pytestmark = pytest.mark.usefixtures("u2netp")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """Four photos, run once under a policy file."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "photos").mkdir()
    for n in range(4):
        draw_product(n, (160, 200)).save(folder / f"photos/p{n}.jpg")
    (folder / "policy.toml").write_text("[default]\nthreshold = 0.6\n")
    arguments = ("--manifest", folder / "photos", "--output", folder / "out", "--policy", folder / "policy.toml")
    assert run("run", *arguments, "--model", "u2netp") == 0
    (folder / "policy.toml").unlink()  # a repair goes by the report
    return folder


@pytest.fixture
def output(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its output, from a folder that means nothing."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2) / "out"


def a_map(output: Path, id: str) -> Path:
    key = {row["id"]: row for row in report_rows(output)}[id]["map_key"]
    return output / "maps" / key[:2] / f"{key}.png"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


ORPHAN = "images/p9.jpg"
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda output: (output / "images/p1.jpg").unlink(),
    "altered": lambda output: flip(output / "images/p1.jpg"),
    "orphaned": lambda output: shutil.copy(output / "images/p1.jpg", output / ORPHAN),
    "unreadable": lambda output: link_to_itself(output / "images/p1.jpg"),
    "missing_map": lambda output: a_map(output, "p1").unlink(),
    "altered_map": lambda output: shutil.copy(a_map(output, "p2"), a_map(output, "p1")),
}


def test_a_clean_folder_is_clean(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(output.rglob("*"))
    assert run("verify", "--output", output) == 0
    assert "4 rows verified, nothing differs" in capsys.readouterr().out
    assert sorted(output.rglob("*")) == before


@pytest.mark.parametrize("problem", DAMAGES)
def test_finds_and_repairs(problem: str, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = digests(output)
    DAMAGES[problem](output)
    assert run("verify", "--output", output) == 1
    printed = capsys.readouterr().out
    expected = "missing" if problem == "unreadable" else problem  # a link in a circle is no file
    assert f"1 {expected}: {PROBLEMS[expected]}" in printed
    table = pq.ParquetFile(output / "report/verify.parquet").read().to_pylist()
    assert [row["problem"] for row in table] == [expected]
    assert run("verify", "--output", output, "--repair") == 0
    assert "nothing differs" in capsys.readouterr().out
    assert not (output / "report/verify.parquet").exists()
    repaired = digests(output)
    if problem == "orphaned":  # somebody may be showing it: it stays, and the report lists it
        assert repaired.pop(ORPHAN) == whole["images/p1.jpg"]
        assert gone(output) == [ORPHAN]
    assert {name: digest for name, digest in repaired.items() if name in whole and "report" not in name} == {
        name: digest for name, digest in whole.items() if "report" not in name
    }
    assert set(repaired) == set(whole)
    work = run_json(output)["work"]
    assert work.get("photos_read", 0) == (problem != "orphaned")
    assert work.get("photos_predicted", 0) == ("map" in problem)


def test_a_row_that_does_not_add_up_is_done_again(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = newest(output).glob("part-*")
    table = pq.ParquetFile(shard).read()
    names = table["output_uri"].to_pylist()
    names[1] = "images/other.jpg"
    column = table.schema.get_field_index("output_uri")
    pq.write_table(table.set_column(column, table.schema.field(column), [names]), shard)
    assert run("verify", "--output", output) == 1
    assert "the row has the picture of another id" in capsys.readouterr().out
    assert run("verify", "--output", output, "--repair") == 0


def test_rows_that_cannot_be() -> None:
    good = {"status": "processed", "code": None, "output_uri": "images/a.jpg", "map_key": "k", "output_sha256": "0"}
    bad = [
        {**good, "id": "a", "status": "done"},
        {**good, "id": "a", "code": "corrupt"},
        {**good, "id": "a", "status": "failed"},
        {**good, "id": "a", "output_uri": None},
        {**good, "id": "../a"},
    ]
    for row in bad:
        assert [one.problem for one in check_rows([row], 0, 1)] == ["bad_row"]
    assert not list(check_rows([{**good, "id": "a"}], 0, 1))
    assert ["2 rows have this id" in one.message for one in check_rows([{**good, "id": "a"}] * 2, 0, 1)] == [True]
    assert sum(bool(list(check_rows([{**good, "id": "a"}], shard, 4))) for shard in range(4)) == 3


def test_rows_are_counted(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(output) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rows": 5}))
    assert run("verify", "--output", output) == 1
    assert "run.json says 5 rows, the report has 4" in capsys.readouterr().out


def test_what_left_the_manifest_is_no_orphan(output: Path) -> None:
    (output.parent / "photos/p3.jpg").unlink()
    assert run("run", "--manifest", output.parent / "photos", "--output", output, "--model", "u2netp", *BRAKES_OFF) == 0
    assert run("verify", "--output", output) == 0


def test_nothing_to_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", "--output", tmp_path) == 2
    assert "nothing to verify" in capsys.readouterr().err


def test_a_report_that_cannot_be_read_stops_it(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = newest(output).glob("part-*")
    shard.write_bytes(b"PAR1 no parquet PAR1")
    assert run("verify", "--output", output) == 1
    assert "part-00000-of-00001.parquet: cannot be read" in capsys.readouterr().err
    shard.write_bytes(b"no parquet")
    assert run("verify", "--output", output) == 2
    assert "part-00000-of-00001.parquet: breaks off" in capsys.readouterr().err
    shard.unlink()
    assert run("verify", "--output", output) == 2


def test_after_a_migration(output: Path, ran: Path) -> None:
    arguments = ("--manifest", ran / "photos", "--output", output, "--policy", "soft")
    assert run("migrate", *arguments) == 0
    whole = digests(output)
    (output / "images/p0.jpg").unlink()
    assert run("verify", "--output", output, "--repair") == 0
    assert {n: d for n, d in digests(output).items() if "report" not in n} == {
        n: d for n, d in whole.items() if "report" not in n
    }


def test_in_an_object_store(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        for path in output.rglob("*"):
            if path.is_file():
                storage.write(f"gs://shop/out/{path.relative_to(output)}", path.read_bytes())
        assert run("verify", "--output", "gs://shop/out") == 0
        storage.delete("gs://shop/out/images/p2.jpg")
        assert run("verify", "--output", "gs://shop/out") == 1
