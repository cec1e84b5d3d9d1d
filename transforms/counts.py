"""What a plan comes to: how many rows, why they are done, and what that takes."""

from __future__ import annotations

import logging
import pickle
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transforms.brakes import Effect
from transforms.output.commit import FIRST

REASONS = {
    "new": "new",
    "photo": "with another photo",
    "picture": "whose picture is missing or altered",
    "rendering": "under other settings of the picture",
    "map": "under other settings of the map",
    "failed": "that failed before",
    "asked": "because it was asked for",
    "unusable": "that cannot be used",
}
"""Why a row is done: its key in run.json, and in words. The first that applies counts."""

SAID = threading.Event()
"""Set once the user has been told of the plan."""
NOT_CHANGED = ("new", "failed", "asked", "unusable")
"""Reasons that are no change of what was there: `--max_changed_fraction` does not count them."""


SUMS = ("rows", "earlier", "gone", "unchanged", "changed", "photos", "predictions", "pictures", "left", "difference")


@dataclass(slots=True)
class PlanCounts:
    """What is to be done.

    rows: of the manifests. earlier: rows of the report before; gone: those of them that no manifest has.
    unchanged: rows that are carried over. reasons: all others, by REASONS, and `known` those of them that the report
    before knows. photos: to be read. predictions: photos without a map, as far as can be told without reading them.
    pictures: to be rendered. left: pictures that no row claims. rules: rows by the rule that serves them.
    selected: rows by the words of --only. decided: what is decided on single rows, by id.
    effect: of other settings, on a sample. reported: rows that the run makes report rows of, if not all.
    difference: of a partial run, how many rows more the report has then.
    """

    rows: int = 0
    earlier: int = 0
    gone: int = 0
    unchanged: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    photos: int = 0
    predictions: int = 0
    pictures: int = 0
    left: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    selected: Counter[str] = field(default_factory=Counter)
    decided: dict[str, str] = field(default_factory=dict)
    effect: Effect = field(default_factory=Effect)
    reported: int | None = None
    difference: int = 0

    def add(self, other: PlanCounts) -> None:
        """Add another shard's."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons += other.reasons
        self.rules += other.rules
        self.selected += other.selected
        self.decided |= other.decided
        self.effect.add(other.effect)
        self.reported = self.reported if other.reported is None else other.reported

    def record(self, unmatched: Iterable[str], undecided: Iterable[str]) -> dict[str, Any]:
        """Write the counts as run.json has them.

        unmatched: names of the policy's rules that serve no row. undecided: ids of decisions that no row has.
        """
        undecided = sorted(undecided)
        return {
            "rows": self.rows,
            "rows_reported": self.rows if self.reported is None else self.reported,
            "rows_after": self.earlier + self.difference,
            "unchanged": self.unchanged,
            "to_do": {name: self.reasons[name] for name in REASONS if self.reasons[name]},
            "photos_to_read": self.photos,
            "photos_to_predict": self.predictions,
            "pictures_to_make": self.pictures,
            "rows_before": self.earlier,
            "gone": self.gone,
            "pictures_left": self.left,
            "unmatched_rules": list(unmatched),
            "decisions": dict(sorted(Counter(self.decided.values()).items())),
            "unmatched_decisions": len(undecided),
            "first_unmatched_decisions": undecided[:FIRST],
        }


def write_counts(counts: PlanCounts, file: str) -> None:
    """Write counts to a local file, for the process that asked for them."""
    Path(file).write_bytes(pickle.dumps(counts))


def sum_counts(counts: Iterable[PlanCounts]) -> PlanCounts:
    """Add up the counts of shards."""
    total = PlanCounts()
    for one in counts:
        total.add(one)
    return total


def _how_long(seconds: float | None) -> str:
    if seconds is None:
        return "how long that takes is not known, as no run here has done it yet"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 6000 else f"about {seconds / 3600:.1f} h"


def describe(record: dict[str, Any], prune: bool) -> list[str]:
    """Say in a few lines what hold.plan_record gives."""
    to_do = record["to_do"]
    lines = [f"plan: {record['rows']} rows: {record['unchanged']} unchanged, {sum(to_do.values())} to do"]
    if to_do:
        lines[0] += " (" + ", ".join(f"{count} {REASONS[name]}" for name, count in to_do.items()) + ")"
        lines.append(
            f"plan: {record['photos_to_read']} photos to read, {record['photos_to_predict']} through the network, "
            f"{record['pictures_to_make']} pictures to make; {_how_long(record['seconds'])}"
        )
    if record["gone"] or record["pictures_left"]:
        verb = "to remove" if prune else "left where they are"
        lines.append(
            f"plan: {record['gone']} of the {record['rows_before']} rows before are gone from the manifests; "
            f"{record['pictures_left']} pictures {verb}"
        )
    if record["decisions"]:
        lines.append(f"plan: decided one by one: {', '.join(f'{n} {word}' for word, n in record['decisions'].items())}")
    if count := record["unmatched_decisions"]:
        first = ", ".join(map(repr, record["first_unmatched_decisions"][:3])) + (f", … ({count})" if count > 3 else "")
        lines.append(f"plan: decided, but no row that can be used has this id: {first}")
    if record["unmatched_rules"]:
        lines.append(f"plan: no row matches {', '.join(record['unmatched_rules'])} of the policy: is it spelt right?")
    return lines


def say_plan(record: dict[str, Any], prune: bool) -> None:
    """Tell the user of the plan, once."""
    if not SAID.is_set():
        for line in describe(record, prune):
            logging.getLogger("whitesweep").info(line)
    SAID.set()
