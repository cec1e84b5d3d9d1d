"""`--partial`: manifests that name only what has changed cost what they name, and leave all else as it is."""

from __future__ import annotations

import csv
import random
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BRAKES_OFF, ROOT, draw_product, run, run_json
from gs import emulator

from pipeline import execute
from transforms.manifest import ManifestFile, deletion, row_of_record
from transforms.output import cleanup
from transforms.output.earlier import Report, newest_report, read_table
from transforms.output.latest import newest_run
from transforms.output.releases import releases
from transforms.output.schema import HISTORY, SCHEMA, ReportRow, shard_name, shard_of
from transforms.report import to_parquet, to_table

pytestmark = pytest.mark.usefixtures("u2netp")
COLUMNS = ("id", "uri", "category", "price", "deleted")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """Five photos; a catalog of four rows, run once with stable names and once with fingerprints."""
    folder = tmp_path_factory.mktemp("ran")
    for number in range(5):
        draw_product(number, (90, 70)).save(folder / f"p{number}.png")
    write(folder / "all.csv", [(f"r{n}", f"p{n}.png", "hat", "1") for n in range(4)])
    assert run(*night(folder, "all.csv")) == 0
    assert run(*night(folder, "all.csv", "marked"), "--names", "fingerprint") == 0
    return folder


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def write(file: Path, rows: Sequence[tuple[str, ...]]) -> None:
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS if max(map(len, rows)) > 4 else COLUMNS[:4])
        table.writerows(rows)


def night(folder: Path, manifest: str = "changes.csv", output: str = "out") -> tuple[str | Path, ...]:
    paths = ("--manifest", folder / manifest, "--output", folder / output)
    return ("run", *paths, "--model", "u2netp", *BRAKES_OFF, "--max_failure_fraction", "1")


def change(folder: Path, *rows: tuple[str, ...], output: str = "out") -> int:
    write(folder / "changes.csv", list(rows))
    return run(*night(folder, output=output), "--partial")


def state(output: Path) -> dict[str, dict[str, Any]]:
    """Read the one state that a release stands for, without what tells of the runs before."""
    report = newest_report(str(output))
    rows = [row for at in range(len(report)) for row in report.read(at, SCHEMA.names).to_pylist()]
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: {**row, "status": "", "message": "", **dict.fromkeys(HISTORY)} for row in rows}


@pytest.mark.parametrize("output", ["out", "marked"])
def test_changes_and_a_full_run_come_to_the_same(shop: Path, output: str) -> None:
    assert (
        change(
            shop,
            ("r0", "p4.png", "hat", "1", ""),  # another photo
            ("r1", "p1.png", "hat", "2", "no"),  # another price
            ("r2", "", "", "", "TRUE"),
            ("n0", "p2.png", "shoe", "1", "0"),
            ("n1", "none.png", "shoe", "1", ""),
            output=output,
        )
        == 0
    )
    found = run_json(shop / output)
    assert found["statuses"] == {"deleted": 1, "failed": 1, "processed": 2, "unchanged": 1}
    assert (found["rows"], found["gone"], found["work"]["photos_read"]) == (5, 1, 2)
    assert "photos_predicted" in found["work"]  # p4 was in no run
    assert run("verify", "--output", shop / output) == 0
    rows = [("r0", "p4.png", "hat", "1"), ("r1", "p1.png", "hat", "2"), ("r3", "p3.png", "hat", "1")]
    write(shop / "all.csv", [*rows, ("n0", "p2.png", "shoe", "1"), ("n1", "none.png", "shoe", "1")])
    named = () if output == "out" else ("--names", "fingerprint")
    assert run(*night(shop, "all.csv", "anew"), *named) == 0
    assert state(shop / output) == state(shop / "anew")
    assert run(*night(shop, "all.csv", output)) == 0  # and now it is one plain report
    latest = newest_run(str(shop / output))
    assert latest.changes is None
    assert run_json(shop / output)["statuses"] == {"failed": 1, "unchanged": 4}
    assert state(shop / output) == state(shop / "anew")


