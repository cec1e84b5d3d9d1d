"""Nothing done twice: what is unchanged is neither read nor predicted nor written, and every report is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import BRAKES_OFF, digests, draw_product, newest, record, report_rows, run, run_json
from gs import emulator

from transforms import storage
from transforms.output.earlier import Report, load_table

pytestmark = pytest.mark.usefixtures("u2netp")
MODEL = ("--model", "u2netp")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """Six photos and a broken one, run once."""
    folder = tmp_path_factory.mktemp("ran")
    photos = folder / "photos"
    photos.mkdir()
    for n in range(6):
        draw_product(n, (160 + 10 * n, 200)).save(photos / f"p{n}.jpg")
    (photos / "bad.jpg").write_bytes(b"no picture")
    lines = ["id,uri,category,price", *(f"p{n},photos/p{n}.jpg,{'hat' if n % 2 else 'shoe'},{n}" for n in range(6))]
    (folder / "m.csv").write_text("\n".join([*lines, "bad,photos/bad.jpg,hat,9"]) + "\n")
    assert run("run", "--manifest", folder / "m.csv", "--output", folder / "out", *MODEL, *LENIENT) == 0
    return folder


LENIENT = (*BRAKES_OFF, "--max_failure_fraction", "0.5")


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    """A copy of it, times kept."""
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def again(shop: Path, *more: str | Path) -> dict[str, Any]:
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "out", *MODEL, *LENIENT, *more) == 0
    return run_json(shop / "out")


def states(shop: Path) -> dict[str, str]:
    return {row["id"]: row["code"] or row["status"] for row in report_rows(shop / "out")}


ALL = [f"p{n}" for n in range(6)]


def test_a_second_run_touches_nothing(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.engine.Engine.__init__", None)  # no model is loaded
    files = (path for part in ("images", "maps") for path in (shop / "out" / part).rglob("*.*"))
    before = {path: path.stat().st_mtime_ns for path in files}
    first = report_rows(shop / "out")
    for _ in range(2):
        counts = again(shop)
        assert counts["work"] == {"photos_read": 1}  # the broken one
        assert counts["statuses"] == {"failed": 1, "unchanged": 6}
        assert {path: path.stat().st_mtime_ns for path in before} == before
        for old, new in zip(first, report_rows(shop / "out"), strict=True):
            assert {name for name in old if old[name] != new[name]} <= {"status", "picture_changed"}
    assert counts["mask_flags"] == json.loads(next((shop / "out/runs").glob("*/run.json")).read_text())["mask_flags"]


def touch(shop: Path) -> None:
    path = shop / "photos/p1.jpg"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace_photo(shop: Path) -> None:
    draw_product(77, (200, 200)).save(shop / "photos/p1.jpg")


def lose_picture(shop: Path) -> None:
    (shop / "out/images/p1.jpg").unlink()


def cut_picture(shop: Path) -> None:
    path = shop / "out/images/p1.jpg"
    path.write_bytes(path.read_bytes()[:-1])


def rename_photo(shop: Path) -> None:
    (shop / "photos/p1.jpg").rename(shop / "photos/q1.jpg")
    (shop / "m.csv").write_text((shop / "m.csv").read_text().replace("photos/p1.jpg", "photos/q1.jpg"))


@pytest.mark.parametrize(
    ("change", "read", "predicted", "written"),
    [
        (touch, 1, 0, 0),
        (replace_photo, 1, 1, 1),
        (lose_picture, 1, 0, 1),
        (cut_picture, 1, 0, 1),
        (rename_photo, 1, 0, 0),
    ],
)
def test_what_changed_is_done_and_nothing_else(
    change: Callable[[Path], None], read: int, predicted: int, written: int, shop: Path
) -> None:
    change(shop)
    work = again(shop)["work"]
    found = [work.get(name, 0) for name in ("photos_read", "photos_predicted", "images_written")]
    assert found == [read + 1, predicted, written]
    assert states(shop) == {**dict.fromkeys(ALL, "unchanged"), "p1": "processed", "bad": "not_an_image"}
    fresh = shop / "fresh"
    assert run("run", "--manifest", shop / "m.csv", "--output", fresh, *MODEL, *LENIENT) == 0
    pictures = {name: digest for name, digest in digests(fresh).items() if name.startswith("images/")}
    assert pictures == {name: digest for name, digest in digests(shop / "out").items() if name.startswith("images/")}


def test_a_changed_rule_touches_only_its_category(shop: Path) -> None:
    policy = shop / "p.toml"
    policy.write_text('[category.hat]\nmethod = "soft"\n')
    counts = again(shop, "--policy", policy)
    assert counts["work"] == {"photos_read": 4, "images_written": 3}
    hats = [f"p{n}" for n in (1, 3, 5)]
    assert {id for id, state in states(shop).items() if state == "processed"} == set(hats)
    assert {row["rule"] for row in report_rows(shop / "out") if row["status"] == "unchanged"} == {"default"}
    assert again(shop, "--policy", policy)["statuses"] == {"failed": 1, "unchanged": 6}


@pytest.mark.parametrize(
    ("setting", "work"),
    [
        (("--sharpen", "0"), {"photos_predicted": 6, "maps_written": 6}),
        (("--background", "#eeeeee"), {"images_written": 6}),
        (("--format", "png"), {"images_written": 6, "images_removed": 6}),
        (("--force",), {"photos_predicted": 6, "maps_written": 6, "images_written": 6}),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(
    setting: tuple[str, ...], work: dict[str, int], shop: Path
) -> None:
    found = again(shop, *setting)["work"]
    assert {name: found.get(name, 0) for name in work} == work
    assert found["photos_read"] == 7
    pictures = list((shop / "out/images").iterdir())
    assert len(pictures) == 6
    assert {path.suffix for path in pictures} == ({".png"} if "png" in setting else {".jpg"})


def test_a_rows_own_words_are_carried_anew(shop: Path) -> None:
    text = (shop / "m.csv").read_text()
    (shop / "m.csv").write_text(text.replace("p1.jpg,hat,1", "p1.jpg,cap,100"))
    assert again(shop)["work"] == {"photos_read": 1}
    row = {row["id"]: row for row in report_rows(shop / "out")}["p1"]
    assert (row["status"], row["category"], row["attributes"]) == ("unchanged", "cap", [("price", "100")])


def test_rows_that_left_are_listed_and_pruned_only_if_asked(shop: Path) -> None:
    lines = (shop / "m.csv").read_text().splitlines()
    (shop / "m.csv").write_text("\n".join(lines[:4]) + "\n")  # p3, p4, p5 and bad leave
    for _ in range(2):  # it is said again until they are pruned
        counts = again(shop)
        assert counts["gone"] in (3, 4)  # bad had no picture, and is listed once
        assert counts["pruned"] == 0
        table = pq.ParquetFile(record(shop / "out") / "gone.parquet").read().to_pylist()
        assert [row["output_uri"] for row in table if row["output_uri"]] == [f"images/p{n}.jpg" for n in (3, 4, 5)]
        assert (shop / "out/images/p4.jpg").exists()
    assert again(shop, "--prune")["pruned"] == 3
    assert sorted(path.name for path in (shop / "out/images").iterdir()) == ["p0.jpg", "p1.jpg", "p2.jpg"]
    assert again(shop)["gone"] == 0


def test_a_prune_by_a_wrong_manifest_removes_nothing(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "m.csv").write_text("\n".join((shop / "m.csv").read_text().splitlines()[:2]) + "\n")
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "out", *MODEL, *BRAKES_OFF, "--prune") == 1
    assert "5 pictures would be pruned and 1 stay; nothing was pruned" in capsys.readouterr().err
    assert len(list((shop / "out/images").iterdir())) == 6


def test_only_the_failed_are_retried_if_that_is_asked(shop: Path) -> None:
    draw_product(5, (100, 100)).save(shop / "photos/bad.jpg")
    replace_photo(shop)  # is not looked at
    counts = again(shop, "--retry_failed")
    assert counts["work"]["photos_read"] == 1
    assert states(shop) == dict.fromkeys(ALL, "unchanged") | {"bad": "processed"}
    assert again(shop)["work"]["photos_read"] == 1  # and now it is


def test_a_photo_that_cannot_be_read_keeps_its_picture(shop: Path) -> None:
    before = (shop / "out/images/p2.jpg").read_bytes()
    (shop / "photos/p2.jpg").rename(shop / "photos/away.jpg")
    again(shop)
    assert states(shop)["p2"] == "not_found"
    row = {row["id"]: row for row in report_rows(shop / "out")}["p2"]
    assert row["output_uri"] == "images/p2.jpg"
    assert (shop / "out/images/p2.jpg").read_bytes() == before
    (shop / "photos/away.jpg").rename(shop / "photos/p2.jpg")
    assert again(shop)["work"].get("images_written", 0) == 0


def test_what_a_new_policy_fails_is_taken_down(shop: Path) -> None:
    policy = shop / "p.toml"
    policy.write_text("[category.hat]\nminimum_component = 100000\n")
    for command, more in (("run", MODEL), ("migrate", ())):
        output = shutil.copytree(shop / "out", shop / command, copy_function=shutil.copy2)
        arguments: tuple[str | Path, ...] = (
            "--manifest",
            shop / "m.csv",
            "--output",
            output,
            "--policy",
            policy,
            *BRAKES_OFF,
        )
        assert run(command, *arguments, *more) == 0
        assert sorted(path.name for path in (output / "images").iterdir()) == ["p0.jpg", "p2.jpg", "p4.jpg"]
        rows = {row["id"]: row for row in report_rows(output)}
        assert (rows["p1"]["code"], rows["p1"]["output_uri"]) == ("no_subject", None)


def test_a_photo_without_a_product_is_read_again_only_if_something_changed(shop: Path) -> None:
    policy = shop / "p.toml"
    policy.write_text("[category.hat]\nminimum_component = 100000\n")
    anew = ("--policy", policy, "--max_failure_fraction", "1")
    again(shop, *anew)
    before = report_rows(shop / "out")
    assert again(shop, *anew)["work"] == {"photos_read": 1}  # the broken one
    after = {row["id"]: {**row, "picture_changed": True} for row in report_rows(shop / "out")}
    assert all(after[row["id"]] == {**row, "picture_changed": True} for row in before if row["code"])
    touch(shop)  # p1, a hat
    assert again(shop, *anew)["work"] == {"photos_read": 2}
    (shop / "out/images/p3.jpg").write_bytes(b"whose picture is this?")
    assert again(shop, *anew)["work"] == {"photos_read": 2, "images_removed": 1}
    assert again(shop, *anew, "--retry_failed")["work"]["photos_read"] == 4
    assert again(shop)["work"] == {"photos_read": 4, "images_written": 3}


def test_equal_photos_under_many_names_are_predicted_once(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    draw_product(1, (200, 200)).save(photos / "a.jpg")
    draw_product(2, (200, 200)).save(photos / "b.jpg")
    for n in range(10):
        shutil.copy(photos / "a.jpg", photos / f"copy{n}.jpg")
    for workers in ("1", "4"):
        output = tmp_path / workers
        assert run("run", "--manifest", photos, "--output", output, *MODEL, "--direct_num_workers", workers) == 0
        work = run_json(output)["work"]
        assert (work["photos_predicted"], work["images_written"]) == (2, 12)


def test_a_report_of_an_older_schema_is_no_obstacle(shop: Path) -> None:
    (shard,) = newest(shop / "out").glob("part-*")
    table = pq.ParquetFile(shard).read().drop_columns(["settings_sha256"])
    pq.write_table(table.replace_schema_metadata({"whitesweep.report": "2"}), shard)
    counts = again(shop)
    assert counts["statuses"] == {"failed": 1, "processed": 6}
    assert "photos_predicted" not in counts["work"]
    assert "images_written" not in counts["work"]


def test_a_report_without_the_newest_column_is_read_with_nulls(shop: Path) -> None:
    (shard,) = newest(shop / "out").glob("part-*")
    table = pq.ParquetFile(shard).read().drop_columns(["quality"])
    pq.write_table(table.replace_schema_metadata({"whitesweep.report": "3"}), shard)
    assert load_table(Report((str(shard),)), 0, 1).column("quality").null_count == len(table)
    assert again(shop)["statuses"] == {"failed": 1, "unchanged": 6}


def test_a_report_that_is_not_whole_is_not_built_upon(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "out/report/latest.json").write_text("{")
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "out", *MODEL) == 2
    assert "latest.json: cannot be read" in capsys.readouterr().err
    shutil.rmtree(shop / "out/report")
    assert again(shop)["work"] == {"photos_read": 7}


def test_in_an_object_store_too(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        for path in [shop / "m.csv", *(shop / "photos").iterdir()]:
            storage.write(f"gs://shop/in/{path.relative_to(shop)}", path.read_bytes())
        arguments = ("run", "--manifest", "gs://shop/in/m.csv", "--output", "gs://shop/out", *MODEL, *LENIENT)

        def work() -> Any:
            assert run(*arguments) == 0
            run_id = json.loads(storage.read("gs://shop/out/report/latest.json").data)["run_id"]
            return json.loads(storage.read(f"gs://shop/out/runs/{run_id}/run.json").data)["work"]

        assert work()["photos_predicted"] == 6
        assert work() == {"photos_read": 1}
        storage.delete("gs://shop/out/images/p3.jpg")
        storage.write("gs://shop/in/photos/p0.jpg", storage.read("gs://shop/in/photos/p1.jpg").data)
        assert work() == {"photos_read": 3, "images_written": 2}
        assert not storage.exists("gs://shop/out/report/lease.json")
