"""ProcessPhotos: the one fused stage, from the rows of a photo to their report rows.

Pixels live and die inside it. Everything after the saliency map is a pure function of (source bytes, map, policy,
output settings), in a full run too, and the map is always taken at its stored precision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from model.machine import give_back, keep_buffers
from transforms import storage
from transforms.decisions import rule_of
from transforms.deliver import finish
from transforms.early_stop import early_stop
from transforms.elsewhere import pause, row_done
from transforms.errors import FatalError, PhotoError
from transforms.fault_watch import FaultWatch
from transforms.manifest import photo_key, unpack_rows
from transforms.output.earlier import reported_key
from transforms.output.lease import lease_watch
from transforms.output.maps import load_map, map_key
from transforms.output.run import RunInfo
from transforms.pixel_budget import PIXELS, bytes_to_render
from transforms.pixels.decode import decode_opened, open_photo
from transforms.pixels.on_white import stands_on_white
from transforms.pixels.policy import Rule
from transforms.pixels.sharpen import network_input
from transforms.saliency import PredictSaliency
from transforms.settings import RunSettings
from transforms.steps import failure_of
from transforms.types import Outcome, PlannedRow
from transforms.work import Work

NAMESPACE = "ProcessPhotos"


def prepare(rows: Iterable[PlannedRow], info: RunInfo) -> Work:
    """Read and decode the photo that the rows name; look its map up, or make the input for the network.

    The rows are of one photo, and their rules want it treated alike.

    Raises:
        FatalError: no other photo could be prepared either.
    """
    rows = tuple(sorted(rows, key=lambda row: row.id))
    work = Work(rows, failure=rows[0].failure)
    if work.failure:
        return work
    rule = _rule(rows[0], info.settings)
    if rule.how.drops:
        return work
    effort = work.effort
    try:
        with effort.step("read"):
            blob = storage.read(rows[0].source, info.settings.limits.max_bytes, info.settings.allow_private)
        effort.counts["photos_read"] += 1
        sha256 = hashlib.sha256(blob.data).hexdigest()
        work.held.data = blob.data
        work = replace(work, source_version=blob.version or None, source_sha256=sha256)
        with effort.step("decode"):
            image = open_photo(blob.data, info.settings.limits)
        work.held.room = PIXELS.reserve(
            bytes_to_render(image, len(blob.data), info.settings.pictures.format, rule.frame)
        )
        with effort.step("decode"):
            work.held.photo = photo = decode_opened(image)
        del image
        if rule.keeps_white:
            with effort.step("statistics"):
                is_kept = stands_on_white(photo)
            if is_kept:
                return replace(work, is_kept=True)
        with effort.step("maps"):
            work = find_map(work, rule, info.settings)
        if work.saliency is not None:
            return work
        with effort.step("sharpen"):
            return replace(work, network_input=network_input(photo, info.settings.sharpening_of(rule)))
    except FatalError:
        raise
    except Exception as error:
        return replace(work, failure=failure_of("decode", error))


def find_map(work: Work, rule: Rule, settings: RunSettings) -> Work:
    """Take the photo's map from the store: the one an earlier report names, or the one our own settings would make.

    rule: of its rows, as far as it is about the map.

    Raises:
        PhotoError: no_map, if there is none and the network may not be asked.
    """
    assert work.source_sha256 is not None
    own, maps, reported = settings.maps_folder, settings.maps_of(rule), settings.reported_maps
    for row in work.rows if reported is not None else ():
        earlier = row.earlier
        if earlier is not None and earlier.source_sha256 == work.source_sha256:
            key = reported_key(earlier, rule, settings)
            for folder in () if key is None else dict.fromkeys((own, str(reported))):
                saliency = load_map(folder, str(key))
                if saliency is not None:  # if it is another folder's, it is stored here too: an output needs no other
                    return replace(work, saliency=saliency, origin=earlier.origin, is_new_map=folder != own)
    if maps is None:
        raise PhotoError("no_map", "no stored map of this photo; run it first, or migrate with --missing predict")
    key = map_key(work.source_sha256, maps)
    for folder in () if settings.redo == "anew" else settings.maps_folders:
        saliency = load_map(folder, key)
        if saliency is not None:
            return replace(work, map_key=key, saliency=saliency, origin=maps.origin, is_new_map=folder != own)
    return replace(work, map_key=key, origin=maps.origin)


def _rule(row: PlannedRow, settings: RunSettings) -> Rule:
    return rule_of(row, settings.pictures.policy, row.decision)[1]


def together(rows: Iterable[PlannedRow], settings: RunSettings) -> Iterator[list[PlannedRow]]:
    """Give the rows of one photo whose rules want it treated alike; photos of equal bytes one after the other."""

    def place(row: PlannedRow) -> tuple[str, str, int, bool, bool]:
        rule = _rule(row, settings)
        sharpen = -1 if rule.sharpen is None else rule.sharpen
        return row.group, photo_key(row), sharpen, rule.how.drops, rule.keeps_white

    placed = sorted(((place(row), row) for row in rows), key=itemgetter(0))
    for _, group in groupby(placed, key=lambda one: one[0][1:]):
        yield [row for _, row in group]


class _Prepare(beam.DoFn):
    def __init__(self, info: RunInfo) -> None:
        self.info = info

    def setup(self) -> None:
        keep_buffers()

    def start_bundle(self) -> None:
        give_back()  # what it took to plan the rows
        self.lease_watch = lease_watch(self.info.folder, self.info.run_id)

    def process(self, keyed: tuple[int, Iterable[bytes]], plan: Any = None) -> Iterable[Work]:
        if plan is not None:
            early_stop(self.info.run_id, self.info.settings.max_failure_fraction).expect(plan["rows"])
        rows_of_photos = (row for part in keyed[1] for row in unpack_rows(part, PlannedRow))
        for rows in together(rows_of_photos, self.info.settings):
            if self.lease_watch.is_over():  # what has begun is finished, nothing more is begun
                return
            yield prepare(rows, self.info)


class _Finish(beam.DoFn):
    def __init__(self, info: RunInfo) -> None:
        self.info = info

    def setup(self) -> None:
        self.early_stop = early_stop(self.info.run_id, self.info.settings.max_failure_fraction)
        self.fault_watch = FaultWatch()

    def process(self, work: Work) -> Iterable[Outcome]:
        for outcome, planned in zip(finish(work, self.info), work.rows, strict=True):
            row = outcome.row
            row_done(self.info, row.status == "failed", outcome.effort.counts)
            self.fault_watch.row(outcome.failure)
            self.early_stop.row(row, planned.earlier)
            Metrics.counter(NAMESPACE, row.status if row.code is None else f"{row.status}_{row.code}").inc()
            for name, seconds in outcome.effort.seconds.items():
                Metrics.counter(NAMESPACE, f"{name}_msec").inc(int(seconds * 1000))
            yield outcome
        work.held.release()

    def finish_bundle(self) -> None:
        pause(self.info)


class ProcessPhotos(beam.PTransform):
    """Turn manifest rows into cutouts and report rows: bring the rows of a photo together, then one fused stage.

    after: a PCollection of one value; before it is there, no photo is read.

    A resource hint belongs on this transform as a whole. On a step inside it, it would split the stage, and every photo
    would be shuffled (apache/beam: environments that differ never fuse).
    """

    def __init__(self, info: RunInfo, after: beam.PCollection | None = None) -> None:
        super().__init__()
        self.info = info
        self.after = after

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of packed rows by photo (plan.by_photo) to one of Outcome."""
        after = [] if self.after is None else [beam.pvalue.AsSingleton(self.after)]
        works = (
            rows
            | "GroupByPhoto" >> beam.GroupByKey()
            | "Prepare" >> beam.ParDo(_Prepare(self.info), *after).with_output_types(Work)
        )
        if self.info.settings.engine is not None:
            works = works | "PredictSaliency" >> PredictSaliency(self.info.settings.engine)
        return works | "Finish" >> beam.ParDo(_Finish(self.info))