def test_changes_add_up(shop: Path) -> None:
    assert change(shop, ("r0", "", "", "", "1"), ("n0", "p4.png", "hat", "1", "")) == 0
    first = newest_run(str(shop / "out"))
    assert change(shop, ("r0", "p1.png", "hat", "1", ""), ("n0", "", "", "", "yes"), ("zz", "", "", "", "1")) == 0
    assert run_json(shop / "out")["statuses"] == {"deleted": 1, "processed": 1}  # of `zz` there was nothing
    second = newest_run(str(shop / "out"))
    assert second.report == first.report
    assert second.changes != first.changes
    assert sorted(state(shop / "out")) == ["r0", "r1", "r2", "r3"]
    assert state(shop / "out")["r0"]["uri"] == "p1.png"
    assert change(shop, ("r1", "p1.png", "hat", "1", "")) == 0  # nothing is new
    assert run_json(shop / "out")["statuses"] == {"unchanged": 1}
    assert run_json(shop / "out")["work"] == {}
    assert sorted(state(shop / "out")) == ["r0", "r1", "r2", "r3"]
    assert run("verify", "--output", shop / "out") == 0


def test_rows_without_a_place_fail_and_leave_the_report_alone(shop: Path) -> None:
    before = state(shop / "out")
    rows = (("", "", "", "", ""), ("r1", "p1.png", "hat", "1", "perhaps"), ("/x", "p1.png", "", "", ""))
    assert change(shop, *rows, ("", "", "", "", "true"), ("r2", "p2.png", "hat", "1", ""), ("r2", "p3.png", "", "", ""))
    found = run_json(shop / "out")
    assert found["failures"] == {"bad_id": 1, "bad_row": 3, "duplicate_id": 1}
    assert found["first_failures"][1]["message"] == "changes.csv line 5: deleted, and no id that says which"
    assert state(shop / "out") == before
    assert found["rows"] == 4


def test_the_later_manifest_counts(shop: Path) -> None:
    one = [("r0", "p4.png", "hat", "1", ""), ("r1", "", "", "", "true"), ("n", "p2.png", "", "", "")]
    two = [("r0", "p1.png", "hat", "1", ""), ("r1", "p4.png", "hat", "1", ""), ("n", "", "", "", "1")]
    write(shop / "one.csv", one)
    write(shop / "two.csv", two)
    more = ("--manifest", shop / "two.csv", "--partial")
    assert run(*night(shop, "one.csv"), *more) == 0
    found = {id: row["uri"] for id, row in state(shop / "out").items()}
    assert found == {"r0": "p1.png", "r1": "p4.png", "r2": "p2.png", "r3": "p3.png"}
    more = ("--manifest", shop / "one.csv", "--partial")
    assert run(*night(shop, "two.csv"), *more) == 0
    found = {id: row["uri"] for id, row in state(shop / "out").items()}
    assert found == {"r0": "p4.png", "n": "p2.png", "r2": "p2.png", "r3": "p3.png"}


def test_what_is_deleted_leaves_its_picture_unless_it_is_pruned(shop: Path) -> None:
    assert change(shop, ("r0", "", "", "", "true")) == 0
    assert (shop / "out/images/r0.png").exists()
    write(shop / "changes.csv", [("r1", "", "", "", "true")])
    assert run(*night(shop), "--partial", "--prune") == 0
    assert not (shop / "out/images/r1.png").exists()
    assert (shop / "out/images/r2.png").exists()


