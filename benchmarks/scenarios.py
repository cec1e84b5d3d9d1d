"""Nights that are told instead of drawn: each a way in which a shop lost pictures or rows once, or could.

A scenario takes an empty folder and the folder of what the network said, and gives the world as it was judged.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.shop import Row, Shop
from benchmarks.world import Command, Process, Trouble, World, look
from pipeline.cli import main as whitesweep

RUN = Command("run", {"policy": "0.7"})
REPAIR = Command("verify", {}, ("--repair",))
OTSU = Command("migrate", {"policy": "otsu"})
Scenario = Callable[[Path, Path | None], World]
SCENARIOS: dict[str, Scenario] = {}


def scenario(tell: Callable[[World], None]) -> Scenario:
    """Enter a function of a world with six photos into the table."""

    def live(folder: Path, memory: Path | None) -> World:
        world = World(folder, 1, memory, kind="csv", out="out")
        for n in range(6):
            world.shop.draw(f"{n}.png", random.Random(n))
            world.shop.rows.append(Row(f"p{n}", f"{n}.png", "hat" if n % 2 else None, "red"))
        world.shop.write()
        tell(world)
        return world

    SCENARIOS[tell.__name__] = live
    return live


def away(world: World, away: bool = True) -> None:
    """Take all photos away, or bring them back."""
    world.shop.away = away
    world.shop.write()


def give(world: World, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    """Give a command line as it is."""
    return world.ended(Process(world, lambda: whitesweep(arguments), Trouble(unreadable=world.shop.unreadable()), cwd))


def expect(world: World, true: bool, otherwise: str) -> None:
    """Say what is wrong unless something is true."""
    if not true:
        world.say(otherwise)


def elsewhere(world: World, policy: str) -> Path:
    """Run the shop into another folder."""
    other = world.folder / "other"
    world.ended(world.start(Command("run", {"policy": policy}), output=other))
    return other


@scenario
def photos_away_after_migrate(world: World) -> None:
    """`migrate --from` twice, the second time without photos: the pictures of the first time stay."""
    command = Command("migrate", {"policy": "0.3"}, source=elsewhere(world, "0.7"))
    world.night(command)
    away(world)
    world.night(command)
    away(world, False)
    world.night(command)


@scenario
def photos_away_after_killed_migrate(world: World) -> None:
    """A migration is killed after it has written pictures, then comes a night without photos."""
    world.night(RUN)
    process = world.start(OTSU, Trouble(signal.SIGKILL, 5))
    world.ended(process, killed=True)
    away(world)
    world.night(RUN)
    world.night(OTSU)


@scenario
def photos_away_after_killed_run(world: World) -> None:
    """The first run is killed with its pictures written, then comes a night without photos."""
    process = world.start(RUN, Trouble(signal.SIGKILL, 13))
    world.ended(process, killed=True)
    away(world)
    world.night(RUN)


@scenario
def photos_away_after_killed_change_of_format(world: World) -> None:
    """A run that makes other endings is killed half way: every row still has one picture or the other."""
    world.night(RUN)
    process = world.start(Command("run", {"policy": "0.7", "format": "webp"}), Trouble(signal.SIGKILL, 6))
    world.ended(process, killed=True)
    away(world)
    world.night(REPAIR)
    world.night(RUN)


@scenario
def photos_away_after_report_removed(world: World) -> None:
    """`rm -rf OUT/report`, as the product itself advises, then a night without photos."""
    world.night(RUN)
    shutil.rmtree(world.output / "report")
    away(world)
    world.night(RUN)
    away(world, False)
    world.night(RUN)


@scenario
def row_back_while_unreadable(world: World) -> None:
    """A row is missing for a night, and back with its photo unreadable."""
    world.night(RUN)
    world.shop.missing = {2}
    world.shop.write()
    world.night(RUN)
    world.shop.missing = set()
    world.shop.photos["2.png"].state = "gone"
    world.shop.write()
    world.night(RUN)
    world.night(replace_flags(RUN, "--prune"))


def replace_flags(command: Command, *flags: str) -> Command:
    """Give a command with other flags."""
    return Command(command.name, command.settings, flags, command.source)


@scenario
def repair_after_migrate_from(world: World) -> None:
    """One picture is damaged after `migrate --from` of another threshold: the other five rows stay as they are."""
    world.night(Command("migrate", {"policy": "0.3"}, source=elsewhere(world, "0.7")))
    _cut(world, "images/p1.png")
    world.night(REPAIR)


def _cut(world: World, name: str) -> None:
    path = world.output / name
    path.write_bytes(path.read_bytes()[:40])
    world.bad[name] = look(world.output).images[name]


@scenario
def repair_after_other_is_gone(world: World) -> None:
    """The same, with a map damaged too, after the folder migrated from is deleted."""
    other = elsewhere(world, "0.7")
    world.night(Command("migrate", {"policy": "0.3"}, source=other))
    shutil.rmtree(other)
    _cut(world, "images/p1.png")
    name = next(iter(look(world.output).maps))
    (world.output / name).unlink()
    world.bad[name] = ""
    world.night(REPAIR)


@scenario
def suspended_run(world: World) -> None:
    """A run sleeps past its lease, wakes while another is writing its shards, and must not touch them."""
    world.rows_per_shard, world.share = 1, 0.0
    world.night(RUN)
    for until in (16, 19, 21):
        for n in range(6):
            world.shop.draw(f"{n}.png", random.Random(until + n))
        world.shop.write()
        world.night(RUN, world.suspended(4, until))
        if world.wrong:
            return


@scenario
def repair_in_vain(world: World) -> None:
    """A picture and its photo are gone: repair cannot end with 0."""
    world.night(RUN)
    (world.output / "images/p3.png").unlink()
    world.bad["images/p3.png"] = ""
    world.shop.photos["3.png"].state = "gone"
    world.shop.write()
    code, said = give(world, "verify", "--output", str(world.output), "--repair")
    expect(world, code == 1, f"C: repair ended with {code}, and p3 has no picture: {said}")


@scenario
def maps_gone_after_migrate(world: World) -> None:
    """All maps are lost after a migration in place: repair makes them again, or does not say that all is well."""
    world.night(RUN)
    world.night(OTSU)
    shutil.rmtree(world.output / "maps")
    code, said = give(world, "verify", "--output", str(world.output), "--repair")
    seen = look(world.output)
    good = sum(row["status"] != "failed" for row in seen.rows)
    expect(world, len(seen.images) == 6, f"A: {len(seen.images)} of 6 pictures are left")
    expect(world, (code == 0) == (good == 6), f"C: repair ended with {code}, {good} of 6 rows are good: {said}")
    expect(world, good == 6, f"C: {good} of 6 rows are good after repair, with photos and network at hand: {said}")


@scenario
def brackets_in_the_output(world: World) -> None:
    """The output's name looks like a glob."""
    world.output = world.folder / "out [1] {a,b} 50% *?"
    world.night(RUN)
    world.night(Command("run", {"policy": "0.3"}))
    world.night(OTSU)
    world.night(REPAIR)


