"""The compare command: what another policy would change, before it is applied."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.contact_sheet import compared, lay_out, open_tile
from pipeline.errors import RequestError
from pipeline.graph import build_compare
from pipeline.launch import run_graph
from pipeline.options import absolute, check_beam, check_output
from transforms import decisions, storage
from transforms.compare import COLUMNS, MappedRow
from transforms.errors import PhotoError
from transforms.output.earlier import Report, newest_report
from transforms.output.history import newest_settings
from transforms.output.latest import NoReportError, newest_run
from transforms.output.maps import load_map
from transforms.output.run import read_run, record_of
from transforms.pixels.policy import Policy, PolicyError, parse_canonical
from transforms.settings import load_policy

TILE = 160  # pixels
SHEET = "most-changed.png"


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """A checked request to compare two policies on the newest report under a folder.

    decisions: the file of those on single rows, which hold under either.
    """

    source: str
    report: Report
    output: str
    first: Policy
    second: Policy
    decisions: str | None
    beam_arguments: list[str]
    verbose: bool


def check_compare(flags: argparse.Namespace, others: Sequence[str]) -> CompareRequest:
    """Check a comparison.

    Raises:
        RequestError: whatever would stop it, before it has begun.
    """
    if len(flags.policy) > 2:
        raise RequestError(f"--policy was given {len(flags.policy)} times; give one or two, A and B")
    arguments = check_beam(flags.runner, others)
    output, source = check_output(flags.output), absolute(flags.from_dir)
    try:
        policies = list(map(load_policy, flags.policy))
        report = newest_report(source)
    except PolicyError as error:
        raise RequestError(str(error)) from error
    except NoReportError as error:
        raise RequestError(f"nothing to compare on: {error}") from error
    if len(policies) == 1:
        policies.insert(0, _in_force(source))
    first, second = policies
    return CompareRequest(source, report, output, first, second, _decisions(source), arguments, flags.verbose)


def _decisions(source: str) -> str | None:
    """Find the decisions in force; none if run.json does not tell of any."""
    if not (newest_settings(source) or {}).get("decisions"):
        return None
    file = f"{source}/{record_of(newest_run(source).run_id)}/{decisions.NAME}"
    try:
        decisions.read_decisions(file)
    except decisions.DecisionsError as error:
        raise RequestError(str(error)) from error
    return file


def _in_force(source: str) -> Policy:
    """Give the policy that the newest report was made with."""
    try:
        return parse_canonical((newest_settings(source) or {})["policy"])
    except (PolicyError, KeyError, TypeError, AttributeError) as error:
        raise RequestError(f"{source}: its run.json does not tell the policy in force; give --policy twice") from error


def compare(request: CompareRequest, names: Sequence[str]) -> int:
    """Compare, draw the rows that change most, and print the summary; give the exit code."""
    run_graph(
        request.beam_arguments,
        request.verbose,
        lambda root: build_compare(
            root,
            request.report,
            f"{request.source}/maps",
            request.first,
            request.second,
            request.decisions,
            request.output,
        ),
    )
    summary = json.loads(storage.read(f"{request.output}/comparison.json").data)
    changed = summary.pop("most_changed")
    names = names if len(names) == 2 else ("in force", *names)
    draw_sheet(request, changed, names)
    print(f"A: {names[0]}   B: {names[1]}")
    print(f"{'':24}{'rows':>8}{'changed':>9}{'IoU<0.9':>9}{'mean IoU':>10}{'flipped':>9}")
    same = [name for name, group in summary.items() if name != "all" and not group["changed"]]
    for name, group in summary.items():
        if name in same:
            continue
        print(
            f"{name:24}{group['rows']:8d}{group['changed']:9d}{group['changed_much']:9d}"
            f"{group['mean_iou']:10.4f}{group['mean_flipped']:9.2%}"
        )
    if same:
        print(f"{len(same)} of {len(summary) - 1} categories do not change")
    if summary["all"]["without_map"]:
        print(f"{summary['all']['without_map']} rows have lost their map, and could not be compared")
    for row in changed[:10]:
        print(f"  {row['id']}: IoU {row['iou']:.3f}, foreground {row['foreground_a']:.1%} -> {row['foreground_b']:.1%}")
    print(f"all rows: {request.output}/comparison.parquet")
    print(f"look at:  {request.output}/{SHEET} (photo, map, A, B of the {len(changed)} that change most)")
    return 0


def draw_sheet(request: CompareRequest, changed: list[dict[str, Any]], names: Sequence[str]) -> None:
    """Draw photo, map, A and B of each row, two rows beside each other, the most changed first.

    names: of A and B.
    """
    try:
        settings = read_run(request.source, newest_run(request.source).run_id)["settings"]
        folders, allow_private = settings["manifest_folders"], settings["allow_private_addresses"]
    except (NoReportError, PhotoError, ValueError, KeyError, TypeError):
        folders, allow_private = [], False  # the maps are drawn in place of the photos
    groups: list[list[Image.Image]] = []
    for row in changed:
        saliency = load_map(f"{request.source}/maps", row["map_key"])
        if saliency is None:
            groups.append([])
            continue
        uris = (storage.join(folder, row["uri"]) for folder in folders)  # to one of which its uri is relative
        photo = next((tile for uri in uris if (tile := open_tile(uri, TILE, allow_private))), None)
        mapped = MappedRow(**{name: row[name] for name in COLUMNS})
        decision = decisions.decisions_at(request.decisions).get(row["id"])
        rules = [decisions.rule_of(mapped, policy, decision)[1] for policy in (request.first, request.second)]
        groups.append(compared(photo, saliency.pixels, rules, TILE))
    buffer = io.BytesIO()
    captions = [
        f"{row['id']} · {row['category'] or 'no category'} · IoU {row['iou']:.2f}, "
        f"foreground {row['foreground_a']:.0%} -> {row['foreground_b']:.0%}"
        for row in changed
    ]
    headings = ("photo", "map", f"A: {names[0]}", f"B: {names[1]}") if changed else ()
    lay_out(groups, 2, TILE, captions, headings).save(buffer, "PNG")
    storage.write(f"{request.output}/{SHEET}", buffer.getvalue(), "image/png")
