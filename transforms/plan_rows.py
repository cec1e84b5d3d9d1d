"""The plan of all rows in Beam: rows and pictures come together by shard, and what is to be done goes on by photo."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from transforms import storage
from transforms.changes import plan_changes
from transforms.manifest import BATCH, Batch, pack_rows, photo_key, unpack_rows
from transforms.output.earlier import read_table
from transforms.output.naming import ENDINGS, IMAGES, id_of_output
from transforms.output.schema import shard_count, shard_of
from transforms.packing import pack, unpack
from transforms.plan import PlanConfig, plan_shard
from transforms.types import Carried, ManifestRow, PlannedRow

ROWS_TOGETHER = 16
FEWEST_GROUPS = 256
KINDS = ("images", "elsewhere")
NOTHING = Carried((), {})


def list_ranges(config: PlanConfig) -> list[tuple[str, str]]:
    """Cut the names below `images/` into ranges that workers can list side by side.

    Each shard of a report is a fair sample of its ids, so the names in one show where the others lie.
    """
    if storage.is_local(config.settings.output) or len(config.earlier) < 2:
        return [("", "")]
    names = read_table(config.earlier.shards[0], ["output_uri"])["output_uri"]
    ordered = sorted(name.removeprefix(f"{IMAGES}/") for name in names.drop_null().to_pylist())
    parts = min(len(ordered), len(config.earlier))
    cuts = sorted({ordered[len(ordered) * part // parts] for part in range(1, parts)})
    return list(zip(["", *cuts], [*cuts, ""], strict=True))


def _by_shard(items: Iterable[tuple[str, Any]], shards: int) -> Iterator[tuple[int, bytes]]:
    parts: dict[int, list[Any]] = defaultdict(list)
    for count, (id, item) in enumerate(items, start=1):
        parts[shard_of(id, shards)].append(item)
        if count % (BATCH * 10) == 0:
            yield from ((shard, pack(part)) for shard, part in parts.items())
            parts.clear()
    yield from ((shard, pack(part)) for shard, part in parts.items())


def _rows_by_shard(batch: Batch, count: int) -> Iterator[tuple[int, bytes]]:
    shards, (_, packed) = shard_count(count), batch
    if shards == 1:
        return iter([(0, packed)])
    return _by_shard(((values[0], values) for values in unpack(packed)), shards)


def _images_by_shard(span: tuple[str, str], count: int, folder: str, names: str) -> Iterator[tuple[int, bytes]]:
    listed = storage.list_sizes(f"{folder}/{IMAGES}", *span)
    named = ((id_of_output(name, names), (name, size)) for name, size in listed if name.endswith(ENDINGS))
    return _by_shard(named, shard_count(count))


def by_photo(rows: Iterable[PlannedRow], count: int) -> list[tuple[int, bytes]]:
    """Pack rows so that those of one photo have the same key, whichever shard they are in.

    count: of all rows. In a large run some sixteen share a key, in a small one most photos have their own. The largest
    groups come first, so that a runner that deals them out in turn gives each worker as much.
    """
    keys = max(FEWEST_GROUPS, count // ROWS_TOGETHER)
    groups: dict[int, list[PlannedRow]] = defaultdict(list)
    for row in rows:
        groups[zlib.crc32((row.group or photo_key(row)).encode()) % keys].append(row)
    largest_first = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return [(key, pack_rows(group)) for key, group in largest_first]


class PlanRows(beam.PTransform):
    """Plan what is to be done. count: a PCollection of one int, the number of rows."""

    def __init__(self, config: PlanConfig, count: beam.PCollection) -> None:
        super().__init__()
        self.config = config
        self.count = count

    def expand(self, batches: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Map a PCollection of Batch to four.

        todo: see by_photo. carried: (shard, Carried). gone: Gone. counts: PlanCounts of each shard.
        """
        config, count = self.config, beam.pvalue.AsSingleton(self.count)
        rows = batches | "KeyByShard" >> beam.FlatMap(_rows_by_shard, count).with_output_types(tuple[int, bytes])
        settings = config.settings
        ranges = batches.pipeline | "Ranges" >> beam.Create([] if config.layers else list_ranges(config))

        def list_images(name: str, folder: str, names: str) -> beam.PCollection:
            listing = beam.FlatMap(_images_by_shard, count, folder, names).with_output_types(tuple[int, bytes])
            return ranges | name >> listing

        parts = {"rows": rows, "images": list_images("ListImages", settings.output, settings.names)}
        if settings.start_from is not None and settings.command == "run":
            parts["elsewhere"] = list_images("ListOthers", settings.start_from, config.names_before)

        def plan(keyed: tuple[int, dict[str, Iterable[bytes]]], count: int) -> Iterator[Any]:
            shard, parts = keyed
            rows = (row for part in parts["rows"] for row in unpack_rows(part, ManifestRow))
            listed, others = ([x for part in parts.get(kind, ()) for x in unpack(part)] for kind in KINDS)
            if config.layers:
                found = plan_changes(rows, config)
            else:
                found = plan_shard(shard, shard_count(count), rows, listed, config, others)
            yield from by_photo(found.todo, count)
            if found.carried != NOTHING:
                yield beam.pvalue.TaggedOutput("carried", (shard, found.carried))
            yield from (beam.pvalue.TaggedOutput("gone", gone) for gone in found.gone)
            yield beam.pvalue.TaggedOutput("counts", found.counts)

        return (
            parts
            | "JoinByShard" >> beam.CoGroupByKey()
            | "PlanShard"
            >> beam.FlatMap(plan, count)
            .with_output_types(tuple[int, bytes])
            .with_outputs("carried", "gone", "counts", main="todo")
        )
