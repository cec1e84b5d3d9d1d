"""What is to be done: manifest rows against the earlier report and the pictures that are there.

Rows are planned a shard of the report at a time, beside the same shard of the earlier report, so that neither that
report nor what is unchanged is ever shuffled: an unchanged row costs one look at its photo's version.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.counts import PlanCounts
from transforms.decisions import decisions_at, rule_of
from transforms.manifest import photo_key, refuse_duplicates
from transforms.output.commit import Gone
from transforms.output.earlier import Earlier, Report, earlier_of, kept_unseen, load_table
from transforms.output.maps import map_key, map_uri
from transforms.output.naming import IMAGES, id_of_output, output_name
from transforms.output.schema import shard_of
from transforms.pixels.policy import Rule
from transforms.pixels.render import settings_sha256
from transforms.settings import RunSettings
from transforms.storage import SourceFacts
from transforms.tally import Tally
from transforms.types import Carried, ManifestRow, PlannedRow

COLUMNS = (
    *("id", "uri", "category", "attributes", "status", "code", "failing_since", "source_version", "source_sha256"),
    *("output_uri", "output_sha256", "output_bytes"),
    *("map_key", "model", "weights_sha256", "precision", "sharpen", "settings_sha256", "policy_sha256", "rule"),
    *("decision", "foreground_fraction"),
)
Listed = list[tuple[str, int]]
"""Names below `images/`, and their sizes in bytes."""


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """What the plan is made by.

    earlier: the earlier report. damaged: the table of the ids that a repair does again, a name that is
    never used twice. decisions: the file of decisions on single rows, a name that always says the same.
    rows_before: how many rows the earlier report has, where only some rows are wanted. layers: whether what is written
    are changes to that report (changes.py). names_before: how its pictures
    are named, which are another folder's. order: of manifests of changes, the later one of which counts.
    run_before: the run of the earlier report, where pictures that no row has are not looked for.
    """

    settings: RunSettings
    earlier: Report = field(default_factory=Report)
    damaged: str | None = None
    decisions: str | None = None
    rows_before: int = 0
    layers: bool = False
    names_before: str = "stable"
    order: tuple[str, ...] = ()
    run_before: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done in one shard."""

    todo: list[PlannedRow]
    carried: Carried
    gone: list[Gone]
    counts: PlanCounts


