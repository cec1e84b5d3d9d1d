"""A report in figures, by category, and its worst rows; read a shard at a time, so that any catalog fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from transforms.output.earlier import Report, load_table
from transforms.pixels.statistics import DOUBTFUL_BELOW

MOST_ROWS = 100_000
"""Rows that get a place in the sheet, the worst first."""
MOST_OTHERS = 10_000
"""Of them, those without a mask (failed first), and as many of those that are unlike their category."""
BINS = 20
"""Parts of 0..1 whose rows are counted."""
UNLIKE = "unlike_category"
UNLIKE_ABOVE = 4.0
"""Standard deviations from the median, of a normal distribution with the quartiles of the category."""
QUARTILES_OF_NORMAL = 1.349
FEWEST = 12
"""Rows of a category with a mask, before any is unlike the others."""
DETAILS = (
    *("id", "uri", "category", "status", "code", "message", "failing_since", "width", "height", "source_format"),
    *("output_uri", "picture_changed", "map_key", "rule", "method", "threshold", "decision", "quality"),
    *("foreground_fraction", "fill_fraction", "edge_contact", "components", "holes", "mask_flags", "violations"),
)
_MEASURED = ("quality", "foreground_fraction", "fill_fraction")
_BOX = ("bbox_left", "bbox_top", "bbox_right", "bbox_bottom")

Numbers = NDArray[np.float32]


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
        """Count the rows of a table of SCHEMA's columns."""
        self.rows += len(table)
        self.changed += int(np.sum(_numbers(table, "picture_changed", False)))
        for name, counts in (("status", self.statuses), ("code", self.codes), ("decision", self.decisions)):
            counts.update(_counted(table[name]))
        self.flags.update(_counted(pc.list_flatten(table["mask_flags"])))
        for violations in table["violations"].to_pylist():
            self.flags.update(as_flags(violations))
        names, of = _categories(table)
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
                values = measured[column][with_mask]
                found = np.histogram(values[~np.isnan(values)], BINS, (0.0, 1.0))[0]
                bins[:] = [one + int(more) for one, more in zip(bins, found, strict=True)]

    def record(self) -> dict[str, Any]:
        """Write it as the page reads it."""
        ordered = sorted(self.by_category.items(), key=lambda item: (-item[1].doubtful - item[1].failed, item[0]))
        return {
            "rows": self.rows,
            "changed": self.changed,
            "statuses": dict(sorted(self.statuses.items())),
            "codes": _by_count(self.codes),
            "flags": _by_count(self.flags),
            "decisions": dict(sorted(self.decisions.items())),
            "categories": [{"name": name, **group.record()} for name, group in ordered],
        }


def as_flags(violations: Iterable[str] | None) -> list[str]:
    """Name in what a picture is not what the profile asks, each once."""
    return sorted({f"profile: {said.partition(':')[0]}" for said in violations or ()})


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _numbers(table: pa.Table, name: str, missing: Any) -> Any:
    return pc.fill_null(table[name], missing).to_numpy()


def _counted(column: Any) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column.drop_null()).to_pylist()}