@scenario
def brackets_above_the_photos(world: World) -> None:
    """The manifest is a folder whose name looks like a glob."""
    world.shop = Shop(world.folder / "in [1] *", "folder")
    world.shop.folder.mkdir()
    for n in range(4):
        world.shop.draw(f"sub [2]/{n}.png", random.Random(n))
    world.shop.write()
    world.night(RUN)
    world.night(RUN)


@scenario
def other_policy_same_rule(world: World) -> None:
    """The policy changes for hats: rows of other categories carry the sha256 of the policy of tonight."""
    world.night(RUN)
    world.night(Command("run", {"policy": "[default]\nthreshold = 0.7\n[category.hat]\nthreshold = 0.4\n"}))
    world.night(Command("run", {"policy": "[default]\nthreshold = 0.7\n[category.shoe]\nthreshold = 0.4\n"}))


@scenario
def empty_shard(world: World) -> None:
    """A power cut leaves a shard of the newest report empty."""
    world.rows_per_shard = 2
    world.night(RUN)
    next((world.output / "report").rglob("part-00001*")).write_bytes(b"")
    world.night(RUN)


@scenario
def empty_shard_repaired(world: World) -> None:
    """The same, and the first to come is `verify --repair`."""
    world.rows_per_shard = 2
    world.night(RUN)
    next((world.output / "report").rglob("part-00001*")).write_bytes(b"")
    world.night(REPAIR)
    world.night(RUN)


