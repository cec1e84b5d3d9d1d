"""Counting what a shard's plan comes to, while it is made."""

from __future__ import annotations

from typing import Any

from transforms import storage
from transforms.counts import NOT_CHANGED, PlanCounts
from transforms.decisions import Decision, is_meant
from transforms.output.earlier import kept_unseen, reported_key
from transforms.output.maps import map_key, map_uri
from transforms.pixels.policy import Rule
from transforms.pixels.render import settings_sha256
from transforms.selection import matches
from transforms.settings import RunSettings
from transforms.storage import SourceFacts
from transforms.trial import Candidate, try_rules
from transforms.types import ManifestRow, PlannedRow

PROBED = 200
"""Maps of other settings that are looked for in the store, in each shard; the others are taken to be as these."""


class Tally:
    """Counts what a shard's plan comes to."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self._counts = PlanCounts()
        self._predicted: dict[str, bool] = {}
        self._unknown: dict[str, str] = {}
        self._candidates: list[Candidate] = []

    def carried(self, row: ManifestRow, rule_name: str, decision: Decision | None) -> None:
        """Count a row that stays as it is."""
        self._counts.unchanged += 1
        self._count(row, rule_name, decision)

    def _count(self, row: ManifestRow, rule_name: str, decision: Decision | None) -> None:
        counts = self._counts
        counts.rows += 1
        counts.rules[rule_name] += 1
        if decision is not None:
            counts.decided[row.id] = decision.word
        if self.settings.only:
            counts.selected.update(matches(self.settings.only, row.id))

    def others(self, count: int) -> None:
        """Count rows of the report before that nobody asked for."""
        self._counts.rows += count
        self._counts.unchanged += count

    def to_do(
        self,
        row: PlannedRow,
        record: dict[str, Any] | None,
        facts: SourceFacts | None,
        reason: str,
        rule_name: str,
        rule: Rule,
    ) -> None:
        """Count a row that is done, and note what of it is to be looked at."""
        counts, settings = self._counts, self.settings
        counts.reasons[reason] += 1
        counts.changed += record is not None and reason not in NOT_CHANGED
        if row.failure is not None:
            counts.rows += 1
            return
        self._count(row, rule_name, row.decision)
        same_map = True  # or what another rule does cannot be told from the map that is there
        if not rule.how.drops:
            counts.pictures += 1
            same_map = self._look_at_map(row, record, facts, rule)
        if record is None or not same_map or record["foreground_fraction"] is None:
            return
        if is_meant(record["decision"], row.decision.word if row.decision else None):
            return
        if record["output_uri"] and record["settings_sha256"] != settings_sha256(rule, settings.pictures):
            category, foreground = row.category, record["foreground_fraction"]
            self._candidates.append(Candidate(row.id, category, record["map_key"], rule, foreground))

    def _look_at_map(
        self, row: PlannedRow, record: dict[str, Any] | None, facts: SourceFacts | None, rule: Rule
    ) -> bool:
        """Count a row's photo, and note its map; tell whether that is the one of the report before."""
        settings = self.settings
        if record is not None and kept_unseen(record) and rule.keeps_white and row.uri == record["uri"]:
            self._predicted[row.source] = False  # unless it is another photo now
            return True
        key = self._map_of(row, record, facts, rule)
        stored = record is not None and key is not None and key == record["map_key"] and settings.redo != "anew"
        self._predicted[row.source] = settings.engine is not None and not stored
        if key is not None and not stored and settings.redo != "anew":
            self._unknown[row.source] = key
        return stored

    def _map_of(
        self, row: PlannedRow, record: dict[str, Any] | None, facts: SourceFacts | None, rule: Rule
    ) -> str | None:
        """Give the key of the map that this photo will need; None if that cannot be told without reading it."""
        if record is None or record["source_sha256"] is None or row.uri != record["uri"]:
            return None
        if self.settings.reported_maps is not None:
            return None if row.earlier is None else reported_key(row.earlier, rule, self.settings)
        maps = self.settings.maps_of(rule)
        if maps is None or facts is None or facts.version != record["source_version"]:
            return None
        return map_key(record["source_sha256"], maps)

    def counts(self, earlier: int, gone: int, left: int) -> PlanCounts:
        """Give the counts. earlier: rows of the report before; gone: those that no row claims; left: pictures."""
        counts, settings = self._counts, self.settings
        counts.earlier, counts.gone, counts.left = earlier, gone, left
        counts.photos = len(self._predicted)
        probed = dict(list(self._unknown.items())[:PROBED])
        there = sum(storage.exists(map_uri(settings.maps_folder, key)) for key in probed.values())
        stored = len(self._unknown) * there // max(1, len(probed))
        counts.predictions = sum(self._predicted.values()) - stored if settings.engine is not None else 0
        brakes = settings.brakes
        if self._candidates and (brakes.max_emptied_fraction, brakes.max_foreground_shift) != (None, None):
            folders = [settings.maps_folder, settings.reported_maps or settings.maps_folder]
            counts.effect = try_rules(self._candidates, folders)
        return counts