def _categories(table: pa.Table) -> tuple[list[str], NDArray[np.int32]]:
    encoded = pc.fill_null(table["category"].combine_chunks(), "").dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def read_figures(report: Report) -> Figures:
    """Count what a report says.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    figures = Figures()
    for number in range(len(report)):
        figures.add(load_table(report, number, len(report)))
    return figures


def read_report(report: Report) -> tuple[Figures, list[dict[str, Any]]]:
    """Read a report: its figures, and the rows that are shown, as dicts with DETAILS.

    The worst masks come first, and what has no mask last. Among the mask_flags are what is none of the report's: UNLIKE
    of rows that are unlike their category, and in what the picture is not what the profile asks (as_flags).

    Raises:
        DeadEndError: a shard cannot be read.
    """
    figures = Figures()
    qualities: list[Numbers] = [np.empty(0, np.float32)]
    shapes: list[Numbers] = [np.empty((0, 3), np.float32)]
    categories: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    failures: list[NDArray[np.bool_]] = [np.empty(0, bool)]
    numbers: dict[str, int] = {}
    for number in range(len(report)):
        table = load_table(report, number, len(report))
        figures.add(table)
        quality = _numbers(table, "quality", np.nan).astype(np.float32)
        names, of = _categories(table)
        own = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
        qualities.append(quality)
        shapes.append(shape_of(table))
        failures.append(np.asarray(pc.equal(table["status"], "failed")))
        categories.append(own[of] if len(of) else np.empty(0, np.int32))
    quality = np.concatenate(qualities)
    away = distances(np.concatenate(shapes), np.concatenate(categories))
    unlike = np.flatnonzero(away > UNLIKE_ABOVE)
    if len(unlike):
        figures.flags[UNLIKE] = len(unlike)
    without = np.flatnonzero(np.isnan(quality))
    without = without[np.argsort(~np.concatenate(failures)[without], kind="stable")][:MOST_OTHERS]
    furthest = unlike[np.argsort(-away[unlike], kind="stable")][:MOST_OTHERS]
    worst = np.argsort(quality, kind="stable")[: np.count_nonzero(~np.isnan(quality))]
    masks = np.union1d(worst[: max(0, MOST_ROWS - len(without) - len(furthest))], furthest)
    masks = masks[np.argsort(quality[masks], kind="stable")]
    chosen = np.concatenate([masks, without]).astype(np.int64)
    rows = _take(report, [len(one) for one in qualities[1:]], chosen)
    far = set(unlike.tolist())
    for place, row in zip(chosen.tolist(), rows, strict=True):
        unlike_others = [UNLIKE] if place in far else []
        row["mask_flags"] = [*(row["mask_flags"] or ()), *as_flags(row["violations"]), *unlike_others]
    return figures, rows


def _take(report: Report, lengths: Sequence[int], chosen: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Read the rows at some places of a report's shards, counted through, in that order."""
    found: dict[int, dict[str, Any]] = {}
    begin = 0
    for number, length in enumerate(lengths):
        places = np.sort(chosen[(chosen >= begin) & (chosen < begin + length)])
        if len(places):
            table = load_table(report, number, len(report)).select(DETAILS).take(pa.array(places - begin))
            found |= zip(places.tolist(), table.to_pylist(), strict=True)
        begin += length
    return [found[place] for place in chosen.tolist()]


def shape_of(table: pa.Table) -> Numbers:
    """Give of each row the logit of its foreground, its fill, and the logarithm of its box's aspect: float32 [N, 3].

    NaN where there is no box.
    """
    foreground, fill = (_numbers(table, name, np.nan) for name in ("foreground_fraction", "fill_fraction"))
    left, top, right, bottom = (_numbers(table, name, 0).astype(np.float64) for name in _BOX)
    with np.errstate(divide="ignore", invalid="ignore"):
        shape = np.stack([np.log(foreground / (1 - foreground)), fill, np.log((right - left) / (bottom - top))], 1)
    shape[~np.isfinite(shape).all(1)] = np.nan
    return shape.astype(np.float32)


def distances(shapes: Numbers, categories: NDArray[np.int32]) -> Numbers:
    """Tell how far each row is from the median of its category, in standard deviations, in what it differs most.

    Args:
        shapes: float32 [N, K], NaN where there is none. categories: int32 [N].

    Returns:
        float32 [N]; 0 where that cannot be told.
    """
    away = np.zeros(len(shapes), np.float32)
    for category in np.unique(categories):
        own = np.flatnonzero((categories == category) & ~np.isnan(shapes).any(1))
        if len(own) < FEWEST:
            continue
        low, middle, high = np.percentile(shapes[own], [25, 50, 75], axis=0)
        spread = (high - low) / QUARTILES_OF_NORMAL
        usable = spread > 0
        if usable.any():
            away[own] = (np.abs(shapes[own][:, usable] - middle[usable]) / spread[usable]).max(1)
    return away
