"""The plan of a partial run: manifests that name only what is new, has changed or is gone.

What it comes to is no report but changes to one, of the rows that are named and of those that partial runs before it
named. So it costs what is named, and a look at those rows of the report, however large the catalog is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from transforms import storage
from transforms.decisions import decisions_at, rule_of
from transforms.output.commit import Gone, read_gone
from transforms.output.earlier import earlier_of
from transforms.output.naming import output_name
from transforms.output.schema import SCHEMA
from transforms.pixels.encode import ENCODINGS
from transforms.plan import COLUMNS, Plan, PlanConfig, records_of, why, without_duplicates
from transforms.report import carry, packed_table
from transforms.settings import RunSettings
from transforms.tally import Tally
from transforms.types import Carried, ManifestRow, PlannedRow


def plan_changes(rows: Iterable[ManifestRow], config: PlanConfig) -> Plan:
    """Plan the rows of a manifest of changes: what is done, what is carried from changes before, and what is gone."""
    settings, decisions = config.settings, decisions_at(config.decisions)
    rows = without_duplicates(rows, config.order)
    ids = {row.id for row in rows if row.failure is None}
    there = config.earlier.find(ids)
    before = config.earlier.changed()
    standing = set(before["id"].to_pylist())
    records, _, rows_there = records_of(there.select(COLUMNS), 0, 1)
    counts = Counter(id for _, id in rows_there)
    usable = [row for row in rows if row.failure is None and not row.deleted]
    facts = storage.source_facts({row.source for row in usable}, settings.allow_private)
    files = _files(usable, records, settings)
    left = [] if settings.keeps_pictures else read_gone(settings.output, config.run_before)
    gone = [one for one in left if one.id not in ids]  # their pictures are there still
    todo, deleted, tally = [], [], Tally(settings)
    kept, changes = {}, {}
    policy_sha256, difference = settings.pictures.policy.sha256(), 0
    for row in rows:
        position, record = records.get(row.id, (-1, None)) if row.failure is None else (-1, None)
        if row.deleted:
            if record is None and row.id not in standing:
                continue  # it is not there anyway
            deleted.append(row.id)
            difference -= counts[row.id]
            name = None if record is None or settings.keeps_pictures else record["output_uri"]
            if record is not None:
                gone.append(Gone(row.id, name))
            continue
        known, decision = facts.get(row.source), decisions.get(row.id)
        name, rule = rule_of(row, settings.pictures.policy, decision)
        reason = why(row, record, files[row.id], (), known, rule, settings)
        if record is not None and reason is None:
            now: dict[str, Any] = {"category": row.category, "attributes": row.attributes}
            now |= {"policy_sha256": policy_sha256, "rule": name, "decision": decision and decision.word}
            changed = {key: value for key, value in now.items() if record[key] != value}
            tally.carried(row, name, decision)
            if changed or row.id in standing:
                kept[position], changes[position] = row.id, changed
            continue
        if row.failure is None:
            difference += 1 - counts[row.id]
        group = "" if row.failure is not None or known is None else known.content_key() or ""
        present = tuple(name for name, _ in files[row.id])
        planned = PlannedRow(*(*row.values(), group, record and earlier_of(record), present, decision))
        todo.append(planned)
        tally.to_do(planned, record, known, reason or "asked", name, rule)
    others = [at for at, id in enumerate(before["id"].to_pylist()) if id not in ids]
    carried = [carry(before, Carried(tuple(others), {})), carry(there, Carried(tuple(kept), changes))]
    packed = packed_table(pa.concat_tables([SCHEMA.empty_table(), *carried]))
    pictures = sum(one.name is not None for one in gone)
    counted = tally.counts(config.rows_before, sum(counts[id] for id in deleted), pictures)
    counted.difference, counted.reported = difference, len(todo) + len(deleted)
    return Plan(todo, Carried((), {}, rows=packed, deleted=tuple(deleted)), gone, counted)


def _files(
    rows: Iterable[ManifestRow], records: dict[str, tuple[int, dict[str, Any]]], settings: RunSettings
) -> dict[str, list[tuple[str, int]]]:
    """Look which pictures rows have, and how large they are: without a list of all that are there."""
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        record = records[row.id][1] if row.id in records else None
        if record is not None and record["output_uri"] is not None:
            names[row.id].append(record["output_uri"])
        if not settings.keeps_pictures:
            names[row.id] += [output_name(row.id, encoding.extension) for encoding in ENCODINGS.values()]
    asked = dict.fromkeys(name for each in names.values() for name in each)
    sizes = storage.sizes([f"{settings.output}/{name}" for name in asked])
    of = dict(zip(asked, sizes, strict=True))
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for id, each in names.items():
        found[id] = [(name, size) for name in dict.fromkeys(each) if (size := of[name]) is not None]
    return found
