"""The plan command: what a run or a migration would do, without doing it."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import RequestError
from pipeline.execute import plan_config
from pipeline.graph import build_plan
from pipeline.launch import run_graph
from pipeline.options import check_beam, check_migrate, check_run, find_report
from transforms.counts import PlanCounts, describe
from transforms.credentials import without_secrets
from transforms.differences import differences
from transforms.errors import DeadEndError
from transforms.hold import plan_record
from transforms.manifest import order_of
from transforms.output.forecast import rates_of
from transforms.output.history import newest_settings, recent_runs


def plan(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Plan, and print it; nothing is written, and no lease is taken. Exit code 1 if a brake would stop the run."""
    migrates = flags.from_dir is not None
    flags.command = "migrate" if migrates else "run"
    request = (check_migrate if migrates else check_run)(flags, others)
    settings = request.settings
    earlier = find_report(settings.earlier_folder, needed=migrates)
    with tempfile.TemporaryDirectory(prefix="whitesweep-") as folder:
        file = os.path.join(folder, "plan")
        here = check_beam("local", [])  # a plan reads no photo: whatever will run it, this machine can plan it
        decided = None if request.decisions is None else request.decisions.file.file
        config = plan_config(
            replace(settings, runner="local"), earlier, decisions=decided, order=order_of(request.manifests)
        )
        run_graph(here, flags.verbose, lambda root: build_plan(root, request.manifests, config, file))
        with open(file, "rb") as stream:
            counts = pickle.load(stream)
    assert isinstance(counts, PlanCounts)
    now, before = settings.record(), newest_settings(settings.earlier_folder)
    try:
        record = plan_record(counts, settings, rates_of(recent_runs(settings.output), now["network"]), decided)
    except DeadEndError as error:
        raise RequestError(str(error)) from error
    told = [] if before is None else differences(before, now)
    if flags.json:
        print(without_secrets(json.dumps({**record, "differences": told}, indent=2, ensure_ascii=False)))
    else:
        lines = describe(record, settings.prune)
        if settings.configured:
            lines.append(f"settings of {settings.config}: {', '.join(settings.configured)}")
        if told:
            lines.append(f"settings differ from the run before: {'; '.join(told)}")
        if record["brake"]:
            lines.append(f"a brake would stop this run: {record['brake']}")
        print(without_secrets("\n".join(lines)))
    return 1 if record["brake"] else 0