def test_too_much_at_once_is_stopped(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(shop / "changes.csv", [("r0", "", "", "", "true")])
    arguments = ("--manifest", shop / "changes.csv", "--output", shop / "out", "--model", "u2netp", "--partial")
    before = newest_run(str(shop / "out")).run_id
    assert run("run", *arguments) == 1
    assert "1 of the 4 rows of the report before are in the manifests no longer" in capsys.readouterr().err
    assert newest_run(str(shop / "out")).run_id == before
    assert run("plan", *arguments) == 1
    assert "1 of the 4 rows before are gone" in capsys.readouterr().out
    assert run("run", *arguments, "--only", "r0") == 2
    assert "--partial does what its manifest names; drop --only" in capsys.readouterr().err


def test_the_first_changes_are_a_report(shop: Path) -> None:
    write(shop / "changes.csv", [("r0", "p0.png", "hat", "1", ""), ("r1", "", "", "", "true")])
    assert run(*night(shop, output="fresh"), "--partial") == 0
    assert newest_run(str(shop / "fresh")).changes is None
    assert sorted(state(shop / "fresh")) == ["r0"]
    assert run_json(shop / "fresh")["rows"] == 1


@pytest.mark.parametrize("output", ["out", "marked"])
def test_many_changes_are_folded(shop: Path, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "FEWEST_CHANGES", 2)
    assert change(shop, ("r0", "p4.png", "hat", "1", ""), ("r1", "", "", "", "true"), output=output) == 0
    assert newest_run(str(shop / output)).changes is not None
    assert change(shop, ("r2", "", "", "", "true"), ("n0", "p1.png", "hat", "1", ""), output=output) == 0
    assert newest_run(str(shop / output)).changes is None
    assert sorted(state(shop / output)) == ["n0", "r0", "r3"]
    assert run_json(shop / output)["rows"] == 3
    assert run("verify", "--output", shop / output) == 0


def test_a_migration_and_a_comparison_see_the_changes(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert change(shop, ("r0", "p4.png", "hat", "1", ""), ("r1", "", "", "", "true"), ("n", "p2.png", "", "", "")) == 0
    assert run("compare", "--from", shop / "out", "--policy", "otsu", "--output", shop / "trial") == 0
    assert pq.read_table(shop / "trial/comparison.parquet")["id"].to_pylist() != []
    assert sorted(pq.read_table(shop / "trial/comparison.parquet")["id"].to_pylist()) == ["n", "r0", "r2", "r3"]
    assert run("review", "--output", shop / "out") == 0
    write(shop / "all.csv", [("r0", "p4.png", "hat", "1"), ("r2", "p2.png", "", ""), ("n", "p2.png", "", "")])
    assert run("migrate", *night(shop, "all.csv")[1:5], "--policy", "otsu", *BRAKES_OFF) == 0
    assert run_json(shop / "out")["failures"] == {}
    assert sorted(state(shop / "out")) == ["n", "r0", "r2"]


def test_a_damaged_picture_of_a_change_is_repaired(shop: Path) -> None:
    assert change(shop, ("r0", "p4.png", "hat", "1", ""), ("n", "p2.png", "", "", "")) == 0
    (shop / "out/images/r0.png").write_bytes(b"not any more")
    assert run("verify", "--output", shop / "out") == 1
    write(shop / "all.csv", [(f"r{n}", f"p{n or 4}.png", "hat", "1") for n in range(4)])
    before = state(shop / "out")
    assert run(*night(shop, "changes.csv"), "--partial") == 0
    assert state(shop / "out") == before
    assert run("verify", "--output", shop / "out") == 0


def test_releases_of_changes_are_taken_back(shop: Path) -> None:
    output = shop / "marked"
    before = state(output)
    assert change(shop, ("r0", "p4.png", "hat", "1", ""), output="marked") == 0
    first = state(output)
    assert change(shop, ("r1", "", "", "", "true"), output="marked") == 0
    assert run("rollback", "--output", output) == 0
    assert state(output) == first
    assert run("rollback", "--output", output) == 0
    assert state(output) == before
    assert [release.state for release in releases(str(output))] == ["taken back", "earlier", "in force"]
    assert run("verify", "--output", output) == 0


def test_partial_runs_leave_as_many_reports_as_they_may(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "PARTIAL_S", -10.0)
    for number in range(4):
        write(shop / "changes.csv", [("r0", f"p{number}.png", "hat", "1", "")])
        assert run(*night(shop), "--partial", "--keep_reports", "2") == 0
    left = sorted(path.name for path in (shop / "out/report").glob("*=*"))
    assert [name.partition("=")[0] for name in left] == ["changes", "changes", "changes", "run"]
    assert run("verify", "--output", shop / "out") == 0


def test_changes_go_with_the_report_that_they_are_changes_to(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a rollback, the newer of two partial runs may stand on the older of two reports."""
    monkeypatch.setattr(cleanup, "RECENT_S", 0.0)
    output = shop / "marked"
    base = newest_run(str(output)).run_id
    assert run(*night(shop, "all.csv", "marked"), "--policy", "0.5") == 0
    newer = newest_run(str(output)).run_id
    assert run("rollback", "--output", output, "--to", base) == 0
    assert change(shop, ("r0", "p4.png", "hat", "1", ""), output="marked") == 0
    assert change(shop, ("r0", "p4.png", "hat", "2", ""), output="marked") == 0
    standing = [release.run_id for release in releases(str(output)) if release.latest.report.endswith(base)]
    assert len(standing) >= 2
    assert run("rollback", "--output", output, "--to", newer) == 0
    write(shop / "changes.csv", [("r2", "p4.png", "hat", "1", "")])
    assert run(*night(shop, output="marked"), "--partial", "--policy", "0.5", "--keep_reports", "1") == 0
    left = {release.run_id for release in releases(str(output))}
    assert left.isdisjoint(standing)
    assert run("verify", "--output", output) == 0


def test_duckdb_and_pyarrow_read_one_state(shop: Path) -> None:
    """By the words of docs/reference.md."""
    rows = (("r0", "p4.png", "hat", "1", ""), ("r1", "", "", "", "true"), ("n", "p2.png", "", "", ""))
    expected_before = sorted(state(shop / "out"))
    text = (ROOT / "docs/reference.md").read_text()
    begin = text.index("    # one state")
    recipe = textwrap.dedent(text[begin : text.index("\n`status`", begin)])
    for expected in (expected_before, None):  # a plain report, and one with changes
        found: dict[str, Any] = {}
        exec(recipe.replace("/srv/white", str(shop / "out")), found)
        wanted = expected or sorted(state(shop / "out"))
        assert sorted(found["by_duckdb"]["id"].to_pylist()) == wanted
        assert sorted(found["by_arrow"]["id"].to_pylist()) == wanted
        assert change(shop, *rows) == 0


def test_on_an_object_store(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "bucket"):
        output = "gs://bucket/white"
        for manifest in ("all.csv", "changes.csv"):
            write(shop / "changes.csv", [("r0", "p4.png", "hat", "1", ""), ("r1", "", "", "", "true")])
            arguments = ("--manifest", shop / manifest, "--output", output, "--model", "u2netp", *BRAKES_OFF)
            assert run("run", *map(str, arguments), *(["--partial"] if manifest == "changes.csv" else [])) == 0
        report = newest_report(output)
        assert report.changes
        assert sorted(report.read(0, ["id"])["id"].to_pylist()) == ["r0", "r2", "r3"]
        assert run("verify", "--output", output) == 0


@pytest.mark.pure
def test_rows_are_found_wherever_they_are(tmp_path: Path) -> None:
    chance = random.Random(7)
    ids = [f"{chance.randrange(10**6):x}" for _ in range(2000)]
    rows = {id: ReportRow(id, f"{id}.png", None, {}, "processed") for id in ids}
    shards = []
    for shard in range(4):
        table = to_table(row for row in rows.values() if shard_of(row.id, 4) == shard)
        (tmp_path / shard_name(shard, 4)).write_bytes(to_parquet(table))
        shards.append(str(tmp_path / shard_name(shard, 4)))
    changed = [ReportRow(ids[0], "other.png", None, {}, "processed"), ReportRow(ids[1], "", None, {}, "deleted")]
    changed.append(ReportRow("new", "new.png", None, {}, "processed"))
    (tmp_path / "changes.parquet").write_bytes(to_parquet(to_table(changed)))
    report = Report(tuple(shards), (str(tmp_path / "changes.parquet"),))
    asked = {*ids[:50], "new", "nowhere"}
    found = {row["id"]: row["uri"] for row in report.find(asked).to_pylist()}
    expected = {id: rows[id].uri for id in asked & rows.keys()} | {ids[0]: "other.png", "new": "new.png"}
    del expected[ids[1]]
    assert found == expected
    whole = pa.concat_tables([report.read(at) for at in range(4)])
    assert sorted(whole["id"].to_pylist()) == sorted({*rows, "new"} - {ids[1]})
    assert len(read_table(shards[0])) < len(rows)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("fields", "deleted", "message"),
    [
        ({"id": "a", "uri": "a.png"}, False, None),
        ({"id": "a", "uri": "a.png", "deleted": " False "}, False, None),
        ({"id": "a", "deleted": "true"}, True, None),
        ({"uri": "a.png", "deleted": "1"}, True, None),  # its id follows from the uri
        ({"id": "a", "uri": "a.png", "deleted": "x"}, False, "m line 3: deleted is 'x'; write true or false"),
        ({"deleted": "yes"}, False, "m line 3: deleted, and no id that says which"),
        ({"id": "../a", "deleted": "yes"}, True, "the id '../a' has an empty, `.` or `..` part"),
    ],
)
def test_a_row_is_deleted_in_so_many_words(fields: dict[str, str], deleted: bool, message: str | None) -> None:
    row = deletion(row_of_record(fields, ManifestFile("m", "csv", "/"), 3))
    assert (row.deleted, row.failure and row.failure.message) == (deleted, message)
    assert "deleted" not in row.attributes
