"""Random series of run, partial run, migrate, rollback, publish, discard and kill -9 against a model of releases.

    python -m benchmarks.releases [--series 1000] [--steps 8] [--seed 0] [--torn 50]

The model knows nothing of the code: a release is a dict of ids and pictures, and one of them is in force. What each
picture must be is told by runs over one photo each, made beforehand. After each step the one state that duckdb reads,
by the words of docs/reference.md, must be the model's, and each release that is kept must have all its pictures.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import duckdb
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from benchmarks.rates import _draw

POLICIES = ("0.7", "0.4", "otsu")
PHOTOS, IDS = 5, ("a", "b/c", "d", "e", "f")
OFF = ("--max_gone_fraction=1", "--max_failure_fraction=1", "--max_emptied_fraction=1", "--max_foreground_shift=1")

Rows = dict[str, str]
"""Ids, and the sha256 of their pictures."""


def _child(arguments: list[str], log: str) -> None:
    """Run the command line, with nothing kept for the sake of its age."""
    with open(log, "a", encoding="utf-8") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        from pipeline.cli import main
        from transforms.output import cleanup

        cleanup.RECENT_S = 0.0
        cleanup.PARTIAL_S = -10.0
        print("$", *arguments, flush=True)
        code = main(arguments)
        sys.stdout.flush()
        os._exit(code)


@dataclass
class Bench:
    """What all series share: photos, their maps, and what pictures must be by photo and policy."""

    folder: Path
    pictures: dict[tuple[int, str], str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Draw the photos, and learn their pictures."""
        self.server = multiprocessing.get_context("forkserver")
        self.server.set_forkserver_preload(["pipeline.execute", "pipeline.options", "pipeline.releases"])
        (self.folder / "photos").mkdir()
        for number in range(PHOTOS):
            _draw(number).resize((96, 96)).save(self.folder / f"photos/p{number}.png")
        for policy in POLICIES:
            output = self.folder / "learnt" / policy
            manifest = self.write("learn.csv", {f"p{n}": n for n in range(PHOTOS)})
            assert self.run("run", "--manifest", manifest, "--output", str(output), "--policy", policy) == 0
            for number in range(PHOTOS):
                data = (output / f"images/p{number}.png").read_bytes()
                self.pictures[number, policy] = hashlib.sha256(data).hexdigest()

    def write(self, name: str, rows: Mapping[str, int], deleted: frozenset[str] | set[str] = frozenset()) -> str:
        """Write a manifest."""
        with (self.folder / name).open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("id", "uri", "deleted"))
            table.writerows((id, f"photos/p{photo}.png", "") for id, photo in rows.items())
            table.writerows((id, "", "true") for id in deleted)
        return str(self.folder / name)

    def run(self, command: str, *arguments: str, kill_after: float | None = None) -> int | None:
        """Run a command in a process of its own; give its exit code, None if it was killed."""
        more = () if command in ("rollback", "publish", "discard") else ("--direct_num_workers", "1", *OFF)
        network = ("--model", "u2netp") if command == "run" else ()
        words = [command, *arguments, *network, *more]
        process: BaseProcess = self.server.Process(target=_child, args=(words, str(self.folder / "log")))
        process.start()
        process.join(kill_after)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return None
        return process.exitcode


def _rows(query: str) -> list[tuple[Any, ...]]:
    found = duckdb.query(query)
    return [] if found is None else found.fetchall()


def state_of(output: Path, latest: Mapping[str, Any]) -> Rows:
    """Read the one state of a release, as a stranger would."""

    def rows(name: str) -> str:
        return f"(SELECT * FROM read_parquet('{output / latest[name]}/part-*.parquet', hive_partitioning = false))"

    query = f"SELECT id, output_uri, output_sha256 FROM {rows('report')}"
    if latest.get("changes"):
        query += f" WHERE id NOT IN (SELECT id FROM {rows('changes')}) UNION ALL "
        query += f"SELECT id, output_uri, output_sha256 FROM {rows('changes')} WHERE status <> 'deleted'"
    found = {}
    for id, name, sha256 in _rows(query):
        assert hashlib.sha256((output / name).read_bytes()).hexdigest() == sha256, f"{name} is torn"
        assert id not in found, f"{id} is twice in one state"
        found[id] = sha256
    return found


BENCH: Bench


