"""ProcessPhotos: the one fused stage, from the rows of a photo to their report rows.

Pixels live and die inside it. Everything after the saliency map is a pure function of (source bytes, map, policy,
output settings), in a full run too, and the map is always taken at its stored precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics

from transforms import storage
from transforms.composite import WHITE, Background, combine_alpha, composite
from transforms.decode import Limits, decode
from transforms.encode import ENCODINGS, encode, output_format
from transforms.heartbeat import HEARTBEAT
from transforms.manifest import photo_key
from transforms.maps import MapSettings, load_map, map_key, store_map
from transforms.mask import make_mask
from transforms.memory import keep_buffers
from transforms.naming import output_name
from transforms.policy import Policy, Rule
from transforms.sharpen import network_input
from transforms.statistics import describe
from transforms.timing import StepTimes
from transforms.types import Cutout, Failure, ManifestRow, Outcome, Photo, PhotoError, ReportRow, SaliencyMap
from transforms.work import Work

if TYPE_CHECKING:
    from model.engine import EngineConfig

NAMESPACE = "ProcessPhotos"
NO_MEMORY = "no memory for this photo; run fewer workers or lower --max_pixels"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """How a cutout is made of a photo and its map."""

    policy: Policy = field(default_factory=Policy)
    background: Background = WHITE
    format: str = "same"


@dataclass(frozen=True, slots=True)
class ProcessConfig:
    """Everything ProcessPhotos needs to know.

    folder: the output folder or bucket prefix. maps_folder: where maps are looked for and stored.
    maps, engine: how new maps are made; None if the network may not be asked.
    force: predict anew even what is stored.
    """

    folder: str
    maps_folder: str
    maps: MapSettings | None
    engine: EngineConfig | None
    output: OutputSettings = field(default_factory=OutputSettings)
    limits: Limits = field(default_factory=Limits)
    force: bool = False


class _StepError(Exception):
    """A PhotoError that knows at which step it happened."""

    def __init__(self, step: str, error: PhotoError) -> None:
        super().__init__(step, error)
        self.failure = Failure(step, error.code, error.message)


def _step(times: StepTimes, name: str, do: Callable[..., T], *args: object) -> T:
    """Time one step, and name it in the failure if it fails."""
    with times.measure(name):
        try:
            return do(*args)
        except PhotoError as error:
            raise _StepError(name, error) from error
        except MemoryError as error:
            raise _StepError(name, PhotoError("out_of_memory", NO_MEMORY)) from error


def prepare(rows: Iterable[ManifestRow], config: ProcessConfig) -> Work:
    """Read and decode the photo that the rows name; look its map up, or make the input for the network."""
    rows = tuple(sorted(rows, key=lambda row: row.id))
    work = Work(rows, failure=rows[0].failure)
    if work.failure:
        return work
    times = work.times
    try:
        blob = _step(times, "read", storage.read, rows[0].source, config.limits.max_bytes)
        sha256 = hashlib.sha256(blob.data).hexdigest()
        work = replace(work, source_version=blob.version, source_sha256=sha256, data=blob.data)
        photo = _step(times, "decode", decode, blob.data, config.limits)
        work = _step(times, "maps", find_map, replace(work, photo=photo), config)
        if work.saliency is not None:
            return work
        assert config.maps is not None  # or find_map would have raised
        return replace(work, network_input=_step(times, "sharpen", network_input, photo, config.maps.sharpening))
    except _StepError as error:
        return replace(work, failure=error.failure)


def find_map(work: Work, config: ProcessConfig) -> Work:
    """Take the photo's map from the store: the one an earlier report names, or the one our own settings would make.

    Raises:
        PhotoError: no_map, if there is none and the network may not be asked.
    """
    assert work.source_sha256 is not None
    for row in work.rows:
        if row.earlier is not None and row.earlier.source_sha256 == work.source_sha256:
            saliency = load_map(config.maps_folder, row.earlier.map_key)
            if saliency is not None:
                return replace(work, saliency=saliency, origin=row.earlier.origin)
    if config.maps is None:
        raise PhotoError("no_map", "no stored map of this photo; run it first, or migrate with --missing predict")
    key = map_key(work.source_sha256, config.maps)
    saliency = None if config.force else load_map(config.maps_folder, key)
    return replace(work, map_key=key, saliency=saliency, origin=config.maps.origin)


def render(
    data: bytes, photo: Photo, saliency: SaliencyMap, rule: Rule, settings: OutputSettings, times: StepTimes
) -> Cutout:
    """Make the cutout: clean the map, upsample, threshold, composite, encode.

    A pure function of all but the last argument. data: the photo's file, for what the rule leaves as it was.
    """
    mask = make_mask(rule, saliency.pixels, photo.size, times)
    alpha = _step(times, "composite", combine_alpha, mask.alpha, photo)
    statistics = _step(times, "statistics", describe, saliency.pixels, mask.cleaned, alpha, mask.threshold, photo)
    name = output_format(settings.format, photo.format, transparent=settings.background is None)
    kept = any(flag in statistics.flags and choice == "keep" for flag, choice in _choices(rule))
    if kept:
        statistics = replace(statistics, flags=(*statistics.flags, "kept_original"))
    if kept and name == photo.format:
        encoded = data
    else:
        if kept:
            alpha = np.full_like(alpha, 255) if photo.alpha is None else photo.alpha
        picture = _step(times, "composite", composite, photo.rgb, alpha, settings.background)
        encoded = _step(times, "encode", encode, picture, name)
    return Cutout(encoded, name, ENCODINGS[name].content_type, mask.threshold, statistics)


def _choices(rule: Rule) -> tuple[tuple[str, str], ...]:
    return ("no_subject", rule.on_no_subject), ("already_white", rule.on_already_white)


def finish(work: Work, config: ProcessConfig) -> Iterator[Outcome]:
    """Store the map, render, write each row's picture, then give its report row, the commit record."""
    failure, times = work.failure, work.times
    if failure is None and work.is_new_map and work.saliency is not None:
        try:
            _step(times, "maps", store_map, config.maps_folder, work.saliency)
        except _StepError as error:
            failure = error.failure
    cutouts: dict[Rule, Cutout] = {}  # rows of one photo mostly share their rule
    for row in work.rows:
        report = _report_row(row, work)
        try:
            if failure is not None:
                yield Outcome(_failed(report, failure), times)
            else:
                yield Outcome(_deliver(row, report, work, cutouts, config, times), times)
        except _StepError as error:
            yield Outcome(_failed(report, error.failure), times)
        except MemoryError:
            yield Outcome(_failed(report, Failure("upsample", "out_of_memory", NO_MEMORY)), times)
        times = StepTimes()  # the photo's seconds are counted once, however many rows name it


