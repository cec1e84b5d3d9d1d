"""Repair an output folder: do again what it lacks of its report, with what the report says that it was made with."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pipeline import runners
from pipeline.checks import check_engine
from pipeline.errors import RequestError, RunError
from pipeline.execute import execute
from pipeline.options import RunRequest, check_beam, decide, device_of_workers, make_request
from transforms import storage
from transforms.brakes import Brakes
from transforms.decisions import NAME as DECISIONS
from transforms.errors import PhotoError
from transforms.output.cleanup import sweep
from transforms.output.earlier import newest_report
from transforms.output.latest import newest_run
from transforms.output.maps import map_key
from transforms.output.run import list_runs, read_run, record_of
from transforms.pixels.sharpen import Sharpening
from transforms.settings import MapOrigin, MapSettings, RunSettings, SettingsError
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
    try:
        settings = RunSettings.read(read_run(folder, newest_run(folder).run_id)["settings"])
    except SettingsError as error:
        message = f"{folder}: run.json does not tell how its report was made: {error}; run again, and repair then"
        raise RunError(message, dead_end=True) from error
    ids = {one.id for one in differences if one.problem != "orphaned"}
    if hidden := [manifest for manifest in settings.manifests if "***@" in manifest]:
        message = f"{hidden[0]}: no report keeps a password; remove the pictures that differ, and run again as before"
        raise RunError(message, dead_end=True)
    report = newest_report(folder)
    before = read_made(report, ids)
    usual, percents = None, _percents(folder, settings)
    for row in read_made(report).values():
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
        return execute(replace(request, damaged=table), lambda: sweep(folder))
    finally:
        storage.delete(table)


def _percents(folder: str, settings: RunSettings) -> list[int]:
    """List the strengths of sharpening that runs here, or where a migration came from, were asked for."""
    found = [settings.sharpening.percent, Sharpening().percent]
    for place in filter(None, (folder, settings.start_from)):
        try:
            runs = [run_id for run_id, files in list_runs(place).items() if "run.json" in files]
            found += [read_run(place, run)["settings"]["sharpen"] for run in sorted(runs, reverse=True)]
        except (PhotoError, OSError, ValueError, KeyError, TypeError):
            continue
    return list(dict.fromkeys(found))


def _made_with(row: dict[str, Any], percents: Iterable[int]) -> MapSettings | None:
    """Tell how a row's map was made: the settings under which its photo's map has its key; None if none are known."""
    if not row.get("map_key") or not row.get("source_sha256"):
        return None
    origin = MapOrigin(row["model"], row["weights_sha256"], row["precision"])
    percents = percents if row.get("sharpen") is None else [row["sharpen"]]
    tried = (MapSettings(origin, Sharpening(percent=percent)) for percent in percents)
    return next((maps for maps in tried if map_key(row["source_sha256"], maps) == row["map_key"]), None)


def _request(
    folder: str, before: RunSettings, maps: MapSettings | None, flags: argparse.Namespace, others: Sequence[str]
) -> RunRequest:
    """Make the request again that a report was made for, whatever became of its policy file since.

    maps: how maps are made where one is missing; None if none can be.

    Raises:
        RequestError: what the report was made of or with is not here.
    """
    start_from = before.start_from if before.command == "migrate" else None
    settings = replace(
        before,
        output=folder,
        start_from=start_from,
        redo="damaged",
        prune=False,
        runner=flags.runner,
        engine=None,
        brakes=Brakes(),
    )
    if maps is not None:
        origin, published = maps.origin, PUBLISHED.get(maps.origin.model)
        own = published is None or published.sha256 != origin.weights_sha256
        file = before.engine.weights.path if own and before.engine is not None else None
        device = "auto" if before.engine is None else before.engine.device
        device = device_of_workers(flags.runner, device, others)
        batch_size = None if before.engine is None else before.engine.batch_size
        local = runners.is_local(flags.runner, others)
        engine = check_engine(origin.model, file, device, origin.precision, batch_size, local)
        settings = replace(settings, engine=engine, sharpening=maps.sharpening)
        if settings.maps != maps:
            raise RequestError(f"weights of sha256 {origin.weights_sha256[:12]}… for {origin.model} are not here")
    request = make_request(settings, before.manifests, check_beam(flags.runner, others), flags.verbose)
    if before.decisions is not None:
        request = decide(request, f"{folder}/{record_of(newest_run(folder).run_id)}/{DECISIONS}")
    return replace(request, info=replace(request.info, repairs=before))
