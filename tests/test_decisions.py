"""One photo put right: what is decided on single photos comes before any rule, and stays so every night."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BRAKES_OFF, draw_product, report_rows, run, run_json
from PIL import Image

from pipeline.cli import main
from transforms.decisions import Decision, DecisionsError, read_decisions, rule_of
from transforms.pixels.policy import Rule, parse_policy, plain_policy
from transforms.types import ManifestRow

IDS = ["a", "b", "c", "d", "e", "f"]
HEAD = "id,decision,parameters,note\n"
SHIFT = ("--max_foreground_shift", "1")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    for number, id in enumerate(IDS):
        draw_product(number, (120, 90)).save(folder / f"{id}.png")
    (folder / "m.csv").write_text("id,uri,category\n" + "".join(f"{id},{id}.png,hats\n" for id in IDS))
    assert run(*night(folder)) == 0
    return folder


def night(folder: Path, *more: str | Path, command: str = "run") -> tuple[str | Path, ...]:
    paths = ("--manifest", folder / "m.csv", "--output", folder / "out")
    return (command, *paths, "--model", "u2netp", *more)


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def decide(shop: Path, *lines: str) -> Path:
    file = shop / "decisions.csv"
    file.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return file


def by_id(shop: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in report_rows(shop / "out")}


def picture(shop: Path, id: str) -> np.ndarray:
    with Image.open(shop / "out" / "images" / f"{id}.png") as image:
        return np.asarray(image.convert("RGB"))


def test_each_decision_does_what_it_says_and_nothing_else(shop: Path, log: list[str]) -> None:
    before = by_id(shop)
    decide(
        shop,
        "a,keep,,the cord is cut off",
        "b,white,,",
        "c,drop,,not ours",
        "d,change,threshold=0.2 sharpen=0,",
        "e,good,,",
        "nobody,keep,,",
    )
    assert run(*night(shop)) == 0
    assert "plan: decided one by one: 1 change, 1 drop, 1 good, 1 keep, 1 white" in "\n".join(log)
    assert "decided, but no row that can be used has this id: 'nobody'" in "\n".join(log)
    after = by_id(shop)
    assert {id: (row["status"], row["decision"], row["rule"], row["method"]) for id, row in after.items()} == {
        "a": ("processed", "keep", "decision", "keep"),
        "b": ("processed", "white", "decision", "white"),
        "c": ("dropped", "drop", "decision", "drop"),
        "d": ("processed", "change", "decision", "fixed"),
        "e": ("unchanged", "good", "default", "fixed"),
        "f": ("unchanged", None, "default", "fixed"),
    }
    with Image.open(shop / "a.png") as photo:
        assert (picture(shop, "a") == np.asarray(photo.convert("RGB"))).all()
    assert (picture(shop, "b") == 255).all()
    assert not (shop / "out" / "images" / "c.png").exists()
    assert after["c"]["output_uri"] is None
    assert after["c"]["picture_changed"] is True
    assert (after["d"]["threshold"], after["d"]["sharpen"]) == (0.2, 0)
    assert after["d"]["map_key"] != before["d"]["map_key"]
    assert after["f"]["output_sha256"] == before["f"]["output_sha256"]
    assert run("verify", "--output", shop / "out") == 0
    record = run_json(shop / "out")
    assert record["settings"]["decisions"]["count"] == 6
    kept = shop / "out" / "runs" / record["run_id"] / "decisions.csv"
    assert kept.read_bytes() == (shop / "decisions.csv").read_bytes()
    assert record["work"]["photos_predicted"] == 1

    assert run(*night(shop)) == 0  # and it stays so
    assert {row["status"] for row in by_id(shop).values()} == {"unchanged", "dropped"}
    assert "work" not in run_json(shop / "out") or not run_json(shop / "out")["work"].get("photos_read")

    decide(shop, "a,keep,,")
    assert run(*night(shop)) == 0  # what is decided no longer goes back to the policy
    assert "decisions on single photos 6 -> 1" in "\n".join(log)
    back = by_id(shop)
    for id in "bcdef":
        assert back[id]["output_sha256"] == before[id]["output_sha256"]
        assert (back[id]["decision"], back[id]["sharpen"], back[id]["rule"]) == (None, None, "default")


def test_a_migration_and_a_full_run_follow_decisions_alike(shop: Path) -> None:
    decide(shop, "b,drop,,", "c,change,sharpen=0,", "d,change,method=otsu,")
    assert run(*night(shop)) == 0  # the map of c is there, sharpened otherwise
    decide(shop, "b,drop,,", "d,change,method=otsu,", "e,keep,,")
    assert run(*night(shop, "--policy", "0.5", *BRAKES_OFF, command="migrate")) == 0
    migrated = by_id(shop)
    assert run(*night(shop, "--policy", "0.5", "--force")) == 0
    for id, row in by_id(shop).items():
        for column in ("output_sha256", "map_key", "method", "rule", "decision", "sharpen"):
            assert row[column] == migrated[id][column], (id, column)


def test_a_migration_asks_for_the_map_that_a_rule_wants(shop: Path) -> None:
    (shop / "flat.toml").write_text('[default]\n[[rule]]\nmatch = { id = "c" }\nsharpen = 0\n')
    more: tuple[str | Path, ...] = ("--policy", shop / "flat.toml", "--max_failure_fraction", "1", *BRAKES_OFF)
    assert run(*night(shop, *more, command="migrate")) == 0
    assert {id: row["code"] for id, row in by_id(shop).items() if row["code"]} == {"c": "no_map"}
    assert run(*night(shop, *more, "--missing", "predict", command="migrate")) == 0
    assert run_json(shop / "out")["work"]["photos_predicted"] == 1
    migrated = by_id(shop)["c"]
    assert run(*night(shop, "--policy", shop / "flat.toml", "--force")) == 0
    assert by_id(shop)["c"]["output_sha256"] == migrated["output_sha256"]


def test_rows_of_one_photo_may_be_decided_apart(shop: Path) -> None:
    (shop / "m.csv").write_text("id,uri\n" + "".join(f"{id},a.png\n" for id in IDS))
    decide(shop, "a,change,sharpen=0,", "b,drop,,", "c,change,sharpen=300,", "d,white,,")
    assert run(*night(shop, "--max_gone_fraction", "1")) == 0
    rows = by_id(shop)
    assert [rows[id]["status"] for id in IDS] == ["processed", "dropped", *["processed"] * 4]
    assert len({rows[id]["map_key"] for id in "acd"}) == 3
    assert rows["e"]["map_key"] == rows["d"]["map_key"] == rows["f"]["map_key"]


def test_repair_and_compare_know_the_decisions_of_the_run(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(shop, "a,keep,,", "b,change,sharpen=0,", "c,drop,,")
    assert run(*night(shop)) == 0
    before = by_id(shop)
    (shop / "decisions.csv").write_text("what became of it since does not matter")
    (shop / "out" / "images" / "a.png").unlink()
    for file in (shop / "out" / "maps").glob(f"*/{before['b']['map_key']}.png"):
        file.unlink()
    (shop / "out" / "images" / "b.png").unlink()
    assert run("verify", "--output", shop / "out", "--repair") == 0
    after = by_id(shop)
    for id in IDS:
        for column in ("output_sha256", "map_key", "method", "decision", "sharpen"):
            assert after[id][column] == before[id][column], (id, column)
    assert run("compare", "--from", shop / "out", "--policy", "0.3", "--output", shop / "trial") == 0
    compared = json.loads((shop / "trial" / "comparison.json").read_text())
    assert "a" not in {row["id"] for row in compared["most_changed"]}
    assert compared["all"]["changed"] >= 4


@pytest.mark.parametrize("others", [[], ["--only", "a"]])
def test_plan_tells_of_decisions_and_writes_nothing(
    shop: Path, others: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    decide(shop, "a,keep,,", "zzz,drop,,")
    there = sorted(path for path in (shop / "out").rglob("*"))
    assert main([str(word) for word in night(shop, *others, "--json", command="plan")]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["decisions"] == {"keep": 1}
    assert plan["first_unmatched_decisions"] == ([] if others else ["zzz"])
    assert plan["to_do"] == ({"asked": 1} if others else {"rendering": 1})
    assert sorted(path for path in (shop / "out").rglob("*")) == there


def test_a_glob_of_manifests_does_not_take_the_decisions_for_one(shop: Path) -> None:
    decide(shop, "a,keep,,")
    command = list(night(shop))
    command[2] = f"{shop}/*.csv"
    assert run(*command) == 0
    assert by_id(shop)["a"]["method"] == "keep"
    assert len(by_id(shop)) == len(IDS)


def test_decisions_that_are_named_win_and_wrong_ones_stop_before_anything(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(shop, "a,keep,,")
    (shop / "mine.csv").write_text("\ufeffID;Decision;Parameters\r\n b ;WHITE;\r\n")  # as a spreadsheet saves it
    assert run(*night(shop, "--decisions", shop / "mine.csv")) == 0
    assert [by_id(shop)[id]["decision"] for id in "ab"] == [None, "white"]
    before = by_id(shop)
    assert run(*night(shop, "--decisions", shop / "none.csv")) == 2
    assert "none.csv: no such file" in capsys.readouterr().err
    decide(shop, "a,otsu,,")
    assert run(*night(shop)) == 2
    assert by_id(shop) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + "a,otsu,,", "line 2: the decision 'otsu' is none of good, redo, keep, white, drop, change; for a"),
        (HEAD + "a,,,", "line 2: the decision '' is none of"),
        (HEAD + ",keep,,", "line 2: no id"),
        (HEAD + "a,keep,threshold=0.5,", "line 2: keep takes no parameters, not 'threshold=0.5'"),
        (HEAD + "a,change,,", "line 2: change what?"),
        (HEAD + "a,change,0.5,", "line 2: '0.5' is no parameter"),
        (HEAD + "a,change,threshold=2,", "line 2: threshold is 2.0, expected"),
        (HEAD + "a,change,treshold=0.2,", "line 2: 'treshold' is none of"),
        (HEAD + "a,change,width=0.2,", "line 2: 'width' is none of"),
        (HEAD + "a,change,sharpen=-1,", "line 2: sharpen is -1.0"),
        (HEAD + "a,change,sharpen=nan,", "line 2: sharpen is nan"),
        (HEAD + "a,change,holes=filled,", "line 2: holes 'filled' is none of"),
        (HEAD + "a,change,method=ramp threshold=0.99,", "line 2: a ramp"),
        (HEAD + "a,keep,,\n\na,drop,,", "line 4: decides 'a' otherwise than line 2 does; keep one of them"),
        (HEAD + "a,keep,,,,more", "line 2: 6 fields"),
        ("decision\nkeep\n", "no id column"),
        ("", "no id column"),
        ("PK\x03\x04", "an Excel workbook"),
        ("id,decision,decision\na,keep,drop\n", "two columns have the same name"),
    ],
)
def test_wrong_decisions_are_refused_in_one_line(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text(text)
    with pytest.raises(DecisionsError) as caught:
        read_decisions(str(file))
    assert expected in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_decisions_are_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_text(
        HEAD + 'a,Keep,,"said ""so"", twice"\na,keep,,again\n\n"b,1", change , threshold=0.5; width=0.1 method=ramp,\n'
    )
    found = read_decisions(str(file))
    changes = (("method", "ramp"), ("threshold", 0.5), ("width", 0.1))
    assert found.by_id == {"a": Decision("keep"), "b,1": Decision("change", changes)}
    assert found.file.count == 2
    file.write_text(HEAD)
    assert read_decisions(str(file)).by_id == {}


def test_a_change_is_made_to_the_rule_that_would_serve_the_row() -> None:
    tables = {"default": {}, "category": {"hats": {"method": "ramp", "minimum_component": 50}}}
    policy, row = parse_policy(tables, "p.toml"), ManifestRow("a", "a.jpg", "a.jpg", "hats")
    base = policy.categories[0][1]
    name, rule = rule_of(row, policy, Decision("change", (("sharpen", 0.0),)))
    assert (name, rule.method, rule.parameters, rule.minimum_component, rule.sharpen) == (
        "decision",
        "ramp",
        base.parameters,
        50,
        0,
    )
    _, rule = rule_of(row, policy, Decision("change", (("threshold", 0.3),)))
    assert (rule.method, rule.parameters, rule.minimum_component) == ("fixed", (("threshold", 0.3),), 50)
    assert rule_of(row, policy, Decision("good")) == ("category hats", base)
    assert rule_of(row, policy, None) == ("category hats", base)
    assert Rule().sha256() == plain_policy("0.7").default.sha256()


def test_a_file_that_is_lost_does_not_take_decisions_back(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(shop, "a,keep,,", "b,white,,")
    assert run(*night(shop)) == 0
    before = by_id(shop)
    (shop / "decisions.csv").unlink()
    assert run(*night(shop)) == 2
    assert "the run before had 2 decisions" in capsys.readouterr().err
    assert by_id(shop) == before
    decide(shop)
    assert run(*night(shop)) == 0
    assert by_id(shop)["b"]["decision"] is None


def test_what_is_decided_one_by_one_trips_no_brake_and_a_rule_does(shop: Path) -> None:
    decide(shop, "a,drop,,", "b,drop,,", "c,drop,,", "d,white,,")
    assert run(*night(shop)) == 0
    decide(shop)
    assert run(*night(shop)) == 0
    (shop / "all.toml").write_text('[category.hats]\nmethod = "drop"\n')
    assert run(*night(shop, "--policy", shop / "all.toml")) == 1  # before a picture is touched
    assert len(list((shop / "out" / "images").iterdir())) == len(IDS)
    assert run(*night(shop, "--policy", shop / "all.toml", "--max_emptied_fraction", "1", *SHIFT)) == 0
    assert not list((shop / "out" / "images").iterdir())
