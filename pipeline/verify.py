"""The verify command: compare an output folder with its newest report, and repair what differs."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pipeline import runners
from pipeline.execute import execute, run_graph
from pipeline.flags import RequestError, RunError, make_parser
from pipeline.graph import build_verify
from pipeline.options import RunRequest, absolute, check_beam, check_migrate, check_run
from transforms import storage
from transforms.commit import read_run
from transforms.earlier import NoReportError, latest_run, newest_report
from transforms.lease import LeaseError, check_free
from transforms.policy import PolicyError, parse_canonical
from transforms.sweep import sweep
from transforms.types import FatalError, PhotoError
from transforms.verify import PROBLEMS, Difference, Verdict, read_gone, read_verdict, write_verdict

SHOWN = 10
"""How many differences are printed; the table holds them all."""


def verify(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Verify, and repair if that was asked; the exit code is 1 if anything differs and stays so.

    Raises:
        RequestError: there is no report, or a run is writing. RunError: the report itself cannot be read.
    """
    arguments, folder = check_beam(flags.runner, others), absolute(flags.output)
    table = f"{folder}/report/verify.parquet"
    verdict = _verify(folder, arguments, flags)
    print(_summary(folder, verdict))
    if verdict.differences and flags.repair:
        write_verdict(table, verdict.rows, verdict.differences)
        _repair(folder, table, verdict.differences, flags, others)
        verdict = _verify(folder, arguments, flags)
        print(_summary(folder, verdict))
    with suppress(PhotoError, FatalError):  # who may only read may verify too
        if verdict.differences:
            write_verdict(table, verdict.rows, verdict.differences)
            print(f"all of them: {table}")
        else:
            storage.delete(table)
    return 1 if verdict.differences else 0


def _verify(folder: str, arguments: list[str], flags: argparse.Namespace) -> Verdict:
    try:
        check_free(folder)
        shards, run = newest_report(folder), read_run(folder, latest_run(folder)["run_id"])
    except LeaseError as error:
        raise RequestError(f"--output {error}") from error
    except (NoReportError, PhotoError, ValueError) as error:
        raise RequestError(f"nothing to verify: {error}") from error
    with tempfile.TemporaryDirectory(prefix="whitesweep-") as temporary:
        here = runners.is_local(flags.runner, arguments)
        uri = f"{temporary if here else f'{folder}/report'}/verdict.parquet"
        run_graph(arguments, flags.verbose, lambda root: build_verify(root, folder, shards, uri))
        verdict = read_verdict(uri)
        storage.delete(uri)
    if verdict.rows != run.get("rows"):
        message = f"run.json says {run.get('rows')} rows, the report has {verdict.rows}"
        verdict.differences.append(Difference("", "bad_row", "", message))
    return verdict


def _summary(folder: str, verdict: Verdict) -> str:
    differences = verdict.differences
    if not differences:
        return f"{folder}: {verdict.rows} rows verified, nothing differs"
    counts = Counter(difference.problem for difference in differences)
    lines = [f"{folder}: {verdict.rows} rows verified, {len(differences)} differences"]
    lines += [f"  {counts[problem]:6d} {problem}: {said}" for problem, said in PROBLEMS.items() if problem in counts]
    lines += [f"  {d.id or '(no id)'}: {d.problem}: {d.name or 'report'}: {d.message}" for d in differences[:SHOWN]]
    if len(differences) > SHOWN:
        lines.append(f"  … and {len(differences) - SHOWN} more")
    return "\n".join(lines)


def _repair(
    folder: str, table: str, differences: list[Difference], flags: argparse.Namespace, others: Sequence[str]
) -> None:
    """Do again the rows that differ, under the settings of the report, and remove what no row has."""

    def clean() -> None:
        unclaimed = set(read_gone(f"{folder}/{latest_run(folder)['report']}"))  # by the report that was just made
        for difference in differences:
            if difference.problem == "orphaned" and difference.name in unclaimed:
                storage.delete(f"{folder}/{difference.name}")
        sweep(folder)

    request = _request(folder, flags, others)
    run = execute(replace(request, plan=replace(request.plan, redo="damaged", damaged=table)), clean)
    redone = run["statuses"].get("processed", 0)
    print(f"repaired: {redone} rows done again, {run['work'].get('photos_predicted', 0)} predicted")
    if run["reason"]:
        print(f"whitesweep: {run['reason']}", file=sys.stderr)


def _request(folder: str, flags: argparse.Namespace, others: Sequence[str]) -> RunRequest:
    """Make the request again that a report was made for, whatever became of its policy file since."""
    settings: dict[str, Any] = read_run(folder, latest_run(folder)["run_id"])["settings"]
    command = settings["command"] if settings["command"] == "migrate" else "run"
    if hidden := [manifest for manifest in settings.get("manifest", []) if "***@" in manifest]:
        raise RunError(
            f"{hidden[0]}: no report keeps a password; remove the pictures that differ, and run again as before"
        )
    required = ["--manifest", "", "--output", "", *(["--policy", "0.7"] if command == "migrate" else [])]
    again = make_parser().parse_args([command, *required])
    known = {name: value for name, value in settings.items() if name in vars(again)}
    once = {
        "command": command,
        "policy": "0.7",
        "force": False,
        "retry_failed": False,
        "prune": False,
        "output": folder,
    }
    again = argparse.Namespace(**{**vars(again), **known, **once, "runner": flags.runner, "verbose": flags.verbose})
    request = {"run": check_run, "migrate": check_migrate}[command](again, others)
    try:
        policy = parse_canonical(settings["policy"])
    except (PolicyError, KeyError, TypeError) as error:
        raise RunError(f"run.json: not a policy: {error}") from error
    output = replace(request.config.output, policy=policy)
    said = {**request.info.settings, "policy": policy.canonical(), "policy_sha256": policy.sha256()}
    return replace(
        request,
        plan=replace(request.plan, output=output),
        config=replace(request.config, output=output),
        info=replace(request.info, settings=said),
    )