def _deliver(
    row: ManifestRow,
    report: ReportRow,
    work: Work,
    cutouts: dict[Rule, Cutout],
    config: ProcessConfig,
    times: StepTimes,
) -> ReportRow:
    """Render under the rule that serves the row, unless another row had it done, and write the picture."""
    photo, saliency = work.photo, work.saliency
    assert photo is not None  # a photo without failure has been decoded and predicted
    assert saliency is not None
    name, rule = config.output.policy.rule_for(report.category, report.attributes)
    if rule not in cutouts:
        cutouts[rule] = render(work.data, photo, saliency, rule, config.output, times)
    cutout = cutouts[rule]
    report = replace(
        report,
        policy_sha256=config.output.policy.sha256(),
        rule=name,
        rule_sha256=rule.sha256(),
        method=rule.method,
        threshold=cutout.threshold,
        statistics=cutout.statistics,
    )
    if rule.on_no_subject == "fail" and "no_subject" in cutout.statistics.flags:
        message = "no product was found; look at the photo, or say on_no_subject in the policy"
        return _failed(report, Failure("threshold", "no_subject", message))
    output = output_name(report.id, ENCODINGS[cutout.format].extension)
    uri, sha256 = f"{config.folder}/{output}", hashlib.sha256(cutout.data).hexdigest()
    if storage.same_file(uri, row.source):
        raise _StepError("write", PhotoError("write_failed", f"{uri}: is the photo itself; use another --output"))
    # A migration rewrites only what changes. What is there decides, not what a report says of it: a migration that was
    # killed has rewritten pictures of which no report tells.
    if row.earlier is None or not _step(times, "write", storage.holds, uri, cutout.data):
        _step(times, "write", storage.write, uri, cutout.data, cutout.content_type)
    return replace(
        report,
        status="processed",
        output_uri=output,
        output_sha256=sha256,
        output_bytes=len(cutout.data),
    )


