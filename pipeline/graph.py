"""The graphs: a run (a migration and a repair too), a verification, a comparison. Start here.

What happens to one photo is in transforms/process.py, and then in deliver.py.
"""

from __future__ import annotations

import apache_beam as beam

from transforms.compare import CompareMaps, WriteComparison
from transforms.manifest import ManifestFile, ReadManifests
from transforms.output.run import RunInfo
from transforms.pixels.policy import Policy
from transforms.plan import PlanConfig, PlanRows
from transforms.process import ProcessPhotos
from transforms.report import WriteReport
from transforms.verify import Verify


def build_run(root: beam.Pipeline, manifests: list[ManifestFile], plan: PlanConfig, info: RunInfo) -> None:
    """Put every photo of the manifests on white that is not there yet, and report on each row.

    A migration is the same graph without a network: its plan does every row again, from the map that the report names.
    """
    rows = root | "ReadManifests" >> ReadManifests(manifests, info.folder)
    count = rows | "CountBatch" >> beam.Keys() | "CountRows" >> beam.CombineGlobally(sum)
    todo, carried, gone = rows | "PlanRows" >> PlanRows(plan, count)
    outcomes = todo | "ProcessPhotos" >> ProcessPhotos(info)
    outcomes | "WriteReport" >> WriteReport(info, plan.earlier, count, carried, gone)


def build_verify(root: beam.Pipeline, folder: str, shards: list[str], verdict: str) -> None:
    """Compare what is in an output folder with what its report says, and write the verdict to a file."""
    root | "Verify" >> Verify(folder, shards, verdict)


def build_compare(
    root: beam.Pipeline, shards: list[str], maps_folder: str, first: Policy, second: Policy, output: str
) -> None:
    """Compare two policies on every map that a report names, and write what would change."""
    comparisons = root | "ListShards" >> beam.Create(shards) | "CompareMaps" >> CompareMaps(maps_folder, first, second)
    comparisons | "WriteComparison" >> WriteComparison(output)
