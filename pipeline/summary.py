"""The closing summary of a run."""

from __future__ import annotations

from typing import Any

from pipeline.options import RunRequest
from transforms.counts import SAID, describe
from transforms.early_stop import told_once
from transforms.errors import FAILURE_CODES, in_one_line


def summarise(run: dict[str, Any], request: RunRequest) -> str:
    """Say in a few lines what became of the rows, how long it took and where everything is."""
    rows, statuses, seconds, work = run["rows"], run["statuses"], run["seconds"], run["work"]
    done = [
        f"{work[name]} {said}"
        for name, said in (
            ("photos_read", "photos read"),
            ("photos_predicted", "predicted"),
            ("images_written", "pictures written"),
            ("images_removed", "removed"),
            ("files_linked", "files linked"),
        )
        if name in work
    ]
    what = "rows"
    if run.get("changes"):
        rows, what = run["plan"]["rows"], "rows of changes"
    steps = "  ".join(f"{step} {spent:.1f}" for step, spent in run["step_seconds"].items())
    tried = run["plan"] is None or any(run["plan"]["to_do"].values())
    lines = [
        f"{rows} {what} in {seconds:.1f} s: " + ", ".join(f"{count} {status}" for status, count in statuses.items()),
        *(f"  {count:6d} {code}: {FAILURE_CODES[code]}" for code, count in run["failures"].items()),
        f"{', '.join(done) or ('no photo could be read' if tried and statuses.get('failed') else 'nothing to do')}; "
        f"{rows / seconds:.2f} rows a second",
        *([f"seconds by step, over all workers: {steps}"] if steps else []),
        f"images:   {request.info.folder}/images",
        f"report:   {request.info.folder}/{run['report']}",
        *([f"changes:  {request.info.folder}/{run['changes']}"] if run["changes"] else []),
    ]
    if not SAID.is_set() and run["plan"]:  # by whoever made it: a worker somewhere else
        lines = describe(run["plan"], run["settings"]["prune"]) + lines
    if run["gone"]:
        verb = f"{run['pruned']} pictures removed" if run["pruned"] else "--prune removes their pictures"
        lines.append(f"gone from the manifest: {run['gone']} ids, listed in {request.info.record}/gone.parquet; {verb}")
    if run["internal_errors"]:
        lines.append(f"tracebacks of faults of whitesweep itself: {request.info.folder}/{run['internal_errors']}")
    if run["mask_flags"]:
        lines.insert(1, "mask flags: " + ", ".join(f"{count} {flag}" for flag, count in run["mask_flags"].items()))
    if (profile := run["settings"]["profile"]) is not None:
        wrong = ", ".join(f"{count} {word}" for word, count in run["violations"].items())
        checked = f"{profile['name']}: {run['compliant']} pictures are what it asks"
        lines.insert(1, f"{checked}{f'; others are not: {wrong}' if wrong else ''}")
    failed, first = statuses.get("failed", 0), run["first_failures"]
    if failed:
        lines.append(f"failures: the rows of the report whose status is failed, {failed} of them")
        lines += [
            in_one_line(f"  {f['id'] or '(no id)'}: {f['code']}: {told_once(f['uri'], f['message'])}") for f in first
        ]
        if failed > len(first):
            lines.append(f"  … and {failed - len(first)} more")
    return "\n".join(lines)
