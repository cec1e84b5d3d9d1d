"""The review sheet: a static page with the worst masks first, in which nothing of a catalog can be markup."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw_product, run
from gs import emulator
from PIL import Image

from pipeline.review.figures import BINS
from pipeline.review.write import PAGE, script, write_review
from transforms import storage
from transforms.decisions import read_decisions
from transforms.output.commit import commit
from transforms.output.earlier import Report
from transforms.output.maps import store_map
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow, shard_of
from transforms.pixels.statistics import describe
from transforms.pixels.types import MaskStatistics, Photo, SaliencyMap
from transforms.report import write_empty_shards, write_shard
from transforms.settings import DecisionsFile, RunSettings
from transforms.steps import Effort
from transforms.types import Outcome, Packed

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUN = "20260101T000000.000Z-abcdef"
HOSTILE = [
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=\"document.title='owned'\">",
    '"quoted", and = with, commas',
    "=HYPERLINK(1)",
    "per%cent#and?more",
    "a\u2028b\u2029c",
    "ключ/日本 語",
    "[brackets]*?",
]


def statistics(quality: float, foreground: float = 0.4) -> MaskStatistics:
    """Make the statistics of a mask, but for what the sheet shows, those of a plain one."""
    pixels = np.zeros((320, 320), np.uint8)
    pixels[80:240, 80:240] = 255
    photo = Photo(np.zeros((320, 320, 3), np.uint8), None, "png")
    found, _ = describe(pixels, pixels, pixels, 0.7, photo)
    return replace(found, quality=quality, foreground_fraction=foreground)


PLAIN = statistics(0.99)


def row(id: str, quality: float | None = 0.99, **more: Any) -> ReportRow:
    measured = None if quality is None else replace(PLAIN, quality=quality)
    flags = ("doubtful",) if quality is not None and quality < 0.9 else ()
    made: dict[str, Any] = {"category": "hats", "attributes": {}, "status": "processed", "uri": f"{id}.png"}
    made |= {"rule": "default", "method": "fixed", "threshold": 0.7, "statistics": measured, "mask_flags": flags}
    made["picture_changed"] = True
    return ReportRow(id, **{**made, **more})


def report(folder: Path, rows: list[ReportRow], run_id: str = RUN, decisions: str = "", shards: int = 1) -> RunInfo:
    """Write a report of an output folder, as a run does."""
    settings = RunSettings(str(folder), folders=(str(folder.parent / "photos"),))
    if decisions:
        settings = replace(settings, decisions=DecisionsFile("/d.csv", "0" * 64, 1))
        (folder / "runs" / run_id).mkdir(parents=True)
        (folder / "runs" / run_id / "decisions.csv").write_text(decisions)
    info = RunInfo(settings, run_id, 1767225600.0)
    parts = [[one for one in rows if shard_of(one.id, shards) == shard] for shard in range(shards)]
    packed = [[Packed.of([Outcome(one, Effort()) for one in part])] for part in parts]
    totals = [write_shard(info, Report(), shard, shards, part) for shard, part in enumerate(packed)]
    commit(info, write_empty_shards(info, totals, shards), len(rows), [], shards)
    return info


def data_of(page: Path, run_id: str = RUN) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read back what the page reads: the index, and the details of all rows."""
    folder = page.parent / "data" / run_id
    index = re.fullmatch(r"whitesweep\.index\((.*)\);\n", (folder / "index.js").read_text(), re.DOTALL)
    details: list[dict[str, Any]] = []
    for number, file in enumerate(sorted(folder.glob("rows-*.js"))):
        found = re.fullmatch(r"whitesweep\.rows\((\d+),(.*)\);\n", file.read_text(), re.DOTALL)
        assert found
        assert int(found[1]) == number
        details += json.loads(found[2])
    assert index
    return json.loads(index[1]), details


