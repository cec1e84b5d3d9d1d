"""Between the plan and the first photo: the plan is said, and a brake stops the run before anything is touched."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from transforms.counts import PlanCounts, say_plan, sum_counts
from transforms.decisions import decisions_at
from transforms.elsewhere import reporter
from transforms.ending import told_of
from transforms.errors import DeadEndError
from transforms.output.forecast import Rates
from transforms.output.run import RunInfo
from transforms.settings import RunSettings
from transforms.tracking import PROGRESS


class HoldBrakes(beam.PTransform):
    """Let a run go on to its photos, unless its plan is more than its brakes allow.

    rates: of runs before. decisions: as in PlanConfig.
    """

    def __init__(self, info: RunInfo, rates: Rates | None = None, decisions: str | None = None) -> None:
        super().__init__()
        self.how = info, rates, decisions

    def expand(self, counts: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of PlanCounts to one of a single dict: what run.json says of the plan.

        Raises, when it runs:
            DeadEndError: a brake holds.
        """
        total = counts | "SumCounts" >> beam.CombineGlobally(sum_counts)
        return total | "Hold" >> beam.Map(hold, *self.how)


def hold(counts: PlanCounts, info: RunInfo, rates: Rates | None, decisions: str | None = None) -> dict[str, Any]:
    """Say the plan, and stop if a brake holds.

    It is a function of the module, as of one inside another Beam would copy PROGRESS.
    """
    with told_of(info):
        record = plan_record(counts, info.settings, rates, decisions)
    to_do = sum(counts.reasons.values())
    if PROGRESS.begun:
        say_plan(record, info.settings.prune)
        PROGRESS.planned(counts.rows, to_do)
    elif info.leased:
        reporter(info.folder, info.run_id).planned(record, counts.rows, to_do)
    if record["brake"]:
        with told_of(info):
            raise DeadEndError(record["brake"])
    return record


def plan_record(
    counts: PlanCounts, settings: RunSettings, rates: Rates | None, decisions: str | None
) -> dict[str, Any]:
    """Write a plan as run.json and `plan --json` have it, with the brake that holds and how long it may take.

    Raises:
        DeadEndError: rows were asked for that are not there.
    """
    brakes = settings.brakes
    if missing := [word for word in settings.only if not counts.selected[word]]:
        more = f" (nor {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DeadEndError(f"--only {missing[0]}: no row of the manifests that can be used has this id{more}")
    names = [] if settings.stays else settings.pictures.policy.rule_names()
    unmatched = [name for name in names if not counts.rules[name]]
    brake = brakes.on_plan(counts.earlier, counts.gone, counts.changed) or brakes.on_effect(counts.effect)
    undecided = () if settings.stays else decisions_at(decisions).keys() - counts.decided.keys()
    record = counts.record(unmatched, undecided)
    seconds = None if rates is None else rates.seconds(counts.rows, counts.photos, counts.predictions)
    return {**record, "seconds": seconds, "brake": brake}
