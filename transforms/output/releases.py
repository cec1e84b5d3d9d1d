"""The releases of an output folder: every complete report, what it is, and what only it keeps alive.

Where pictures have a fingerprint in their names, none is ever overwritten, so that a release stays whole as long as its
report does, and is published or taken back by one write of latest.json.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.earlier import read_table, report_of
from transforms.output.latest import BrokenReportError, Latest, in_force
from transforms.output.maps import map_uri
from transforms.output.naming import ENDINGS, IMAGES
from transforms.output.pictures import look_at
from transforms.output.run import list_runs, read_run

LOOKED_AT = 500
"""Pictures of a release that are read before it comes into force."""

Names = NDArray[np.int64]
"""Names of files, by their hashes: of ten million, text would take a gigabyte."""


@dataclass(frozen=True, slots=True)
class Release:
    """A complete report. state: `in force`; `candidate`, not published yet; `taken back`, by a rollback; `earlier`.

    run: its run.json.
    """

    run_id: str
    run: dict[str, Any]
    state: str

    @property
    def latest(self) -> Latest:
        """What latest.json says, or would, of this release."""
        changes = self.run.get("changes")
        return Latest(self.run_id, str(self.run.get("report") or f"report/run={self.run_id}"), changes)

    @property
    def names(self) -> str:
        """How its pictures are named."""
        return str((self.run.get("settings") or {}).get("names", "stable"))


def releases(folder: str) -> list[Release]:
    """List the releases of an output folder, the newest first.

    Raises:
        BrokenReportError: what is there cannot be read. OSError, PhotoError: it cannot be listed.
    """
    latest = in_force(folder)
    moved = set() if latest is None else {move.run_id for move in latest.moves}
    back = None if latest is None else latest.rolled_back
    found = []
    for run_id, files in sorted(list_runs(folder).items(), reverse=True):
        if "run.json" not in files:
            continue
        try:
            run = read_run(folder, run_id)
        except (PhotoError, ValueError) as error:
            raise BrokenReportError(f"{folder}: run.json of {run_id} cannot be read ({error})") from error
        if run.get("rows") is None:  # it stopped
            continue
        if latest is not None and run_id == latest.run_id:
            state = "in force"
        elif back is not None and run_id == back.run_id:
            state = "taken back"
        else:
            published = run_id in moved or (run.get("held") is None and latest is not None and run_id < latest.run_id)
            state = "earlier" if published else "candidate"
        found.append(Release(run_id, run, state))
    return found


def refuse_incomplete(folder: str, release: Release, looked_at: int = LOOKED_AT) -> None:
    """Make sure that a release is whole: all of its report, and of its pictures a sample, bit by bit.

    Raises:
        BrokenReportError: it is not; one line.
    """
    report = report_of(folder, release.latest)
    # By its own name, so that the same release is judged by the same pictures.
    chance = random.Random(release.run_id)
    shards = chance.sample(range(len(report)), min(len(report), 8))
    rows = []
    for at in shards:
        table = report.read(at, ["output_uri", "output_sha256"])
        rows += [row for row in table.to_pylist() if row["output_uri"] is not None]
    sample = chance.sample(rows, min(len(rows), looked_at))

    def problem(row: dict[str, str]) -> str | None:
        try:
            whole = look_at(folder, row["output_uri"]).sha256 == row["output_sha256"]
        except PhotoError as error:
            return error.message
        return None if whole else f"{folder}/{row['output_uri']}: is not what the report says"

    with ThreadPoolExecutor(storage.parallel(folder)) as pool:
        wrong = [said for said in pool.map(problem, sample) if said is not None]
    if wrong:
        raise BrokenReportError(f"release {release.run_id} is not whole: {wrong[0]}")


def hashes(names: Iterable[str]) -> Names:
    """Give the hashes of names, sorted, each once. Two names of one hash do no harm: both are kept."""
    return np.unique(np.fromiter(map(hash, names), np.int64))


def named(folder: str, release: Release) -> tuple[Names, NDArray[np.int64], Names]:
    """Read what a release names: pictures by hash, their sizes in bytes beside them, and maps.

    Of one that has changes to another's report, what these name; the rest is that one's, which stays as long.

    Raises:
        BrokenReportError, DeadEndError: its report cannot be read.
    """
    pictures, sizes, maps = [], [], []
    report = report_of(folder, release.latest)
    for shard in report.changes or report.shards:
        table = read_table(shard, ["output_uri", "output_bytes", "map_key"])
        for uri, size in zip(table["output_uri"].to_pylist(), table["output_bytes"].to_pylist(), strict=True):
            if uri is not None:
                pictures.append(hash(uri))
                sizes.append(size)
        maps += [hash(key) for key in table["map_key"].to_pylist() if key is not None]
    found, first = np.unique(np.array(pictures, np.int64), return_index=True)
    return found, np.array(sizes, np.int64)[first], np.unique(np.array(maps, np.int64))


def kept_alive(folder: str, listed: Sequence[Release]) -> dict[str, int]:
    """Tell of each release how many bytes of pictures it alone names."""
    contents = {release.run_id: named(folder, release)[:2] for release in listed}
    everything = np.concatenate([pictures for pictures, _ in contents.values()] or [np.empty(0, np.int64)])
    names, counts = np.unique(everything, return_counts=True)
    own = names[counts == 1]
    return {run_id: int(sizes[_is_in(pictures, own)].sum()) for run_id, (pictures, sizes) in contents.items()}


def unnamed(folder: str, kept: Iterable[Release]) -> Iterator[tuple[str, int]]:
    """List the pictures and maps, below the output folder and with their sizes, that no release to be kept names.

    Raises:
        BrokenReportError, DeadEndError: one of their reports cannot be read; then nothing is listed.
        OSError, PhotoError: the folder cannot be listed.
    """
    contents = [named(folder, release) for release in kept]
    pictures = np.unique(np.concatenate([one[0] for one in contents] or [np.empty(0, np.int64)]))
    maps = np.unique(np.concatenate([one[2] for one in contents] or [np.empty(0, np.int64)]))
    for name, size in storage.list_sizes(f"{folder}/{IMAGES}"):
        if name.endswith(ENDINGS) and not _is_in(hashes([f"{IMAGES}/{name}"]), pictures)[0]:
            yield f"{IMAGES}/{name}", size
    for name, size in storage.list_sizes(f"{folder}/maps"):
        key = name.rpartition("/")[2].removesuffix(".png")
        if name == map_uri("", key)[1:] and not _is_in(hashes([key]), maps)[0]:
            yield f"maps/{name}", size


def _is_in(names: Names, among: Names) -> NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(among, names), max(0, len(among) - 1))
    return among[at] == names if len(among) else np.zeros(len(names), np.bool_)
