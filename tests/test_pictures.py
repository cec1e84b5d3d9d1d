"""A picture that somebody may be showing is not taken away: by no night, no killed run, no advice of ours."""

from __future__ import annotations

import ast
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import BRAKES_OFF, ROOT, draw_product, gone, newest, report_rows, run, run_json

from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.output import lease
from transforms.output.pictures import remove_picture, write_picture


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, u2netp: Any) -> Path:
    """A shop of four photos, and an output folder of them."""
    shop = tmp_path_factory.mktemp("made")
    (shop / "photos").mkdir()
    for n in range(4):
        draw_product(n, (100 + n, 90)).save(shop / f"photos/p{n}.jpg", quality=92)
    write_manifest(shop, range(4))
    assert night(shop, shop / "out") == 0
    return shop


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "shop [50% off]", copy_function=shutil.copy2)


def write_manifest(shop: Path, numbers: Any) -> None:
    rows = "".join(f"p{n},photos/p{n}.jpg,{'hat' if n % 2 else 'shoe'}\n" for n in numbers)
    (shop / "m.csv").write_text("id,uri,category\n" + rows)


def night(shop: Path, output: Path, *more: str | Path) -> int:
    return run(
        *("run", "--manifest", shop / "m.csv", "--output", output, "--model", "u2netp"),
        *(*BRAKES_OFF, *more),
    )


