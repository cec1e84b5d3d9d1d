"""A stream of manifests of changes: windows of fixed length, each with one commit of its own.

The rows of a window go the way of those of a partial run: planned, done in the same fused stage, and written as changes
to the report. A row is always done, from its stored map if there is one: whether it is unchanged could be told only
once the windows before are committed, and these may still be at work.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.io.fileio import MatchContinuously
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from transforms import storage
from transforms.changes import plan_changes
from transforms.commit_window import WINDOW_S, commit_window
from transforms.errors import FatalError, PhotoError
from transforms.manifest import (
    ManifestFile,
    deletion,
    fault_of,
    keep_apart,
    kind_of,
    order_of,
    pack_rows,
    read_manifest,
    unpack_rows,
)
from transforms.output.earlier import Report, report_of
from transforms.output.latest import in_force
from transforms.output.run import RunInfo
from transforms.plan import PlanConfig
from transforms.plan_rows import by_photo
from transforms.process import ProcessPhotos
from transforms.types import ManifestRow, Outcome, Packed

SUBSCRIPTION = re.compile(r"projects/[^/]+/subscriptions/[^/]+")
"""A Pub/Sub subscription, as Google writes it."""
EVERY_S = 5.0
"""How often it is looked for manifests."""
LOGGER = logging.getLogger("whitesweep")


def read_changes(path: str, output: str) -> Iterator[tuple[int, tuple[str, int, bytes]]]:
    """Read a manifest of changes that has appeared; one that is wrong is passed over until it changes.

    Raises:
        FatalError: it cannot be read just now. The runner tries again, or the stream ends, and starts with it again.
    """
    kind = kind_of(path)
    if kind is None or kind == "image":
        return
    file = ManifestFile(path, kind, storage.parent(path))
    facts = storage.source_facts([path])[path]
    written = int(facts.version.rpartition("-")[2] or 0) if facts is not None else 0
    try:
        fault = fault_of(file)
    except PhotoError as error:
        if error.code not in ("not_found", "forbidden", "too_large"):
            raise FatalError(f"{path}: {error.message}") from error
        fault = error.message
    if fault is not None:
        LOGGER.warning("%s: passed over until it changes: %s", path, fault)
        return
    rows = keep_apart(map(deletion, read_manifest(file)), output)
    yield 0, (order_of([file])[0], written, pack_rows(rows))


def plan_window(
    keyed: tuple[int, Iterable[tuple[str, int, bytes]]],
    info: RunInfo,
    decisions: str | None,
    window: Any = beam.DoFn.WindowParam,
) -> Iterator[Any]:
    """Plan the rows of a window; of an id that several manifests name, the one written last counts.

    The output "named" says of each id since when it is so, in seconds, and whether it is to go.
    """
    read = sorted(keyed[1], key=lambda one: (one[1], one[0]))
    rows: list[ManifestRow] = []
    since: dict[str, float] = {}
    for name, written, packed in read:
        of_it = list(unpack_rows(packed, ManifestRow))
        rows += of_it
        # A generation is the time in microseconds at which an object was written.
        at = written / 1e6 if written and storage.scheme(name) == "gs" else float(window.end)
        since |= {row.id: at for row in of_it}
    latest = in_force(info.folder)
    report = Report() if latest is None else report_of(info.folder, latest)
    order = tuple(dict.fromkeys(name for name, _, _ in read))
    before = "" if latest is None else latest.run_id
    plan = plan_changes(rows, PlanConfig(info.settings, report, decisions=decisions, order=order, run_before=before))
    yield from by_photo(plan.todo, len(plan.todo))
    gone = {row.id for row in rows if row.deleted and row.failure is None} - {row.id for row in plan.todo}
    yield beam.pvalue.TaggedOutput("named", (0, tuple((id, at, id in gone) for id, at in sorted(since.items()))))


def named_by(message: PubsubMessage, at: Any = beam.DoFn.TimestampParam) -> Iterator[TimestampedValue]:
    """Give the path of the object that a notification of Cloud Storage says is there.

    It counts from when it is taken, not from when it was published: no window is over by then, so none comes too late.
    """
    attributes = message.attributes or {}
    bucket, name = attributes.get("bucketId"), attributes.get("objectId")
    if attributes.get("eventType") == "OBJECT_FINALIZE" and bucket and name:
        yield TimestampedValue(f"gs://{bucket}/{name}", max(float(at), time.time()))


class Arrivals(beam.PTransform):
    """Paths of files as they appear: below a pattern, or as a subscription to a bucket's notifications says."""

    def __init__(self, place: str) -> None:
        super().__init__()
        self.place = place

    def expand(self, root: beam.Pipeline) -> beam.PCollection[str]:
        """Give a PCollection of paths."""
        if SUBSCRIPTION.fullmatch(self.place):
            messages = root | ReadFromPubSub(subscription=self.place, with_attributes=True)
            return messages | "NamedObjects" >> beam.FlatMap(named_by)
        files = root | MatchContinuously(self.place, interval=EVERY_S, match_updated_files=True)
        return files | "Paths" >> beam.Map(lambda file: file.path)


class StreamChanges(beam.PTransform):
    """Watch for manifests of changes without end, and commit what they say, window by window."""

    def __init__(self, places: Iterable[str], info: RunInfo, decisions: str | None = None) -> None:
        super().__init__()
        self.places = list(places)
        self.info = info
        self.decisions = decisions

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Give a PCollection of nothing."""
        info, decisions = self.info, self.decisions
        found = [root | f"Arrivals{number}" >> Arrivals(place) for number, place in enumerate(self.places)]
        rows = (
            found
            | "AllFiles" >> beam.Flatten()
            | "ReadChanges"
            >> beam.FlatMap(read_changes, info.folder).with_output_types(tuple[int, tuple[str, int, bytes]])
            | "Window" >> beam.WindowInto(FixedWindows(WINDOW_S))
            | "GroupByWindow" >> beam.GroupByKey()
        )
        todo, named = rows | "PlanWindow" >> beam.FlatMap(plan_window, info, decisions).with_output_types(
            tuple[int, bytes]
        ).with_outputs("named", main="todo")
        outcomes = todo | "ProcessPhotos" >> ProcessPhotos(info)
        packed = outcomes | "Pack" >> beam.Map(_pack)
        return (
            (packed, named)
            | "AllOutcomes" >> beam.Flatten()
            | "GroupOutcomes" >> beam.GroupByKey()
            | "CommitWindow" >> beam.Map(commit_window, info)
        )


def _pack(outcome: Outcome) -> tuple[int, Packed]:
    return 0, Packed.of([outcome])
