"""Brakes: how much a run may change of what was there before it stops by itself, and what is counted for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce

ALL = "all rows"
FEWEST_EMPTIED = 3
"""Rows that have to become empty before a brake holds: one photo of ten is no policy gone wrong."""
FEWEST_COMPARED = 20
"""Rows of a category before its mean says anything; those of all categories together always do."""


@dataclass(frozen=True, slots=True)
class Brakes:
    """Shares beyond which a run stops before it changes anything; None for a brake that is off.

    max_gone_fraction: of the rows of the report before, those that are in the manifests no longer.
    max_changed_fraction: those that would be done again.
    max_emptied_fraction: of the rows under another rule, by category, those that lose their product.
    max_foreground_shift: how far their mean foreground may move, as a share of the photo.
    """

    max_gone_fraction: float | None = None
    max_changed_fraction: float | None = None
    max_emptied_fraction: float | None = None
    max_foreground_shift: float | None = None

    def on_plan(self, earlier: int, gone: int, changed: int) -> str | None:
        """Say in one line which brake holds, if one does. earlier: rows of the report before."""
        if earlier and self.max_gone_fraction is not None and gone > self.max_gone_fraction * earlier:
            return (
                f"{gone} of the {earlier} rows of the report before are in the manifests no longer, more than "
                f"{self.max_gone_fraction:.2%} allowed; if that is meant, give --max_gone_fraction 1"
            )
        if earlier and self.max_changed_fraction is not None and changed > self.max_changed_fraction * earlier:
            return (
                f"{changed} of the {earlier} rows of the report before would be done again, more than "
                f"{self.max_changed_fraction:.2%} allowed; if that is meant, give --max_changed_fraction 1"
            )
        return None

    def on_effect(self, effect: Effect) -> str | None:
        """Say in one line which brake holds on what another rule makes of the rows, if one does."""
        for name, group in effect.groups():
            where = "" if name == ALL else f" of category {name}"
            share = self.max_emptied_fraction
            if share is not None and group.emptied >= FEWEST_EMPTIED and group.emptied > share * group.compared:
                return (
                    f"{group.emptied} of the {group.compared} rows{where} whose settings differ lose their product, "
                    f"more than {share:.2%} allowed; if that is meant, give --max_emptied_fraction 1"
                )
            shift = (group.after - group.before) / group.compared
            if self.max_foreground_shift is not None and abs(shift) > self.max_foreground_shift:
                return (
                    f"the mean foreground of the {group.compared} rows{where} whose settings differ moves from "
                    f"{group.before / group.compared:.1%} to {group.after / group.compared:.1%}, by more than "
                    f"{self.max_foreground_shift:.2%} allowed; if that is meant, give --max_foreground_shift 1"
                )
        return None


@dataclass(slots=True)
class Group:
    """Rows compared with the report before: how many, how many became empty, and the sums of their foregrounds."""

    compared: int = 0
    emptied: int = 0
    before: float = 0.0
    after: float = 0.0

    def add(self, other: Group) -> None:
        """Add another group's."""
        self.compared += other.compared
        self.emptied += other.emptied
        self.before += other.before
        self.after += other.after


@dataclass(slots=True)
class Effect:
    """What other settings of the pictures make of rows that had a picture, by category."""

    by_category: dict[str, Group] = field(default_factory=dict)

    def compare(self, category: str | None, before: float, after: float, is_empty: bool) -> None:
        """Count one row: its foreground in the report before, and now; whether it has lost its product."""
        group = self.by_category.setdefault(category or "", Group())
        group.add(Group(1, int(is_empty), before, after))

    def count(self, category: str | None) -> int:
        """Give the number of rows of a category that were compared."""
        group = self.by_category.get(category or "")
        return 0 if group is None else group.compared

    def add(self, other: Effect) -> None:
        """Add another's."""
        for name, group in other.by_category.items():
            self.by_category.setdefault(name, Group()).add(group)

    def groups(self) -> Iterable[tuple[str, Group]]:
        """Give all rows together, and the categories that are large enough to be told of, by name."""
        total = Group()
        for group in self.by_category.values():
            total.add(group)
        if total.compared:
            yield ALL, total
        for name, group in sorted(self.by_category.items()):
            if name and group.compared >= FEWEST_COMPARED:
                yield name, group


def sum_effects(effects: Iterable[Effect]) -> Effect:
    """Add effects up."""

    def plus(total: Effect, one: Effect) -> Effect:
        total.add(one)
        return total

    return reduce(plus, effects, Effect())
