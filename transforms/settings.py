"""What a run is asked for: one frozen object, made once of the flags, handed down, and written to run.json.

Whatever decides the bytes of an output is in it, once. What a run finds out by itself is in its RunInfo (commit.py).
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from model.engine import EngineConfig
from transforms import storage
from transforms.brakes import Brakes
from transforms.errors import PhotoError
from transforms.pixels.decode import Limits
from transforms.pixels.methods import DEFAULT_POLICY
from transforms.pixels.policy import OF_A_CANVAS, Policy, PolicyError, Rule, parse_canonical, parse_policy, plain_policy
from transforms.pixels.profile import Profile, ProfileError, named_profile, profile_names, read_profile
from transforms.pixels.render import OutputSettings
from transforms.pixels.sharpen import Sharpening
from weights.files import WeightsFile

SETTINGS_VERSION = 4
"""Raised when RunSettings.record comes to say other things, or to say them otherwise."""

REDO = ("changed", "failed", "damaged", "all", "anew")
"""Which rows that the earlier report knows are done again. (Rows that it does not know are done always.)

`changed`: those whose photo, settings or picture differ. `failed`. `damaged`: those in a repair's table. `all`: every
row, from stored maps. `anew`: every row, and nothing that is stored is used.
"""


NAMES = ("stable", "fingerprint")
"""How pictures are named: by their ids alone, or also by what is in them, so that none is ever overwritten."""


class SettingsError(Exception):
    """A run.json whose settings cannot be read; one line."""


@dataclass(frozen=True, slots=True)
class MapOrigin:
    """What made a map: the network, the sha256 of its weights, and the precision it ran in."""

    model: str
    weights_sha256: str
    precision: str


@dataclass(frozen=True, slots=True)
class MapSettings:
    """Everything besides the photo that decides what leaves the network."""

    origin: MapOrigin
    sharpening: Sharpening


@dataclass(frozen=True, slots=True)
class DecisionsFile:
    """A file of decisions on single photos (decisions.py). file: as given, but absolute. count: of ids."""

    file: str
    sha256: str
    count: int


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is asked for.

    output: the output folder, a local path or gs:// address. command: `run`, `migrate` or `demo`.
    manifests: as given, but absolute. folders: what their uris are relative to.
    start_from: another output folder, whose report and maps (in a `run`, pictures too) are where it starts; None for
    its own.
    only: ids and patterns of the rows that are done at all; all if there is none.
    partial: whether the manifests name only what has changed. redo: one of REDO.
    prune: remove at the end the pictures that no row claims.
    engine: what predicts new maps, every choice made; None if the network may not be asked.
    pictures: how a cutout is made of a photo and its map. decisions: on single photos, before any rule.
    limits: what a photo may cost.
    allow_private: whether web servers may be at private addresses.
    max_failure_fraction: of more failed rows the run fails, and of a clear majority it stops early.
    brakes: what else stops it.
    config, configured: the file of settings, and which of them it decided.
    names: one of NAMES. keep_reports: how many reports stay. runner, beam: where it runs, and Beam's own flags.
    """

    output: str
    command: str = "run"
    manifests: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    start_from: str | None = None
    partial: bool = False
    redo: str = "changed"
    only: tuple[str, ...] = ()
    prune: bool = False
    engine: EngineConfig | None = None
    sharpening: Sharpening = field(default_factory=Sharpening)
    pictures: OutputSettings = field(default_factory=OutputSettings)
    decisions: DecisionsFile | None = None
    limits: Limits = field(default_factory=Limits)
    allow_private: bool = False
    max_failure_fraction: float = 1.0
    brakes: Brakes = field(default_factory=Brakes)
    names: str = "stable"
    keep_reports: int = 30
    config: str | None = None
    configured: tuple[str, ...] = ()
    runner: str = "local"
    beam: tuple[str, ...] = ()

    @property
    def maps_folder(self) -> str:
        """Where maps are looked for and stored."""
        return f"{self.output}/maps"

    @property
    def maps(self) -> MapSettings | None:
        """How new maps are made, where a rule does not say otherwise; None if the network may not be asked."""
        if self.engine is None:
            return None
        weights = self.engine.weights
        return MapSettings(MapOrigin(weights.model, weights.sha256, self.engine.precision), self.sharpening)

    def maps_of(self, rule: Rule) -> MapSettings | None:
        """Tell how new maps are made of photos that a rule serves; None if the network may not be asked."""
        maps = self.maps
        return maps and replace(maps, sharpening=self.sharpening_of(rule))

    def sharpening_of(self, rule: Rule) -> Sharpening:
        """Tell how photos that a rule serves are sharpened."""
        return self.sharpening if rule.sharpen is None else Sharpening(percent=rule.sharpen)

    @property
    def earlier_folder(self) -> str:
        """The output folder whose newest report the run starts from; a repair's is its own."""
        return self.output if self.redo == "damaged" else self.start_from or self.output

    @property
    def reported_maps(self) -> str | None:
        """The folder of the maps that the earlier report names, where this run may use them whoever made them.

        So it is in a migration and a repair; None in a `run`, which takes only maps of its own settings.
        """
        if self.command != "migrate" and self.redo != "damaged":
            return None
        return f"{self.start_from or self.output}/maps"

    @property
    def keeps_pictures(self) -> bool:
        """Whether a picture that was written stays as long as a release names it."""
        return self.names == "fingerprint"

    @property
    def stays(self) -> bool:
        """Whether rows of the report before stay that the manifests do not name, or the user does not."""
        return bool(self.only) or self.partial

    @property
    def maps_folders(self) -> list[str]:
        """Where maps of the run's own settings may lie: here, and where it starts from."""
        return [self.maps_folder, *([] if self.start_from is None else [f"{self.start_from}/maps"])]

    def record(self) -> dict[str, Any]:
        """Write the settings as run.json has them.

        Keys that are flags hold the value in force; `network`, `redo`, `manifest_folders` and `policy_sha256` are none.
        """
        engine, pictures = self.engine, self.pictures
        return {
            "version": SETTINGS_VERSION,
            "command": self.command,
            "manifest": list(self.manifests),
            "manifest_folders": list(self.folders),
            "output": self.output,
            "from": self.start_from,
            "partial": self.partial,
            "redo": self.redo,
            "only": list(self.only),
            "prune": self.prune,
            "network": engine
            and {
                "model": engine.weights.model,
                "weights": engine.weights.path,
                "weights_sha256": engine.weights.sha256,
                "device": engine.device,
                "precision": engine.precision,
                "batch_size": engine.batch_size,
            },
            "sharpen": self.sharpening.percent,
            "policy": pictures.policy.canonical(),
            "policy_sha256": pictures.policy.sha256(),
            "decisions": self.decisions and asdict(self.decisions),
            "background": pictures.background,
            "format": pictures.format,
            "keep_metadata": pictures.keep_metadata,
            "profile": pictures.profile and pictures.profile.canonical(),
            "max_bytes": self.limits.max_bytes,
            "max_pixels": self.limits.max_pixels,
            "allow_private_addresses": self.allow_private,
            "max_failure_fraction": self.max_failure_fraction,
            **asdict(self.brakes),
            "names": self.names,
            "keep_reports": self.keep_reports,
            "config": self.config,
            "configured": list(self.configured),
            "runner": self.runner,
            "beam": list(self.beam),
        }

    @staticmethod
    def read(record: dict[str, Any]) -> RunSettings:
        """Read what `record` has written.

        Raises:
            SettingsError: another version of whitesweep wrote it, or nobody did.
        """
        if record.get("version") != SETTINGS_VERSION:
            raise SettingsError("another version of whitesweep wrote it")
        try:
            network, background, decisions = record["network"], record["background"], record.get("decisions")
            profile = record["profile"]
            return RunSettings(
                output=record["output"],
                command=record["command"],
                manifests=tuple(record["manifest"]),
                folders=tuple(record["manifest_folders"]),
                start_from=record["from"],
                partial=record.get("partial", False),
                redo=record["redo"],
                only=tuple(record["only"]),
                prune=record["prune"],
                engine=network
                and EngineConfig(
                    WeightsFile(network["model"], network["weights"], network["weights_sha256"]),
                    network["device"],
                    network["precision"],
                    network["batch_size"],
                ),
                sharpening=Sharpening(percent=record["sharpen"]),
                pictures=OutputSettings(
                    parse_canonical(record["policy"]),
                    background and (background[0], background[1], background[2]),
                    record["format"],
                    record["keep_metadata"],
                    profile and read_profile(profile, profile["name"]),
                ),
                decisions=decisions and DecisionsFile(decisions["file"], decisions["sha256"], decisions["count"]),
                limits=Limits(record["max_bytes"], record["max_pixels"]),
                allow_private=record["allow_private_addresses"],
                max_failure_fraction=record["max_failure_fraction"],
                brakes=Brakes(**{brake.name: record[brake.name] for brake in fields(Brakes)}),
                names=record.get("names", "stable"),
                keep_reports=record["keep_reports"],
                config=record["config"],
                configured=tuple(record["configured"]),
                runner=record["runner"],
                beam=tuple(record["beam"]),
            )
        except (PolicyError, ProfileError, KeyError, TypeError, IndexError) as error:
            raise SettingsError(f"it is damaged ({type(error).__name__}: {error})") from error


