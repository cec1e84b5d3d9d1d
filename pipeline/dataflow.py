"""Dataflow: the flags of its two presets, and what a job there cannot do without. None of it has been run there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions, WorkerOptions
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

GPU = "dataflow-gpu"
"""The preset whose workers have an NVIDIA L4 each."""

ACCELERATOR = "worker_accelerator="


def defaults(runner: str, arguments: Sequence[str]) -> list[str]:
    """Give the flags of a preset; the user's follow and win. Of the two that add up, give what the user leaves open.

    One process a worker, with a thread for each core: threads share one model, and processes would load one each.
    """
    options = PipelineOptions(list(arguments))
    has_gpu = runner.lower() == GPU
    machine = options.view_as(WorkerOptions).machine_type or ("g2-standard-8" if has_gpu else "n2-standard-4")
    services = " ".join(options.view_as(GoogleCloudOptions).dataflow_service_options or [])
    experiments = options.view_as(DebugOptions).experiments or []
    flags = [f"--machine_type={machine}", "--sdk_location=container"]
    if cores := re.search(r"-(\d+)$", machine):  # as in n2-standard-4
        flags.append(f"--number_of_worker_harness_threads={cores[1]}")
    if "use_multiple_sdk_containers" not in experiments and "use_nvidia_mps" not in services:
        flags.append("--experiments=no_use_multiple_sdk_containers")
    if has_gpu:
        flags.append("--disk_size_gb=50")  # torch and CUDA are in the image
    if has_gpu and ACCELERATOR not in services:
        flags.append(f"--dataflow_service_options={ACCELERATOR}type:nvidia-l4;count:1;install-nvidia-driver")
    return flags


def what_is_missing(arguments: Sequence[str], submits: bool = True) -> str | None:
    """Say what complete Beam flags lack for a job on Dataflow, of what Beam would guess, or workers fail without.

    submits: whether this process is to hand the job in, for which it needs Google's packages.
    """
    options = PipelineOptions(list(arguments))
    cloud = options.view_as(GoogleCloudOptions)
    given = {
        "--project": cloud.project,
        "--region": cloud.region,
        "--temp_location": cloud.temp_location,
        "--sdk_container_image": options.view_as(WorkerOptions).sdk_container_image,
    }
    if missing := [flag for flag, value in given.items() if not value]:
        return f"{', '.join(missing)} must be given too; docs/engines.md says what they are"
    rules = PipelineOptionsValidator(options, None)  # Beam would make a bucket of its own in place of a wrong one
    if wrong := [*rules.validate_cloud_options(cloud), *rules.validate_gcs_path(cloud, "temp_location")]:
        return str(wrong[0])
    if submits and importlib.util.find_spec("google.cloud.dataflow") is None:
        return "Google's packages are missing; .venv/bin/python -m pip install -c constraints.txt -e '.[gcp]'"
    return None


def device(runner: str, wanted: str, arguments: Sequence[str]) -> str:
    """Give the device of the workers. Where all have a GPU, none may take its CPU instead: nobody would notice.

    Raises:
        ValueError: they do not have it, or a GPU would be paid for and not used.
    """
    if runner.lower() == GPU:
        if wanted == "cpu":
            raise ValueError("--device cpu: these workers have a GPU each; use --runner dataflow")
        return "cuda"
    if wanted == "cuda" and ACCELERATOR not in " ".join(arguments):
        raise ValueError(f"--device cuda: these workers have no GPU; use --runner {GPU}")
    return wanted
