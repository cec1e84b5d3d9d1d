"""Repair an output folder: do again what it lacks of its report, with what the report says that it was made with."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import RequestError, RunError
from pipeline.execute import execute
from pipeline.flags import make_parser
from pipeline.options import RunRequest, check_migrate
from transforms import storage
from transforms.errors import PhotoError
from transforms.output.cleanup import list_runs, sweep
from transforms.output.commit import read_run
from transforms.output.earlier import latest_run, newest_report
from transforms.output.maps import MapOrigin, MapSettings, map_key
from transforms.pixels.policy import PolicyError, parse_canonical
from transforms.pixels.sharpen import Sharpening
from transforms.verify import Difference, read_made, write_verdict
from weights.published import PUBLISHED

REPAIR = "repair-"
"""How the file begins in which a repair says what it does again."""

MAP_PROBLEMS = ("missing_map", "altered_map")


def repair(folder: str, differences: Sequence[Difference], flags: argparse.Namespace, others: Sequence[str]) -> bool:
    """Do again the rows that differ, each with the network that made its map; tell whether all are whole again.

    Of rows whose map is lost and whose network is not to be had here nothing is touched.

    Raises:
        RequestError, RunError: the repair cannot be done.
    """
    settings: dict[str, Any] = read_run(folder, latest_run(folder)["run_id"])["settings"]
    ids = {one.id for one in differences if one.problem != "orphaned"}
    if hidden := [manifest for manifest in settings.get("manifest", []) if "***@" in manifest]:
        message = f"{hidden[0]}: no report keeps a password; remove the pictures that differ, and run again as before"
        raise RunError(message, dead_end=True)
    shards = newest_report(folder)
    before = read_made(shards, ids)
    usual, percents = None, _percents(folder, settings)
    for row in read_made(shards[:1]).values():
        usual = usual or _made_with(row, percents)
    lost = {one.id for one in differences if one.problem in MAP_PROBLEMS or one.name.startswith("maps/")}
    groups: dict[MapSettings | None, set[str]] = defaultdict(set)
    for id in ids:
        groups[_made_with(before.get(id, {}), percents) if id in lost else usual].add(id)
    redone = predicted = 0
    for made_with, members in (groups or {usual: set()}).items():
        problem = None if made_with else "no report here tells the settings that it had"
        try:
            request = _request(folder, settings, made_with, flags, others)
        except RequestError as error:
            if made_with is None:
                raise
            problem = str(error)
            request = _request(folder, settings, None, flags, others)
        if problem and members & lost:
            said = f"{len(members & lost)} maps cannot be made again, as the network that made them is not to be had"
            print(f"whitesweep: {said}: {problem}", file=sys.stderr)
            members -= lost
        run = _redo(folder, request, members)
        redone += run["statuses"].get("processed", 0)
        predicted += run["work"].get("photos_predicted", 0)
        if run["reason"]:
            print(f"whitesweep: {run['reason']}", file=sys.stderr)
    print(f"repaired: {redone} rows done again, {predicted} predicted")
    after = read_made(newest_report(folder), ids)
    failed = sorted(id for id, row in before.items() if not _is_whole(row, after.get(id)))
    if failed:
        said = ", ".join(failed[:3]) + (", …" if len(failed) > 3 else "")
        print(f"not repaired: {len(failed)} rows have lost their picture or map for now, see the report: {said}")
    return not failed


def _is_whole(before: dict[str, Any], after: dict[str, Any] | None) -> bool:
    """Tell whether a row has all again that it had; of one that failed, the picture that is there may be damaged."""
    if after is None or (before["map_key"] and not after["map_key"]):
        return False
    if after["status"] != "failed" or not before["output_uri"]:
        return True
    return bool(after["output_sha256"] == before["output_sha256"])


def _redo(folder: str, request: RunRequest, ids: Iterable[str]) -> dict[str, Any]:
    """Run a request for some rows alone, all others carried over as they are; give its run.json."""
    for name, _ in list(storage.list_sizes(f"{folder}/report", REPAIR)):
        if name.startswith(REPAIR) and "/" not in name:  # of a repair that was killed
            storage.delete(f"{folder}/report/{name}")
    table = f"{folder}/report/{REPAIR}{secrets.token_hex(6)}.parquet"
    write_verdict(table, 0, [Difference(id, "", "", "") for id in ids])
    try:
        plan = replace(request.plan, redo="damaged", damaged=table)
        return execute(replace(request, plan=plan), lambda: sweep(folder))
    finally:
        storage.delete(table)


def _percents(folder: str, settings: dict[str, Any]) -> list[int]:
    """List the strengths of sharpening that runs here, or where a migration came from, were asked for."""
    found = [Sharpening().percent, settings.get("sharpen")]
    for place in filter(None, (folder, settings.get("from_dir"))):
        try:
            runs = [run.removeprefix("run=") for run, files in list_runs(place).items() if "run.json" in files]
            found += [read_run(place, run)["settings"].get("sharpen") for run in sorted(runs, reverse=True)]
        except (PhotoError, OSError, ValueError, KeyError):
            continue
    return [percent for percent in dict.fromkeys(found) if percent is not None]


def _made_with(row: dict[str, Any], percents: Iterable[int]) -> MapSettings | None:
    """Tell how a row's map was made: the settings under which its photo's map has its key; None if none are known."""
    if not row.get("map_key") or not row.get("source_sha256"):
        return None
    origin = MapOrigin(row["model"], row["weights_sha256"], row["precision"])
    tried = (MapSettings(origin, Sharpening(percent=percent)) for percent in percents)
    return next((maps for maps in tried if map_key(row["source_sha256"], maps) == row["map_key"]), None)


def _request(
    folder: str, settings: dict[str, Any], maps: MapSettings | None, flags: argparse.Namespace, others: Sequence[str]
) -> RunRequest:
    """Make the request again that a report was made for, whatever became of its policy file since.

    maps: how maps are made where one is missing; None if none can be.

    Raises:
        RequestError: what the report was made of or with is not here. RunError: run.json does not say what it was.
    """
    again = make_parser().parse_args(["migrate", "--manifest", "", "--output", "", "--policy", "0.7"])
    known = {name: value for name, value in settings.items() if name in vars(again)}
    now = {"command": settings["command"], "policy": "0.7", "output": folder, "from_dir": None, "missing": "fail"}
    now |= {"runner": flags.runner, "verbose": flags.verbose}
    if maps is not None:
        origin = maps.origin
        published = PUBLISHED.get(origin.model)
        own = published is None or published.sha256 != origin.weights_sha256
        now |= {"missing": "predict", "model": origin.model, "precision": origin.precision}
        now |= {"sharpen": maps.sharpening.percent, "weights": settings.get("weights") if own else None}
    request = check_migrate(argparse.Namespace(**{**vars(again), **known, **now}), others)
    if maps is not None and request.config.maps != maps:
        raise RequestError(f"weights of sha256 {maps.origin.weights_sha256[:12]}… for {maps.origin.model} are not here")
    try:
        policy = parse_canonical(settings["policy"])
    except (PolicyError, KeyError, TypeError) as error:
        raise RunError(f"run.json: not a policy: {error}", dead_end=True) from error
    output = replace(request.config.output, policy=policy)
    source = settings.get("from_dir") or folder
    return replace(
        request,
        plan=replace(request.plan, output=output, maps=maps),
        config=replace(request.config, output=output, reported_maps=f"{source}/maps"),
        info=replace(request.info, settings=settings),
    )