def plan_shard(
    shard: int,
    shards: int,
    rows: Iterable[ManifestRow],
    listed: Iterable[tuple[str, int]],
    config: PlanConfig,
    elsewhere: Iterable[tuple[str, int]] = (),
) -> Plan:
    """Plan the rows of one shard: what is done, what is carried over from the earlier report, and what is gone.

    listed: the pictures that are there. elsewhere: those of the folder that the run starts from.
    """
    records, duplicates, standing = _records(config.earlier, shard, shards)
    present: dict[str, Listed] = defaultdict(list)
    for name, size in listed:
        present[id_of_output(name, config.settings.names)].append((f"{IMAGES}/{name}", size))
    others = {(f"{IMAGES}/{name}", size) for name, size in elsewhere}
    links: list[tuple[str, str]] = []
    rows = without_duplicates(rows, config.order)
    open_rows = [row for row in rows if row.failure is None and not row.deleted and not _settled(row, records, config)]
    settings, decisions = config.settings, decisions_at(config.decisions)
    sources = {row.source for row in open_rows} if settings.engine is not None else set()
    facts = storage.source_facts(sources, settings.allow_private)
    todo, positions, changes, claimed, gone = [], [], {}, set(), []
    tally = Tally(settings)
    policy_sha256 = settings.pictures.policy.sha256()
    for row in rows:
        if row.deleted:
            continue
        first = row.id not in claimed and (row.failure is None or row.failure.code != "duplicate_id")
        position, record = records.get(row.id, (-1, None)) if first else (-1, None)
        files = present.get(row.id, []) if first else []
        if first:
            claimed.add(row.id)
        settled = record is not None and row.failure is None and _settled(row, records, config)
        known = facts.get(row.source)
        decision = decisions.get(row.id)
        name, rule = rule_of(row, settings.pictures.policy, decision)
        reason = None if settled else why(row, record, files, others, known, rule, settings)
        if record is not None and reason is None:
            positions.append(position)
            tally.carried(row, name, decision)
            now: dict[str, Any] = {"category": row.category, "attributes": row.attributes}
            if not settled:  # its rule is the same, the policy around it need not be
                now |= {"policy_sha256": policy_sha256, "rule": name, "decision": decision and decision.word}
            links += _links(record, files, others, settings)
            now["output_uri"] = _picture_of(record, settings)
            if any(record[name] != value for name, value in now.items()):
                changes[position] = now
            gone += _extra(record, files, settings)
            continue
        group = "" if row.failure is not None or known is None else known.content_key() or ""
        before = record and earlier_of(record)
        if record is None and row.failure is not None:
            before = duplicates.get(row.id)
        found = (group, before, tuple(file for file, _ in files), decision)
        planned = PlannedRow(*(*row.values(), *found))
        todo.append(planned)
        tally.to_do(planned, record, known, reason or "asked", name, rule)
    if settings.stays:  # whatever else there is stays as it is
        deleted = {row.id for row in rows if row.deleted}
        rest = [(position, id) for position, id in standing if id not in claimed and id not in deleted]
        positions += [position for position, _ in rest]
        tally.others(len(rest))
        for id in {id for _, id in rest}:
            if id in records:
                position, record = records[id]
                links += _links(record, present.get(id, []), others, settings)
                if record["output_uri"] != (now_named := _picture_of(record, settings)):
                    changes[position] = {"output_uri": now_named}
                gone += _extra(record, present.get(id, []), settings)
            claimed.add(id)
    for id in (set(records) | set(present if not settings.keeps_pictures else ())) - claimed:
        names: list[str | None] = [] if settings.keeps_pictures else [name for name, _ in present.get(id, [])]
        if shard_of(id, shards) == shard:
            gone += [Gone(id, name) for name in names or [None]]
    counts = tally.counts(len(records), len(set(records) - claimed), sum(one.name is not None for one in gone))
    return Plan(todo, Carried(tuple(positions), changes, tuple(links)), gone, counts)


def _settled(row: ManifestRow, records: dict[str, tuple[int, dict[str, Any]]], config: PlanConfig) -> bool:
    """Tell whether a row that the earlier report knows is none of those that are to be done again."""
    if config.settings.redo not in ("failed", "damaged") or row.id not in records:
        return False
    record = records[row.id][1]
    if config.settings.redo == "failed":
        return record["status"] != "failed" and record["uri"] == row.uri  # another photo is not the one that is done
    return row.id not in _ids(config.damaged)


def why(
    row: ManifestRow,
    record: dict[str, Any] | None,
    files: Listed,
    others: Collection[tuple[str, int]],
    facts: SourceFacts | None,
    rule: Rule,
    settings: RunSettings,
) -> str | None:
    """Say why a row is done, as counts.REASONS has it; None if photo, settings and picture are what the report says.

    What failed is tried again, but where photo and settings alone decide it: then it has no picture, now as before.
    """
    if row.failure is not None:
        return "unusable"
    if record is None:
        return "new"
    if rule.how.drops:
        return None if record["status"] == "dropped" and (settings.keeps_pictures or not files) else "rendering"
    if record["status"] == "failed" and record["code"] != "no_subject":
        return "failed"
    maps = settings.maps_of(rule)
    if settings.redo != "changed" or maps is None:
        return "asked"
    if facts is None or facts.version != record["source_version"] or row.uri != record["uri"]:
        return "photo"
    is_kept = rule.keeps_white and kept_unseen(record)
    if not is_kept and record["map_key"] != map_key(record["source_sha256"], maps):
        return "map"
    if record["settings_sha256"] != settings_sha256(rule, settings.pictures):
        return "rendering"
    if record["output_uri"] is None:
        return None if settings.keeps_pictures or not files else "picture"
    held, size = record["output_uri"], record["output_bytes"]
    there = (_picture_of(record, settings), size) in files or (held, size) in files or (held, size) in others
    return None if there else "picture"


def _picture_of(record: dict[str, Any], settings: RunSettings) -> str | None:
    """Name the picture of a record as this run names pictures; None if it has none."""
    before = record["output_uri"]
    if before is None or not (settings.keeps_pictures or settings.start_from):
        return before and str(before)
    return output_name(
        record["id"], before.rpartition(".")[2], record["output_sha256"] if settings.keeps_pictures else None
    )


