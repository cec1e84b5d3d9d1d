"""What another rule would make of rows, tried on the maps that are stored, before any picture is touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from transforms.brakes import Effect
from transforms.errors import PhotoError
from transforms.output.maps import load_map
from transforms.pixels.policy import Rule
from transforms.pixels.statistics import NO_SUBJECT_BELOW
from transforms.pixels.threshold import make_mask
from weights.architecture import SIDE

SAMPLE = 50
"""Rows of a category that are tried, in each shard of the report; a shard is a fair sample of its ids."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that had a picture: its map's key, the rule that now serves it, and its foreground before."""

    id: str
    category: str | None
    map_key: str
    rule: Rule
    foreground: float


def try_rules(candidates: Iterable[Candidate], folders: Iterable[str]) -> Effect:
    """Make masks for a sample of rows at the map's own size. folders: where their maps may be."""
    effect, folders = Effect(), tuple(dict.fromkeys(folders))
    for one in sorted(candidates, key=lambda candidate: candidate.id):
        if effect.count(one.category) >= SAMPLE:
            continue
        if one.rule.how.drops or one.rule.how.whitens:
            effect.compare(one.category, one.foreground, 0.0, True)
            continue
        try:
            saliency = next((found for folder in folders if (found := load_map(folder, one.map_key))), None)
        except PhotoError:
            saliency = None
        if saliency is None:
            continue
        alpha = make_mask(one.rule, saliency.pixels, (SIDE, SIDE)).alpha
        foreground = float(alpha.mean()) / 255
        effect.compare(one.category, one.foreground, foreground, foreground < NO_SUBJECT_BELOW)
    return effect
