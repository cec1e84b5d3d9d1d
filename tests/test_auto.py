"""`--precision auto` is what the output's maps were made in, wherever this machine can do that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import draw_product, run, run_json

from model import load

pytestmark = pytest.mark.usefixtures("u2netp")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> Path:
    """An output that was made in fp32, which no machine here would choose for itself."""
    folder = tmp_path_factory.mktemp("made")
    for number in range(3):
        draw_product(number, (100, 80)).save(folder / f"p{number}.png")
    (folder / "m.csv").write_text("uri\np0.png\np1.png\np2.png\n")
    assert night(folder, "--precision", "fp32") == 0
    return folder


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "shop", copy_function=shutil.copy2)


@pytest.fixture(autouse=True)
def modern(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor for which auto is another precision than fp32."""
    monkeypatch.setattr(load, "cpu_computes_in_bf16", lambda: True)


def night(folder: Path, *more: str) -> int:
    return run("run", "--manifest", folder / "m.csv", "--output", folder / "out", "--model", "u2netp", *more)


def network(folder: Path) -> str:
    return str(run_json(folder / "out")["settings"]["network"]["precision"])


def test_auto_is_what_is_there(shop: Path) -> None:
    assert night(shop) == 0
    assert (network(shop), run_json(shop / "out")["work"]) == ("fp32", {})


def test_a_precision_that_is_named_counts(shop: Path) -> None:
    assert night(shop, "--precision", "bf16") == 0
    assert (network(shop), run_json(shop / "out")["work"]["photos_predicted"]) == ("bf16", 3)
    assert night(shop) == 0  # from then on that is what is there
    assert (network(shop), run_json(shop / "out")["work"]) == ("bf16", {})


def test_where_it_cannot_be_had_nothing_is_made_anew_unasked(
    shop: Path, log: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert night(shop, "--precision", "bf16") == 0
    monkeypatch.setattr(load, "PRECISIONS", ("fp32",))  # as if this machine could do nothing else
    monkeypatch.setattr(load, "cpu_computes_in_bf16", lambda: False)
    monkeypatch.setattr(load, "cpu_computes_in_int8", lambda: False)
    monkeypatch.setattr("model.engine.PRECISIONS", ("fp32",))
    capsys.readouterr()
    assert night(shop) == 1
    assert any(
        "were made in bf16, which cannot be had here; in fp32 every one would be made anew" in line for line in log
    )
    assert "3 of the 3 rows of the report before would be done again" in capsys.readouterr().err
    assert network(shop) == "bf16"
    assert night(shop, "--precision", "fp32") == 0
    assert network(shop) == "fp32"


def test_other_weights_and_a_new_output_choose_anew(shop: Path) -> None:
    arguments = ("run", "--manifest", shop / "m.csv", "--output", shop / "new", "--model", "u2netp")
    assert run(*arguments) == 0
    assert run_json(shop / "new")["settings"]["network"]["precision"] != "fp32"
