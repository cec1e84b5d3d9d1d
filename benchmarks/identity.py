"""Show that a migration gives the bytes of a full run: every picture and every shard of the report, for every method.

    python -m benchmarks.identity --work FOLDER [--manifest ../shared/data/catalog/manifest.csv] [--model u2netp]

The catalog is run under 0.7 once. Then, for each policy: a full run under it into a new folder, and a migration of a
copy of the first; what lies in both is compared byte for byte. The full runs take their maps from the first, but for
those of --cold, which ask the network for every photo; their maps are compared too. The exit code is 1 if anything
differs. `stale` counts pictures of the first run that the policy fails; there must be none.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.output.schema import HISTORY, SCHEMA
from transforms.report import to_parquet

RULES = [
    'method = "otsu"\nfloor = 0.3\nnormalize = "minmax"',
    "threshold = 0.5\nminimum_component = 20000",  # on_no_subject: fail
    'threshold = 0.5\nminimum_component = 30000\non_no_subject = "keep"',
    'threshold = 0.5\nminimum_component = 30000\non_no_subject = "white"',
    'method = "hysteresis"\nlow = 0.3\nhigh = 0.9\nholes = "fill"\nfill_below = 500\non_already_white = "keep"',
    'method = "ramp"\nthreshold = 0.6\nwidth = 0.3\ninterpolation = "nearest"',
    'method = "soft"\non_no_subject = "white"',
    'method = "ladder"\nminimum_share = 0.3\nminimum_component = 50',
]
"""What the policy `mixed` says of the categories in turn."""

BRAKES = ("failure_fraction", "gone_fraction", "emptied_fraction", "foreground_shift")
BRAKES_OFF = [f"--max_{name}=1" for name in BRAKES]
"""What lets a benchmark change a catalog as it likes."""

POLICIES = ["0.5", "otsu", "soft", "ramp", "hysteresis", "ladder", "mixed"]


def pipeline(command: str, manifest: str, output: Path, *arguments: str) -> dict[str, Any]:
    """Run a command of the pipeline; give the run.json that it wrote."""
    flags = ["--manifest", manifest, "--output", str(output), *BRAKES_OFF, *arguments]
    found = subprocess.run([sys.executable, "-m", "pipeline", command, *flags], capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stdout + found.stderr)
    run_id = newest(output).name.removeprefix("run=")
    run: dict[str, Any] = json.loads((output / "runs" / run_id / "run.json").read_text())
    return run


def newest(output: Path) -> Path:
    """Give the folder of the newest report under an output folder."""
    return output / json.loads((output / "report/latest.json").read_text())["report"]


def files(folder: Path, pattern: str = "**/*") -> dict[str, bytes]:
    """Read the files below a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def without_history(shard: bytes) -> bytes:
    """Give the bytes of a report's shard without what it tells of the runs before."""
    table = pq.ParquetFile(io.BytesIO(shard)).read()
    for name in HISTORY:
        column = SCHEMA.field(name)
        table = table.set_column(SCHEMA.get_field_index(name), column, pa.nulls(len(table), column.type))
    return to_parquet(table)


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    """Name the files that are not the same in both, or are in only one."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def mixed(first: Path) -> str:
    """Write a policy with a rule for each category of a report."""
    shards = newest(first).glob("part-*.parquet")
    categories = {name for shard in shards for name in pq.read_table(shard)["category"].to_pylist() if name}
    rules = [f"[category.{json.dumps(name)}]\n{RULES[n % len(RULES)]}" for n, name in enumerate(sorted(categories))]
    return "\n\n".join(["[default]\nthreshold = 0.6", *rules]) + "\n"


def check(policy: str, flags: argparse.Namespace, first: Path, network: Sequence[str]) -> bool:
    """Compare a full run under a policy with a migration to it, print one line, and tell whether they are the same."""
    cold = policy in flags.cold
    full, migrated = flags.work / f"full-{policy}", flags.work / f"migrated-{policy}"
    if policy == "mixed":
        (flags.work / "mixed.toml").write_text(mixed(first))
    rule = ("--policy", str(flags.work / "mixed.toml") if policy == "mixed" else policy)
    if not cold:
        shutil.copytree(first / "maps", full / "maps", copy_function=os.link)
    shutil.copytree(first, migrated)
    run = pipeline("run", flags.manifest, full, *network, *rule)
    other = pipeline("migrate", flags.manifest, migrated, *rule)
    if ("predict" in run["step_seconds"]) != cold or "predict" in other["step_seconds"]:
        raise SystemExit(f"{policy}: the network was asked where it should not be, or not where it should")
    pictures, ours, earlier = (files(folder / "images") for folder in (full, migrated, first))
    stale = {name for name in ours.keys() - pictures.keys() if ours[name] == earlier.get(name)}
    wrong = differences(pictures, {name: data for name, data in ours.items() if name not in stale})
    rewritten = sum(ours[name] != earlier.get(name) for name in pictures.keys() & ours.keys())
    reports = differences(
        *(
            {shard.name: without_history(shard.read_bytes()) for shard in newest(folder).glob("part-*")}
            for folder in (full, migrated)
        )
    )
    maps = differences(files(full / "maps"), files(migrated / "maps"))
    flag = Counter(run["mask_flags"])["kept_original"]
    print(
        f"{policy:12}{'yes' if cold else 'no':>9}{len(pictures):10}{rewritten:10}{len(wrong):10}{len(stale):7}"
        f"{run['statuses'].get('failed', 0):8}{flag:6}{'differs' if reports else 'equal':>9}"
        f"{'differ' if maps else 'equal':>8}",
        flush=True,
    )
    for name in sorted(wrong | reports | maps):
        print(f"  differs: {name}")
    for name in sorted(stale):
        print(f"  stale: images/{name}")
    wrong |= stale
    if not (wrong or reports or maps or flags.keep):
        shutil.rmtree(full)
        shutil.rmtree(migrated)
    return not (wrong or reports or maps)


def main() -> None:
    """Run once, then check one policy after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--manifest", default="../shared/data/catalog/manifest.csv")
    parser.add_argument("--model", default="u2net")
    parser.add_argument("--work", type=Path, required=True, help="an empty scratch folder")
    parser.add_argument("--policy", action="append", help=f"may be given more than once (default: {POLICIES})")
    parser.add_argument("--cold", action="append", help="those run without stored maps (default: mixed)")
    parser.add_argument("--keep", action="store_true", help="keep the outputs that were the same")
    flags = parser.parse_args()
    flags.cold = flags.cold or ["mixed"]
    first, network = flags.work / "first", ("--model", flags.model)
    rows = pipeline("run", flags.manifest, first, *network, "--policy", "0.7")["rows"]
    print(f"{rows} rows, {flags.model}; first run under 0.7: {len(files(first / 'images'))} pictures")
    print(
        f"{'policy':12}{'network':>9}{'pictures':>10}{'changed':>10}{'differing':>10}{'stale':>7}"
        f"{'failed':>8}{'kept':>6}{'report':>9}{'maps':>8}"
    )
    same = [check(policy, flags, first, network) for policy in flags.policy or POLICIES]
    print("the same" if all(same) else "NOT the same")
    sys.exit(not all(same))


if __name__ == "__main__":
    main()
