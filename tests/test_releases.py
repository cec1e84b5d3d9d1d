"""Pictures with fingerprints: a report is published, taken back and removed with all of its pictures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import BRAKES_OFF, digests, draw_product, report_rows, run, run_json
from gs import emulator

from transforms import storage
from transforms.errors import PhotoError
from transforms.output import cleanup
from transforms.output.latest import Latest, Move, in_force, move, newest_run
from transforms.output.naming import id_of_output, output_name
from transforms.output.releases import releases

pytestmark = pytest.mark.usefixtures("u2netp")
PHOTOS = 4


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        draw_product(number, (90, 120)).save(folder / f"p{number}.png")
    return folder


@pytest.fixture(scope="module")
def ran(photos: Path, tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """An output with fingerprints and three releases: 0.7, 0.5, otsu."""
    output = tmp_path_factory.mktemp("ran") / "out"
    assert run(*night(photos, output), "--names", "fingerprint") == 0
    assert run(*night(photos, output), "--policy", "0.5") == 0
    assert run("migrate", *night(photos, output)[1:3], "--output", output, "--policy", "otsu") == 0
    return output


@pytest.fixture
def output(ran: Path, tmp_path: Path) -> Path:
    return shutil.copytree(ran, tmp_path / "out", copy_function=shutil.copy2)


def night(photos: Path, output: Path | str) -> tuple[str | Path, ...]:
    return ("run", "--manifest", photos, "--output", output, "--model", "u2netp", *BRAKES_OFF)


def names(output: Path) -> list[str]:
    return [str(row["output_uri"]) for row in report_rows(output)]


def history(output: Path | str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run("history", "--output", output, "--json", *more) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def states(output: Path) -> list[str]:
    return [release.state for release in releases(str(output))]


@pytest.mark.pure
@pytest.mark.parametrize("id", ["a", "a/b", "a.0123456789abcdef", "ä ö", "x.jpg/y", "100%"])
def test_a_name_with_a_fingerprint_says_whose_it_is(id: str) -> None:
    name = output_name(id, "jpg", "0123456789abcdef" * 4)
    assert name.endswith(".0123456789abcdef.jpg")
    assert id_of_output(name.removeprefix("images/"), "fingerprint") == id
    plain = output_name(id, "jpg").removeprefix("images/")
    assert id_of_output(plain, "stable") == id


@pytest.mark.pure
def test_a_pointer_moves_only_from_where_it_was_read(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert in_force(folder) is None
    assert move(folder, None, "r1", "report/run=r1", None, "run")
    assert not move(folder, None, "r2", "report/run=r2", None, "run")
    first = newest_run(folder)
    time.sleep(0.01)
    assert move(folder, first, "r2", "report/run=r2", "report/changes=r2", "run")
    assert not move(folder, first, "r3", "report/run=r3", None, "run")
    assert newest_run(folder).changes == "report/changes=r2"
    assert [(one.run_id, one.why) for one in newest_run(folder).moves] == [("r1", "run"), ("r2", "run")]


@pytest.mark.pure
@pytest.mark.parametrize(
    ("moves", "taken_back"),
    [
        ([], None),
        ([("a", "run"), ("b", "run")], None),
        ([("a", "run"), ("b", "run"), ("a", "rollback")], "b"),
        ([("a", "run"), ("b", "run"), ("c", "run"), ("b", "rollback"), ("a", "rollback")], "c"),
        ([("a", "run"), ("b", "run"), ("a", "rollback"), ("c", "run")], None),
        ([("a", "run"), ("b", "run"), ("a", "rollback"), ("b", "publish")], None),
    ],
)
def test_it_is_known_what_was_taken_back(moves: list[tuple[str, str]], taken_back: str | None) -> None:
    found = Latest("x", "y", moves=tuple(Move(run_id, 0.0, why) for run_id, why in moves)).rolled_back
    assert (found and found.run_id) == taken_back


def test_every_release_has_all_its_pictures(output: Path) -> None:
    images = {path.name for path in (output / "images").iterdir()}
    listed = releases(str(output))
    assert [release.state for release in listed] == ["in force", "earlier", "earlier"]
    named = set()
    for release in listed:
        assert run("rollback", "--output", output, "--to", release.run_id) == 0
        assert set(names(output)) <= {f"images/{name}" for name in images}
        named |= set(names(output))
        assert run("verify", "--output", output) == 0
    assert named == {f"images/{name}" for name in images}
    assert len(named) > PHOTOS


def test_stable_and_fingerprint_pictures_are_the_same(photos: Path, output: Path, tmp_path: Path) -> None:
    assert run(*night(photos, tmp_path / "stable"), "--policy", "otsu") == 0
    plain = {row["id"]: row["output_sha256"] for row in report_rows(tmp_path / "stable")}
    assert {row["id"]: row["output_sha256"] for row in report_rows(output)} == plain


def test_nothing_is_written_twice(photos: Path, output: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (output / "images").iterdir()}
    assert run(*night(photos, output), "--policy", "0.5") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (output / "images").iterdir()} == before
    assert "images_written" not in run_json(output)["work"]


def test_a_rollback_is_not_undone_in_silence(
    photos: Path, output: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    back = newest_run(str(output)).run_id
    assert run("rollback", "--output", output) == 0
    assert "is taken back" in capsys.readouterr().out
    kept = newest_run(str(output)).run_id
    assert run_json(output)["settings"]["policy"]["default"]["parameters"] == {"threshold": 0.5}
    assert run(*night(photos, output), "--policy", "otsu") == 1  # as the crontab still says
    said = capsys.readouterr().err
    assert f"run {back}, which was rolled back, had the same settings" in said
    assert newest_run(str(output)).run_id == kept
    assert states(output) == ["candidate", "taken back", "in force", "earlier"]
    candidate = releases(str(output))[0].run_id
    assert run("review", "--output", output, "--run", candidate) == 0
    assert candidate in (output / "review/index.html").read_text()
    assert run("publish", "--output", output, candidate) == 0
    assert newest_run(str(output)).run_id == candidate
    assert run(*night(photos, output), "--policy", "otsu") == 0  # and is in force from now on


def test_other_settings_go_on_after_a_rollback(photos: Path, output: Path) -> None:
    assert run("rollback", "--output", output) == 0
    assert run(*night(photos, output), "--policy", "0.6") == 0
    assert states(output)[0] == "in force"


def test_a_rollback_goes_no_further_than_the_first_release(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("rollback", "--output", output) == 0
    assert run("rollback", "--output", output) == 0
    assert run("rollback", "--output", output) == 2
    assert "is the first release, with none before it" in capsys.readouterr().err
    assert run("rollback", "--output", output, "--to", "nonsense") == 2
    assert "--to nonsense: there is no such release; `history` lists them" in capsys.readouterr().err


def test_what_a_brake_holds_becomes_a_candidate(
    photos: Path, output: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """On an output with stable names the same policy is stopped when it is too late."""
    broken = shutil.copytree(photos, tmp_path / "photos")
    before = newest_run(str(output)).run_id
    (broken / "p0.png").write_bytes(b"no picture")
    arguments = ("--manifest", broken, "--output", output, "--model", "u2netp", "--policy", "otsu")
    assert run("run", *arguments, "--max_failure_fraction", "0.1", "--review") == 1
    said = capsys.readouterr().err
    assert "the release is left as a candidate: 1 of 4 rows failed, more than 10.00% allowed; look at it by" in said
    assert newest_run(str(output)).run_id == before
    candidate = releases(str(output))[0].run_id
    assert candidate in (output / "review/index.html").read_text()
    assert run("status", "--output", output) == 0
    assert run("discard", "--output", output, candidate) == 0
    assert states(output)[0] == "in force"
    assert run("publish", "--output", output, candidate) == 2
    assert run("discard", "--output", output, before) == 2
    assert f"{before}: is in force; only what is not published is discarded" in capsys.readouterr().err


def test_a_candidate_of_another_day_is_not_published(
    photos: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("rollback", "--output", output) == 0
    assert run(*night(photos, output), "--policy", "otsu") == 1
    candidate = releases(str(output))[0].run_id
    assert run(*night(photos, output), "--policy", "0.6") == 0
    assert run("publish", "--output", output, candidate) == 2
    assert "is in force now; run again" in capsys.readouterr().err


def test_what_was_written_is_read_again(photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses what it took is found out before anybody sees the release."""
    write = storage.write

    def lose(uri: str, data: bytes, *more: Any, **named: Any) -> None:
        write(uri, data[:-1] if "/images/p1." in uri else data, *more, **named)

    monkeypatch.setattr(storage, "write", lose)
    before = newest_run(str(output)).run_id
    assert run(*night(photos, output), "--policy", "0.3") == 1
    assert newest_run(str(output)).run_id == before
    held = releases(str(output))[0].run["held"]
    assert held.startswith("1 pictures are not what was written, such as images/p1.")


