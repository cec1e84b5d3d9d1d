"""The graphs. Who reads only this file knows the method."""

from __future__ import annotations

import apache_beam as beam

from transforms.compare import CompareMaps, WriteComparison
from transforms.earlier import AttachEarlier
from transforms.manifest import ManifestFile, ReadManifests
from transforms.policy import Policy
from transforms.process import ProcessConfig, ProcessPhotos
from transforms.report import RunInfo, WriteReport


def build_run(root: beam.Pipeline, manifests: list[ManifestFile], config: ProcessConfig, info: RunInfo) -> None:
    """Put every photo of the manifests on white, and report on each row."""
    rows = root | "ReadManifests" >> ReadManifests(manifests)
    count = rows | "CountRows" >> beam.combiners.Count.Globally()
    rows | "ProcessPhotos" >> ProcessPhotos(config) | "WriteReport" >> WriteReport(info, count)


def build_migrate(
    root: beam.Pipeline, manifests: list[ManifestFile], shards: list[str], config: ProcessConfig, info: RunInfo
) -> None:
    """Put every photo on white again under another policy, from the maps that an earlier report names."""
    rows = root | "ReadManifests" >> ReadManifests(manifests)
    count = rows | "CountRows" >> beam.combiners.Count.Globally()
    known = rows | "AttachEarlier" >> AttachEarlier(shards)
    known | "ProcessPhotos" >> ProcessPhotos(config) | "WriteReport" >> WriteReport(info, count)


def build_compare(
    root: beam.Pipeline, shards: list[str], maps_folder: str, first: Policy, second: Policy, output: str
) -> None:
    """Compare two policies on every map that a report names, and write what would change."""
    comparisons = root | "ListShards" >> beam.Create(shards) | "CompareMaps" >> CompareMaps(maps_folder, first, second)
    comparisons | "WriteComparison" >> WriteComparison(output)
