"""A watch for an hour with a change a second, against a dict of ids and photos.

python -m benchmarks.watching [--seconds 3600] [--ids 400] [--kills 0] [--seed 0]

Pictures must be those that one run makes of the photos. Memory is the watch's own (RSS), and time its processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rates import _draw
from benchmarks.releases import OFF, state_of

PHOTOS = 40
SAID_EVERY_S = 300


def main() -> None:
    """Drop changes, and compare what the watch made of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3600)
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
        pictures = _pictures(folder)
        kills = set(rng.sample(range(1, options.seconds), options.kills))
        watch = _start(folder)
        wanted: dict[str, str] = {}
        began = time.monotonic()
        for second in range(options.seconds):
            id, deleted = f"i{rng.randrange(options.ids)}", rng.random() < 0.1
            photo = rng.randrange(PHOTOS)
            _drop(folder, second, f"{id},,true" if deleted else f"{id},{folder}/photos/{photo}.png,")
            if deleted:
                wanted.pop(id, None)
            else:
                wanted[id] = pictures[photo]
            if second in kills:
                watch.kill()
                watch.wait()
                watch = _start(folder)
            if second % SAID_EVERY_S == SAID_EVERY_S - 1:
                _say(folder, watch, second + 1)
            time.sleep(max(0.0, began + second + 1 - time.monotonic()))
        dropped = time.monotonic()
        while _left(folder) and time.monotonic() < dropped + 600:
            time.sleep(0.2)
        behind = time.monotonic() - dropped
        print(f"{options.seconds} changes in {dropped - began:.0f} s; behind at the end: {behind:.1f} s")
        watch.terminate()
        print(f"the watch ended with {watch.wait()}")
        made = state_of(folder / "out", json.loads((folder / "out/report/latest.json").read_text()))
        wrong = {id for id in {*wanted, *made} if wanted.get(id) != made.get(id)}
        print(f"{len(made)} rows, {len(wrong)} unlike the model")
        if wrong:
            sys.exit(f"differ: {sorted(wrong)[:10]}; {(folder / 'log').read_text()[-3000:]}")


def _pictures(folder: Path) -> dict[int, str]:
    """Learn by a run what sha256 each photo's picture must have."""
    manifest, output = folder / "all.csv", folder / "learnt"
    manifest.write_text("id,uri\n" + "".join(f"{number},photos/{number}.png\n" for number in range(PHOTOS)))
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(manifest), "--output", str(output)]
    subprocess.run([*command, "--model", "u2netp"], check=True, capture_output=True)
    rows = state_of(output, json.loads((output / "report/latest.json").read_text()))
    return {int(id): sha256 for id, sha256 in rows.items()}


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "watch",
        "--manifest",
        f"{folder}/in/*.csv",
        "--output",
        f"{folder}/out",
    ]
    with (folder / "log").open("a") as log:
        return subprocess.Popen([*command, "--model", "u2netp", "--every", "1", *OFF], stdout=log, stderr=log)


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
