"""Decisions on single photos: a CSV of id, decision, parameters and note. They come before any rule of the policy."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from transforms import storage
from transforms.credentials import without_secrets
from transforms.errors import PhotoError
from transforms.pixels.policy import Policy, PolicyError, Rule, change_rule
from transforms.settings import DecisionsFile
from transforms.tables import TableError, read_csv

NAME = "decisions.csv"
"""The file that is taken where it lies beside the manifest, and the copy in a run's record."""
DECISIONS = {
    "good": "looked at, and right as it is",
    "redo": "looked at, and to be done by hand",
    "keep": "the photo stays as it is",
    "white": "a white picture",
    "drop": "no picture",
    "change": "the row's rule, with the parameters changed",
}
"""What can be decided. The first two are noted and change nothing; the next three are methods of that name."""
NOTED = ("good", "redo")
"""Decisions that change nothing."""
RULE = "decision"
"""What the report calls the rule of a row that is decided."""


class DecisionsError(Exception):
    """A file of decisions that cannot be used; one line that names the file, the line and what is allowed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided on one photo. changes: settings of its rule, by name, as a policy has them."""

    word: str
    changes: tuple[tuple[str, float | str], ...] = ()

    def apply(self, name: str, rule: Rule) -> tuple[str, Rule]:
        """Give the rule that serves the row, and its name, instead of those that the policy has for it."""
        if self.word in NOTED:
            return name, rule
        changes = dict(self.changes) if self.word == "change" else {"method": self.word}
        return RULE, change_rule(rule, changes, RULE)


class Row(Protocol):
    """What there is to know of a row before its photo is looked at."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def uri(self) -> str: ...  # noqa: D102
    @property
    def category(self) -> str | None: ...  # noqa: D102
    @property
    def attributes(self) -> dict[str, str]: ...  # noqa: D102


def rule_of(row: Row, policy: Policy, decision: Decision | None) -> tuple[str, Rule]:
    """Find the rule that serves a row, and its name. decision: what is decided on it alone."""
    named = policy.rule_for(row.category, row.attributes, row.id, row.uri)
    return named if decision is None else decision.apply(*named)


def is_meant(*words: str | None) -> bool:
    """Tell whether one of the decisions on a row, of this run or the one before, changes its picture."""
    return any(word is not None and word not in NOTED for word in words)


@dataclass(frozen=True, slots=True)
class Decisions:
    """A file of decisions that has been read.

    by_id: what it decides. lines: id, decision, parameters and note of each id, as written. data: its bytes.
    """

    file: DecisionsFile
    by_id: Mapping[str, Decision]
    lines: list[tuple[str, str, str, str]]
    data: bytes


def read_decisions(uri: str) -> Decisions:
    """Read a file of decisions.

    Raises:
        DecisionsError: it cannot be read, or a line of it cannot be followed.
    """
    shown = without_secrets(uri)
    try:
        data = storage.read(uri).data
    except PhotoError as error:
        raise DecisionsError(f"--decisions {shown}: {error.message}") from error
    by_id: dict[str, Decision] = {}
    numbers: dict[str, int] = {}
    lines: list[tuple[str, str, str, str]] = []
    try:
        for line, record in read_csv(io.BytesIO(data), "id"):
            where = f"{shown}, line {line}"
            if isinstance(record, str):
                raise DecisionsError(f"{where}: {record}")
            fields = {name.lower(): value.strip() for name, value in record.items()}
            id, decision = fields.get("id", ""), _decision(fields, where)
            if not id:
                raise DecisionsError(f"{where}: no id")
            if by_id.setdefault(id, decision) != decision:
                raise DecisionsError(
                    f"{where}: decides {id!r} otherwise than line {numbers[id]} does; keep one of them"
                )
            if numbers.setdefault(id, line) == line:
                lines.append((id, decision.word, fields.get("parameters", ""), fields.get("note", "")))
    except (TableError, ValueError) as error:
        raise DecisionsError(f"--decisions {shown}: {error}") from error
    return Decisions(DecisionsFile(uri, hashlib.sha256(data).hexdigest(), len(by_id)), by_id, lines, data)


def _decision(fields: dict[str, str], where: str) -> Decision:
    word, text = fields.get("decision", "").lower(), fields.get("parameters", "")
    if word not in DECISIONS:
        advice = "; for a method or a threshold write change, and threshold=0.5 under parameters" if word else ""
        raise DecisionsError(f"{where}: the decision {word!r} is none of {', '.join(DECISIONS)}{advice}")
    if word != "change":
        if text:
            raise DecisionsError(f"{where}: {word} takes no parameters, not {text!r}")
        return Decision(word)
    changes: dict[str, Any] = {}
    for part in text.replace(";", " ").split():
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise DecisionsError(f"{where}: {part!r} is no parameter; expected such as threshold=0.5 or method=otsu")
        changes[name] = _value(value)
    if not changes:
        raise DecisionsError(f"{where}: change what? Under parameters, expected such as threshold=0.5 or method=otsu")
    try:
        change_rule(Rule(), changes, where)
    except PolicyError as error:
        raise DecisionsError(str(error)) from error
    return Decision(word, tuple(sorted(changes.items())))


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@lru_cache(maxsize=1)
def decisions_at(uri: str | None) -> Mapping[str, Decision]:
    """Give what a file decides, read once in each process: a file of that name must always say the same.

    Raises:
        DecisionsError: as read_decisions does.
    """
    return {} if uri is None else read_decisions(uri).by_id
