"""How long a run may take, by what the runs before it in the same output took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

NETWORK_STEPS = ("predict", "sharpen")
START_S = 1.0
"""What a run takes before its first photo where no run without photos shows it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What runs took. start: seconds of a run of so many rows (`start_rows`, 0 if not known) that had no photo to read.

    photo: seconds for each photo read, all workers together. prediction: the same for each that the network saw.
    """

    start: float
    start_rows: int
    photo: float
    prediction: float | None

    def seconds(self, rows: int, photos: int, predictions: int) -> float | None:
        """Forecast seconds for a plan; None if it needs the network, and no run before had asked it."""
        if predictions and self.prediction is None:
            return None
        start = self.start * (max(1.0, rows / self.start_rows) if self.start_rows else 1.0)
        return round(start + photos * self.photo + predictions * (self.prediction or 0.0), 1)


def rates_of(runs: Iterable[dict[str, Any]], network: dict[str, Any] | None) -> Rates | None:
    """Learn from run.json files, the newest first; None if none of them has read a photo.

    network: `settings.network` of the run to be forecast; predictions are learnt from runs of the same alone.
    """
    told = ("statuses", "step_seconds", "work")
    complete = [
        run
        for run in runs
        if run.get("changes") is None  # what a partial run does not name costs nothing
        if all(isinstance(run.get(name), dict) for name in told)
        and all(isinstance(run.get(name), (int, float)) for name in ("rows", "seconds"))
    ]
    quiet = [run for run in complete if not run["work"].get("photos_read")]
    start, start_rows = (float(quiet[0]["seconds"]), int(quiet[0]["rows"])) if quiet else (START_S, 0)
    read = [run for run in complete if run["work"].get("photos_read") and sum(run["step_seconds"].values())]
    if not read:
        return None
    largest = max(read, key=lambda run: int(run["work"]["photos_read"]))  # of a few photos the start is most
    through, workers = _through(largest), _workers(largest, start)
    busy = sum(largest["step_seconds"].values())
    photo = (busy - through) / largest["work"]["photos_read"] / workers
    asked = [run for run in read if run["work"].get("photos_predicted") and network is not None and _same(run, network)]
    if not asked:
        return Rates(start, start_rows, photo, None)
    largest = max(asked, key=lambda run: int(run["work"]["photos_predicted"]))
    prediction = _through(largest) / largest["work"]["photos_predicted"] / _workers(largest, start)
    return Rates(start, start_rows, photo, prediction)


def _through(run: dict[str, Any]) -> float:
    """Give the seconds of all workers that only photos for the network take."""
    return float(sum(run["step_seconds"].get(name, 0.0) for name in NETWORK_STEPS))


def _workers(run: dict[str, Any], start: float) -> float:
    """Tell how many workers were busy at a time, once the run had started."""
    return float(sum(run["step_seconds"].values()) / max(0.1, run["seconds"] - min(start, 0.5 * run["seconds"])))


def _same(run: dict[str, Any], network: dict[str, Any]) -> bool:
    before = (run.get("settings") or {}).get("network") or {}
    return all(before.get(name) == network.get(name) for name in ("model", "weights_sha256", "device", "precision"))