def _links(
    record: dict[str, Any], files: Listed, others: Collection[tuple[str, int]], settings: RunSettings
) -> Iterator[tuple[str, str]]:
    """Give the files of a record that is carried over which need another name, or a place here, and the names."""
    before, size, now = record["output_uri"], record["output_bytes"], _picture_of(record, settings)
    if now is not None and (now, size) not in files:
        if (before, size) in files:
            yield f"{settings.output}/{before}", now
        elif (before, size) in others:
            yield f"{settings.start_from}/{before}", now
    if settings.start_from is not None and record["map_key"] is not None:
        yield map_uri(f"{settings.start_from}/maps", record["map_key"]), map_uri("maps", record["map_key"])


def _extra(record: dict[str, Any], files: Listed, settings: RunSettings) -> list[Gone]:
    """List the pictures of a record's id that it does not name; where pictures are kept, other releases may."""
    if settings.keeps_pictures:
        return []
    return [Gone(record["id"], name) for name, _ in files if name != record["output_uri"]]


def _records(
    earlier: Report, shard: int, shards: int
) -> tuple[dict[str, tuple[int, dict[str, Any]]], dict[str, Earlier], list[tuple[int, str]]]:
    """Index what the earlier report says of a shard's ids: position in load_table, and the record.

    Of ids that several rows had, what it says is given apart: no row is told from another by it. The third is every
    row's position and id.
    """
    if not earlier.shards:
        return {}, {}, []
    return records_of(load_table(earlier, shard, shards).select(COLUMNS), shard, shards)


def records_of(
    table: pa.Table, shard: int, shards: int
) -> tuple[dict[str, tuple[int, dict[str, Any]]], dict[str, Earlier], list[tuple[int, str]]]:
    """Do what _records does, with the columns COLUMNS of a report's table."""
    found: dict[str, tuple[int, dict[str, Any]]] = {}
    duplicates: dict[str, Earlier] = {}
    standing: list[tuple[int, str]] = []
    columns = [_attributes(table) if name == "attributes" else table.column(name).to_pylist() for name in COLUMNS]
    for position, values in enumerate(zip(*columns, strict=True)):
        record = dict(zip(COLUMNS, values, strict=True))
        if shard_of(record["id"], shards) != shard:
            continue
        standing.append((position, record["id"]))
        if not record["id"]:
            continue
        if record["code"] == "duplicate_id":
            duplicates[record["id"]] = earlier_of(record)
        else:
            found.setdefault(record["id"], (position, record))
    return found, duplicates, standing


def _attributes(table: pa.Table) -> list[dict[str, str]]:
    """Give the attributes of each row; several times as fast as to_pylist of a column of maps."""
    column = table.column("attributes").combine_chunks()
    keys, items, ends = column.keys.to_pylist(), column.items.to_pylist(), column.offsets.to_pylist()
    pairs = list(zip(keys, items, strict=True))
    return [dict(pairs[start:end]) for start, end in pairwise(ends)]


def without_duplicates(rows: Iterable[ManifestRow], order: Sequence[str] = ()) -> list[ManifestRow]:
    """Fail all but one of the usable rows of each id. Unusable rows come last, as an id is first a usable row's.

    order: manifests, of which a row in a later one takes the place of those in earlier ones.
    """
    by_id: dict[str, list[ManifestRow]] = defaultdict(list)
    failed = []
    for row in rows:
        if row.failure is None:
            by_id[row.id].append(row)
        else:
            failed.append(row)
    if order:
        places = {manifest: place for place, manifest in enumerate(order)}
        for id, same in by_id.items():
            last = max(places[row.manifest] for row in same)
            by_id[id] = [row for row in same if places[row.manifest] == last]
    usable = [row for same in by_id.values() for row in (same if len(same) == 1 else refuse_duplicates(same))]
    return usable + sorted(failed, key=photo_key)


@lru_cache(maxsize=1)
def _ids(table: str | None) -> frozenset[str]:
    if table is None:
        return frozenset()
    return frozenset(pq.read_table(io.BytesIO(storage.read(table).data), columns=["id"])["id"].to_pylist())
