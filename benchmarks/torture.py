"""Runs that are killed, starved and misled at random moments, and whether the next run ends where it should.

    .venv/bin/python -m benchmarks.torture --rounds 200 --seed 1

Every round starts from an empty folder, from last night's output and a changed catalog, or from a policy that is to be
migrated; disturbs one or two runs (the same seed gives the same disturbance at the same file operation); lets one run
end undisturbed; and then wants: verify finds nothing, pictures, maps and report are byte for byte those of a run that
nobody disturbed, nothing temporary is left. It is the whole pipeline, with the u2netp weights.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

import transforms.process
import transforms.saliency  # noqa: F401
from benchmarks.identity import BRAKES_OFF, without_history
from pipeline.cli import main as whitesweep
from transforms.output.schema import HISTORY
from transforms.storage import local

PHOTOS = 10
COMMIT = 16
"""The last operations of a run, in which it commits: every other disturbance falls among them."""
HUNG_S = 40.0
"""A run that takes longer hangs, and is killed."""


class Faults:
    """Something that happens at the k-th operation on a local file, in this process."""

    def __init__(self, kind: str, at: int, length: int, seed: int) -> None:
        self.kind, self.at, self.length = kind, at, length
        self.random = random.Random(seed)
        self.count = 0
        self.lock = threading.Lock()

    def install(self) -> None:
        """Wrap what transforms.storage.local does to files."""
        for name in ("replace", "unlink", "link"):
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        setattr(local, "open", self._open)  # noqa: B010 - the module has none of its own
        if self.kind == "clock":
            plain, jump = time.time, self.random.uniform(-1e7, 1e7)
            time.time = lambda: plain() + (jump if self.count >= self.at else 0.0)

    def _wrapped(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            if any(str(argument).startswith(str(OUTPUTS)) for argument in arguments):
                self._happen(name)
            return plain(*arguments, **more)

        return wrapped

    def _open(self, path: str, mode: str = "r", **more: Any) -> Any:
        if self._happen("create" if "x" in mode else "read"):
            with open(path, mode, **more) as stream:
                stream.write(b"half of it")
                stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        return open(path, mode, **more)

    def _happen(self, operation: str) -> bool:
        """Count an operation, and do what is due; tell whether to die in the middle of it."""
        with self.lock:
            self.count += 1
            count = self.count
        due, writes = self.at <= count < self.at + self.length, operation != "read"
        if self.kind in ("enospc", "erofs") and due and writes:
            raise OSError({"enospc": errno.ENOSPC, "erofs": errno.EROFS}[self.kind], "injected")
        if self.kind == "eio" and due and not writes:
            raise OSError(errno.EIO, "injected")
        if count != self.at:
            return False
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if self.kind == "hang":
            time.sleep(3600)
        return self.kind == "half" and operation == "create"


OUTPUTS = Path(tempfile.gettempdir())
KINDS = (
    ["kill"] * 5 + ["half"] * 3 + ["term"] * 2 + ["enospc", "erofs", "eio", "eio", "hang", "clock", "replay", "worker"]
)


def in_child(do: Callable[[], int], log: Path, limit: float = HUNG_S) -> int:
    """Do something in a forked process, and give its exit code; 128 + n if signal n ended it."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w")), io.TextIOWrapper(io.FileIO(2, "w"))
            code = do()
        except BaseException:  # it must not come back into what is the parent's
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) % 256
        time.sleep(0.02)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return 256 - signal.SIGKILL


