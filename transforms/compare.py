"""Two policies side by side, on stored maps alone: how much of each mask would change."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.decisions import decisions_at, rule_of
from transforms.output.commit import PARQUET
from transforms.output.earlier import Report
from transforms.output.maps import load_map
from transforms.output.run import JSON
from transforms.output.schema import columns
from transforms.pixels.policy import Policy
from transforms.pixels.threshold import make_mask
from weights.architecture import SIDE

MOST_CHANGED = 100
BATCH = 10_000
TABLE = "comparison.parquet"


@dataclass(frozen=True, slots=True)
class MappedRow:
    """A row of a report that has a map."""

    id: str
    uri: str
    category: str | None
    attributes: dict[str, str]
    map_key: str


@dataclass(frozen=True, slots=True)
class Comparison(MappedRow):
    """What two policies make of one map. foreground: share of its cells; flipped: share that changes sides."""

    rule_a: str | None = None
    rule_b: str | None = None
    threshold_a: float | None = None
    threshold_b: float | None = None
    foreground_a: float | None = None
    foreground_b: float | None = None
    iou: float | None = None
    flipped: float | None = None


COLUMNS = [field.name for field in fields(MappedRow)]
SCHEMA = pa.schema(columns(Comparison), metadata={"whitesweep.comparison": "1"})


def read_rows(at: int, report: Report) -> Iterator[MappedRow]:
    """Read from one shard of a report the rows that have a map."""
    for batch in report.read(at, COLUMNS).to_batches(BATCH):
        for row in batch.to_pylist():
            if row["map_key"] is not None:
                yield MappedRow(**{**row, "attributes": dict(row["attributes"])})


def compare_row(
    row: MappedRow, maps_folder: str, first: Policy, second: Policy, decisions: str | None = None
) -> Comparison:
    """Compare the masks that two policies make of a row's map, on the map's own cells; all null if the map is gone.

    decisions: the file of those on single rows, which hold under either policy.
    """
    known = {name: getattr(row, name) for name in COLUMNS}
    saliency = load_map(maps_folder, row.map_key)
    if saliency is None:
        return Comparison(**known)
    names, masks, thresholds = [], [], []
    for policy in (first, second):
        name, rule = rule_of(row, policy, decisions_at(decisions).get(row.id))
        made = make_mask(rule, saliency.pixels, (SIDE, SIDE))
        names.append(name)
        masks.append(made.alpha >= (0 if rule.how.keeps else 128))  # of a photo that is kept all stays
        thresholds.append(made.threshold)
    cells = masks[0].size
    in_first, in_second, in_both = (int(np.count_nonzero(m)) for m in (*masks, masks[0] & masks[1]))
    union = in_first + in_second - in_both
    return Comparison(
        **known,
        rule_a=names[0],
        rule_b=names[1],
        threshold_a=thresholds[0],
        threshold_b=thresholds[1],
        foreground_a=in_first / cells,
        foreground_b=in_second / cells,
        iou=in_both / union if union else 1.0,
        flipped=(union - in_both) / cells,
    )


def most_changed(comparisons: Iterable[Comparison], count: int = MOST_CHANGED) -> list[Comparison]:
    """Give those whose masks agree least, the worst first."""
    changed = [c for c in comparisons if c.iou is not None and c.iou < 1]
    return sorted(changed, key=lambda c: (c.iou, c.id))[:count]


def summarise(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Count and average, over all and by category; a category of null is called `(none)`."""
    groups: dict[str, list[Comparison]] = defaultdict(list, all=[])
    for comparison in comparisons:
        for name in ("all", f"category {comparison.category or '(none)'}"):
            groups[name].append(comparison)
    return {name: _summary(groups[name]) for name in ["all", *sorted(set(groups) - {"all"})] if name in groups}


def _summary(group: list[Comparison]) -> dict[str, float]:
    ious = [c.iou for c in group if c.iou is not None]
    flips = [c.flipped for c in group if c.flipped is not None]
    return {
        "rows": len(group),
        "without_map": len(group) - len(ious),
        "changed": sum(flip > 0 for flip in flips),
        "changed_much": sum(iou < 0.9 for iou in ious),  # by eye, another picture
        "mean_iou": float(np.mean(ious)) if ious else 1.0,
        "mean_flipped": float(np.mean(flips)) if flips else 0.0,
    }


def write_comparison(folder: str, comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """Write the table of all rows, the most changed first, and the summary; give the summary."""
    rows = sorted(comparisons, key=lambda c: (2.0 if c.iou is None else c.iou, c.id, c.uri))
    records = [{**asdict(row), "attributes": sorted(row.attributes.items())} for row in rows]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), sink, compression="zstd", row_group_size=10_000)
    storage.write(f"{folder}/{TABLE}", bytes(sink.getvalue()), PARQUET)
    summary = {**summarise(rows), "most_changed": [asdict(row) for row in most_changed(rows)]}
    text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    storage.write(f"{folder}/comparison.json", text.encode(), JSON)
    return summary


class CompareMaps(beam.PTransform):
    """Compare two policies on every row of a report."""

    def __init__(self, report: Report, maps_folder: str, first: Policy, second: Policy, decisions: str | None) -> None:
        super().__init__()
        self.report = report
        self.settings = (maps_folder, first, second, decisions)

    def expand(self, shards: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of numbers of the report's shards to one of Comparison."""
        return (
            shards
            | "ReadRows" >> beam.FlatMap(read_rows, self.report)
            | "Spread" >> beam.Reshuffle()  # a shard holds a hundred thousand rows
            | "CompareRow" >> beam.Map(compare_row, *self.settings)
        )


class WriteComparison(beam.PTransform):
    """Write the comparison as one table and a summary."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, comparisons: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of Comparison to the one summary."""
        folder = self.folder

        def write(_: None, rows: list[Comparison]) -> dict[str, Any]:
            return write_comparison(folder, rows)

        once = comparisons.pipeline | "Once" >> beam.Create([None], reshuffle=False)
        return once | "WriteTable" >> beam.Map(write, beam.pvalue.AsList(comparisons))
