"""Many nights of a small shop, and whether each ends where one run into an empty folder would.

    .venv/bin/python -m benchmarks.nights --seed 1 --series 20 --nights 8      # series 1 to 20, of eight nights each
    .venv/bin/python -m benchmarks.nights --scenario photos_away_after_migrate # one told night by night; `all` for all

Every night things happen to the shop (benchmarks/shop.py) and to the output folder, a command runs, perhaps killed,
stopped, suspended or beside another, and is given again if it was. Then all that docs/ promises is looked at from
outside: the pictures, the report and the maps, against those of a fresh run into an empty folder, column by column and
byte by byte. The network is asked once for each photo of all nights, and remembered (--network asks it every time).
"""

from __future__ import annotations

import argparse
import gc
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.scenarios import SCENARIOS
from benchmarks.world import POLICIES, Command, World


def one_night(world: World, rng: random.Random) -> None:
    """Draw what happens, the command, and what befalls it."""
    world.tale += [f"  {said}" for said in world.shop.happen(rng)]
    if world.nights and rng.random() < 0.35:
        world.tale.append(f"  {world.damage(rng, rng.random() < 0.35)}")
    if world.other and rng.random() < 0.15 and world.other.exists():
        shutil.rmtree(world.other)
        world.tale.append("  the other output is deleted")
    world.rows_per_shard = rng.choice([1, 2, 3, 100, 100])
    settings = dict(world.settings)
    if rng.random() < 0.5:
        settings["policy"] = rng.choice(POLICIES)
    if rng.random() < 0.25:
        settings["format"] = rng.choice(["same", "png", "webp", "jpeg"])
    if rng.random() < 0.15:
        settings["background"] = rng.choice(["white", "#ff8800"])
    kind = rng.choice(
        ["run"] * 6
        + ["prune", "prune", "force", "retry", "migrate", "migrate", "from", "from", "verify", "repair", "repair"]
    )
    if (kind == "from" and not (world.other and world.other.exists())) or world.nights == 0:
        kind = "run"
    command = {
        "run": Command("run", settings),
        "prune": Command("run", settings, ("--prune",)),
        "force": Command("run", settings, ("--force",)),
        "retry": Command("run", dict(world.settings), ("--retry_failed",)),
        "migrate": Command("migrate", settings),
        "from": Command("migrate", settings, (), world.other),
        "verify": Command("verify", {}),
        "repair": Command("verify", {}, ("--repair",)),
    }[kind]
    disturb = None
    if rng.random() < 0.45 and kind != "verify":
        at = rng.choice([rng.randint(1, 12), rng.randint(1, 40)])
        disturb = rng.choice(
            [
                *[world.struck(signal.SIGKILL, at)] * 3,
                world.struck(signal.SIGTERM, at),
                world.both(rng.uniform(0, 1.5)),
                *[world.suspended(at, rng.randint(2, 40))] * 2,
            ]
        )
        world.tale.append(f"  {disturb.__qualname__.split('.')[1]} at operation {at}")
    world.night(command, disturb)


def series(folder: Path, seed: int, nights: int, memory: Path | None, leave_out: tuple[str, ...] = ()) -> World:
    """Live through a series of nights, until one goes wrong."""
    world, rng = World(folder, seed, memory), random.Random(seed)
    world.share = 0.5
    world.leave_out = leave_out
    world.shop.draw_all(rng, rng.randint(4, 9), lead="lead" not in leave_out)
    world.shop.write()
    while world.nights < nights and not world.wrong:
        one_night(world, random.Random(f"{seed} {world.nights}"))
    return world


def main() -> int:
    """Live through nights; exit code 1 if any promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first series; the others follow")
    parser.add_argument("--series", type=int, default=10, metavar="N")
    parser.add_argument(
        "--nights", type=int, default=8, metavar="N", help="of each series, which ends with its first difference"
    )
    parser.add_argument(
        "--scenario", nargs="+", choices=["all", *SCENARIOS], help="nights that are told, instead of drawn ones"
    )
    parser.add_argument(
        "--leave_out", nargs="*", default=[], choices=["lead", "empty"], help="what is known to be wrong"
    )
    parser.add_argument("--network", action="store_true", help="ask the network every time")
    parser.add_argument("--memory", metavar="DIR", help="where to remember what it said, also for the next time")
    parser.add_argument("--keep", metavar="DIR", help="keep the folders of what went wrong there")
    flags = parser.parse_args()
    nights = differences = 0
    told = list(SCENARIOS) if flags.scenario == ["all"] else flags.scenario or []
    with tempfile.TemporaryDirectory(prefix="whitesweep-nights-") as temporary:
        memory = Path(flags.memory or f"{temporary}/memory")
        memory.mkdir(exist_ok=True)
        gc.collect()
        gc.freeze()
        for one in list[Any](told or range(flags.seed, flags.seed + flags.series)):
            folder = Path(temporary) / str(one)
            remembered = None if flags.network else memory
            world = (
                SCENARIOS[one](folder, remembered)
                if told
                else series(folder, one, flags.nights, remembered, tuple(flags.leave_out))
            )
            nights += world.nights
            if world.wrong:
                differences += 1
                replay = f"--scenario {one}" if told else f"--seed {one} --series 1 --nights {world.nights}"
                print("\n".join([f"{replay}:", *world.tale, *(f"!! {wrong}" for wrong in world.wrong), ""]), flush=True)
            elif told:
                print(f"{one}: as promised", flush=True)
            if world.wrong and flags.keep:
                shutil.copytree(folder, Path(flags.keep) / str(one), dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{nights} nights, {differences} with a difference")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
