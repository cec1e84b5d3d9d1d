"""The status command: who is at work in an output folder, how far that is, and how the last runs ended."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pipeline.checks import output_folder
from pipeline.errors import RequestError
from transforms import storage
from transforms.credentials import without_secrets
from transforms.errors import PhotoError
from transforms.output.earlier import NoReportError, newest_run
from transforms.output.history import recent_runs
from transforms.output.lease_file import look
from transforms.tracking import in_words


def status(flags: argparse.Namespace) -> int:
    """Print what there is to say of an output folder. Nothing is written."""
    folder = output_folder(flags.output)
    try:
        there = storage.is_folder(folder)
    except Exception as error:  # whatever keeps us from it
        raise RequestError(f"--output {flags.output}: cannot be reached: {str(error).splitlines()[0]}") from error
    if not there:
        raise RequestError(f"--output {flags.output}: there is no such folder")
    found = look_at(folder)
    if flags.json:
        print(without_secrets(json.dumps(found, indent=2, ensure_ascii=False)))
    else:
        print(without_secrets("\n".join(describe(found))))
    return 0


def look_at(folder: str) -> dict[str, Any]:
    """Gather what the files of an output folder say; what cannot be read is said in `problems`."""
    problems: list[str] = []
    progress = None
    try:
        progress = json.loads(storage.read(f"{folder}/report/progress.json").data)
    except PhotoError as error:
        if error.code != "not_found":
            problems.append(error.message)
    except ValueError:
        problems.append(f"{folder}/report/progress.json: not JSON")
    newest = None
    try:
        newest = newest_run(folder)["run_id"]
    except NoReportError as error:
        problems.append(str(error))
    at_work = look(folder)
    if at_work is None or not isinstance(progress, dict) or progress.get("run_id") != at_work.get("run_id"):
        progress = None  # of a run that is no more
    try:
        progress and (in_words(progress), float(progress["updated"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        problems.append(f"{folder}/report/progress.json: damaged")
        progress = None
    return {
        "at_work": at_work,
        "progress": progress,
        "newest_report": newest,
        "runs": [_brief(run) for run in recent_runs(folder)],
        "problems": problems,
    }


def _brief(run: dict[str, Any]) -> dict[str, Any]:
    statuses, settings = run.get("statuses"), run.get("settings")
    return {
        "run_id": run.get("run_id"),
        "command": settings.get("command", "run") if isinstance(settings, dict) else "run",
        "exit_code": run.get("exit_code"),
        "reason": run.get("reason"),
        "rows": run.get("rows"),
        "failed": statuses.get("failed", 0) if isinstance(statuses, dict) else None,
        "started": _number(run.get("started")),
        "seconds": _number(run.get("seconds")),
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e11 else None


def describe(found: dict[str, Any]) -> list[str]:
    """Say in lines what look_at gives."""
    holder, progress = found["at_work"], found["progress"]
    if holder is None:
        lines = ["nobody is at work here"]
    else:
        who = f"{holder.get('command')} (process {holder.get('process')} on {holder.get('host')})"
        lines = [f"at work since {_clock(holder.get('since'))}: {who}"]
        if not holder["alive"]:
            lines = [f"died, and the next run takes over: {who}, begun {_clock(holder.get('since'))}"]
    if progress is not None:
        age = max(0.0, time.time() - float(progress.get("updated", 0)))
        lines.append(f"{in_words(progress)} (as of {age:.0f} s ago)")
    lines.append(f"newest report: {found['newest_report'] or 'none'}")
    for run in found["runs"]:
        end = "done" if run["exit_code"] == 0 else f"exit {run['exit_code']}: {run['reason']}"
        rows = "" if run["rows"] is None else f", {run['rows']} rows, {run['failed']} failed"
        seconds = "" if run["seconds"] is None else f", {run['seconds']:.0f} s"
        lines.append(f"  {_clock(run['started'])} {run['command']}{rows}{seconds}: {end}")
    return lines + [f"not readable: {problem}" for problem in found["problems"] if "no complete report" not in problem]


def _clock(seconds: Any) -> str:
    if not isinstance(seconds, (int, float)):
        return "(time unknown)"
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
