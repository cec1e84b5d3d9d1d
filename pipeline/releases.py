"""The commands on releases: history, rollback, publish, discard."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.checks import check_numbers, output_folder
from pipeline.errors import RequestError
from transforms import storage
from transforms.credentials import without_secrets
from transforms.differences import differences
from transforms.errors import FatalError, PhotoError
from transforms.output.cleanup import outdated, remove_run
from transforms.output.latest import BrokenReportError, Latest, NoReportError, in_force, move
from transforms.output.lease import Lease, LeaseError
from transforms.output.releases import Release, kept_alive, refuse_incomplete, releases, unnamed
from transforms.settings import NAMES


def history(flags: argparse.Namespace) -> int:
    """List the releases; nothing is written."""
    check_numbers(keep_reports=flags.keep_reports)
    folder = output_folder(flags.output)
    with _translated(flags.output):
        listed = releases(folder)
        sizes = kept_alive(folder, [release for release in listed if release.names != NAMES[0]])
        found: dict[str, Any] = {"releases": [_record(release, listed, sizes) for release in listed]}
        if flags.keep_reports is not None and listed:
            old = set(outdated(folder, flags.keep_reports))
            kept = [release for release in listed if release.run_id not in old]
            fingerprints = len(kept) < len(listed) and any(release.names != NAMES[0] for release in kept)
            doomed = list(unnamed(folder, kept)) if fingerprints else []
            found["would_go"] = {
                "reports": [release.run_id for release in listed if release.run_id in old],
                "pictures": sum(name.startswith("images/") for name, _ in doomed),
                "maps": sum(name.startswith("maps/") for name, _ in doomed),
                "bytes": sum(size for _, size in doomed),
            }
    if flags.json:
        print(without_secrets(json.dumps(found, indent=2, ensure_ascii=False)))
    else:
        print(without_secrets("\n".join(_described(found)) or "no releases here"))
    return 0


def _record(release: Release, listed: Sequence[Release], sizes: dict[str, int]) -> dict[str, Any]:
    """Say of a release what it is, and what it changed against the one that it was made from."""
    run = release.run
    base = next((one for one in listed if one.run_id == run.get("base")), None)
    told = [] if base is None else differences(base.run.get("settings") or {}, run.get("settings") or {})
    statuses = run.get("statuses") or {}
    return {
        "run_id": release.run_id,
        "state": release.state,
        "started": run.get("started"),
        "command": (run.get("settings") or {}).get("command"),
        "base": run.get("base"),
        "differences": told,
        "held": run.get("held"),
        "rows": run.get("rows"),
        "processed": statuses.get("processed", 0),
        "failed": statuses.get("failed", 0),
        "gone": run.get("gone"),
        "bytes_of_its_own": sizes.get(release.run_id),
    }


def _described(found: dict[str, Any]) -> Iterator[str]:
    for one in found["releases"]:
        begun = one["started"]
        clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(begun)) if isinstance(begun, (int, float)) else "?"
        own = one["bytes_of_its_own"]
        size = "" if own is None else f", {_size(own)} of its own"
        yield (
            f"{one['run_id']}  {one['state']:<10}  {clock}  {one['command']}: {one['rows']} rows, "
            f"{one['processed']} done, {one['failed']} failed, {one['gone']} gone{size}"
        )
        if one["differences"]:
            yield f"    settings: {'; '.join(one['differences'])}"
        if one["held"]:
            yield f"    held: {one['held']}"
    if "would_go" in found:
        go = found["would_go"]
        yield (
            f"would go: {len(go['reports'])} reports, {go['pictures']} pictures and {go['maps']} maps that no other "
            f"names, {_size(go['bytes'])}"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def rollback(flags: argparse.Namespace) -> int:
    """Bring an earlier release into force again.

    Raises:
        RequestError: there is none, it is not whole, or somebody is at work there.
    """
    folder = output_folder(flags.output)
    with _alone(folder, flags.output) as latest:
        listed = releases(folder)
        now = next(release for release in listed if release.run_id == latest.run_id)
        to = flags.to or now.run.get("base")
        if to is None:
            raise RequestError(f"--output {flags.output}: {latest.run_id} is the first release, with none before it")
        if flags.to is None and all(release.run_id != to for release in listed):
            raise RequestError(f"--output {flags.output}: {to}, the release before it, is not kept any more")
        release = _find(listed, to, "--to")
        if release.state == "candidate":
            raise RequestError(f"--to {to}: was never published; give `publish {to}`")
        if release.run_id != latest.run_id:
            forward = release.state == "taken back"  # then it is as if nothing had been
            _bring(folder, latest, release, "publish" if forward else "rollback")
    print(f"{release.run_id} is in force, {latest.run_id} is taken back")
    return 0


def publish(flags: argparse.Namespace) -> int:
    """Bring a candidate into force, or a release that was taken back.

    Raises:
        RequestError: it cannot be.
    """
    folder = output_folder(flags.output)
    with _alone(folder, flags.output) as latest:
        release = _find(releases(folder), flags.run, flags.command)
        if release.state == "in force":
            print(f"{release.run_id} is in force already")
            return 0
        if release.state == "earlier":
            raise RequestError(f"{flags.run}: was in force once; to go back to it, give `rollback --to {flags.run}`")
        if release.run.get("base") != latest.run_id and release.state == "candidate":
            raise RequestError(
                f"{flags.run}: was made from {release.run.get('base')}, and {latest.run_id} is in force now; run again"
            )
        _bring(folder, latest, release, "publish")
    print(f"{release.run_id} is in force")
    return 0


def discard(flags: argparse.Namespace) -> int:
    """Remove the report of a candidate, or of a release that was taken back.

    Raises:
        RequestError: it is neither.
    """
    folder = output_folder(flags.output)
    with _alone(folder, flags.output):
        release = _find(releases(folder), flags.run, flags.command)
        if release.state not in ("candidate", "taken back"):
            raise RequestError(f"{flags.run}: is {release.state}; only what is not published is discarded")
        remove_run(folder, release.run_id)
    print(f"{release.run_id} is discarded")
    return 0


def _find(listed: Sequence[Release], run_id: str, what: str) -> Release:
    found = next((release for release in listed if release.run_id == run_id), None)
    if found is None:
        raise RequestError(f"{what} {run_id}: there is no such release; `history` lists them")
    return found


def _bring(folder: str, latest: Latest, release: Release, why: str) -> None:
    """Let latest.json name a release, once that is known to be whole."""
    if release.names == NAMES[0]:
        raise RequestError(
            f"{release.run_id}: its pictures have stable names, and later runs have written over them; `migrate` back"
        )
    refuse_incomplete(folder, release)
    to = release.latest
    with storage.locked(f"{folder}/report"):
        if not move(folder, latest, to.run_id, to.report, to.changes, why):
            raise RequestError(f"{folder}/report/latest.json: somebody else has moved it; look at `history`")


@contextmanager
def _alone(folder: str, output: str) -> Iterator[Latest]:
    """Hold an output folder's lease, and give what is in force."""
    with _translated(output):
        latest = in_force(folder)
        if latest is None:
            raise RequestError(f"--output {output}: there is no release")
        lease = Lease(folder, f"command-{secrets.token_hex(6)}", without_secrets(" ".join(sys.argv)))
        try:
            lease.acquire()
        except LeaseError as error:
            raise RequestError(f"--output {error}") from error
        try:
            latest = in_force(folder)  # again, as whoever was there before us may have moved it
            assert latest is not None
            yield latest
        finally:
            lease.release(clean=not lease.taken_over)  # who takes over has to sweep, and we do not


@contextmanager
def _translated(output: str) -> Iterator[None]:
    try:
        yield
    except BrokenReportError as error:
        raise RequestError(str(error)) from error
    except (NoReportError, FatalError, PhotoError, OSError) as error:
        raise RequestError(f"--output {output}: {getattr(error, 'message', None) or error}") from error