class Torture:
    """The scenarios, and what each of them ends in when nobody disturbs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.shop = folder / "shop"
        self._draw()
        self.base = folder / "base"
        self._must("run", self.base)
        self._change()
        self.policy = folder / "policy.toml"
        self.policy.write_text('[default]\nmethod = "otsu"\n[category.hat]\nminimum_component = 100000\n')
        self.expected: dict[str, dict[str, str]] = {}
        self.operations: dict[str, int] = {}
        for scenario in ("first", "nightly", "migrate"):
            output = self._start(scenario, folder / f"expected-{scenario}")
            faults = Faults("count", 0, 0, 0)
            counter = folder / "operations"

            def count(
                scenario: str = scenario, output: Path = output, faults: Faults = faults, counter: Path = counter
            ) -> int:
                faults.install()
                code = whitesweep(self._command(scenario, output))
                counter.write_text(str(faults.count))
                return code

            code = in_child(count, self.log)
            assert code == 0, f"undisturbed {scenario}: exit code {code}, see {self.log}"
            self.operations[scenario] = int(counter.read_text())
            self.expected[scenario] = contents(output)
        self.pruned = {path.relative_to(self.base).as_posix() for path in self.base.glob("images/**/*.png")}
        self.pruned -= self.expected["nightly"].keys()

    def _draw(self) -> None:
        (self.shop / "photos").mkdir(parents=True)
        for n in range(PHOTOS):
            self._photo(n, n)
        shutil.copy(self.shop / "photos/0.png", self.shop / "photos/copy.png")
        (self.shop / "photos/broken.png").write_bytes(b"no picture")
        rows = [f"{('hats/' if n % 2 else '')}p{n},photos/{n}.png,{'hat' if n % 2 else 'shoe'}" for n in range(PHOTOS)]
        self._manifest([*rows, "copy,photos/copy.png,shoe", "broken,photos/broken.png,hat", "p0,photos/1.png,twin"])

    def _photo(self, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        pixels = np.clip(rng.normal(150, 6, (90, 80, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(pixels)
        ImageDraw.Draw(image).ellipse((15, 12, 62, 75), fill=tuple(int(c) for c in rng.integers(0, 200, 3)))
        image.save(self.shop / f"photos/{n}.png")

    def _manifest(self, rows: list[str]) -> None:
        (self.shop / "m.csv").write_text("\n".join(["id,uri,category", *rows]) + "\n")

    def _change(self) -> None:
        """A day passes: photos change, come and go, and one breaks."""
        self._photo(2, 102)
        self._photo(3, 103)
        self._photo(PHOTOS, 104)
        (self.shop / "photos/4.png").write_bytes((self.shop / "photos/4.png").read_bytes()[:500])
        (self.shop / "photos/5.png").unlink()
        rows = (self.shop / "m.csv").read_text().splitlines()[1:]
        self._manifest([*rows[:8], *rows[9:], f"p{PHOTOS},photos/{PHOTOS}.png,shoe"])

    def _command(self, scenario: str, output: Path) -> list[str]:
        common = ["--manifest", str(self.shop / "m.csv"), "--output", str(output), *BRAKES_OFF]
        if scenario == "migrate":
            return ["migrate", *common, "--policy", str(self.policy)]
        return ["run", *common, "--model", "u2netp", "--prune"]

    def _start(self, scenario: str, output: Path) -> Path:
        if scenario == "first":
            output.mkdir()
        else:
            shutil.copytree(self.base, output, copy_function=shutil.copy2)
        return output

    def _must(self, scenario: str, output: Path) -> None:
        code = in_child(lambda: whitesweep(self._command(scenario, output)), self.log)
        assert code == 0, f"exit code {code}, see {self.log}"

    def round(self, seed: int) -> tuple[str, list[str]]:
        """Disturb, finish, compare; give what was done, and what is wrong."""
        rng = random.Random(seed)
        scenario = rng.choice(["first", "nightly", "nightly", "migrate"])
        output = self._start(scenario, self.folder / f"round-{seed}")
        done, wrong = [scenario], []
        committed_before = latest(output)
        for _ in range(rng.choice([1, 1, 2])):
            kind = rng.choice(KINDS)
            last = self.operations[scenario]
            at = rng.choice([rng.randint(1, last), rng.randint(last - COMMIT, last)])
            code = self._disturb(scenario, output, kind, at, rng)
            done.append(f"{kind}@{at}={code}")
            if latest(output) != committed_before and kind not in ("eio", "enospc", "erofs"):
                # What it says is committed has to be there, before any other run mends it.
                code = in_child(lambda: whitesweep(["verify", "--output", str(output)]), self.log)
                if code != 0:
                    wrong.append(f"what {kind}@{at} left committed does not verify: {code}")
                if not (output / f"runs/{latest(output)}/run.json").exists():
                    wrong.append(f"what {kind}@{at} left committed has no run.json")
            if scenario == "nightly" and latest(output) == committed_before:
                wrong += [f"pruned before the commit: {name}" for name in self.pruned if not (output / name).exists()]
        undisturbed = latest(output) == committed_before  # then even the word `processed` has to be the same
        code = in_child(lambda: whitesweep(self._command(scenario, output)), self.log, limit=120)
        if code != 0:
            wrong.append(f"the last run ended with {code}")
        code = in_child(lambda: whitesweep(["verify", "--output", str(output)]), self.log)
        if code != 0:
            wrong.append(f"verify ended with {code}")
        found, expected = contents(output), self.expected[scenario]
        if not undisturbed:
            found, expected = ({n: d for n, d in of.items() if n != "report"} for of in (found, expected))
        wrong += [
            f"differs: {name}"
            for name in sorted(found.keys() | expected.keys())
            if found.get(name) != expected.get(name)
        ]
        wrong += [f"left: {path}" for path in output.rglob(f"*{local.TEMPORARY}")]
        wrong += [f"left: {path}" for path in output.glob("report/lease.json")]
        if not wrong:
            shutil.rmtree(output)
        return " ".join(done), wrong

    def _disturb(self, scenario: str, output: Path, kind: str, at: int, rng: random.Random) -> int:
        command = self._command(scenario, output)
        if kind == "worker":
            return self._kill_a_worker(command, rng.uniform(1.0, 7.0), rng)
        if kind == "replay":
            more = ["--direct_runner_bundle_repeat", "2", "--direct_running_mode", "in_memory"]
            command += rng.choice([more, ["--runner", "BundleBasedDirectRunner"], ["--direct_num_workers", "4"]])
        faults = Faults(kind, at, rng.choice([1, 3, 10_000]), rng.randrange(1 << 30))

        def disturbed() -> int:
            faults.install()
            return whitesweep(command)

        return in_child(disturbed, self.log, limit=6.0 if kind == "hang" else HUNG_S)

    def _kill_a_worker(self, command: list[str], after: float, rng: random.Random) -> int:
        """Run with worker processes, and kill -9 one of them; then the driver too, if it does not see it."""
        processes = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
        with (
            open(self.log, "a", encoding="utf-8") as log,
            subprocess.Popen(
                [sys.executable, "-m", "pipeline", *command, *processes],
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            ) as driver,
        ):
            time.sleep(after)
            family = subprocess.run(
                ["pgrep", "-s", str(driver.pid)], capture_output=True, text=True, check=False
            ).stdout
            workers = [int(process) for process in family.split() if int(process) != driver.pid]
            if workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
            try:
                return driver.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(driver.pid, signal.SIGKILL)
                return driver.wait()


def latest(output: Path) -> str | None:
    """Name the newest complete run of an output folder."""
    path = output / "report/latest.json"
    return json.loads(path.read_text())["run_id"] if path.exists() else None


def contents(output: Path) -> dict[str, str]:
    """Digest pictures, maps and the newest report; its rows also without the word that tells new from unchanged."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if path.is_file() and not name.startswith(("report/", "runs/")):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if latest(output) is not None:
        shards = sorted((output / f"report/run={latest(output)}").glob("part-*.parquet"))
        found["report"] = hashlib.sha256(b"".join(without_history(shard.read_bytes()) for shard in shards)).hexdigest()
        rows = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
        for row in rows:
            row |= {"status": row["status"].replace("unchanged", "processed"), **dict.fromkeys(HISTORY)}
        found["rows"] = json.dumps(rows, sort_keys=True)
    return found


def main() -> int:
    """Torture; exit code 1 if anything was lost or left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, metavar="N")
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[1], metavar="S", help="of the first round; the others follow"
    )
    flags = parser.parse_args()
    seeds = [seed for first in flags.seed for seed in range(first, first + flags.rounds)]
    with tempfile.TemporaryDirectory(prefix="whitesweep-torture-") as temporary:
        torture = Torture(Path(temporary))
        kinds: Counter[str] = Counter()
        failures = 0
        for seed in seeds:
            done, wrong = torture.round(seed)
            kinds.update(part.split("@")[0] for part in done.split()[1:])
            if wrong:
                failures += 1
                print(f"round {seed}: {done}: {'; '.join(wrong)}", flush=True)
        said = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        begun = " and ".join(map(str, flags.seed))
        print(f"{len(seeds)} rounds from seed {begun}: {failures} with a difference ({said})")
        if failures:
            shutil.copy(torture.log, "torture.log")
            print("what the runs said: torture.log")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
