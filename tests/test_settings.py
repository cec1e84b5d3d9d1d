"""What a run was asked for is all in run.json, and is read back from it as it was."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from model.engine import EngineConfig
from transforms.brakes import Brakes
from transforms.pixels.decode import Limits
from transforms.pixels.policy import plain_policy
from transforms.pixels.render import OutputSettings
from transforms.pixels.sharpen import Sharpening
from transforms.settings import DecisionsFile, RunSettings, SettingsError
from weights.files import WeightsFile

PLAIN = RunSettings("/out")
OTHER = RunSettings(
    output="gs://bucket/out",
    command="migrate",
    manifests=("/m.csv", "https://host/m.jsonl"),
    folders=("/", "https://host"),
    start_from="/before",
    partial=True,
    redo="all",
    only=("a", "b*"),
    prune=True,
    engine=EngineConfig(WeightsFile("u2netp", "/w.safetensors", "0" * 64), "cuda", "bf16", 7),
    sharpening=Sharpening(percent=80),
    pictures=OutputSettings(plain_policy("ladder"), (1, 2, 3), "webp", keep_metadata=True),
    decisions=DecisionsFile("/d.csv", "1" * 64, 12),
    limits=Limits(1000, 2000),
    allow_private=True,
    max_failure_fraction=0.25,
    brakes=Brakes(0.5, 0.25, 0.125, 0.0625),
    config="/w.toml",
    configured=("policy", "prune"),
    names="fingerprint",
    keep_reports=3,
    runner="flink",
    beam=("--flink_master", "here:8081"),
)


def through_json(settings: RunSettings) -> RunSettings:
    return RunSettings.read(json.loads(json.dumps(settings.record())))


@pytest.mark.parametrize("name", [field.name for field in fields(RunSettings)])
def test_every_setting_is_read_back_as_it_was(name: str) -> None:
    assert getattr(PLAIN, name) != getattr(OTHER, name)  # or this would show nothing
    settings = replace(PLAIN, **{name: getattr(OTHER, name)})
    assert through_json(settings) == settings
    settings = replace(OTHER, **{name: getattr(PLAIN, name)})
    assert through_json(settings) == settings


def test_a_transparent_background_is_not_white() -> None:
    clear = replace(PLAIN, pictures=OutputSettings(background=None))
    assert through_json(clear) == clear


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 0},
        {"version": None},
        {"policy": {}},
        {"network": {"model": "u2net"}},
        {"background": [1]},
        {"beam": 1},
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(damage: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as error:
        RunSettings.read({**OTHER.record(), **damage})
    assert "\n" not in str(error.value)


def test_where_a_run_starts_from_and_whose_maps_serve() -> None:
    run, migration = PLAIN, replace(PLAIN, command="migrate", start_from="/before", redo="all")
    repair = replace(migration, redo="damaged")
    assert (run.earlier_folder, run.reported_maps) == ("/out", None)
    assert (migration.earlier_folder, migration.reported_maps) == ("/before", "/before/maps")
    assert (repair.earlier_folder, repair.reported_maps) == ("/out", "/before/maps")
    assert replace(run, redo="damaged").reported_maps == "/out/maps"
    assert (run.maps, OTHER.maps and OTHER.maps.origin.precision) == (None, "bf16")