class Releases(RuleBasedStateMachine):
    """The machine. releases: what each run left, by run_id; policy: what it was asked for; in_force, back: run_ids."""

    candidates = Bundle("candidates")

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: str) -> None:
        """Publish a first release."""
        self.output = Path(tempfile.mkdtemp(dir=BENCH.folder)) / "out"
        shutil.copytree(BENCH.folder / "learnt" / POLICIES[0] / "maps", self.output / "maps")
        self.releases: dict[str, Rows] = {}
        self.photos: dict[str, dict[str, int]] = {}
        self.policy: dict[str, str] = {}
        self.held: set[str] = set()
        self.in_force: str | None = None
        self.back: str | None = None
        self._full({id: n for n, id in enumerate(IDS[:3])}, policy, None, 30, more=("--names", "fingerprint"))

    def _latest(self) -> dict[str, Any] | None:
        file = self.output / "report/latest.json"
        return json.loads(file.read_text()) if file.exists() else None

    def _runs(self) -> dict[str, dict[str, Any]]:
        """Read run.json of whatever is a release."""
        found = {file.parent.name: json.loads(file.read_text()) for file in self.output.glob("runs/*/run.json")}
        return {run_id: run for run_id, run in found.items() if run.get("rows") is not None}

    def _after(self, code: int | None, photos: dict[str, int], rows: Rows, policy: str) -> None:
        """See what became of a run: all of it, or nothing if it was killed."""
        new = set(self._runs()) - set(self.releases)
        latest = self._latest()
        assert len(new) <= 1
        if code is None and not new:
            return
        (run_id,) = new
        self.releases[run_id], self.photos[run_id], self.policy[run_id] = rows, photos, policy
        held = self.back is not None and self.policy[self.back] == policy
        published = latest is not None and latest["run_id"] == run_id
        if code is None and not published:  # between run.json and latest.json; a candidate like another
            self.held.add(run_id)
            return
        assert published == (not held), "a release of what was rolled back is held, and no other"
        assert code is None or code == int(held)
        if published:
            self.in_force, self.back = run_id, None
        else:
            self.held.add(run_id)

    def _start(self) -> tuple[dict[str, int], Rows]:
        if self.in_force is None:
            return {}, {}
        return dict(self.photos[self.in_force]), dict(self.releases[self.in_force])

    def _full(
        self, rows: dict[str, int], policy: str, kill: float | None, keep: int, more: tuple[str, ...] = ()
    ) -> None:
        manifest = BENCH.write(f"{self.output.parent.name}.csv", rows)
        given = ("--manifest", manifest, "--output", str(self.output), "--policy", policy, "--keep_reports", str(keep))
        code = BENCH.run("run", *given, *more, kill_after=kill)
        self._after(code, dict(rows), {id: BENCH.pictures[photo, policy] for id, photo in rows.items()}, policy)

    kills = st.one_of(st.none(), st.none(), st.floats(0.05, 0.9))
    catalogs = st.dictionaries(st.sampled_from(IDS), st.integers(0, PHOTOS - 1), min_size=1)

    @rule(rows=catalogs, policy=st.sampled_from(POLICIES), kill=kills, keep=st.sampled_from([1, 2, 30]))
    def run(self, rows: dict[str, int], policy: str, kill: float | None, keep: int) -> None:
        """Run over a whole catalog."""
        self._full(rows, policy, kill, keep)

    @rule(rows=catalogs, deleted=st.sets(st.sampled_from(IDS)), policy=st.sampled_from(POLICIES), kill=kills)
    def partial(self, rows: dict[str, int], deleted: set[str], policy: str, kill: float | None) -> None:
        """Run over changes."""
        deleted -= rows.keys()
        manifest = BENCH.write(f"{self.output.parent.name}.csv", rows, deleted)
        photos, pictures = self._start()
        for id in deleted:
            photos.pop(id, None)
            pictures.pop(id, None)
        photos |= rows
        pictures |= {id: BENCH.pictures[photo, policy] for id, photo in rows.items()}
        given = ("--manifest", manifest, "--output", str(self.output), "--policy", policy)
        code = BENCH.run("run", "--partial", *given, kill_after=kill)
        self._after(code, photos, pictures, policy)

    @rule(policy=st.sampled_from(POLICIES), kill=kills)
    @precondition(lambda self: self.in_force is not None and self.photos[self.in_force])
    def migrate(self, policy: str, kill: float | None) -> None:
        """Apply another policy to what is in force."""
        photos, _ = self._start()
        manifest = BENCH.write(f"{self.output.parent.name}.csv", photos)
        given = ("--manifest", manifest, "--output", str(self.output), "--policy", policy)
        code = BENCH.run("migrate", *given, kill_after=kill)
        self._after(code, photos, {id: BENCH.pictures[photo, policy] for id, photo in photos.items()}, policy)

    @rule(which=st.integers(0, 9), kill=kills)
    @precondition(lambda self: self.in_force is not None)
    def rollback(self, which: int, kill: float | None) -> None:
        """Go back, or forward again."""
        there = self._runs()
        others = sorted((self.releases.keys() & there.keys()) - self.held - {self.in_force})
        if not others:
            return
        to = others[which % len(others)]
        code = BENCH.run("rollback", "--output", str(self.output), "--to", to, kill_after=kill and kill / 3)
        if code is None and (self._latest() or {})["run_id"] == self.in_force:
            return
        assert code in (0, None)
        self.back = None if to == self.back else self.back or self.in_force
        self.in_force = to

    @rule(which=st.integers(0, 9), publish=st.booleans())
    def end(self, which: int, publish: bool) -> None:
        """Publish or discard a candidate."""
        there = self._runs()
        held = sorted(self.held & there.keys())
        if not held:
            return
        run_id = held[which % len(held)]
        code = BENCH.run("publish" if publish else "discard", "--output", str(self.output), run_id)
        if publish and there[run_id]["base"] != self.in_force:
            assert code == 2, "what was made from another release is not published"
            return
        assert code == 0
        self.held.discard(run_id)
        if publish:
            self.in_force, self.back = run_id, None
        else:
            del self.releases[run_id]

    @invariant()
    def one_state(self) -> None:
        """What is in force is what the model says, and all that is kept is whole."""
        latest = self._latest()
        assert (latest and latest["run_id"]) == self.in_force
        if latest is not None and self.in_force is not None:
            assert state_of(self.output, latest) == self.releases[self.in_force]
        for run_id, run in self._runs().items():
            assert state_of(self.output, run) == self.releases[run_id], f"release {run_id} is not what it was"

    def teardown(self) -> None:
        """Fold everything, and see that nothing is left that nobody names."""
        rows = {"a": 0, "d": 1}
        other = next(policy for policy in POLICIES if self.back is None or policy != self.policy[self.back])
        self._full(rows, other, None, 1)
        self._full(rows, other, None, 1)
        named = {name for (name,) in _rows(f"SELECT output_uri FROM '{self.output}/report/*/part-*.parquet'")}
        there = {path.relative_to(self.output).as_posix() for path in self.output.glob("images/**/*.png")}
        assert there == named
        shutil.rmtree(self.output.parent)


