"""The closing summary of a run."""

from __future__ import annotations

from typing import Any

from pipeline.options import RunRequest
from transforms.types import FAILURE_CODES


def summarise(run: dict[str, Any], request: RunRequest) -> str:
    """Say in a few lines what became of the rows, how long it took and where everything is."""
    rows, statuses, seconds = run["rows"], run["statuses"], run["seconds"]
    processed = statuses.get("processed", 0)
    lines = [
        f"{rows} rows in {seconds:.1f} s: " + ", ".join(f"{count} {status}" for status, count in statuses.items()),
        *(f"  {count:6d} {code}: {FAILURE_CODES[code]}" for code, count in run["failures"].items()),
        f"{processed / seconds:.2f} photos a second; seconds by step, over all workers:",
        "  " + "  ".join(f"{step} {spent:.1f}" for step, spent in run["step_seconds"].items()),
        f"images:   {request.info.folder}/images",
        f"report:   {request.info.folder}/{request.info.report}",
    ]
    if statuses.get("failed"):
        lines.append(f"failures: {statuses['failed']} rows of the report, status failed; the first:")
        lines += [f"  {failure['id']}: {failure['code']}: {failure['message']}" for failure in run["first_failures"]]
    return "\n".join(lines)