@scenario
def two_repairs_in_one_process(world: World) -> None:
    """A process repairs twice: the second time what is damaged then."""
    world.night(RUN)
    again = ["verify", "--output", str(world.output), "--repair"]

    def twice() -> int:
        code = 0
        for name in ("p0", "p1"):
            (world.output / f"images/{name}.png").unlink()
            code = max(code, whitesweep(again))
        return code

    code, said = world.ended(Process(world, twice, Trouble()))
    expect(world, code == 0, f"C: the second repair in one process ends with {code}: {said}")
    world.night(REPAIR)


@scenario
def repair_keeps_the_precision(world: World) -> None:
    """A report of another precision, and of weights given by a relative path, is repaired as it was made."""
    weights = next(Path(__file__).parent.parent.glob("weights/**/u2netp*.safetensors"), None)
    weights = weights or next(
        p for p in Path(__file__).parent.parent.glob("weights/**/u2netp*") if p.suffix != ".py" and p.is_file()
    )
    shutil.copy(weights, world.folder / f"mine{weights.suffix}")
    more = ("--precision", "bf16", "--weights", f"mine{weights.suffix}", "--model", "u2netp")
    arguments = RUN.arguments(world.shop.manifest, world.output, world.folder)
    code, said = give(world, *arguments[:-2], *more, cwd=world.folder)
    expect(world, code == 0, f"the run itself: {code}: {said}")
    before = look(world.output)
    (world.output / "images/p1.png").unlink()
    key = before.first()["p2"]["map_key"]
    (world.output / f"maps/{key[:2]}/{key}.png").unlink()
    (world.folder / "elsewhere").mkdir()
    code, said = give(world, "verify", "--output", str(world.output), "--repair", cwd=world.folder / "elsewhere")
    after = look(world.output)
    expect(world, code == 0, f"C: repair from another folder ends with {code}: {said}")
    expect(world, (before.images, before.maps) == (after.images, after.maps), "C: repaired, and other bytes")
    for id, row in before.first().items():
        now = after.first().get(id, {})
        for column in ("precision", "weights_sha256", "map_key", "model"):
            expect(world, now.get(column) == row[column], f"C: {id}: {column} is {now.get(column)}, not {row[column]}")


@scenario
def compare_without_a_map(world: World) -> None:
    """`compare` of a report in which no row has a map is one line, no traceback."""
    away(world)
    world.night(RUN)
    policies = ("--policy", "0.3", "--policy", "0.7")
    give(world, "compare", "--from", str(world.output), *policies, "--output", str(world.folder / "trial"))


@scenario
def leading_space(world: World) -> None:
    """A file in a folder of photos has a name that begins or ends with a space."""
    world.shop = Shop(world.folder / "spaces", "folder")
    world.shop.folder.mkdir()
    for name in (" a.png", "b .png", "a.png", " d /c.png"):
        world.shop.draw(name, random.Random(name))
    world.shop.write()
    world.night(RUN)


@scenario
def category_with_a_space(world: World) -> None:
    """`, hat` in a CSV is the category hat."""
    path = world.shop.manifest
    path.write_text("id,uri,category\na,photos/0.png, hat\nb,photos/1.png,hat \n")
    code, said = give(
        world,
        *Command("run", {"policy": "[default]\n[category.hat]\nthreshold = 0.4\n"}).arguments(
            path, world.output, world.folder
        ),
    )
    rows = look(world.output).rows
    expect(
        world,
        [row["category"] for row in rows] == ["hat", "hat"],
        f"B: categories {[r['category'] for r in rows]!r}: {code} {said}",
    )
    expect(world, {row["rule"] for row in rows} == {"category hat"}, f"B: rules {[row['rule'] for row in rows]}")


