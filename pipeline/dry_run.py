"""The dry run: the job that a run or a migration would hand in, printed. What it would do with the rows says `plan`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline.graph import build_run
from pipeline.options import absolute, check_settings, choose_engine, choose_rows
from pipeline.runners import outlives, runner_name
from pipeline.stream import of_stream
from transforms import storage
from transforms.credentials import without_secrets
from transforms.manifest import ManifestFile
from transforms.output.run import RunInfo
from transforms.plan import PlanConfig
from transforms.streaming import StreamChanges


def dry_run(flags: argparse.Namespace, others: Sequence[str]) -> int:
    """Print the job: runner, Beam's flags, the stages that the graph fuses to, and the settings.

    No manifest, photo or output is looked at, so that neither a network nor credentials are needed; the settings are
    those of a first run.
    """
    settings, arguments = check_settings(flags, others)
    if flags.command == "run":
        settings = choose_rows(settings, flags)
    else:
        settings = replace(settings, start_from=absolute(flags.from_dir) if flags.from_dir else None, redo="all")
    if flags.command == "run" or flags.missing == "predict":
        settings = replace(settings, engine=choose_engine(flags, others, flags.device, flags.precision))
    options = PipelineOptions(arguments)
    root = beam.Pipeline(runner=FnApiRunner(), options=options)
    if "--streaming" in others:
        settings = of_stream(settings, flags)
        _ = root | "StreamChanges" >> StreamChanges(settings.manifests, RunInfo(settings, "dry-run"))
    else:
        manifests = [ManifestFile(uri, "csv", storage.parent(uri)) for uri in settings.manifests]
        info = RunInfo(settings, "dry-run", leased=True, outlives=outlives(arguments))
        build_run(root, manifests, PlanConfig(settings), info)
    graph = root.to_runner_api()
    _, stages = FnApiRunner().create_stages(graph)
    job = {
        "runner": runner_name(flags.runner),
        "beam": options.get_all_options(drop_default=True),
        "graph_bytes": graph.ByteSize(),
        "stages": [[transform.unique_name for transform in stage.transforms] for stage in stages],
        "settings": settings.record(),
    }
    print(without_secrets(json.dumps(job, indent=2, ensure_ascii=False, default=str)))
    return 0
