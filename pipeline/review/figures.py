"""A report in figures, by category, and its worst rows; read a shard at a time, so that any catalog fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.output.earlier import load_table, read_table
from transforms.output.schema import SCHEMA
from transforms.pixels.statistics import DOUBTFUL_BELOW

MOST_ROWS = 100_000
"""Rows that get a place in the sheet, the worst first."""
MOST_FAILED = 10_000
"""Of them, those that have no mask and failed."""
BINS = 20
"""Parts of 0..1 whose rows are counted."""
DETAILS = (
    *("id", "uri", "category", "status", "code", "message", "failing_since", "width", "height", "source_format"),
    *("output_uri", "picture_changed", "map_key", "rule", "method", "threshold", "decision", "quality"),
    *("foreground_fraction", "fill_fraction", "edge_contact", "components", "holes", "mask_flags"),
)
_COUNTED = ("category", "status", "code", "decision", "picture_changed", "mask_flags")
_MEASURED = ("quality", "foreground_fraction", "fill_fraction")


@dataclass(slots=True)
class Group:
    """What there is to say of the rows of a category.

    with_mask: rows that have one; sums and counts in BINS parts are of these.
    """

    rows: int = 0
    failed: int = 0
    doubtful: int = 0
    with_mask: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_MEASURED, 0.0))
    quality: list[int] = field(default_factory=lambda: [0] * BINS)
    foreground: list[int] = field(default_factory=lambda: [0] * BINS)

    def record(self) -> dict[str, Any]:
        """Write it as the page reads it; means are None without a mask."""
        means = {
            name: round(total / self.with_mask, 4) if self.with_mask else None for name, total in self.sums.items()
        }
        counts = {"rows": self.rows, "failed": self.failed, "doubtful": self.doubtful, "masks": self.with_mask}
        return {**counts, **means, "quality_bins": self.quality, "foreground_bins": self.foreground}


@dataclass(slots=True)
class Figures:
    """What there is to say of a report. by_category: a category of None is called ''."""

    rows: int = 0
    changed: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    by_category: dict[str, Group] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        """Count the rows of a table with the columns of SCHEMA."""
        self.rows += len(table)
        self.changed += int(np.sum(_numbers(table, "picture_changed", False)))
        for name, counts in (("status", self.statuses), ("code", self.codes), ("decision", self.decisions)):
            counts.update(_counted(table[name]))
        self.flags.update(_counted(pc.list_flatten(table["mask_flags"])))
        encoded = pc.fill_null(table["category"].combine_chunks(), "").dictionary_encode()
        names, of = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
        measured = {name: _numbers(table, name, np.nan) for name in _MEASURED}
        masked = ~np.isnan(measured["quality"])
        failed = np.asarray(pc.equal(table["status"], "failed"))
        for number, name in enumerate(names):
            own = of == number
            group, with_mask = self.by_category.setdefault(name, Group()), own & masked
            group.rows += int(own.sum())
            group.failed += int((own & failed).sum())
            group.with_mask += int(with_mask.sum())
            group.doubtful += int((measured["quality"][with_mask] < DOUBTFUL_BELOW).sum())
            for column, values in measured.items():
                group.sums[column] += float(np.nansum(values[with_mask]))
            for bins, column in ((group.quality, "quality"), (group.foreground, "foreground_fraction")):
                found = np.histogram(values_of(measured[column][with_mask]), BINS, (0.0, 1.0))[0]
                bins[:] = [one + int(more) for one, more in zip(bins, found, strict=True)]

    def record(self) -> dict[str, Any]:
        """Write it as the page reads it."""
        ordered = sorted(self.by_category.items(), key=lambda item: (-item[1].doubtful - item[1].failed, item[0]))
        return {
            "rows": self.rows,
            "changed": self.changed,
            "statuses": dict(sorted(self.statuses.items())),
            "codes": dict(self.codes.most_common()),
            "flags": dict(self.flags.most_common()),
            "decisions": dict(sorted(self.decisions.items())),
            "categories": [{"name": name, **group.record()} for name, group in ordered],
        }


def values_of(values: Any) -> Any:
    """Leave out what is missing."""
    return values[~np.isnan(values)]


def _numbers(table: pa.Table, name: str, missing: Any) -> Any:
    return pc.fill_null(table[name], missing).to_numpy()


def _counted(column: Any) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column.drop_null()).to_pylist()}


def read_figures(shards: Iterable[str]) -> Figures:
    """Count what an earlier report says.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    figures = Figures()
    for shard in shards:
        table = read_table(shard, [*_COUNTED, *_MEASURED])
        for name in {*_COUNTED, *_MEASURED} - set(table.column_names):  # an older report has not all of them
            table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
        figures.add(table)
    return figures


def read_report(shards: Sequence[str]) -> tuple[Figures, pa.Table]:
    """Read a report: its figures, and the rows that are shown, with the columns of DETAILS.

    The worst masks come first, and those that failed without a mask last.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    figures = Figures()
    masks = failed = SCHEMA.empty_table().select(DETAILS)
    for number in range(len(shards)):
        table = load_table(shards, number, len(shards))
        figures.add(table)
        table = table.select(DETAILS)
        has_mask = pc.is_valid(table["quality"])
        masks = _first(pa.concat_tables([masks, table.filter(has_mask)]), MOST_ROWS)
        without = table.filter(pc.and_(pc.invert(has_mask), pc.equal(table["status"], "failed")))
        failed = _first(pa.concat_tables([failed, without]), MOST_FAILED)
    return figures, pa.concat_tables([masks.slice(0, MOST_ROWS - len(failed)), failed])


def _first(table: pa.Table, count: int) -> pa.Table:
    order = pc.sort_indices(table, [("quality", "ascending"), ("id", "ascending"), ("uri", "ascending")])
    return table.take(order[:count])
