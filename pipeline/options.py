"""Flags to frozen configuration, checked before any graph is built."""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from apache_beam.runners.runner import create_runner

from model.engine import DeviceError, EngineConfig, choose_device, choose_precision, load_network
from pipeline import runners
from pipeline.flags import RequestError
from transforms import storage
from transforms.composite import parse_background
from transforms.decode import Limits
from transforms.manifest import ManifestError, ManifestFile, find_manifests
from transforms.maps import MapSettings
from transforms.policy import PolicyError, load_policy
from transforms.process import OutputSettings, ProcessConfig
from transforms.report import RunInfo
from transforms.sharpen import Sharpening
from transforms.types import PhotoError
from weights.files import WeightsError, WeightsFile, locate


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A checked request to run the pipeline."""

    manifests: list[ManifestFile]
    config: ProcessConfig
    info: RunInfo
    max_failure_fraction: float
    beam_arguments: list[str]
    local: bool
    verbose: bool


def check_run(flags: argparse.Namespace, others: Sequence[str]) -> RunRequest:
    """Check every flag, and look at the manifests, the weights, the device and the output folder. Writes nothing.

    Raises:
        RequestError: whatever would stop the run, before it has begun.
    """
    _check_numbers(flags)
    beam_arguments = _check_beam(flags.runner, others)
    local = runners.is_local(flags.runner)
    output = _check_output(flags.output)
    try:
        policy = load_policy(flags.policy)
        if flags.interpolation:
            policy = policy.with_interpolation(flags.interpolation)
        background = parse_background(flags.background)
        manifests = find_manifests(flags.manifest)
        weights = locate(flags.model, flags.weights)
        if flags.weights:
            load_network(weights)  # the published ones are known by their sha256; these may be anything
    except (PolicyError, ManifestError, WeightsError, ValueError, PhotoError) as error:
        raise RequestError(str(error)) from error
    if flags.format == "jpeg" and background is None:
        raise RequestError("--background transparent: JPEG cannot be transparent; use --format png or webp")
    for manifest in manifests:
        if manifest.kind in ("folder", "image") and f"{output}/".startswith(f"{manifest.base.rstrip('/')}/"):
            raise RequestError(
                f"--output {flags.output}: lies inside the photos' own folder {manifest.base}; use another"
            )
    engine = _check_device(flags, weights, local)
    config = ProcessConfig(
        folder=output,
        maps=MapSettings(flags.model, weights.sha256, engine.precision, Sharpening(percent=flags.sharpen)),
        engine=engine,
        output=OutputSettings(policy, background, flags.format),
        limits=Limits(flags.max_bytes, flags.max_pixels),
        force=flags.force,
    )
    settings = {name: value for name, value in sorted(vars(flags).items()) if name not in ("command", "verbose")}
    settings |= {"device": engine.device, "precision": engine.precision, "weights_sha256": weights.sha256}
    settings |= {
        "policy": policy.canonical(),
        "policy_sha256": policy.sha256(),
        "beam": beam_arguments,
        "output": output,
    }
    now = time.time()
    run_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{secrets.token_hex(3)}"
    info = RunInfo(run_id, output, now, settings, versions())
    return RunRequest(manifests, config, info, flags.max_failure_fraction, beam_arguments, local, flags.verbose)


def versions() -> dict[str, str]:
    """Name the versions of everything that the output's bytes depend on."""
    packages = ("apache-beam", "torch", "pillow", "numpy", "scipy", "pyarrow")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _check_numbers(flags: argparse.Namespace) -> None:
    ranges: dict[str, tuple[float, float]] = {
        "sharpen": (0, 1000),
        "max_failure_fraction": (0, 1),
        "max_bytes": (1, float("inf")),
        "max_pixels": (1, float("inf")),
        "batch_size": (1, 1024),
    }
    for name, (low, high) in ranges.items():
        value: Any = getattr(flags, name)
        if value is not None and not low <= value <= high:
            limit = f"at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            raise RequestError(f"--{name} {value}: must be {limit}")


def _check_beam(runner: str, others: Sequence[str]) -> list[str]:
    arguments = runners.beam_arguments(runner, others)
    try:
        create_runner(runners.runner_name(runner))
        unknown = runners.unknown_flags(arguments)
    except ValueError as error:
        raise RequestError(str(error).splitlines()[0]) from error
    if unknown:
        raise RequestError(f"{unknown[0]}: neither whitesweep nor Beam knows this flag. See --help")
    return arguments


def _check_output(output: str) -> str:
    """Make the output folder absolute, and make sure that something can be written there."""
    if storage.scheme(output) == "gs":
        try:
            storage.is_folder(output)
        except Exception as error:  # whatever keeps us from listing it will keep us from writing it
            raise RequestError(f"--output {output}: cannot be reached: {str(error).splitlines()[0]}") from error
        return output.rstrip("/")
    if storage.scheme(output) != "file":
        raise RequestError(f"--output {output}: expected a folder or a gs:// address")
    folder = existing = os.path.abspath(storage.local_path(output))
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise RequestError(f"--output {output}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(f"--output {output}: no permission to write in {existing}")
    return folder


def _check_device(flags: argparse.Namespace, weights: WeightsFile, local: bool) -> EngineConfig:
    """Resolve device and precision: here if the run is here; workers elsewhere find their own device, or fail."""
    try:
        device = choose_device(flags.device) if local else flags.device
        if local:
            precision = choose_precision(flags.precision, flags.model, device)
        else:
            default = "bf16" if flags.model == "u2net" else "fp32"
            precision = default if flags.precision == "auto" else flags.precision
    except DeviceError as error:
        raise RequestError(str(error)) from error
    return EngineConfig(weights, device, precision, flags.batch_size)
