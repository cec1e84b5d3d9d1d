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
from transforms.elsewhere import read_reports
from transforms.errors import PhotoError
from transforms.output.history import WATCH, recent_runs
from transforms.output.latest import NoReportError, newest_run
from transforms.output.lease_file import look
from transforms.tracking import PHASES, in_words


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
        newest = newest_run(folder).run_id
    except NoReportError as error:
        problems.append(str(error))
    at_work = look(folder)
    if at_work is None or not isinstance(progress, dict) or progress.get("run_id") != at_work.get("run_id"):
        progress = None  # of a run that is no more
    if progress is None and at_work is not None and at_work.get("job") is True:
        progress = _of_job(folder, at_work)
    try:
        progress and (in_words(progress), float(progress["updated"]))
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        problems.append(f"{folder}/report/progress.json: damaged")
        progress = None
    return {
        "at_work": at_work,
        "progress": progress,
        "newest_report": newest,
        "watch": _watch(folder, problems),
        "runs": [_brief(run) for run in recent_runs(folder)],
        "problems": problems,
    }


def _watch(folder: str, problems: list[str]) -> dict[str, Any] | None:
    """Say what the watch here has done, or the one before; None if there was none."""
    try:
        said = json.loads(storage.read(f"{folder}/{WATCH}").data)
        told = {name: said[name] for name in ("patterns", "started", "updated", "last", "runs", "rows")}
        aside = {uri: one["reason"] for uri, one in said["set_aside"].items()}
        return {**told, "manifests": len(said["consumed"]), "set_aside": aside}
    except PhotoError as error:
        if error.code != "not_found":
            problems.append(error.message)
    except (ValueError, KeyError, TypeError, AttributeError):
        problems.append(f"{folder}/{WATCH}: damaged")
    return None


def _of_job(folder: str, lease: dict[str, Any]) -> dict[str, Any] | None:
    """Say how far a job is that nobody waits for, as its workers tell; its rate is that since its start."""
    try:
        said = read_reports(folder, str(lease["run_id"]))
        seconds = max(0.001, time.time() - float(lease["since"]))
        to_do, done = said.get("to_do", 0), min(said.get("done", 0), said.get("to_do", 0))
        rate = done / seconds
        return {
            "phase": PHASES[0 if not to_do else 2 if done >= to_do else 1],
            "rows": said.get("rows", 0),
            "to_do": to_do,
            "done": done,
            "failed": said.get("failed", 0),
            "rate": round(rate, 2),
            "seconds_left": round((to_do - done) / rate) if 0 < done < to_do else None,
            "seconds": round(seconds, 1),
            "idle": 0.0,
            "updated": time.time(),
        }
    except (PhotoError, OSError, ValueError, KeyError, TypeError):  # none has told anything yet
        return None


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
        place = f"process {holder.get('process')} on {holder.get('host')}"
        if holder.get("job") is True:
            place = f"a job, started from {holder.get('host')}, last heard of {_clock(holder.get('renewed'))}"
        who = f"{holder.get('command')} ({place})"
        lines = [f"at work since {_clock(holder.get('since'))}: {who}"]
        if holder.get("over") is True:
            lines = [f"over, and nobody else may write here for a minute: {who}"]
        elif not holder["alive"]:
            lines = [f"died, and the next run takes over: {who}, begun {_clock(holder.get('since'))}"]
    if progress is not None:
        age = max(0.0, time.time() - float(progress.get("updated", 0)))
        lines.append(f"{in_words(progress)} (as of {age:.0f} s ago)")
    if (watch := found["watch"]) is not None:
        lines.append(
            f"watch of {', '.join(watch['patterns'])}: {watch['rows']} rows in {watch['runs']} runs since "
            f"{_clock(watch['started'])}, the last at {_clock(watch['updated'])}"
        )
        lines += [f"  set aside: {uri}: {reason}" for uri, reason in watch["set_aside"].items()]
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
