"""A watch for an hour with a change a second, or a stream for ten minutes, against a dict of ids and photos.

python -m benchmarks.watching [--seconds 3600] [--ids 400] [--kills 0] [--seed 0]
python -m benchmarks.watching --prism PRISM [--seconds 600] [--kills 3]

Pictures must be those that one run makes of the photos. Memory is the watch's own (RSS), and time its processor time.
To a stream manifests come at random times, one in three seconds; latency is from a drop to the report that has it, of
drops after which nothing was killed for half a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rates import _draw
from benchmarks.releases import OFF, Rows, state_of

PHOTOS = 40
SAID_EVERY_S = 300
QUIET_S = 30.0
PRECISION = "fp32"
"""Of a stream, whose workers might be others than this machine."""


def main() -> None:
    """Drop changes, and compare what the watch made of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--prism", help="the binary of Prism: a stream instead")
    parser.add_argument("--ids", type=int, default=400)
    parser.add_argument("--kills", type=int, default=0, help="how often the watch is killed with -9 and started again")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        (folder / "photos").mkdir()
        for number in range(PHOTOS):
            _draw(number).resize((160, 160)).save(folder / f"photos/{number}.png")
        pictures = _pictures(folder, ["--precision", PRECISION] if options.prism else [])
        kills = set(rng.sample(range(1, options.seconds), options.kills))
        watch = _start(folder, options.prism)
        latency = _Latency(folder / "out", bool(options.prism))
        count = 0
        wanted: dict[str, str] = {}
        began = time.monotonic()
        for second in range(options.seconds):
            if options.prism and rng.random() > 1 / 3:
                time.sleep(max(0.0, began + second + rng.random() - time.monotonic()))
                latency.look()
                continue
            id, deleted = f"i{rng.randrange(options.ids)}", rng.random() < 0.1
            photo = rng.randrange(PHOTOS)
            count += 1
            _drop(folder, second, f"{id},,true" if deleted else f"{id},{folder}/photos/{photo}.png,")
            if deleted:
                wanted.pop(id, None)
                latency.dropped(id, None)
            else:
                wanted[id] = pictures[photo]
                latency.dropped(id, pictures[photo])
            if kills and second >= min(kills):
                kills.remove(min(kills))
                watch.kill()
                watch.wait()
                watch = _start(folder, options.prism)
                latency.killed()
            latency.look()
            if second % SAID_EVERY_S == SAID_EVERY_S - 1 and not options.prism:
                _say(folder, watch, second + 1)
            time.sleep(max(0.0, began + second + 1 - time.monotonic()))
        dropped = time.monotonic()
        left = (lambda: latency.shown() != wanted) if options.prism else (lambda: _left(folder) > 0)
        while left() and time.monotonic() < dropped + 600:
            time.sleep(0.2)
            latency.look()
        behind = time.monotonic() - dropped
        print(f"{count} changes in {dropped - began:.0f} s; behind at the end: {behind:.1f} s")
        watch.terminate()
        print(f"the watch ended with {watch.wait()}")
        made = state_of(folder / "out", json.loads((folder / "out/report/latest.json").read_text()))
        wrong = {id for id in {*wanted, *made} if wanted.get(id) != made.get(id)}
        print(f"{len(made)} rows, {len(wrong)} unlike the model")
        if latency.seconds:
            median, worst = statistics.median(latency.seconds), max(latency.seconds)
            print(f"latency of {len(latency.seconds)} drops: {median:.1f} s in the median, {worst:.1f} s at most")
        if wrong:
            sys.exit(f"differ: {sorted(wrong)[:10]}; {(folder / 'log').read_text()[-3000:]}")


def _pictures(folder: Path, more: Sequence[str]) -> dict[int, str]:
    """Learn by a run what sha256 each photo's picture must have."""
    manifest, output = folder / "all.csv", folder / "learnt"
    manifest.write_text("id,uri\n" + "".join(f"{number},photos/{number}.png\n" for number in range(PHOTOS)))
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(manifest), "--output", str(output)]
    subprocess.run([*command, "--model", "u2netp", *more], check=True, capture_output=True)
    rows = state_of(output, json.loads((output / "report/latest.json").read_text()))
    return {int(id): sha256 for id, sha256 in rows.items()}


class _Latency:
    """How long it takes from a drop until the report in force says it; of an id one drop at a time."""

    def __init__(self, output: Path, is_asked: bool) -> None:
        self.output, self.is_asked = output, is_asked
        self.seconds: list[float] = []
        self._waiting: dict[str, tuple[str, float]] = {}
        self._from = time.monotonic() + QUIET_S

    def shown(self) -> Rows:
        try:
            return state_of(self.output, json.loads((self.output / "report/latest.json").read_text()))
        except OSError:
            return {}

    def dropped(self, id: str, sha256: str | None) -> None:
        """Wait for a picture, if it is not there already."""
        self._waiting.pop(id, None)
        if self.is_asked and sha256 is not None and time.monotonic() > self._from and self.shown().get(id) != sha256:
            self._waiting[id] = (sha256, time.monotonic())

    def killed(self) -> None:
        """Wait for nothing any more, nor for what is dropped soon."""
        self._waiting.clear()
        self._from = time.monotonic() + QUIET_S

    def look(self) -> None:
        """See what has come."""
        shown = self.shown() if self._waiting else {}
        for id, (sha256, since) in list(self._waiting.items()):
            if shown.get(id) == sha256:
                self.seconds.append(time.monotonic() - since)
                del self._waiting[id]


def _start(folder: Path, prism: str | None) -> subprocess.Popen[bytes]:
    paths = ["--manifest", f"{folder}/in/*.csv", "--output", f"{folder}/out", "--model", "u2netp", *OFF]
    if prism:
        runner = ["--runner", "PrismRunner", "--prism_location", prism]
        words = ["run", "--streaming", *paths, "--names", "fingerprint", "--precision", PRECISION, *runner]
    else:
        words = ["watch", *paths, "--every", "1"]
    with (folder / "log").open("a") as log:
        return subprocess.Popen([sys.executable, "-m", "pipeline", *words], stdout=log, stderr=log)


def _drop(folder: Path, number: int, line: str) -> None:
    hidden = folder / f"in/.{number:06}.csv"
    hidden.write_text(f"id,uri,deleted\n{line}\n")
    hidden.rename(folder / f"in/{number:06}.csv")
    for old in range(number - 600, number - 540):  # a supplier who tidies up what is ten minutes old
        (folder / f"in/{old:06}.csv").unlink(missing_ok=True)


def _left(folder: Path) -> int:
    """Count what lies there and was not done."""
    try:
        said = json.loads((folder / "out/report/watch.json").read_text())
    except OSError:
        return 1
    if said["set_aside"]:
        sys.exit(f"set aside: {said['set_aside']}")
    return len({str(file) for file in (folder / "in").glob("*.csv")} - said["consumed"].keys())


def _say(folder: Path, watch: subprocess.Popen[bytes], second: int) -> None:
    memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{watch.pid}/status").read_text())
    ticks = Path(f"/proc/{watch.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    size = int(memory[1]) // 1024 if memory else 0
    print(f"after {second} s: {size} MB, {seconds:.0f} s of a core, {_left(folder)} waiting", flush=True)


if __name__ == "__main__":
    main()