def test_a_release_that_lost_a_picture_is_not_gone_back_to(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = releases(str(output))[1]
    now = newest_run(str(output)).run_id
    only = set(names_of(output, earlier.run_id)) - set(names(output))
    (output / only.pop()).unlink()
    assert run("rollback", "--output", output) == 2
    assert f"release {earlier.run_id} is not whole" in capsys.readouterr().err
    assert newest_run(str(output)).run_id == now


def names_of(output: Path, run_id: str) -> list[str]:
    import pyarrow.parquet as pq

    shard = output / f"report/run={run_id}/part-00000-of-00001.parquet"
    return [str(name) for name in pq.ParquetFile(shard).read(["output_uri"])["output_uri"].to_pylist()]


def test_pictures_and_maps_go_with_the_last_release_that_names_them(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(cleanup, "RECENT_S", 0.0)
    fewer = shutil.copytree(photos, tmp_path / "photos")
    (fewer / "p3.png").unlink()
    first, second = (set(names_of(output, release.run_id)) for release in releases(str(output))[:0:-1])
    third = set(names(output))
    told = history(output, capsys, "--keep_reports", "2")["would_go"]
    doomed = first - second - third
    assert (len(told["reports"]), told["pictures"], told["maps"]) == (1, len(doomed), 0)
    assert told["bytes"] == sum((output / name).stat().st_size for name in doomed)
    assert doomed  # or this test says nothing
    assert run(*night(fewer, output), "--policy", "otsu", "--keep_reports", "2") == 0
    there = {f"images/{path.name}" for path in (output / "images").iterdir()}
    assert there == third | set(names(output))  # `second` has gone as well: two are kept
    assert len(list((output / "maps").rglob("*.png"))) == PHOTOS
    assert run(*night(fewer, output), "--policy", "otsu", "--keep_reports", "1") == 0
    assert {f"images/{path.name}" for path in (output / "images").iterdir()} == set(names(output))
    assert len(list((output / "maps").rglob("*.png"))) == PHOTOS - 1
    assert run("verify", "--output", output) == 0


def test_a_report_that_cannot_be_read_keeps_all_pictures(
    photos: Path, output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cleanup, "RECENT_S", 0.0)
    before = {path.name for path in (output / "images").iterdir()}
    damaged = releases(str(output))[0].run_id
    assert run("rollback", "--output", output) == 0
    (output / f"report/run={damaged}/part-00000-of-00001.parquet").write_bytes(b"PAR1 no report PAR1")
    assert run(*night(photos, output), "--policy", "0.5", "--keep_reports", "3") == 0
    assert "old reports stay" in caplog.text
    assert {path.name for path in (output / "images").iterdir()} >= before


def test_history_says_what_each_release_changed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = history(output, capsys)["releases"]
    assert [one["differences"] for one in listed] == [["policy 0.5 -> otsu"], ["policy 0.7 -> 0.5"], []]
    assert [one["command"] for one in listed] == ["migrate", "run", "run"]
    assert all(one["bytes_of_its_own"] > 0 for one in listed)
    assert run("history", "--output", output) == 0
    assert "settings: policy 0.5 -> otsu" in capsys.readouterr().out


def test_stable_names_become_fingerprints_once(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert run(*night(photos, output)) == 0
    before = {path.name: path.stat() for path in (output / "images").iterdir()}
    assert run(*night(photos, output), "--names", "fingerprint", "--prune") == 2
    assert run("run", "--partial", *night(photos, output)[1:], "--names", "fingerprint") == 2
    assert run(*night(photos, output), "--names", "fingerprint") == 0
    work = run_json(output)["work"]
    assert work == {"files_linked": PHOTOS}  # neither the network nor a picture
    for row in report_rows(output):
        assert (output / row["output_uri"]).stat().st_ino == before[f"{row['id']}.png"].st_ino
        assert not row["picture_changed"]
    assert run(*night(photos, output)) == 0  # the flag is not needed again
    assert run_json(output)["work"] == {}
    assert run("verify", "--output", output) == 0
    assert run(*night(photos, output), "--names", "stable") == 2
    assert "pictures here have fingerprints; give another --output, --from this one" in capsys.readouterr().err
    assert run("rollback", "--output", output, "--to", releases(str(output))[-1].run_id) == 2
    assert "its pictures have stable names, and later runs have written over them" in capsys.readouterr().err


def test_a_new_output_starts_from_another(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert run(*night(photos, old)) == 0
    assert run(*night(photos, new), "--from", old) == 0
    assert run_json(new)["work"] == {"files_linked": 2 * PHOTOS}
    assert digests(new) == {**digests(old), **{k: v for k, v in digests(new).items() if k.startswith("report")}}
    assert {row["id"]: row["output_uri"] for row in report_rows(new)} == {f"p{n}": f"images/p{n}.png" for n in range(4)}
    assert run("verify", "--output", new) == 0
    shutil.rmtree(old)
    assert run("verify", "--output", new) == 0  # it needs no other
    assert run(*night(photos, new), "--from", new) == 2
    other = tmp_path / "other"
    assert run(*night(photos, other), "--from", new, "--names", "fingerprint", "--policy", "otsu") == 0
    assert "photos_predicted" not in run_json(other)["work"]  # another policy needs no other maps
    assert run("verify", "--output", other) == 0
    assert run(*night(photos, other), "--from", new, "--policy", "otsu") == 0
    assert "--from is not used any more" in caplog.text
    assert run(*night(photos, tmp_path / "x"), "--from", tmp_path / "nowhere") == 2


def test_a_killed_start_from_another_output_goes_on(photos: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert run(*night(photos, old)) == 0
    (new / "images").mkdir(parents=True)
    shutil.copy2(old / "images/p0.png", new / "images/p0.png")  # what a run that was killed had linked
    (new / "images/p1.png").write_bytes(b"half")
    assert run(*night(photos, new), "--from", old) == 0
    assert run("verify", "--output", new) == 0


def test_on_an_object_store(photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with emulator(monkeypatch, "bucket"):
        output = "gs://bucket/white"
        assert run(*night(photos, output)) == 0
        assert run(*night(photos, output), "--names", "fingerprint") == 0
        assert run(*night(photos, output), "--policy", "otsu") == 0
        listed = history(output, capsys)["releases"]
        assert [one["state"] for one in listed] == ["in force", "earlier", "earlier"]
        assert run("rollback", "--output", output) == 0
        assert newest_run(output).run_id == listed[1]["run_id"]
        assert run("verify", "--output", output) == 0
        assert run(*night(photos, "gs://bucket/new"), "--from", output) == 0
        assert run("verify", "--output", "gs://bucket/new") == 0
        with pytest.raises(PhotoError, match="no such object"):
            storage.link("gs://bucket/nothing", "gs://bucket/there")


READER = """
import json, sys, hashlib, time
from pathlib import Path
import pyarrow.parquet as pq
output = Path(sys.argv[1])
torn = looks = 0
seen = set()
while not (output / "over").exists():
    latest = json.loads((output / "report/latest.json").read_text())
    rows = pq.ParquetFile(output / latest["report"] / "part-00000-of-00001.parquet").read().to_pylist()
    looks += 1
    seen.add(latest["run_id"])
    for row in rows:
        if hashlib.sha256((output / row["output_uri"]).read_bytes()).hexdigest() != row["output_sha256"]:
            torn += 1
print(json.dumps([looks, torn, len(seen)]))
"""


def test_a_reader_sees_one_policy_or_the_other(photos: Path, output: Path) -> None:
    reader = subprocess.Popen([sys.executable, "-c", READER, str(output)], stdout=subprocess.PIPE, text=True)
    for policy in ("0.5", "otsu", "0.6", "soft"):
        arguments = ("migrate", "--manifest", photos, "--output", output, "--policy", policy, *BRAKES_OFF)
        assert run(*arguments) == 0
    (output / "over").touch()
    looks, torn, seen = json.loads(reader.communicate(timeout=60)[0])
    assert (torn, seen >= 3, looks > 10) == (0, True, True)