def load_policy(text: str, profile: Profile | None = None) -> Policy:
    """Load what the user gave for --policy: a threshold such as `0.7`, the name of a method, or a TOML file.

    profile: has settings for the rules that do not say otherwise.

    Raises:
        PolicyError: it is none of these, or a parameter is not what it may be.
    """
    text = text.strip()
    frame = {} if profile is None else dict(profile.frame)
    if not text.endswith(".toml"):
        return plain_policy(text, frame)
    try:
        return parse_policy(_read_toml(text), text, frame)
    except ValueError as error:
        raise PolicyError(f"--policy {error}") from error


def load_profile(text: str) -> Profile:
    """Load what the user gave for --profile: the name of a marketplace, or a TOML file.

    Raises:
        ProfileError: it is neither, or something in it is not what it may be.
    """
    text = text.strip()
    if text in profile_names():
        return named_profile(text)
    if not text.endswith(".toml"):
        raise ProfileError(f"--profile {text}: expected {', '.join(profile_names())}, or a .toml file")
    try:
        profile = read_profile(_read_toml(text), f"--profile {text}")
    except ValueError as error:
        raise ProfileError(f"--profile {error}") from error
    for name, _ in profile.frame:
        if name not in OF_A_CANVAS:
            raise ProfileError(f"--profile {text}: frame: {name!r} is none of {', '.join(OF_A_CANVAS)}")
    try:
        plain_policy(DEFAULT_POLICY, dict(profile.frame))
    except PolicyError as error:
        reason = str(error).removeprefix(f"--policy {DEFAULT_POLICY}: ")
        raise ProfileError(f"--profile {text}: frame: {reason}") from error
    return replace(profile, name=text.rpartition("/")[2].removesuffix(".toml"))


def _read_toml(file: str) -> dict[str, Any]:
    """Read a file. Raises ValueError, one line that begins with its name."""
    try:
        return tomllib.loads(storage.read(file).data.decode("utf-8"))
    except PhotoError as error:
        raise ValueError(error.message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not TOML: {error}") from error