def _report_row(row: ManifestRow, work: Work) -> ReportRow:
    """Begin the report row with all that is known by now, so that a later failure still says where its map is."""
    report = ReportRow(row.id, row.uri, row.category, row.attributes, status="failed")
    if work.source_sha256 is not None:
        report = replace(
            report,
            source_version=work.source_version,
            source_sha256=work.source_sha256,
            source_bytes=len(work.data),
        )
    if work.photo is not None:
        width, height = work.photo.size
        report = replace(report, source_format=work.photo.format, width=width, height=height)
    if work.saliency is not None and work.origin is not None:
        report = replace(
            report,
            map_key=work.saliency.key,
            model=work.origin.model,
            weights_sha256=work.origin.weights_sha256,
            precision=work.origin.precision,
        )
    return report


def _failed(report: ReportRow, failure: Failure) -> ReportRow:
    return replace(report, status="failed", stage=failure.stage, code=failure.code, message=failure.message)


def _key_by_photo(row: ManifestRow) -> tuple[str, ManifestRow]:
    return photo_key(row), row


class _Prepare(beam.DoFn):
    def __init__(self, config: ProcessConfig) -> None:
        self.config = config

    def setup(self) -> None:
        keep_buffers()

    def process(self, keyed: tuple[str, Iterable[ManifestRow]]) -> Iterable[Work]:
        yield prepare(keyed[1], self.config)


class _Finish(beam.DoFn):
    def __init__(self, config: ProcessConfig) -> None:
        self.config = config

    def process(self, work: Work) -> Iterable[Outcome]:
        for outcome in finish(work, self.config):
            row = outcome.row
            HEARTBEAT.row(row.status == "failed")
            Metrics.counter(NAMESPACE, row.status if row.code is None else f"{row.status}_{row.code}").inc()
            for step, seconds in outcome.seconds.items():
                Metrics.counter(NAMESPACE, f"{step}_msec").inc(int(seconds * 1000))
            yield outcome


class ProcessPhotos(beam.PTransform):
    """Turn manifest rows into cutouts and report rows: group the rows by photo, then one fused stage for each photo.

    A resource hint belongs on this transform as a whole. On a step inside it, it would split the stage, and every photo
    would be shuffled (apache/beam: environments that differ never fuse).
    """

    def __init__(self, config: ProcessConfig) -> None:
        super().__init__()
        self.config = config

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of ManifestRow to one of Outcome."""
        works = (
            rows
            | "KeyByPhoto" >> beam.Map(_key_by_photo).with_output_types(tuple[str, ManifestRow])
            | "GroupByPhoto" >> beam.GroupByKey()
            | "Prepare" >> beam.ParDo(_Prepare(self.config))
        )
        if self.config.engine is not None:
            from transforms.saliency import PredictSaliency  # here, as it needs torch and a migration does not

            works = works | "PredictSaliency" >> PredictSaliency(self.config.engine)
        return works | "Finish" >> beam.ParDo(_Finish(self.config))