def prepared(folder: Path) -> Bench:
    """Make what the machine needs."""
    global BENCH
    BENCH = Bench(folder)
    BENCH.prepare()
    return BENCH


def _poll(output: Path, over: Any, found: Any) -> None:
    """Read what is in force, over and over; count the looks, and the pictures that are not what their report says."""
    looks = torn = 0
    seen = set()
    while not over.is_set():
        latest = json.loads((output / "report/latest.json").read_text())
        seen.add(latest["run_id"])
        try:
            state_of(output, latest)
        except (AssertionError, OSError, duckdb.Error):
            torn += 1
        looks += 1
    found.put((looks, torn, len(seen)))


def count_torn(count: int, names: str) -> str:
    """Migrate again and again, half of the times killed on the way, while a reader polls; say what it saw."""
    output = BENCH.folder / names
    rows = {f"r{n}": n % PHOTOS for n in range(60)}
    manifest = BENCH.write(f"{names}.csv", rows)
    given = ("--manifest", manifest, "--output", str(output))
    assert BENCH.run("run", *given, "--names", names) == 0
    over, found = BENCH.server.Event(), BENCH.server.Queue()
    reader = BENCH.server.Process(target=_poll, args=(output, over, found))
    reader.start()
    chance, killed = random.Random(0), 0
    for number in range(count):
        kill = chance.uniform(0.2, 1.2) if number % 2 else None
        code = BENCH.run("migrate", *given, "--policy", POLICIES[number % len(POLICIES)], kill_after=kill)
        killed += code is None
    over.set()
    looks, torn, seen = found.get()
    reader.join()
    return f"{names}: {count} migrations of 60 rows, {killed} killed; {looks} looks at {seen} releases, {torn} torn"


def main() -> None:
    """Run series after series."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--torn", type=int, default=0, metavar="N", help="count torn reads in so many migrations instead"
    )
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=".") as folder:
        prepared(Path(folder).resolve())
        if flags.torn:
            print(count_torn(flags.torn, "fingerprint"), count_torn(flags.torn, "stable"), sep="\n")
            return
        random.seed(flags.seed)
        began = time.monotonic()
        how = settings(
            max_examples=flags.series,
            stateful_step_count=flags.steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(Releases, settings=how)
        print(f"{flags.series} series of up to {flags.steps} steps: no difference, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