def lasting(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is said of a run, and not of its output."""
    return [{**row, "status": "", "picture_changed": None} for row in rows]


def migration(shop: Path, output: Path, *more: str | Path) -> int:
    return run(
        *("migrate", "--manifest", shop / "m.csv", "--output", output, "--policy", "0.3"),
        *("--max_failure_fraction", "1", *more),
    )


def lose_photos(shop: Path) -> None:
    (shop / "photos").rename(shop / "away")


def pictures(output: Path) -> dict[str, str]:
    found = sorted(path for path in (output / "images").rglob("*") if path.is_file())
    return {path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def assert_named(output: Path) -> None:
    """Every picture is named by its row, with its bytes, and verify finds nothing."""
    named = {row["output_uri"]: row["output_sha256"] for row in report_rows(output)}
    assert named == pictures(output)
    assert run("verify", "--output", output) == 0


def test_a_migration_elsewhere_twice(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert migration(shop, other, "--from", shop / "out") == 0
    before = pictures(other)
    lose_photos(shop)
    assert migration(shop, other, "--from", shop / "out") == 0
    assert pictures(other) == before
    assert {row["code"] for row in report_rows(other)} == {"not_found"}
    assert_named(other)


def test_a_bad_night_after_the_report_was_removed(shop: Path) -> None:
    output = shop / "out"
    before = pictures(output)
    shutil.rmtree(output / "report")
    lose_photos(shop)
    assert night(shop, output) == 0
    assert pictures(output) == before
    assert_named(output)


def test_a_bad_night_after_a_run_that_stopped(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = shop / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.report.commit", lambda *_: (_ for _ in ()).throw(FatalError("stopped here")))
        assert migration(shop, output) == 1  # has written other pictures, and no report says so
    before = pictures(output)
    lose_photos(shop)
    assert night(shop, output) == 0
    assert pictures(output) == before
    assert_named(output)


def test_a_row_that_was_missing_for_a_night(shop: Path) -> None:
    output = shop / "out"
    before = pictures(output)
    write_manifest(shop, [0, 2, 3])
    assert night(shop, output) == 0
    assert pictures(output) == before
    write_manifest(shop, range(4))
    (shop / "photos/p1.jpg").write_bytes(b"no photo")
    assert night(shop, output) == 0
    assert pictures(output) == before
    assert_named(output)


def test_of_two_pictures_one_is_named_and_one_is_listed_as_gone(shop: Path) -> None:
    output = shop / "out"
    shutil.copy(output / "images/p1.jpg", output / "images/p1.png")
    lose_photos(shop)
    assert night(shop, output) == 0
    assert {"images/p1.jpg", "images/p1.png"} < set(pictures(output))
    assert {row["output_uri"] for row in report_rows(output)} == {f"images/p{n}.jpg" for n in range(4)}
    assert gone(output) == ["images/p1.png"]
    assert run("verify", "--output", output) == 0


def test_a_change_of_format_keeps_the_old_one_until_there_is_a_new_one(shop: Path) -> None:
    output = shop / "out"
    (shop / "photos/p2.jpg").write_bytes(b"no photo")
    assert night(shop, output, "--format", "png") == 0
    assert set(pictures(output)) == {"images/p0.png", "images/p1.png", "images/p2.jpg", "images/p3.png"}
    assert_named(output)


def test_a_picture_that_cannot_be_removed_costs_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = shop / "out"

    delete = storage.delete

    def refuse(uri: str, below: str | None = None) -> None:
        if "/images/" in uri:
            raise PhotoError("write_failed", uri)
        delete(uri, below)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", refuse)
        assert night(shop, output, "--format", "png") == 0
    assert {row["status"] for row in report_rows(output)} == {"processed"}
    assert sorted(gone(output)) == [f"images/p{n}.jpg" for n in range(4)]
    assert run("verify", "--output", output) == 0


def test_a_report_that_breaks_off_is_said_before_anything_is_done(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shop / "out"
    before = pictures(output)
    command: Callable[[Path, Path], int]
    (shard,) = newest(output).glob("part-*")
    for data in (b"", shard.read_bytes()[:-10]):
        shard.write_bytes(data)
        for command in (night, migration, lambda shop, output: run("verify", "--output", output)):
            assert command(shop, output) == 2
            said = capsys.readouterr().err
            assert f"{newest(output)}" in said
            assert "goes on" not in said
    shutil.rmtree(output / "report")  # as it says
    assert night(shop, output) == 0
    assert pictures(output) == before
    assert run_json(output)["work"].get("photos_predicted", 0) == 0


def test_a_report_that_is_damaged_inside_is_a_dead_end(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shard,) = newest(shop / "out").glob("part-*")
    data = bytearray(shard.read_bytes())
    data[4:-200] = bytes(len(data) - 204)
    shard.write_bytes(data)
    assert night(shop, shop / "out") == 1
    said = capsys.readouterr().err
    assert "to start afresh" in said
    assert "goes on from there" not in said


def test_rows_that_are_carried_name_the_policy_in_force(shop: Path) -> None:
    output = shop / "out"
    policy = shop / "policy.toml"
    policy.write_text('[default]\n[category.hat]\nmethod = "otsu"\n')
    assert night(shop, output, "--policy", policy) == 0
    rows = report_rows(output)
    assert [row["status"] for row in rows] == ["unchanged", "processed"] * 2
    assert len({row["policy_sha256"] for row in rows}) == 1
    policy.write_text('[default]\n[category.hat]\nmethod = "otsu"\n[category.shoe]\nthreshold = 0.7\n')
    assert night(shop, output, "--policy", policy) == 0
    rows = report_rows(output)
    assert [row["status"] for row in rows] == ["unchanged"] * 4
    assert [row["rule"] for row in rows] == ["category shoe", "category hat"] * 2
    assert {row["policy_sha256"] for row in rows} == {run_json(output)["settings"]["policy_sha256"]}


def test_to_retry_what_failed_does_a_row_whose_photo_is_another_now(shop: Path) -> None:
    output = shop / "out"
    text = (shop / "m.csv").read_text()
    (shop / "m.csv").write_text(text.replace("p1,photos/p1.jpg", "p1,photos/p2.jpg"))
    assert night(shop, output, "--retry_failed") == 0
    rows = {row["id"]: row for row in report_rows(output)}
    assert rows["p1"]["uri"] == "photos/p2.jpg"
    assert rows["p1"]["source_sha256"] == rows["p2"]["source_sha256"]


def test_equal_photos_are_predicted_once_by_force_too(shop: Path) -> None:
    for n in range(1, 4):
        shutil.copy(shop / "photos/p0.jpg", shop / f"photos/p{n}.jpg")
    assert night(shop, shop / "out", "--force") == 0
    assert run_json(shop / "out")["work"]["photos_predicted"] == 1
    assert len(set(pictures(shop / "out").values())) == 1


@pytest.mark.parametrize("part", ["images", "maps", "report"])
def test_a_part_that_is_a_link_is_refused(part: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = shop / "out"
    (output / part).rename(shop / "elsewhere")
    (output / part).symlink_to(shop / "elsewhere")
    assert night(shop, output) == 2
    assert f"{output / part} is a symbolic link" in capsys.readouterr().err


def test_nothing_is_done_behind_a_link(shop: Path) -> None:
    output, foreign = shop / "out", shop / "foreign"
    foreign.mkdir()
    for name in ("a.jpg", "b.png", ".x.whitesweep-tmp"):
        (foreign / name).write_bytes(b"somebody else's")
    (output / "images/sub").symlink_to(foreign)
    (output / "report/run=20200101T000000.000Z-abcdef").symlink_to(foreign)
    with (shop / "m.csv").open("a") as manifest:
        manifest.write("sub/new,photos/p1.jpg,hat\n")
    assert night(shop, output, "--prune") == 0
    assert sorted(path.name for path in foreign.iterdir()) == [".x.whitesweep-tmp", "a.jpg", "b.png"]
    assert {path.read_bytes() for path in foreign.iterdir()} == {b"somebody else's"}
    row = next(row for row in report_rows(output) if row["id"] == "sub/new")
    assert row["code"] == "write_failed"
    assert f"{output}/images/sub: a symbolic link" in row["message"]
    assert run("verify", "--output", output) == 0
    with pytest.raises(PhotoError, match="symbolic link"):
        remove_picture(str(output), "", "images/sub/a.jpg", "pruned")


def test_what_is_not_owned_any_more_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LOOK_S", 0.0)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/lease.json").write_text('{"run_id": "another"}')
    write_picture(str(tmp_path), "another", "images/a.png", b"-", "image/png")
    for lost in ("ours", "older"):
        with pytest.raises(FatalError, match="taken over"):
            write_picture(str(tmp_path), lost, "images/a.png", b"!", "image/png")
        with pytest.raises(FatalError, match="taken over"):
            remove_picture(str(tmp_path), lost, "images/a.png", "pruned")
    (tmp_path / "report/lease.json").unlink()  # the other one has finished
    with pytest.raises(FatalError, match="taken over"):
        write_picture(str(tmp_path), "third", "images/a.png", b"!", "image/png")
    assert (tmp_path / "images/a.png").read_bytes() == b"-"


REMOVERS = {
    "transforms/output/pictures.py": "pictures, for a reason",
    "transforms/output/cleanup.py": "unfinished files, reports that no run completed, and old ones",
    "transforms/output/run.py": "the shards of a run that stopped",
    "transforms/output/lease_file.py": "its own lease",
    "transforms/ending.py": "what workers have told of a job that is over",
    "transforms/commit_window.py": "the changes of a window that another overtook",
    "pipeline/stream.py": "what workers have told of a stream that is over",
    "pipeline/verify.py": "its own verdict",
    "pipeline/repair.py": "its own list",
    "pipeline/telling.py": "its own progress.json",
    "pipeline/review/write.py": "data of sheets before",
}
"""Whoever removes anything, and what."""


def test_one_function_removes_pictures() -> None:
    found = {}
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "transforms").rglob("*.py")]:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [
            f"{call.value.id}.{call.attr}"
            for call in calls
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name)
        ]
        if any(name in ("storage.delete", "storage.delete_folder") for name in names):
            found[path.relative_to(ROOT).as_posix()] = sum(name.startswith("storage.delete") for name in names)
    assert set(found) == set(REMOVERS)
    assert found["transforms/output/pictures.py"] == 1


def test_a_repair_after_a_migration_elsewhere_is_of_that_report(shop: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert migration(shop, other, "--from", shop / "out") == 0
    before, rows = pictures(other), report_rows(other)
    (other / "images/p0.jpg").unlink()
    assert run("verify", "--output", other, "--repair") == 0
    assert pictures(other) == before
    after = report_rows(other)
    assert lasting(after) == lasting(rows)


def test_a_repair_predicts_with_what_made_the_maps(shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert night(shop, output, "--precision", "fp32", "--sharpen", "40") == 0
    assert migration(shop, output) == 0
    before, rows = pictures(output), report_rows(output)
    shutil.rmtree(output / "maps")
    (output / "images/p0.jpg").unlink()
    assert run("verify", "--output", output, "--repair") == 0
    assert pictures(output) == before
    assert lasting(report_rows(output)) == lasting(rows)
    assert run_json(output)["work"]["photos_predicted"] == 4
    assert run("verify", "--output", output) == 0


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_repair_that_cannot_be_had_is_said(damage: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = shop / "out"
    assert night(shop, output) == 0  # so that its report is of this manifest
    if damage == "missing":
        (output / "images/p0.jpg").unlink()
    else:
        (output / "images/p0.jpg").write_bytes(b"half a pic")
    (shop / "photos/p0.jpg").unlink()
    assert run("verify", "--output", output, "--repair") == 1
    assert "not repaired: 1 rows" in capsys.readouterr().out
    assert {row["id"]: row["code"] for row in report_rows(output)} == {
        "p0": "not_found",
        "p1": None,
        "p2": None,
        "p3": None,
    }


def test_two_repairs_in_one_process(shop: Path) -> None:
    output = shop / "out"
    before = pictures(output)
    for n in range(3):
        (output / f"images/p{n}.jpg").unlink()
        assert run("verify", "--output", output, "--repair") == 0
        assert pictures(output) == before


def test_maps_of_a_network_that_is_gone_are_left_alone(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = shop / "out"
    (shard,) = newest(output).glob("part-*")
    table = pq.ParquetFile(shard).read()
    column = table.schema.get_field_index("weights_sha256")
    pq.write_table(table.set_column(column, table.schema.field(column), [["0" * 64] * 4]), shard)
    rows, before = report_rows(output), pictures(output)
    shutil.rmtree(output / "maps")
    assert run("verify", "--output", output, "--repair") == 1
    assert "4 maps cannot be made again" in capsys.readouterr().err
    assert pictures(output) == before
    assert lasting(report_rows(output)) == lasting(rows)