@scenario
def behind_a_symlink(world: World) -> None:
    """`current/../shared/0.png`, with current a link to elsewhere, is what the file system says it is."""
    for folder in ("real/day", "real/shared", "shared"):
        (world.shop.folder / folder).mkdir(parents=True)
    shutil.copy(world.shop.folder / "photos/0.png", world.shop.folder / "real/shared/x.png")
    shutil.copy(world.shop.folder / "photos/1.png", world.shop.folder / "shared/x.png")
    (world.shop.folder / "current").symlink_to("real/day")
    path = world.shop.manifest
    path.write_text("id,uri\nlinked,current/../shared/x.png\nright,photos/0.png\n")
    code, said = give(world, *RUN.arguments(path, world.output, world.folder))
    rows = {row["id"]: row["source_sha256"] for row in look(world.output).rows}
    expect(world, len(rows) == 2 and rows["linked"] == rows["right"], f"B: another photo was read: {code} {said}")


@scenario
def ramp_leaves_the_background_white(world: World) -> None:
    """A ramp wider than its threshold still leaves p = 0 white, and p = 1 the photo's own."""
    command = Command("run", {"policy": '[default]\nmethod = "ramp"\nthreshold = 0.3\nwidth = 1.0\n'})
    code, said = give(world, *command.arguments(world.shop.manifest, world.output, world.folder))
    if code == 2:  # refused in one line is as good
        return
    pixels = np.asarray(Image.open(world.output / "images/p0.png").convert("RGB"))
    corner = pixels[:3, :3].reshape(-1, 3)
    expect(world, bool((corner == 255).all()), f"B: the corner is {corner[0].tolist()}, not white: {said}")


@scenario
def method_that_is_a_list(world: World) -> None:
    """`method = ["fixed"]` is one line."""
    command = Command("run", {"policy": '[default]\nmethod = ["fixed"]\n'})
    code, said = give(world, *command.arguments(world.shop.manifest, world.output, world.folder))
    expect(world, code == 2, f"F: it ends with {code}: {said}")


@scenario
def force_predicts_equal_photos_once(world: World) -> None:
    """Five files of the same bytes are predicted once, also with --force."""
    for n in range(1, 6):
        world.shop.put(f"{n}.png", world.shop.photos["0.png"].good)
    world.shop.write()
    world.night(RUN)
    world.night(replace_flags(RUN, "--force"))
    predicted = look(world.output).run["work"].get("photos_predicted")
    expect(world, predicted == 1, f"C: predicted {predicted} times")


@scenario
def retry_of_a_moved_photo(world: World) -> None:
    """`--retry_failed` gives a row whose uri has changed with the uri of tonight."""
    world.night(RUN)
    world.shop.put("moved.png", world.shop.photos["1.png"].good)
    world.shop.rows[1] = Row("p1", "moved.png", "hat", "red")
    world.shop.photos["2.png"].state = "gone"
    world.shop.write()
    world.night(replace_flags(RUN, "--retry_failed"))


@scenario
def killed_before_the_commit_with_prune(world: World) -> None:
    """A run with --prune that dies anywhere has pruned nothing before its report is the newest."""
    world.night(RUN)
    for at in (2, 6, 9, 11):
        world.shop.halved = not world.shop.halved
        world.shop.write()
        world.night(replace_flags(RUN, "--prune"), world.struck(signal.SIGKILL, at))


@scenario
def two_at_once(world: World) -> None:
    """Two of the same at once: one is refused in one line."""
    world.rows_per_shard = 1
    for n, delay in enumerate((0.0, 0.1, 0.3, 0.6)):
        world.shop.draw("0.png", random.Random(900 + n))
        world.shop.write()
        world.night(RUN, world.both(delay))


@scenario
def migrated_twice_other_changed(world: World) -> None:
    """The folder migrated from changes between two migrations, and another threshold is wanted."""
    other = elsewhere(world, "0.7")
    world.night(Command("migrate", {"policy": "0.3"}, source=other))
    world.shop.draw("0.png", random.Random(77))
    world.shop.photos["1.png"].state = "text"
    world.shop.write()
    world.ended(world.start(Command("run", {"policy": "otsu"}), output=other))
    world.night(Command("migrate", {"policy": "0.5"}, source=other))
    world.shop.photos["1.png"].state = "good"
    world.shop.write()
    world.night(Command("migrate", {"policy": "0.5"}, source=other))
    world.night(Command("run", {"policy": "0.5"}))