def test_the_worst_come_first_and_what_failed_without_a_mask_last(tmp_path: Path) -> None:
    failed = {"status": "failed", "code": "not_found", "message": "no such file", "method": None, "threshold": None}
    rows = [row("b", 0.5), row("a", 0.5), row("c", 0.1), row("fine"), row("gone", None, **failed)]
    rows += [row("dropped", None, status="dropped", decision="drop", category=None)]
    report(tmp_path / "out", rows, shards=2)
    index, details = data_of(Path(write_review(str(tmp_path / "out"))))
    assert index["rows"]["id"][:4] == ["c", "a", "b", "fine"]
    assert set(index["rows"]["id"][4:]) == {"gone", "dropped"}  # who dropped a row by mistake finds it
    assert index["rows"]["quality"] == [1000, 5000, 5000, 9900, -1, -1]
    assert [one["uri"] for one in details] == [f"{id}.png" for id in index["rows"]["id"]]
    assert details[index["rows"]["id"].index("gone")]["message"] == "no such file"
    figures = index["figures"]
    assert figures["statuses"] == {"dropped": 1, "failed": 1, "processed": 4}
    assert (figures["codes"], figures["flags"], figures["decisions"]) == (
        {"not_found": 1},
        {"doubtful": 3},
        {"drop": 1},
    )
    hats, none = figures["categories"]
    assert (hats["name"], hats["rows"], hats["failed"], hats["doubtful"], hats["masks"]) == ("hats", 5, 1, 3, 4)
    assert hats["quality"] == pytest.approx((0.5 + 0.5 + 0.1 + 0.99) / 4, abs=1e-4)
    assert sum(hats["quality_bins"]) == 4
    assert hats["quality_bins"][BINS // 2] == 2
    assert (none["name"], none["rows"], none["quality"]) == ("", 1, None)


def test_the_run_before_is_beside_it_and_older_data_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for night in range(4):
        name = f"2026010{night + 1}T000000.000Z-abcdef"
        report(out, [row("a", 0.5 + night / 10), row("b", 0.9)], name)
        index, _ = data_of(Path(write_review(str(out))), name)
        if night:
            assert index["before"]["id"] == f"2026010{night}T000000.000Z-abcdef"
            (hats,) = index["before"]["categories"]
            assert hats["quality"] == pytest.approx((0.5 + (night - 1) / 10 + 0.9) / 2, abs=1e-4)
        else:
            assert index["before"] is None
    assert len(list((out / "review" / "data").iterdir())) == 2
    assert f"data/{name}/index.js" in (out / "review" / "index.html").read_text()


def test_more_rows_than_the_sheet_takes_are_counted_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.review.figures.MOST_ROWS", 10)
    monkeypatch.setattr("pipeline.review.figures.MOST_OTHERS", 2)
    failed = {"status": "failed", "code": "timeout", "message": "slow"}
    rows = [row(f"{n:03}", n / 100) for n in range(50)] + [row(f"x{n}", None, **failed) for n in range(5)]
    report(tmp_path / "out", rows, shards=4)
    index, details = data_of(Path(write_review(str(tmp_path / "out"))))
    assert index["rows"]["id"][:8] == [f"{n:03}" for n in range(8)]
    assert [id[0] for id in index["rows"]["id"][8:]] == ["x", "x"]
    assert len(details) == 10
    assert index["figures"]["rows"] == 55
    assert sum(index["figures"]["categories"][0]["quality_bins"]) == 50


def test_what_is_unlike_its_category_is_found_however_sure_its_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.review.figures.MOST_ROWS", 5)
    rows = [row(f"{n:02}", 0.9 + n / 1000, statistics=statistics(0.9 + n / 1000, 0.3 + n / 500)) for n in range(30)]
    rows += [row("odd", 1.0, statistics=statistics(1.0, 0.02)), row("few", 1.0, category="scarves")]
    report(tmp_path / "out", rows, shards=2)
    index, _ = data_of(Path(write_review(str(tmp_path / "out"))))
    assert index["rows"]["id"] == ["00", "01", "02", "03", "odd"]
    assert index["figures"]["flags"] == {"unlike_category": 1}
    assert index["rows"]["flags"] == [0, 0, 0, 0, 1]


def test_what_the_profile_does_not_accept_can_be_looked_for(tmp_path: Path) -> None:
    wrong = ("bytes: of the file 3000000, at most 2000000", "white: 2% of the background", "bytes: again")
    report(
        tmp_path / "out",
        [row("bad", 0.5, compliant=False, violations=wrong), row("good", compliant=True, violations=())],
    )
    index, (bad, good) = data_of(Path(write_review(str(tmp_path / "out"))))
    flags = index["figures"]["flags"]
    assert flags == {"doubtful": 1, "profile: bytes": 1, "profile: white": 1}
    assert index["rows"]["flags"] == [0b111, 0]
    assert bad["violations"] == list(wrong)
    assert "violations" not in good


def test_failures_are_not_crowded_out_by_what_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.review.figures.MOST_OTHERS", 2)
    kept = [row(f"a{n}", None, mask_flags=("already_white", "kept_original")) for n in range(9)]
    failed = {"status": "failed", "code": "timeout", "message": "slow"}
    report(tmp_path / "out", [*kept, row("x", None, **failed), row("y", None, **failed)])
    index, _ = data_of(Path(write_review(str(tmp_path / "out"))))
    assert sorted(index["rows"]["id"]) == ["x", "y"]
    assert index["figures"]["flags"] == {"already_white": 9, "kept_original": 9}


def test_addresses_are_those_of_files_and_web_servers_only(tmp_path: Path) -> None:
    uris = [
        "a b#1.png",
        "javascript:alert(1)",
        "https://host/p.jpg?x=1",
        "gs://bucket/p.jpg",
        "/abs/ü.png",
        "data:text/html,x",
    ]
    report(tmp_path / "out", [row(f"{n}", n / 10, uri=uri) for n, uri in enumerate(uris)])
    _, details = data_of(Path(write_review(str(tmp_path / "out"))))
    photos = f"file://{urllib.parse.quote(str(tmp_path / 'photos'))}"
    assert [one.get("original") for one in details] == [
        f"{photos}/a%20b%231.png",
        f"{photos}/javascript%3Aalert%281%29",
        "https://host/p.jpg?x=1",
        None,
        "file:///abs/%C3%BC.png",
        f"{photos}/data%3Atext/html%2Cx",
    ]


def test_nothing_in_data_can_end_the_script_or_begin_another(tmp_path: Path) -> None:
    text = script("index(", HOSTILE)
    assert not set(text) & set("<>\u2028\u2029")
    assert json.loads(text.removeprefix("whitesweep.index(").removesuffix(");\n")) == HOSTILE


@pytest.mark.parametrize("count", [0, 1, PAGE, PAGE + 1])
def test_any_number_of_rows(count: int, tmp_path: Path) -> None:
    report(tmp_path / "out", [row(f"{n:04}") for n in range(count)])
    index, details = data_of(Path(write_review(str(tmp_path / "out"))))
    assert len(index["rows"]["id"]) == len(details) == count


def test_the_command_says_where_it_is_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("review", "--output", tmp_path / "none") == 2
    assert "nothing to review" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    report(tmp_path / "out", [row("a")])
    assert run("review", "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"review: {tmp_path}/out/review/index.html\n"
    (tmp_path / "out" / "review" / "index.html").unlink()
    (tmp_path / "out" / "review" / "index.html").mkdir()
    assert run("review", "--output", tmp_path / "out") == 2
    assert "review/index.html" in capsys.readouterr().err
    assert run("review", "--output", tmp_path / "out", "--reviw") == 2


def test_a_run_writes_it_and_is_not_stopped_by_it(tmp_path: Path, u2netp: object, log: list[str]) -> None:
    draw_product(1, (90, 60)).save(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("uri\na.png\n")
    night = ("run", "--manifest", tmp_path / "m.csv", "--output", tmp_path / "out", "--model", "u2netp", "--review")
    assert run(*night) == 0
    assert (tmp_path / "out" / "review" / "index.html").is_file()
    (tmp_path / "out" / "review" / "index.html").unlink()
    (tmp_path / "out" / "review" / "index.html").mkdir()  # in the way
    assert run(*night) == 0
    assert "no review sheet: " in log[-1]


# --- In a browser


def browse(page: Path, steps: str, fragment: str = "", size: str = "1300,1000") -> dict[str, Any]:
    """Open the sheet in a headless Chromium, take steps in it, and give what these put into `said`.

    steps: the body of an async function of JavaScript, in which `key` presses a key and `wait` lets the page go on.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium is on the PATH")
    driver = page.parent / "driver.js"
    driver.write_text(
        "(async () => { const said = {};\n"
        "const wait = (ms = 300) => new Promise((then) => setTimeout(then, ms));\n"
        "const key = (key) => (document.activeElement || document.body).dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));\n"
        "window.confirm = () => true;\n"
        f"try {{ await wait();\n{steps}\n}} catch (error) {{ said.error = String(error.stack); }}\n"
        "document.body.dataset.said = JSON.stringify(said); })();\n"
    )
    driven = page.with_name("driven.html")
    driven.write_text(page.read_text().replace("</body>", '<script src="driver.js"></script>\n</body>'))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={size}", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=20000"]
    done = subprocess.run(
        [*command, f"{driven.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'data-said="([^"]*)"', done.stdout)
    assert found, done.stdout[-2000:] + done.stderr[-2000:]
    said: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert "error" not in said, said["error"]
    return said


@pytest.fixture
def sheet(tmp_path: Path) -> Callable[..., Path]:
    """Give what writes a sheet of an output with a photo, its map and its picture."""

    def write(rows: list[ReportRow], decisions: str = "") -> Path:
        out, photos = tmp_path / "out", tmp_path / "photos"
        photos.mkdir()
        draw_product(3, (64, 48)).save(photos / "photo.png")
        (out / "images").mkdir(parents=True)
        Image.new("RGB", (64, 48), "white").save(out / "images" / "a%20b.png")
        pixels = np.zeros((320, 320), np.uint8)
        pixels[:, 160:] = 200
        store_map(f"{out}/maps", SaliencyMap(pixels, "ab" * 32))
        shown: dict[str, Any] = {
            "uri": "photo.png",
            "output_uri": "images/a%20b.png",
            "map_key": "ab" * 32,
            "width": 64,
            "height": 48,
        }
        report(out, [replace(one, **shown) for one in rows], decisions=decisions)
        return Path(write_review(str(out)))

    return write


def test_pictures_are_shown_and_the_slider_cuts_the_map_again(sheet: Callable[..., Path]) -> None:
    said = browse(
        sheet([row("a", 0.3)]),
        """
        const card = document.querySelector("article");
        await wait(800);
        said.pictures = [...card.querySelectorAll("img")].map((one) => [one.complete, one.naturalWidth]);
        said.maps = card.querySelectorAll("svg image").length;
        const steps = () => card.querySelector(".preview feFuncR").getAttribute("tableValues").split(" ").indexOf("1");
        said.before = steps();
        const slider = card.querySelector("input[type=range]");
        slider.value = 0.25;
        slider.dispatchEvent(new Event("input"));
        said.after = steps();
        said.caption = card.querySelector(".preview").parentElement.textContent;
        """,
    )
    assert said["pictures"] == [[True, 64], [True, 64]]
    assert said["maps"] == 3
    assert (said["before"], said["after"]) == (179, 64)  # the levels from which on it is product: 0.7 and 0.25 of 255
    assert said["caption"] == "preview at 0.25"


def test_keys_mark_and_the_marks_come_out_as_decisions(sheet: Callable[..., Path], tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d", *HOSTILE]
    rows = [row(id, n / 100) for n, id in enumerate(ids)]
    page = sheet(rows, 'id,decision,parameters,note\nb,keep,,"said ""so"", twice"\nc,drop,,\nold,white,,\n')
    said = browse(
        page,
        """
        for (const press of ["j", "g", "j", "r", "j", "u", "j", "-", "-", "t"]) { key(press); await wait(50); }
        for (let more = 0; more < 8; more++) { key("j"); key("o"); await wait(50); }
        said.file = whitesweep.decisionsFile();
        said.marked = document.getElementById("marked").textContent;
        said.title = document.title;
        said.scripts = document.querySelectorAll("article script, article img[src=x]").length;
        said.ids = [...document.querySelectorAll("article h3")].map((one) => one.textContent);
        """,
    )
    assert said["ids"] == ids  # as text, whatever is in them
    assert said["scripts"] == 0
    assert "owned" not in said["title"]
    assert said["marked"] == "12 marks"
    file = tmp_path / "decisions.csv"
    file.write_bytes(said["file"].encode())
    found = read_decisions(str(file)).by_id
    expected = {"a": "good", "b": "redo", "d": "change", "old": "white"} | dict.fromkeys(HOSTILE, "keep")
    assert {id: decision.word for id, decision in found.items()} == expected
    assert found["d"].changes == (("threshold", 0.6),)
    assert 'b,redo,,"said ""so"", twice"' in said["file"]
    again = browse(page, "said.marked = document.getElementById('marked').textContent;")
    assert again["marked"] == "12 marks"  # the browser keeps them


def test_filters_find_rows_and_the_address_holds_them(sheet: Callable[..., Path]) -> None:
    rows = [row(f"shoe-{n}", 0.5 + n / 300, category="shoes" if n % 2 else "hats") for n in range(120)]
    rows += [
        row("lost", 0.0, status="failed", code="no_subject", message="nothing was found", statistics=statistics(0.0))
    ]
    steps = """
        said.count = document.getElementById("count").textContent;
        said.cards = [...document.querySelectorAll("article h3")].map((one) => one.textContent);
        said.page = document.getElementById("page").textContent;
    """
    page = sheet(rows)
    said = browse(page, steps)
    assert (said["count"], said["page"], len(said["cards"])) == ("121 photos of 121", "page 1 of 3", 50)
    assert said["cards"][0] == "lost"
    said = browse(page, steps, "#page=3")
    assert (said["page"], len(said["cards"])) == ("page 3 of 3", 21)
    said = browse(page, steps, "#search=SHOE-11")
    assert said["cards"] == ["shoe-11", *(f"shoe-{n}" for n in range(110, 120))]
    said = browse(page, steps, "#status=code%3Ano_subject")
    assert said["cards"] == ["lost"]
    said = browse(
        page,
        """
        document.querySelector("#category").value = "1";
        document.querySelector("#category").dispatchEvent(new Event("change"));
        document.querySelector("#flag").value = "-";
        document.querySelector("#flag").dispatchEvent(new Event("change"));
        said.hash = location.hash;
        """
        + steps,
    )
    assert said["hash"] == "#category=1&flag=-"
    assert said["count"] == "0 photos of 121"


def test_a_sheet_without_data_says_so(sheet: Callable[..., Path]) -> None:
    page = sheet([row("a")])
    shutil.rmtree(page.parent / "data")
    said = browse(page, "said.problem = document.getElementById('problem').textContent;")
    assert said["problem"] == "The data of this sheet are not there: write it again."


def test_it_is_written_into_a_bucket(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with emulator(monkeypatch, "bucket"):
        out = "gs://bucket/white"
        info = RunInfo(RunSettings(out, folders=("gs://bucket/photos",)), RUN, 1767225600.0)
        total = write_shard(info, Report(), 0, 1, [Packed.of([Outcome(row("a", 0.5), Effort())])])
        commit(info, write_empty_shards(info, [total], 1), 1, [], 1)
        assert run("review", "--output", out) == 0
        assert capsys.readouterr().out == f"review: {out}/review/index.html\n"
        page = storage.read(f"{out}/review/data/{RUN}/rows-00000.js").data
        assert page.startswith(b"whitesweep.rows(0,[{")
        assert b"original" not in page  # no browser opens gs://
