"""The graphs: a run (a migration and a repair too), a verification, a comparison. Start here.

What happens to one photo is in transforms/process.py, and then in deliver.py.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from transforms.compare import CompareMaps, WriteComparison
from transforms.counts import sum_counts, write_counts
from transforms.hold import HoldBrakes
from transforms.manifest import Batch, ManifestFile, ReadManifests
from transforms.output.earlier import Report
from transforms.output.forecast import Rates
from transforms.output.lease import lease_watch
from transforms.output.run import RunInfo
from transforms.pixels.policy import Policy
from transforms.plan import PlanConfig
from transforms.plan_rows import PlanRows
from transforms.process import ProcessPhotos
from transforms.report import WriteReport
from transforms.verify import Verify


def build_run(
    root: beam.Pipeline, manifests: list[ManifestFile], plan: PlanConfig, info: RunInfo, rates: Rates | None = None
) -> None:
    """Put every photo of the manifests on white that is not there yet, and report on each row.

    Nothing is touched before the whole plan is made and no brake holds; rates let it say how long it may take.
    A migration is the same graph without a network: its plan does every row again, from the map that the report names.
    """
    settings = info.settings
    rows = root | "ReadManifests" >> ReadManifests(manifests, info.folder, settings.only, settings.partial)
    if info.outlives:  # its own workers keep the lease, and photos are not the first that they have to do
        rows = rows | "RenewLease" >> beam.Map(go_on, info).with_output_types(Batch)
    count = _count(rows, plan)
    todo, carried, gone, counts = rows | "PlanRows" >> PlanRows(plan, count)
    if info.outlives:
        counts = counts | "RenewLeaseAgain" >> beam.Map(go_on, info)
    planned = counts | "HoldBrakes" >> HoldBrakes(info, rates, plan.decisions)
    outcomes = todo | "ProcessPhotos" >> ProcessPhotos(info, planned)
    outcomes | "WriteReport" >> WriteReport(info, plan.earlier, count, carried, gone, planned)


def go_on(element: Any, info: RunInfo) -> Any:
    """Pass an element on, if the output folder is this run's still; then its lease is as good as new."""
    lease_watch(info.folder, info.run_id).refuse_lost()
    return element


def _count(rows: beam.PCollection, plan: PlanConfig) -> beam.PCollection:
    """Count rows; if only some are wanted, those of the report before stand for what the new one will have.

    Changes to a report are one shard.
    """
    if plan.layers:
        return rows.pipeline | "CountRows" >> beam.Create([1], reshuffle=False)
    if plan.settings.stays:
        return rows.pipeline | "CountRows" >> beam.Create([plan.rows_before], reshuffle=False)
    return rows | "CountBatch" >> beam.Keys() | "CountRows" >> beam.CombineGlobally(sum)


def build_plan(root: beam.Pipeline, manifests: list[ManifestFile], plan: PlanConfig, file: str) -> None:
    """Plan a run as build_run does, and write what comes of it to a file (counts.PlanCounts, pickled)."""
    settings = plan.settings
    rows = root | "ReadManifests" >> ReadManifests(manifests, settings.output, settings.only, settings.partial)
    count = _count(rows, plan)
    *_, counts = rows | "PlanRows" >> PlanRows(plan, count)
    counts | "SumCounts" >> beam.CombineGlobally(sum_counts) | "Write" >> beam.Map(write_counts, file)


def build_verify(
    root: beam.Pipeline,
    folder: str,
    run_id: str,
    report: Report,
    names: str,
    verdict: str,
) -> None:
    """Compare what is in an output folder with what its report says, and write the verdict to a file."""
    root | "Verify" >> Verify(folder, run_id, report, names, verdict)


def build_compare(
    root: beam.Pipeline,
    report: Report,
    maps_folder: str,
    first: Policy,
    second: Policy,
    decisions: str | None,
    output: str,
) -> None:
    """Compare two policies on every map that a report names, and write what would change."""
    comparisons = (
        root
        | "ListShards" >> beam.Create(list(range(len(report))))
        | "CompareMaps" >> CompareMaps(report, maps_folder, first, second, decisions)
    )
    comparisons | "WriteComparison" >> WriteComparison(output)
