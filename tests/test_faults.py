"""An exception that nobody foresaw costs its photo, not the night; many of them stop the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import draw_product, record, report_rows, run, run_json

from transforms import fault_watch
from transforms.errors import Failure
from transforms.fault_watch import FaultError, FaultWatch
from transforms.steps import internal_error

# Every step of a photo's way, as the module that takes it knows it.
STEPS = (
    "transforms.process.storage.read",
    "transforms.process.open_photo",
    "transforms.process.PIXELS.reserve",
    "transforms.process.decode_opened",
    "transforms.process.find_map",
    "transforms.process.network_input",
    "transforms.deliver.store_map",
    "transforms.deliver._with_facts",
    "transforms.pixels.render.judge",
    "transforms.pixels.render.make_mask",
    "transforms.pixels.threshold.clean",
    "transforms.pixels.threshold.refine",
    "transforms.pixels.threshold.blend",
    "transforms.pixels.render.combine_alpha",
    "transforms.pixels.render.describe",
    "transforms.pixels.render.composite",
    "transforms.pixels.render.encode",
    "transforms.deliver.output_name",
    "transforms.deliver.storage.holds",
    "transforms.deliver.write_picture",
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(6):
        draw_product(n, (90 + n, 80)).save(photos / f"p{n}.png")
    return photos


def hit(monkeypatch: pytest.MonkeyPatch, step: str, when: Callable[[int], bool]) -> None:
    """Let a step raise what nobody foresees, on those of its calls that are asked for."""
    package, module, *within, name = step.split(".")
    owner: Any = reduce(getattr, within, import_module(f"{package}.{module}"))
    plain, calls = getattr(owner, name), []

    def hurt(*arguments: Any, **named: Any) -> Any:
        if name == "read" and "/photos/" not in arguments[0]:
            return plain(*arguments, **named)
        calls.append(1)
        if when(len(calls)):
            raise KeyError(f"nobody foresaw this at {step}")
        return plain(*arguments, **named)

    monkeypatch.setattr(owner, name, hurt)


def fault_each(command: tuple[str | Path, ...], steps: list[str]) -> None:
    """Run with a fault at each of these steps, every one with a photo of its own."""
    due = list(steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fault_watch, "TOLERATED", 100)
        patch.setattr(fault_watch, "IN_A_ROW", 100)
        for step in steps:
            hit(patch, step, lambda call, step=step: due[:1] == [step] and bool(due.pop(0)))  # type: ignore[misc]
        assert run(*command, "--max_failure_fraction", "1") == 0
    assert not due


def test_a_fault_at_any_step_costs_one_photo(tmp_path: Path, u2netp: Any) -> None:
    shop, output = tmp_path / "photos", tmp_path / "out"
    shop.mkdir()
    for n in range(len(STEPS) + 2):
        draw_product(n, (90 + n, 80)).save(shop / f"p{n}.png")
    command = ("run", "--manifest", shop, "--output", output, "--model", "u2netp", "--direct_num_workers", "1")
    # The one is only asked of pictures that are there; the other is taken after another has failed, too.
    later = ["transforms.deliver.storage.holds", "transforms.deliver._with_facts"]
    for steps in ([step for step in STEPS if step not in later], later):
        for photo in shop.iterdir():
            photo.touch()
        fault_each(command, steps)
        rows = report_rows(output)
        failed = [row for row in rows if row["status"] == "failed"]
        said = [row["message"].partition("KeyError: 'nobody foresaw this at ")[2].partition("'")[0] for row in failed]
        assert sorted(said) == sorted(steps)
        assert (len(rows), {row["code"] for row in failed}) == (len(STEPS) + 2, {"internal_error"})
        assert not any("\n" in row["message"] for row in failed)
        log = (output / run_json(output)["internal_errors"]).read_text()
        assert log.count("Traceback") == len(steps)
        assert all(row["id"] in log for row in failed)
        assert run(*command) == 0  # the next night
        assert {row["status"] for row in report_rows(output)} == {"processed", "unchanged"}
        assert run_json(output)["internal_errors"] is None
        assert run("verify", "--output", output) == 0


def test_faults_in_a_row_stop_the_run(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], u2netp: Any
) -> None:
    monkeypatch.setattr(fault_watch, "IN_A_ROW", 3)
    hit(monkeypatch, "transforms.pixels.render.describe", lambda call: True)
    command = ("run", "--manifest", shop, "--output", tmp_path / "out", "--model", "u2netp")
    assert run(*command, "--direct_num_workers", "1", "--max_failure_fraction", "1") == 1
    said = capsys.readouterr().err
    assert "3 photos, one after the other, failed in the same way by a fault of whitesweep itself" in said
    assert "KeyError" in said
    assert "goes on from there" not in said
    assert "Traceback" not in said
    log = Path(said.partition("(all of it: ")[2].partition(")")[0])
    assert "nobody foresaw this" in log.read_text()
    assert not (tmp_path / "out/report/latest.json").exists()


def test_the_log_is_named_in_the_summary(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], u2netp: Any
) -> None:
    hit(monkeypatch, "transforms.pixels.render.encode", lambda call: call == 1)
    output = tmp_path / "out"
    run("run", "--manifest", shop, "--output", output, "--model", "u2netp")
    assert capsys.readouterr().out.count("internal_errors.log") == 1
    assert json.loads((record(output) / "run.json").read_text())["failures"] == {"internal_error": 1}


def fault(place: str) -> Failure:
    return Failure(
        "decode", "internal_error", "KeyError", f'Traceback\n  File "{place}", line 1, in x\n    y\nKeyError'
    )


def test_what_stops_and_what_does_not() -> None:
    watch = FaultWatch()
    for n in range(2000):  # half a per cent, each of another kind
        watch.row(fault(f"{n}.py") if n % 200 == 0 else None)
    watch = FaultWatch()
    for _ in range(9):
        watch.row(fault("a.py"))
    watch.row(None)
    watch.row(fault("a.py"))
    with pytest.raises(FaultError, match="11 of 12 photos"):
        watch.row(fault("b.py"))
    watch = FaultWatch()
    for _ in range(9):
        watch.row(fault("a.py"))
    with pytest.raises(FaultError, match="10 photos, one after the other"):
        watch.row(fault("a.py"))
    watch = FaultWatch()
    for _ in range(100):  # what is wrong with photos is no fault of ours
        watch.row(Failure("decode", "corrupt", "no"))


def test_a_message_is_one_line() -> None:
    failure = internal_error("decode", ValueError("one\ntwo"))
    assert failure.message.startswith("ValueError: one; ")
    assert "\n" not in failure.message
    assert internal_error("decode", ValueError()).message.startswith("ValueError; ")
