"""`--only` does some rows, and leaves all others as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_product, gone, report_rows, run, run_json

from transforms.output.schema import HISTORY
from transforms.selection import SelectionError, matches, read_selection

pytestmark = pytest.mark.usefixtures("u2netp")
IDS = ["a", "b/1", "b/2", "c[1]", "c1", "bad"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    folder = tmp_path_factory.mktemp("ran")
    for number in range(5):
        draw_product(number, (100, 80)).save(folder / f"p{number}.png")
    write_manifest(folder, IDS)
    assert run(*night(folder)) == 0
    return folder


def write_manifest(folder: Path, ids: list[str], name: str = "m.csv") -> None:
    rows = [f"{id},{'none.png' if id == 'bad' else f'p{IDS.index(id)}.png'}" for id in ids]
    (folder / name).write_text("\n".join(["id,uri", *rows, "twice,p0.png", "twice,p1.png"]) + "\n")


def night(folder: Path, *more: str, manifest: str = "m.csv", command: str = "run") -> tuple[str | Path, ...]:
    paths = ("--manifest", folder / manifest, "--output", folder / "out", "--model", "u2netp")
    return (command, *paths, "--max_failure_fraction", "1", *more)


@pytest.fixture
def shop(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "shop", copy_function=shutil.copy2)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [{**row, "status": "", "message": "", **dict.fromkeys(HISTORY)} for row in report_rows(folder / "out")]


def differing(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> set[str]:
    assert [row["id"] for row in before] == [row["id"] for row in after]
    return {one["id"] for one, other in zip(before, after, strict=True) if one != other}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["a"], {"a"}),
        (["b/*"], {"b/1", "b/2"}),
        (["c[1]"], {"c[1]", "c1"}),  # itself, and what it means as a pattern
        (["c?", "a"], {"c1", "a"}),
        (["c[!2]"], {"c1"}),
        (["*1*"], {"b/1", "c[1]", "c1"}),
    ],
)
def test_those_rows_and_no_others(shop: Path, words: list[str], meant: set[str]) -> None:
    before = rows(shop)
    (shop / "p4.png").unlink()  # c1, which fails only if it is asked for
    assert run(*night(shop, "--only", *words, "--policy", "0.5")) == 0
    after = rows(shop)
    assert {row["id"] for row in report_rows(shop / "out") if row["status"] != "unchanged"} - {"bad", "twice"} == meant
    assert differing(before, after) == meant
    assert {row["id"] for row in after if row["threshold"] == 0.5} == meant - {"c1"}
    assert run_json(shop / "out")["rows"] == len(before) == len(IDS) + 2
    assert "photos_predicted" not in run_json(shop / "out")["work"]
    assert run("verify", "--output", shop / "out") == 0
    assert run(*night(shop)) == 0  # the night after undoes what its settings do not say
    assert differing(before, rows(shop)) == {"c1"}


def test_a_manifest_of_one_row_is_enough(shop: Path) -> None:
    draw_product(9, (60, 60)).save(shop / "p1.png")
    (shop / "one.csv").write_text("id,uri\nb/1,p1.png\nnew,p2.png\n")
    before = rows(shop)
    assert run(*night(shop, "--only", "b/1", manifest="one.csv")) == 0
    assert differing(before, rows(shop)) == {"b/1"}
    assert run(*night(shop, "--only", "new", manifest="one.csv")) == 0
    assert {row["id"] for row in rows(shop)} == {*IDS, "twice", "new"}
    assert run("verify", "--output", shop / "out") == 0


def test_what_is_gone_stays_told_of(shop: Path) -> None:
    write_manifest(shop, IDS[1:])
    assert run(*night(shop, "--max_gone_fraction", "1")) == 0
    assert gone(shop / "out") == ["images/a.png"]
    assert run(*night(shop, "--only", "c1")) == 0
    assert gone(shop / "out") == ["images/a.png"]
    assert run("verify", "--output", shop / "out") == 0


def test_anew_or_what_failed(shop: Path) -> None:
    assert run(*night(shop, "--only", "a", "--force")) == 0
    assert run_json(shop / "out")["work"]["photos_predicted"] == 1
    shutil.copy(shop / "p0.png", shop / "none.png")
    assert run(*night(shop, "--only", "*", "--retry_failed")) == 0
    found = {row["id"]: row["status"] for row in report_rows(shop / "out") if row["id"] != "twice"}
    assert found == {**dict.fromkeys(IDS, "unchanged"), "bad": "processed"}


def test_in_shards(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.output.schema.ROWS_PER_SHARD", 2)
    before = rows(shop)
    for words in (["a", "b/*"], ["c1"]):
        assert run(*night(shop, "--only", *words, "--policy", "0.5")) == 0
        assert len(rows(shop)) == len(before)
    assert differing(before, rows(shop)) == {"a", "b/1", "b/2", "c1"}
    assert run("verify", "--output", shop / "out") == 0


def test_the_plan_of_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(*night(shop, "--only", "b/*", "--json", command="plan")) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["unchanged"], found["to_do"]) == (8, 6, {"asked": 2})
    assert run(*night(shop, "--only", "zz", command="plan")) == 2


def test_an_id_that_no_row_has_stops_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, latest = rows(shop), (shop / "out/report/latest.json").read_text()
    assert run(*night(shop, "--only", "a", "zz", "y*", "--policy", "0.5")) == 1
    assert "--only zz: no row of the manifests that can be used has this id (nor 1 more)" in capsys.readouterr().err
    assert (rows(shop), (shop / "out/report/latest.json").read_text()) == (before, latest)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--only", "a", "--prune"), "--prune looks at all rows, and --only at some"),
        (("--only", "@none.txt"), "--only @none.txt: cannot be read: "),
        (("--only", " "), "--only: names no id"),
        (("--only",), "argument --only: expected at least one argument"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shop: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*night(shop, *words)) == 2
    assert said in capsys.readouterr().err


def test_without_a_report_there_is_nothing_to_leave_as_it_is(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shop / "out")
    assert run(*night(shop, "--only", "a")) == 2
    assert "nothing to start from" in capsys.readouterr().err
    assert not (shop / "out").exists()


def test_ids_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n b/* \nx, y\n")
    assert read_selection([f"@{tmp_path}/ids.txt", "z", "a"]) == ("a", "b/*", "x, y", "z")
    (tmp_path / "ids.txt").write_bytes(b"\xff\xff")
    with pytest.raises(SelectionError, match="cannot be read"):
        read_selection([f"@{tmp_path}/ids.txt"])


def test_an_id_is_first_of_all_itself() -> None:
    selection = ("c[1]", "c*", "B?")
    assert matches(selection, "c[1]") == ["c[1]"]
    assert matches(selection, "c1") == ["c[1]", "c*"]
    assert matches(selection, "b1") == []
    assert matches(selection, "c\n") == ["c*"]
