"""Which engine a local run is best given to: the same night on each, in turn, with all processes that it takes.

    python -m benchmarks.engines --photos FOLDER --prism FILE [--rows 100000] [--rounds 2]

Two nights: a catalog of which nothing changed (links to the given photos, as benchmarks/incremental.py makes it), and
the given photos, new. Memory is the sum over all processes of what each has for itself (Pss), at its peak.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.incremental import make_catalog

SAMPLED_S = 0.25
ENGINES = {
    "FnApiRunner, threads (local)": ["--runner", "local"],
    "FnApiRunner, processes": ["--runner", "local", "--direct_running_mode", "multi_processing"],
    "portable, embedded": ["--runner", "PortableRunner", "--job_endpoint", "embed", "--environment_type", "LOOPBACK"],
    "Prism": ["--runner", "PrismRunner"],
}


def memory_of(session: int) -> int:
    """Add up the proportional set sizes of a session's processes and of those that they have started, bytes."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = {session}, {session}
    while new:
        new = {process for process, parent in parents.items() if parent in new} - found
        found |= new
    total = 0
    for process in found:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def night(manifest: Path, output: Path, engine: list[str]) -> tuple[float, int]:
    """Run; give seconds and the peak of memory in bytes."""
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(manifest), "--output", str(output)]
    settings = ["--model", "u2netp", "--precision", "fp32", "--max_failure_fraction", "1"]
    began, peak = time.perf_counter(), 0
    with subprocess.Popen([*command, *settings, *engine], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(SAMPLED_S)
        if process.returncode:
            assert process.stderr is not None
            raise SystemExit(f"{engine}: exit code {process.returncode}: {process.stderr.read().decode()[-500:]}")
    return time.perf_counter() - began, peak


def main() -> None:
    """Run both nights on each engine, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--prism", type=Path, metavar="FILE", help="Prism's binary, of Beam's version")
    parser.add_argument("--rows", type=int, default=100_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=2, metavar="N")
    flags = parser.parse_args()
    engines = {name: words for name, words in ENGINES.items() if name != "Prism" or flags.prism}
    if flags.prism:
        engines["Prism"] = [*engines["Prism"], "--prism_location", str(flags.prism.resolve())]
    with tempfile.TemporaryDirectory(dir=".", prefix=".benchmark-") as temporary:
        folder = Path(temporary).resolve()
        (folder / "linked").mkdir()
        copies = [folder / "linked" / f"{n}.jpg" for n, _ in enumerate(sorted(flags.photos.rglob("*.jpg")))]
        for photo, copy in zip(sorted(flags.photos.rglob("*.jpg")), copies, strict=True):
            copy.write_bytes(photo.read_bytes())
        make_catalog(folder, copies, flags.rows)
        best: dict[tuple[str, str], tuple[float, int]] = {}
        for _ in range(flags.rounds):
            for name, words in engines.items():
                for kind in ("unchanged", "new"):
                    manifest, output = folder / "manifest.csv", folder / "out"
                    if kind == "new":
                        manifest, output = folder / "linked", folder / "new"
                        shutil.rmtree(output, ignore_errors=True)
                    seconds, peak = night(manifest, output, words)
                    best[name, kind] = min(best.get((name, kind), (seconds, peak)), (seconds, peak))
                    print(f"  {name}: {kind}: {seconds:.1f} s, {peak / 2**20:.0f} MB", file=sys.stderr, flush=True)
    print(f"| engine | {flags.rows:,} rows unchanged, s | MB | {len(copies)} photos, s | MB |\n|---|---|---|---|---|")
    for name in engines:
        told = (f"{best[name, kind][0]:.1f} | {best[name, kind][1] / 2**20:.0f}" for kind in ("unchanged", "new"))
        print(f"| {name} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
