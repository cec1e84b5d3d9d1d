"""Settings in a file: found beside the manifest, beaten by flags, and never passed over in silence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, draw_product, run, run_json
from gs import emulator

from pipeline.config import parse
from pipeline.errors import RequestError
from transforms import storage

GIVEN = ("run", "--manifest", "m.csv", "--output", "out")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_product(1, (100, 80)).save(tmp_path / "p.png")
    (tmp_path / "m.csv").write_text("id,uri\np,p.png\n")
    return tmp_path


def write(folder: Path, text: str, name: str = "whitesweep.toml") -> None:
    (folder / name).write_text(text)


def refusal(*arguments: str) -> str:
    with pytest.raises(RequestError) as raised:
        parse(arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_beside_the_manifest_counts_and_flags_win(shop: Path) -> None:
    write(shop, 'model = "u2netp"\npolicy = 0.5\nprune = true\nmax_changed_fraction = 0.1\nkeep_reports = 7\n')
    flags, others = parse([*GIVEN, "--policy", "otsu", "--keep_reports=9", "--direct_num_workers", "1"])
    assert (flags.model, flags.policy, flags.prune, flags.max_changed_fraction) == ("u2netp", "otsu", True, 0.1)
    assert (flags.keep_reports, others) == (9, ["--direct_num_workers", "1"])
    assert flags.configured == ("model", "prune", "max_changed_fraction")
    assert Path(flags.config) == shop / "whitesweep.toml"


@pytest.mark.parametrize("manifest", ["sub/m.csv", "sub", "sub/*.jpg", "./sub/m.csv", "file://{here}/sub/m.csv"])
def test_it_is_found_beside_whatever_the_manifest_is(shop: Path, manifest: str) -> None:
    (shop / "sub").mkdir()
    (shop / "sub/m.csv").write_text("uri\n")
    write(shop / "sub", 'format = "png"\n')
    write(shop, 'format = "webp"\n')
    arguments = ("run", "--manifest", manifest.format(here=shop), "--manifest", "m.csv", "--output", "out")
    assert parse(arguments)[0].format == "png"
    assert parse([*arguments, "--config", "whitesweep.toml"])[0].format == "webp"


def test_paths_are_relative_to_the_file(shop: Path) -> None:
    (shop / "etc").mkdir()
    write(shop / "etc", 'policy = "hats.toml"\nweights = "own.pth"\n', "w.toml")
    flags, _ = parse([*GIVEN, "--config", "etc/w.toml"])
    assert (flags.policy, flags.weights) == (f"{shop}/etc/hats.toml", f"{shop}/etc/own.pth")
    for word in ('"0.7"', "0.7", '"otsu"'):
        write(shop / "etc", f"policy = {word}\n", "w.toml")
        assert parse([*GIVEN, "--config", "etc/w.toml"])[0].policy == word.strip('"')


def test_a_migration_may_have_its_policy_from_it(shop: Path) -> None:
    arguments = ("migrate", *GIVEN[1:])
    assert "--policy" in refusal(*arguments)
    write(shop, 'policy = "otsu"\nprune = true\n')  # of `run`, which a migration does not know
    flags, _ = parse(arguments)
    assert (flags.policy, flags.configured) == ("otsu", ("policy",))


def test_without_one_nothing_changes(shop: Path) -> None:
    flags, _ = parse(GIVEN)
    assert (flags.config, flags.configured, flags.policy) == (None, (), "0.7")
    assert not hasattr(parse(["demo"])[0], "config")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("polcy = 0.5\n", "'polcy' is no setting; did you mean policy?"),
        ("xyz = 0.5\n", "'xyz' is no setting; it may have the flags of run"),
        ('manifest = "m.csv"\n', "'manifest' is for the command line alone"),
        ("force = true\n", "'force' is for the command line alone"),
        ("prune = 1\n", "prune is 1; expected true or false"),
        ("policy = true\n", "policy is True; expected one word or number"),
        ("policy = [1]\n", "policy is [1]; expected one word or number"),
        ("[policy]\nthreshold = 0.5\n", "policy is {'threshold': 0.5}; expected one word or number"),
        ('sharpen = "much"\n', "argument --sharpen: invalid int value: 'much'"),
        ('format = "gif"\n', "argument --format: invalid choice: 'gif'"),
        ("policy 0.5\n", "not TOML: "),
        ("\ud800", "not TOML: "),
    ],
)
def test_what_cannot_be_is_told_with_the_file(shop: Path, text: str, said: str) -> None:
    (shop / "whitesweep.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert refusal(*GIVEN).startswith(f"{shop}/whitesweep.toml: {said}")


def test_a_wrong_flag_is_not_the_files_fault(shop: Path) -> None:
    write(shop, "sharpen = 100\n")
    assert refusal(*GIVEN, "--sharpen", "much").startswith("argument --sharpen")


def test_a_file_that_is_there_and_cannot_be_read_is_not_passed_over(shop: Path) -> None:
    assert refusal(*GIVEN, "--config", "none.toml").startswith("--config none.toml: ")
    (shop / "whitesweep.toml").mkdir()
    assert parse(GIVEN)[0].config is None or "--config" in refusal(*GIVEN)


@pytest.mark.parametrize("manifest", ["s3://shop/m.csv", "no/such/folder/m.csv", "a\0b.csv", "[", "", "x" * 5000])
def test_a_manifest_that_cannot_be_is_one_line(
    shop: Path, manifest: str, capsys: pytest.CaptureFixture[str], u2netp: object
) -> None:
    assert run("plan", "--manifest", manifest, "--output", shop / "out", "--model", "u2netp") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("whitesweep: --manifest")


def test_a_bucket_that_cannot_be_asked_is_one_line(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bool:
        raise OSError("network is unreachable\nand more")

    monkeypatch.setattr("pipeline.config.storage.is_folder", refuse)
    assert refusal("run", "--manifest", "gs://shop/in/m.csv", "--output", "out").endswith("network is unreachable")


def test_a_mark_at_its_beginning_and_an_empty_one(shop: Path) -> None:
    (shop / "whitesweep.toml").write_bytes(b'\xef\xbb\xbfformat = "png"\r\n')
    assert parse(GIVEN)[0].format == "png"
    write(shop, "")
    assert parse(GIVEN)[0].configured == ()


def test_a_run_says_what_it_has_from_where(
    shop: Path, log: list[str], u2netp: object, capsys: pytest.CaptureFixture[str]
) -> None:
    write(shop, 'model = "u2netp"\nformat = "webp"\n')
    assert run("run", "--manifest", shop / "m.csv", "--output", shop / "out") == 0
    told = f"settings of {shop}/whitesweep.toml: model, format"
    assert told in log
    settings = run_json(shop / "out")["settings"]
    assert (settings["format"], settings["configured"]) == ("webp", ["model", "format"])
    (shop / "out/images/p.webp").unlink()
    shutil.move(shop / "whitesweep.toml", shop / "away.toml")
    assert run("verify", "--output", shop / "out", "--repair") == 0  # by what was recorded
    assert (shop / "out/images/p.webp").exists()
    shutil.move(shop / "away.toml", shop / "whitesweep.toml")
    capsys.readouterr()
    os.chdir(ROOT)
    assert run("plan", "--manifest", shop / "m.csv", "--output", shop / "out") == 0
    assert told in capsys.readouterr().out


def test_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator(monkeypatch, "shop"):
        storage.write("gs://shop/in/m.csv", b"uri\n")
        storage.write("gs://shop/in/whitesweep.toml", json.dumps("").encode().replace(b'""', b'policy = "p.toml"'))
        flags, _ = parse(["run", "--manifest", "gs://shop/in/m.csv", "--output", "gs://shop/out"])
    assert (flags.config, flags.policy) == ("gs://shop/in/whitesweep.toml", "gs://shop/in/p.toml")
