"""Writing the review sheet of an output folder: review/index.html, and its data in files that are read when needed."""

from __future__ import annotations

import argparse
import json
import logging
import posixpath
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from pipeline.checks import output_folder
from pipeline.errors import RequestError
from pipeline.review.figures import MOST_ROWS, read_figures, read_report
from transforms import storage
from transforms.credentials import without_secrets
from transforms.decisions import NAME as DECISIONS
from transforms.decisions import DecisionsError, read_decisions
from transforms.errors import DeadEndError, FatalError, PhotoError
from transforms.output.earlier import report_of
from transforms.output.latest import BrokenReportError, NoReportError, newest_run
from transforms.output.maps import map_uri
from transforms.output.releases import releases
from transforms.output.run import read_run, record_of
from transforms.pixels.statistics import DOUBTFUL_BELOW

FOLDER = "review"
PAGE = 250
"""Rows whose details are in one file."""
KEPT = 2
"""Sheets whose data stay: whoever is looking at the one before is not to lose it."""
ASSETS = {"index.html": "text/html", "sheet.css": "text/css", "sheet.js": "text/javascript"}
SETTINGS = ("network", "sharpen", "policy", "background", "format", "only")


def review(flags: argparse.Namespace) -> int:
    """Write the sheet of an output folder's newest report, and say where it is.

    Raises:
        RequestError: there is no report, or it cannot be read, or the sheet cannot be written.
    """
    folder = output_folder(flags.output)
    try:
        print(without_secrets(f"review: {write_review(folder, flags.run)}"))
    except NoReportError as error:
        raise RequestError(f"nothing to review: {error}") from error
    except (DeadEndError, FatalError, PhotoError, OSError) as error:
        raise RequestError(f"--output {flags.output}: {getattr(error, 'message', None) or error}") from error
    return 0


def review_quietly(folder: str, run_id: str) -> None:
    """Write the sheet at the end of a run, which it must not cost: what goes wrong is one line of the log."""
    try:
        logging.getLogger("whitesweep").info("review: %s", write_review(folder, run_id))
    except Exception as error:
        reason = str(getattr(error, "message", None) or error).partition("\n")[0]
        logging.getLogger("whitesweep").warning("no review sheet: %s", reason)


def write_review(folder: str, run_id: str | None = None) -> str:
    """Write the sheet of a release of an output folder, or of the one in force; give the address of its page.

    Raises:
        NoReportError: there is none. DeadEndError: it cannot be read.
        PhotoError, FatalError, OSError: the sheet cannot be written.
    """
    listed = (
        [newest_run(folder)] if run_id is None else [one.latest for one in releases(folder) if one.run_id == run_id]
    )
    if not listed:
        raise NoReportError(f"--run {run_id}: there is no such release; `history` lists them")
    (latest,) = listed
    run_id = latest.run_id
    figures, records = read_report(report_of(folder, latest))
    record = figures.record()
    try:
        run = read_run(folder, run_id)
    except (PhotoError, ValueError):
        run = {}
    index = {
        "folder": without_secrets(folder),
        "run": _run(run_id, run),
        "figures": record,
        "before": _before(folder, run_id),
        "doubtful_below": DOUBTFUL_BELOW,
        "most_rows": MOST_ROWS,
        "page": PAGE,
        "decisions": _decisions(folder, run_id),
        "rows": _index(records, record),
    }
    data = f"{folder}/{FOLDER}/data"
    originals = _Originals(folder, run)
    for number, start in enumerate(range(0, len(records), PAGE)):
        page = [_details(row, originals) for row in records[start : start + PAGE]]
        _write(f"{data}/{run_id}/rows-{number:05d}.js", script(f"rows({number},", page), "text/javascript")
    _write(f"{data}/{run_id}/index.js", script("index(", index), "text/javascript")
    for name in ("sheet.css", "sheet.js", "index.html"):  # the page last: what it names is there
        text = files(__package__).joinpath(name).read_text("utf-8").replace("DATA", f"data/{run_id}")
        _write(f"{folder}/{FOLDER}/{name}", text, ASSETS[name])
    _remove_old(data)
    return f"{folder}/{FOLDER}/index.html"


