"""What the runs before say of themselves in their run.json."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from transforms.errors import PhotoError
from transforms.output.latest import NoReportError, newest_run
from transforms.output.run import list_runs, read_run

WATCH = "report/watch.json"
"""What a watch of manifests or photos has done, below the output folder."""


def recent_runs(folder: str, count: int = 10) -> list[dict[str, Any]]:
    """Read the run.json of the newest runs of an output folder, the newest first, but for those that cannot be read."""
    found = []
    with suppress(OSError, PhotoError):
        ids = sorted((run_id for run_id, files in list_runs(folder).items() if "run.json" in files), reverse=True)
        for run_id in ids[:count]:
            with suppress(OSError, PhotoError, ValueError):
                run = read_run(folder, run_id)
                if isinstance(run, dict):
                    found.append(run)
    return found


def newest_settings(folder: str) -> dict[str, Any] | None:
    """Give the settings that the newest report was made with; None if there is none, or it does not tell."""
    try:
        settings = read_run(folder, newest_run(folder).run_id)["settings"]
    except (NoReportError, PhotoError, ValueError, KeyError, TypeError):
        return None
    return settings if isinstance(settings, dict) else None
