"""The checks of settings that need neither Beam nor a folder: numbers, pictures, and the network."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

from pipeline.errors import RequestError
from transforms import storage
from transforms.brakes import Brakes
from transforms.pixels.composite import WHITE, parse_background
from transforms.pixels.decode import Limits
from transforms.pixels.encode import ENCODINGS
from transforms.pixels.methods import DEFAULT_POLICY
from transforms.pixels.policy import SHARPEN, Policy, PolicyError
from transforms.pixels.profile import ProfileError
from transforms.pixels.render import OutputSettings
from transforms.pixels.sharpen import Sharpening
from transforms.settings import RunSettings, load_policy, load_profile
from weights.files import WeightsError, locate

if TYPE_CHECKING:
    from model.engine import EngineConfig

RANGES: dict[str, tuple[float, float]] = {
    "sharpen": (SHARPEN.low, SHARPEN.high),
    **dict.fromkeys(("max_failure_fraction", *(brake.name for brake in fields(Brakes))), (0.0, 1.0)),
    "keep_reports": (1, 2**40),
    "max_bytes": (1, 2**40),
    "max_pixels": (1, 2**40),
    "batch_size": (1, 1024),
}


class Settings(TypedDict, total=False):
    """The settings that a caller from Python seldom gives. They are the flags of `run` of those names."""

    weights: str | None
    device: str
    precision: str
    batch_size: int | None
    sharpen: int
    interpolation: str | None
    keep_metadata: bool
    profile: str | None
    max_bytes: int
    max_pixels: int


def make_settings(
    policy: str | Policy = DEFAULT_POLICY,
    *,
    output: str = "",
    background: str = "white",
    format: str = "same",
    allow_private_addresses: bool = False,
    model: str | None = "u2net",
    weights: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    sharpen: int = Sharpening().percent,
    interpolation: str | None = None,
    keep_metadata: bool = False,
    profile: str | None = None,
    max_bytes: int = Limits().max_bytes,
    max_pixels: int = Limits().max_pixels,
    local: bool = True,
) -> RunSettings:
    """Make the settings of a caller from Python, as the flags of `run` of those names would make them.

    Args:
        policy: what --policy takes, or a policy.
        output: a checked folder; empty where none is written to.
        model: None if the network is not to be asked.
        local: as in check_engine.

    Raises:
        RequestError: what was asked for cannot be.
    """
    check_numbers(sharpen=sharpen, max_bytes=max_bytes, max_pixels=max_pixels, batch_size=batch_size)
    pictures = check_pictures(policy, interpolation, background, format, keep_metadata=keep_metadata, profile=profile)
    return RunSettings(
        output=output,
        engine=None if model is None else known_engine(model, weights, device, precision, batch_size, local),
        sharpening=Sharpening(percent=sharpen),
        pictures=pictures,
        limits=Limits(max_bytes, max_pixels),
        allow_private=allow_private_addresses,
    )


def output_folder(output: str) -> str:
    """Give an output folder that is only looked at, as storage names it.

    Raises:
        RequestError: nothing of ours can be there.
    """
    if not storage.takes_outputs(output):
        raise RequestError(f"--output {output}: expected a folder or a gs:// address")
    return (storage.local_path(output) if storage.is_local(output) else output).rstrip("/") or "/"


def check_numbers(**flags: Any) -> None:
    """Check those of the flags that have a range.

    Raises:
        RequestError: one is out of it.
    """
    for name, (low, high) in RANGES.items():
        value = flags.get(name)
        if value is not None and not low <= value <= high:
            raise RequestError(f"--{name} {value}: must be from {low:g} to {high:g}")


def check_pictures(
    policy: str | Policy,
    interpolation: str | None,
    background: str,
    format: str,
    *,
    keep_metadata: bool,
    profile: str | None = None,
) -> OutputSettings:
    """Check what decides how a map and a photo become a picture.

    Raises:
        RequestError: it cannot be.
    """
    if format != "same" and format not in ENCODINGS:
        raise RequestError(f"--format {format}: expected same, {', '.join(sorted(ENCODINGS))}")
    try:
        wanted = None if profile is None else load_profile(str(profile))
        if not isinstance(policy, Policy):
            policy = load_policy(str(policy), wanted)  # callers from Python give numbers and paths too
        if interpolation:
            policy = policy.with_interpolation(interpolation)
        colour = parse_background(background)
    except (PolicyError, ProfileError, ValueError) as error:
        raise RequestError(str(error)) from error
    if wanted is not None and wanted.white and colour != WHITE:
        raise RequestError(f"--background {background}: {wanted.name} takes exactly white only")
    if wanted is not None and wanted.formats is not None and format not in ("same", *wanted.formats):
        raise RequestError(f"--format {format}: {wanted.name} takes {', '.join(wanted.formats)} only")
    if format == "jpeg" and colour is None:
        raise RequestError("--background transparent: JPEG cannot be transparent; use --format png or webp")
    return OutputSettings(policy, colour, format, keep_metadata, wanted)


def check_engine(
    model: str, file: str | None, device: str, precision: str, batch_size: int | None, local: bool
) -> EngineConfig:
    """Check weights, device and precision, and make the choices that are open.

    If the run is here (`local`), so are the device and its best precision; workers elsewhere find their own device, or
    fail.

    Raises:
        RequestError: one of them is not to be had.
    """
    from model.checkpoint import load_state
    from model.engine import DEVICES, PRECISIONS, DeviceError, EngineConfig
    from model.int8 import read_largest
    from model.load import choose_device, choose_precision, engine_of, usual_precision

    for name, value, words in (("device", device, DEVICES), ("precision", precision, PRECISIONS)):
        if value not in ("auto", *words):
            raise RequestError(f"--{name} {value}: expected auto, {', '.join(words)}")
    try:
        weights = locate(model, file)
        if file:
            load_state(weights)  # the published ones are known by their sha256; these may be anything
        if local:
            device = choose_device(device)
            precision = choose_precision(precision, weights, engine_of(device))
        else:  # the same for every worker, whatever each could do
            precision = usual_precision(model) if precision == "auto" else precision
            if (device, precision) in (("cuda", "int8"), ("cpu", "fp16")):
                raise DeviceError(f"--precision {precision}: not with --device {device}. Use --precision auto")
            if precision == "int8":
                read_largest(weights)  # to know that the ranges are there
    except (WeightsError, DeviceError) as error:
        raise RequestError(str(error)) from error
    return EngineConfig(weights, device, precision, batch_size)


known_engine = lru_cache(maxsize=16)(check_engine)
"""The same, once a process: whoever asks for photo after photo should not have the weights read for each."""