def script(call: str, value: object) -> str:
    """Write data as a script, as a page at file:// may read nothing else. Nothing in it can be taken for markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"whitesweep.{call}{text});\n"


def _write(uri: str, text: str, content_type: str) -> None:
    storage.write(uri, text.encode("utf-8", "backslashreplace"), f"{content_type}; charset=utf-8")


def _remove_old(data: str) -> None:
    runs = sorted({name.partition("/")[0] for name, _ in storage.list_sizes(data)})
    for run_id in runs[:-KEPT]:
        storage.delete_folder(f"{data}/{run_id}")


def _run(run_id: str, run: dict[str, Any]) -> dict[str, Any]:
    settings = run.get("settings")
    known = {name: settings.get(name) for name in SETTINGS} if isinstance(settings, dict) else {}
    started = run.get("started")
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started)) if isinstance(started, (int, float)) else None
    command = settings.get("command") if isinstance(settings, dict) else None
    return {
        "id": run_id,
        "command": command,
        "started": clock,
        "seconds": run.get("seconds"),
        "reason": run.get("reason"),
        "gone": run.get("gone"),
        "settings": known,
    }


def _before(folder: str, run_id: str) -> dict[str, Any] | None:
    """Give the figures of the report before; None if none is kept, or it cannot be read."""
    try:
        before = next((release for release in releases(folder) if release.run_id < run_id), None)
        if before is None:
            return None
        return {"id": before.run_id, **read_figures(report_of(folder, before.latest)).record()}
    except (BrokenReportError, DeadEndError, PhotoError, OSError):
        return None


def _decisions(folder: str, run_id: str) -> list[tuple[str, str, str, str]]:
    """Give the lines of the decisions that were in force, each id once."""
    try:
        return read_decisions(f"{folder}/{record_of(run_id)}/{DECISIONS}").lines
    except DecisionsError:
        return []


def _index(records: Sequence[dict[str, Any]], figures: dict[str, Any]) -> dict[str, list[Any]]:
    """Give of each row what is searched and filtered by, as columns; words are numbers of their places in lists."""
    columns: dict[str, list[Any]] = {"id": [row["id"] for row in records]}
    columns["quality"] = [-1 if row["quality"] is None else round(row["quality"] * 10_000) for row in records]
    for name, words in (
        ("category", [group["name"] for group in figures["categories"]]),
        ("status", list(figures["statuses"])),
        ("code", ["", *figures["codes"]]),
        ("decision", ["", *figures["decisions"]]),
    ):
        numbers = {word: number for number, word in enumerate(words)}
        columns[name] = [numbers[row[name] or ""] for row in records]
    flags = {flag: 1 << number for number, flag in enumerate(figures["flags"])}
    columns["flags"] = [sum(flags[flag] for flag in row["mask_flags"] or ()) for row in records]
    columns["changed"] = [int(bool(row["picture_changed"])) for row in records]
    return columns


def _details(row: dict[str, Any], originals: _Originals) -> dict[str, Any]:
    """Give of a row what its card shows; what there is none of is left out."""
    shown = {
        "uri": row["uri"],
        "original": originals.address(row["uri"]),
        "picture": row["output_uri"] and f"../{quote(row['output_uri'])}",
        "map": row["map_key"] and f"../{map_uri('maps', row['map_key'])}",
        "message": row["message"],
        "since": row["failing_since"],
        "width": row["width"],
        "height": row["height"],
        "format": row["source_format"],
        "rule": row["rule"],
        "method": row["method"],
        "threshold": row["threshold"],
        "foreground": row["foreground_fraction"],
        "fill": row["fill_fraction"],
        "edges": row["edge_contact"],
        "components": row["components"],
        "holes": row["holes"],
        "violations": row["violations"],
    }
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


class _Originals:
    """Finds the addresses at which a browser may read photos."""

    def __init__(self, folder: str, run: dict[str, Any]) -> None:
        settings = run.get("settings")
        folders = settings.get("manifest_folders") if isinstance(settings, dict) else None
        self._folders = [str(one) for one in folders] if isinstance(folders, list) else []

    def address(self, uri: str) -> str | None:
        """Give the address of a photo; None of what no browser opens, such as what is in a bucket."""
        places = [storage.join(folder, uri) for folder in self._folders] or [uri]
        if len(places) > 1 and storage.is_local(places[0]):
            places = [place for place in places if storage.is_local(place) and storage.exists(place)] or places
        place = places[0]
        if storage.is_web(place):
            return place
        if storage.is_local(place) and posixpath.isabs(path := storage.local_path(place)):
            return f"file://{quote(path)}"
        return None
