"""The verify command: compare an output folder with its newest report, and repair what differs."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from pipeline import runners
from pipeline.errors import RequestError
from pipeline.graph import build_verify
from pipeline.launch import run_graph
from pipeline.options import absolute, check_beam
from pipeline.repair import repair
from transforms import storage
from transforms.errors import FatalError, PhotoError, in_one_line
from transforms.output.earlier import report_of
from transforms.output.latest import NoReportError, names_of, newest_run
from transforms.output.lease import LeaseError, check_free
from transforms.output.run import read_run
from transforms.settings import NAMES
from transforms.verify import PROBLEMS, Difference, Verdict, read_verdict, write_verdict

SHOWN = 10
"""How many differences are printed; the table holds them all."""


def verify(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Verify, and repair if that was asked; the exit code is 1 if anything differs and stays so, or could not be had.

    Raises:
        RequestError: there is no report, or a run is writing. RunError: the report itself cannot be read.
    """
    arguments, folder = check_beam(flags.runner, others), absolute(flags.output)
    table = f"{folder}/report/verify.parquet"
    verdict = _verify(folder, arguments, flags)
    print(_summary(folder, verdict))
    whole = True
    if verdict.differences and flags.repair:
        whole = repair(folder, verdict.differences, flags, others)
        verdict = _verify(folder, arguments, flags)
        print(_summary(folder, verdict))
    with suppress(PhotoError, FatalError):  # who may only read may verify too
        if verdict.differences:
            write_verdict(table, verdict.rows, verdict.differences)
            print(f"all of them: {table}")
        else:
            storage.delete(table)
    return 0 if whole and not verdict.differences else 1


def _verify(folder: str, arguments: list[str], flags: argparse.Namespace) -> Verdict:
    try:
        check_free(folder)
        latest = newest_run(folder)
        report, run = report_of(folder, latest), read_run(folder, latest.run_id)
        names = names_of(folder) or NAMES[0]
    except LeaseError as error:
        raise RequestError(f"--output {error}") from error
    except (NoReportError, PhotoError, ValueError) as error:
        raise RequestError(f"nothing to verify: {error}") from error
    with tempfile.TemporaryDirectory(prefix="whitesweep-") as temporary:
        here = runners.is_local(flags.runner, arguments)
        uri = f"{temporary if here else f'{folder}/report'}/verdict.parquet"
        run_graph(arguments, flags.verbose, lambda root: build_verify(root, folder, latest.run_id, report, names, uri))
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
    said = (f"  {d.id or '(no id)'}: {d.problem}: {d.name or 'report'}: {d.message}" for d in differences[:SHOWN])
    lines += map(in_one_line, said)
    if len(differences) > SHOWN:
        lines.append(f"  … and {len(differences) - SHOWN} more")
    return "\n".join(lines)
