"""The world of benchmarks/nights.py: commands as processes, what befalls them, and what an output folder shows.

Commands run in forks of one process, so that a night takes a second; a struck one is killed, stopped or suspended at a
chosen write. What is expected of each night is told by a fresh run into an empty folder, and knows nothing of the code.
"""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow.parquet as pq

import transforms.output.lease_file
import transforms.output.schema
import transforms.process
import transforms.saliency
from benchmarks.identity import BRAKES_OFF
from benchmarks.shop import Record, Shop
from model.engine import Engine
from model.load import load
from pipeline.cli import main as whitesweep
from transforms.output.schema import HISTORY

EXPIRY_S = 1.0
"""A lease runs out in a second here, so that a suspended run is taken over in one."""
HUNG_S = 60.0
OUTPUTS = [
    "out",
    "out [1]",
    "50% off",
    'o\'ut "q"',
    "caf\u00e9",
    "cafe\u0301",
    "o{a,b}*?",
    "deep/" + "d" * 120,
    "new\nline",
]
FALLS = "[default]\nthreshold = 0.6\n[category.hat]\nminimum_component = 102400\n"
POLICIES = [
    *("0.7", "0.3", "otsu", "soft", FALLS),
    '[default]\nmethod = "ramp"\n[category.shoe]\nmethod = "otsu"\n[category.hat]\nmethod = "ramp"\nwidth = 0.4\n',
    "[default]\nthreshold = 0.7\n[category.shoe]\nthreshold = 0.4\n",
    '[default]\non_already_white = "keep"\n[category.hat]\nthreshold = 0.6\n',
]
GOES_ON = "the same command goes on"


class Remembered(Engine):
    """The real network, asked once for each picture: what it said is kept in a folder."""

    def __init__(self, config: Any, folder: Path) -> None:
        self.config, self.folder, self.real = config, folder, None
        self.name, self.batch_size, self.size_bytes = "remembered", 1, 0

    def _predict(self, images: np.ndarray) -> np.ndarray:
        return np.stack([self._one(image) for image in images])

    def _one(self, image: np.ndarray) -> np.ndarray:
        said = f"{self.config.precision} {self.config.weights.sha256}".encode()
        path = self.folder / f"{hashlib.sha256(said + image.tobytes()).hexdigest()}.npy"
        if not path.exists():
            self.real = self.real or load(self.config)  # type: ignore[assignment]
            part = path.with_suffix(f".{os.getpid()}{threading.get_ident()}")
            with open(part, "wb") as stream:
                np.save(stream, self.real.predict(image[None])[0])  # type: ignore[attr-defined]
            os.replace(part, path)
        found: np.ndarray = np.load(path)
        return found


@dataclass
class Trouble:
    """What befalls a process: a signal at its n-th operation on a file, and photos whose disk fails."""

    signal: int = 0
    at: int = 0
    unreadable: list[str] = field(default_factory=list)
    count: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def install(self) -> None:
        """Wrap how this process reads, renames and removes files."""
        for name in ("replace", "unlink", "link"):
            setattr(os, name, self._wrapped(getattr(os, name)))
        plain = builtins.open

        def opened(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if isinstance(path, str) and path in self.unreadable:
                raise OSError(errno.EIO, "injected")
            return plain(path, mode, *more, **named)

        builtins.open = opened  # type: ignore[assignment]

    def _wrapped(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if not str(arguments[-1]).endswith("lease.json"):  # which is renewed by the clock
                self._happen()
            return plain(*arguments, **named)

        return wrapped

    def _happen(self) -> None:
        with self.lock:
            self.count += 1
            due = self.count == self.at
        if due and self.signal:
            os.kill(os.getpid(), self.signal)


class Process:
    """The command line in a forked process."""

    def __init__(self, world: World, do: Callable[[], int], trouble: Trouble, cwd: Path | None = None) -> None:
        self.log = world.folder / f"log-{time.monotonic_ns()}"
        self.code: int | None = None
        self.id = os.fork()
        if self.id:
            return
        code = 1
        try:
            handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for standard in (1, 2):
                os.dup2(handle, standard)
            for name in ("stdout", "stderr"):  # a signal handler prints to the one with underscores
                stream = io.TextIOWrapper(io.FileIO(1 if name == "stdout" else 2, "w"), write_through=True)
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            os.chdir(cwd or world.folder)
            transforms.output.schema.ROWS_PER_SHARD = world.rows_per_shard
            transforms.output.lease_file.EXPIRY_S, transforms.output.lease_file.RENEWAL_S = EXPIRY_S, EXPIRY_S / 5
            if world.memory is not None:
                memory = world.memory
                setattr(transforms.saliency, "load", lambda config: Remembered(config, memory))  # noqa: B010
            trouble.install()
            code = do()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def stopped(self, within: float = HUNG_S) -> bool:
        """Wait until the process is suspended or ends, but not for ever; tell whether it is suspended."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            ended, status = os.waitpid(self.id, os.WUNTRACED | os.WNOHANG)
            if ended and os.WIFSTOPPED(status):
                return True
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
                return False
            time.sleep(0.01)
        return False

    def wait(self) -> int:
        """Give the exit code: 128 + n if signal n ended it."""
        deadline = time.monotonic() + HUNG_S
        while self.code is None:
            ended, status = os.waitpid(self.id, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
            elif time.monotonic() > deadline:
                os.kill(self.id, signal.SIGKILL)
                deadline += 10
            else:
                time.sleep(0.01)
        return self.code

    def said(self) -> str:
        """Give all it printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


@dataclass
class Look:
    """An output folder as a reader finds it. images, maps: bytes' sha256 by name; times: of the images."""

    images: dict[str, str] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    run: dict[str, Any] = field(default_factory=dict)
    latest: str | None = None
    broken: str | None = None
    strange: list[str] = field(default_factory=list)

    def named(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Give the rows by id and uri."""
        found = defaultdict(list)
        for row in self.rows:
            found[row["id"], row["uri"]].append(row)
        return found

    def first(self) -> dict[str, dict[str, Any]]:
        """Give of each id the row that is no duplicate."""
        return {row["id"]: row for row in self.rows if row["code"] not in ("duplicate_id", "bad_row", "bad_id")}


def look(output: Path) -> Look:
    """Read an output folder as docs/reference.md says that it is to be read."""
    found = Look()
    for part, into in (("images", found.images), ("maps", found.maps)):
        for path in sorted((output / part).rglob("*")) if (output / part).exists() else ():
            name = path.relative_to(output).as_posix()
            if path.is_file():
                into[name] = hashlib.sha256(path.read_bytes()).hexdigest()
                found.times[name] = path.stat().st_mtime_ns
                if path.name.startswith(".") or path.suffix not in (".png", ".jpg", ".webp"):
                    found.strange.append(name)
    report = output / "report"
    found.strange += [str(p.relative_to(output)) for p in report.rglob(".*")] if report.exists() else []
    found.strange += [p.name for p in report.glob("lease.json")] if report.exists() else []
    if not (report / "latest.json").exists():
        return found
    try:
        latest = json.loads((report / "latest.json").read_text())
        found.latest, base = latest["run_id"], output / latest["report"]
        shards = sorted(p for p in base.iterdir() if p.name.startswith("part-") and p.suffix == ".parquet")
        of = {int(p.stem.rpartition("-of-")[2]) for p in shards}
        if of != {len(shards)} or len(list(base.iterdir())) != len(shards):
            found.broken = f"{len(shards)} shards of {sorted(of)} among {sorted(p.name for p in base.iterdir())}"
        base = output / "runs" / found.latest
        found.rows = [row for shard in shards for row in pq.ParquetFile(shard).read().to_pylist()]
        found.run = json.loads((base / "run.json").read_text())
        if (base / "gone.parquet").exists():
            found.gone = set(pq.ParquetFile(base / "gone.parquet").read()["output_uri"].to_pylist()) - {None}
    except Exception as error:
        found.broken = f"{type(error).__name__}: {error}"
    return found


def id_of(name: str) -> str:
    """Give the id of a picture's name: percent-escaped, below images, with an ending."""
    return unquote(name.removeprefix("images/").rpartition(".")[0])


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a row what may differ from a fresh run's: of the runs before, and a failed row's kept picture."""
    left = {
        **row,
        **dict.fromkeys(HISTORY),
        "attributes": sorted(row["attributes"]),
        "status": row["status"].replace("unchanged", "processed"),
    }
    if row["status"] == "failed" and row["code"] != "no_subject":
        left.update(output_uri=None, output_sha256=None, output_bytes=None)
    return left


@dataclass
class Command:
    """A command: its name, its settings (policy, background, format), and other flags."""

    name: str
    settings: dict[str, str]
    flags: tuple[str, ...] = ()
    source: Path | None = None

    def arguments(self, manifest: Path, output: Path, folder: Path) -> list[str]:
        """Give the arguments of the command line."""
        if self.name == "verify":
            return ["verify", "--output", str(output), *self.flags]
        common = ["--manifest", str(manifest), "--output", str(output), *BRAKES_OFF]
        for name, value in self.settings.items():
            if "\n" in value:
                policy = folder / f"policy-{hashlib.sha256(value.encode()).hexdigest()[:8]}.toml"
                policy.write_text(value)
                value = str(policy)
            common += [f"--{name}", value]
        more = ["--from", str(self.source)] if self.source else []
        return [self.name, *common, *self.flags, *more, *(["--model", "u2netp"] if self.name == "run" else [])]

    def __str__(self) -> str:
        return " ".join([self.name, *self.flags, *(f"{v!r}" for v in self.settings.values()), str(self.source or "")])


class World:
    """A shop, its output folder, and the judge of what becomes of it."""

    def __init__(
        self, folder: Path, seed: int, memory: Path | None, kind: str | None = None, out: str | None = None
    ) -> None:
        rng = random.Random(seed)
        self.folder, self.memory, self.seed = folder, memory, seed
        folder.mkdir(parents=True)
        self.rows_per_shard = 100
        self.settings = {"policy": "0.7"}
        self.shop = Shop(
            folder / rng.choice(["shop", "sh [o] p%", "sh\u00f6p's"]),
            kind or rng.choice(["csv", "csv", "jsonl", "parquet", "folder"]),
        )
        self.shop.folder.mkdir()
        self.output = folder / (out or rng.choice([OUTPUTS[0], *OUTPUTS]))
        self.other: Path | None = None
        self.wrong: list[str] = []
        self.tale: list[str] = [f"{self.shop.kind} manifest in {self.shop.folder.name!r}, output {self.output.name!r}"]
        self.nights = 0
        self.bad: dict[str, str] = {}
        self.freshly: tuple[Any, tuple[int, Look, Path]] | None = None
        self.share = 1.0
        self.leave_out: tuple[str, ...] = ()

    # What runs -----------------------------------------------------------------------------------------------------

    def start(self, command: Command, trouble: Trouble | None = None, output: Path | None = None) -> Process:
        """Start a command."""
        trouble = trouble or Trouble()
        trouble.unreadable = self.shop.unreadable()
        arguments = command.arguments(self.shop.manifest, output or self.output, self.folder)
        return Process(self, lambda: whitesweep(arguments), trouble)

    def ended(self, process: Process, killed: bool = False) -> tuple[int, str]:
        """Wait for a process, and look at how it ended and what it said (F)."""
        code, said = process.wait(), process.said()
        if "Traceback" in said:
            self.say(f"F: a traceback: {said.strip().splitlines()[-1]}")
        if code not in (0, 1, 2, 130, 143) and not (killed and code == 137):
            self.say(f"F: exit code {code}: {said[-300:]}")
        if code == 2 and len([line for line in said.splitlines() if line.startswith("whitesweep:")]) != 1:
            self.say(f"F: not one line: {said}")
        process.log.unlink(missing_ok=True)
        return code, said

    def say(self, wrong: str) -> None:
        """Note what is wrong."""
        self.wrong.append(wrong)

    def fresh(self, settings: dict[str, str]) -> tuple[int, Look, Path]:
        """Run tonight's shop into an empty folder."""
        output = self.folder / f"fresh-{self.nights}"
        key = (settings, self.shop.records(), sorted(map(repr, self.shop.photos.values())), self.shop.manifest)
        if self.freshly is None or self.freshly[0] != key or not self.freshly[1][2].exists():
            code, _ = self.ended(self.start(Command("run", settings), output=output))
            self.freshly = (key, (code, look(output), output))
        return self.freshly[1]

    def night(self, command: Command, disturb: Callable[[Command], list[tuple[int, str]]] | None = None) -> None:
        """Give a command, disturbed perhaps, until it has had its way, and judge."""
        self.nights += 1
        self.tale.append(f"night {self.nights}: {command}, {self.rows_per_shard} rows a shard")
        settings = self.settings if command.name == "verify" else command.settings
        fresh_code, fresh, fresh_folder = self.fresh(settings)
        before, source = look(self.output), look(command.source) if command.source else None
        needs_report = command.name == "verify" or "--retry_failed" in command.flags
        if command.name == "migrate":
            needs = source if source is not None else before
            needs_report = True
        else:
            needs = before
        refusable = fresh_code == 2 or (needs_report and needs.latest is None) or bool(needs.broken or before.broken)
        if disturb is not None:
            ends = disturb(command)
            self.tale.append(f"  disturbed: {[code for code, _ in ends]}")
            middle = look(self.output)
            self._nothing_lost(before, middle, fresh, command, committed=middle.latest != before.latest)
            if middle.latest != before.latest and middle.broken:
                self.say(f"E: a report was committed that is not whole: {middle.broken}")
            none_ran = not any(code in (0, 1) and GOES_ON not in said for code, said in ends)
            if none_ran and any(code == 2 for code, _ in ends) and not refusable:
                self.say(f"E: all were refused: {ends}")
        code, said = self.ended(self.start(command))
        if code == 1 and GOES_ON in said:
            self.tale.append(f"  {said.strip().splitlines()[0]}")
            again, said = self.ended(self.start(command))
            if again == 1 and GOES_ON in said:
                self.say(f"D: the same command does not go on: {said}")
            code = again
        after = look(self.output)
        if code == 2 or (code == 1 and GOES_ON in said):
            if not refusable:
                self.say(f"B: refused: {said}")
            if after.images != before.images and disturb is None:
                self.say("A: refused, and pictures are others")
            if before.broken and not fresh_code and code == 2:
                if "report" not in said:
                    self.say(f"D: a broken report, and no advice: {said}")
                shutil.rmtree(self.output / "report")
                self.tale.append("  its report is removed, as it says")
                self.settings, self.bad = settings, {}
                if command.name == "run" and "--retry_failed" not in command.flags:
                    self.night(replace(command))
            return
        if command.name != "verify":
            self.settings = settings
            if after.latest == before.latest and disturb is None:
                self.say(f"B: exit {code}, and no new report: {said}")
        self._nothing_lost(before, after, fresh, command, committed=True)
        self._right(command, before, source or before, after, fresh, code)
        self._again(command, after)
        self._verified(command, code, self._damaged(before))
        self.other = self.other if self.other and self.other.exists() else None
        if self.other is None and fresh_folder.exists():
            self.other = self.folder / f"other-{self.nights}"
            shutil.copytree(fresh_folder, self.other)

    # What has to be true -------------------------------------------------------------------------------------------

    def _nothing_lost(self, before: Look, after: Look, fresh: Look, command: Command, committed: bool) -> None:
        """A: a picture goes only if it is pruned, has a successor, or is none by tonight's policy; or is new."""
        tonight, ids = fresh.first(), {record.id for record in self.shop.records()}
        expected = {row["output_uri"]: row["output_sha256"] for row in tonight.values() if row["status"] != "failed"}
        for name, sha256 in before.images.items():
            now, row, id = after.images.get(name), tonight.get(id_of(name)), id_of(name)
            if now == sha256 or name in self.bad or name in before.strange:
                continue
            if now is not None:
                if now != expected.get(name):
                    self.say(f"A: {name} has become a picture that nobody asked for")
                continue
            successor = row is not None and row["status"] != "failed" and row["output_uri"] in after.images
            blank = row is not None and row["code"] == "no_subject"
            pruned = "--prune" in command.flags and id not in tonight and committed
            repaired = "--repair" in command.flags and name not in {r["output_uri"] for r in before.rows} | before.gone
            repaired = repaired and (id not in ids or successor)
            if not (successor or blank or pruned or repaired):
                mine, other = (seen.first().get(id, {"code": "none"})["code"] for seen in (after, fresh))
                self.say(f"A: {name} was deleted (its row: {mine}, a fresh run's: {other})")

    def _right(self, command: Command, before: Look, source: Look, after: Look, fresh: Look, code: int) -> None:
        """B: a row for each record, as a fresh run has it, with its picture."""
        if after.broken:
            self.say(f"B: the report is not whole: {after.broken}")
            return
        if command.name == "verify" and after.latest == before.latest:  # it had nothing to do
            return
        self._look_whole(after)
        records, rows, freshly = self.shop.records(), after.named(), fresh.named()
        expected = Counter((record.id, record.uri) for record in records)
        if expected != Counter({key: len(found) for key, found in rows.items()}):
            given = Counter({key: len(found) for key, found in rows.items()})
            self.say(f"B: rows: too few {list(expected - given)[:3]}, too many {list(given - expected)[:3]}")
            return
        of_record = defaultdict(list)
        for record in records:
            of_record[record.id, record.uri].append(record)
        same = before.first()
        for key, found in rows.items():
            for row in found:
                twins = [plain(other) for other in freshly.get(key, [])]
                if plain(row) in twins:
                    self._check_code(row, of_record[key])
                    continue
                told = self._excuse(command, row, same.get(row["id"]), source, after, of_record[key], code)
                if told is None:
                    mine = plain(row)
                    other = next((t for t in twins if t["code"] == row["code"]), twins[0] if twins else {})
                    differs = {c: (mine[c], other.get(c)) for c in mine if mine[c] != other.get(c)}
                    self.say(f"B: row {row['id'][:30]!r} is not a fresh run's: {str(differs)[:600]}")

    def _check_code(self, row: dict[str, Any], records: list[Record]) -> None:
        """Compare a row with what the shop knows of its photo."""
        may = set().union(*(record.codes or {None, "no_subject"} for record in records))
        if row["code"] not in may:
            self.say(f"B: row {row['id'][:30]!r} is {row['code']}, and should be one of {may}")

    def _excuse(
        self,
        command: Command,
        row: dict[str, Any],
        earlier: dict[str, Any] | None,
        source: Look,
        after: Look,
        records: list[Record],
        code: int,
    ) -> str | None:
        """Find why a row may differ from a fresh run's: it was carried as it was, or has no map."""
        carries = command.name == "verify" or ("--retry_failed" in command.flags and row["status"] != "failed")
        carried = {**earlier, **{c: row[c] for c in ("category", "attributes")}} if earlier else None
        if carries and carried is not None and plain(carried) == plain(row):
            return "carried"
        if row["code"] == "no_map" and (command.name == "migrate" or (command.name == "verify" and code == 1)):
            if records and all(record.codes for record in records):  # of rows with one id, one may well pass
                return None
            maps = source.maps
            named = [
                r
                for r in source.rows
                if r["map_key"] and r["source_sha256"] == row["source_sha256"] and r["id"] == row["id"]
            ]
            there = [r for r in named if f"maps/{r['map_key'][:2]}/{r['map_key']}.png" in maps]
            there = [r for r in there if f"maps/{r['map_key'][:2]}/{r['map_key']}.png" not in self.bad]
            return "no map" if not there else None
        return None

    def _look_whole(self, after: Look) -> None:
        """B: pictures are those of the rows; what is in no row is said to be gone; nothing is left over."""
        if after.strange:
            self.say(f"B: left over: {after.strange}")
        claimed = set()
        for row in after.rows:
            kept = {"already_white", "kept_original"} <= set(row["mask_flags"] or ())
            if row["status"] != "failed" and (not row["output_uri"] or not (row["map_key"] or kept)):
                self.say(f"B: row {row['id']!r} is {row['status']} without picture or map")
            if row["output_uri"]:
                claimed.add(row["output_uri"])
                if after.images.get(row["output_uri"]) != row["output_sha256"] and row["output_uri"] not in self.bad:
                    self.say(f"B: row {row['id'][:30]!r} ({row['code']}): {row['output_uri']} is not as reported")
        for name in after.images.keys() - claimed - after.gone:
            self.say(f"B: {name} is in no row and not said to be gone")

    def _again(self, command: Command, after: Look) -> None:
        """C: the same command once more changes nothing, and asks the network nothing."""
        if command.name == "verify" or random.Random(f"{self.seed} {self.nights} again").random() > self.share:
            return None
        code, said = self.ended(self.start(command))
        again = look(self.output)
        if code not in (0, 1) or (code == 1 and GOES_ON in said):
            return self.say(f"C: the second time it ends with {code}: {said}")
        forced = "--force" in command.flags
        if again.run.get("work", {}).get("photos_predicted", 0) and not forced:
            self.say(f"C: predicted {again.run['work']['photos_predicted']} the second time")
        if (again.images, again.maps) != (after.images, after.maps):
            changed = {n for n, _ in set(again.images.items()) ^ set(after.images.items())}
            self.say(f"C: the second time other pictures or maps: {sorted(changed)}")
        if not forced and any(again.times.get(n) != t for n, t in after.times.items()):
            self.say("C: the second time pictures or maps are written anew")
        one, two = ([{**plain(r), "output_uri": r["output_uri"]} for r in seen.rows] for seen in (after, again))
        if sorted(map(str, one)) != sorted(map(str, two)):
            self.say("C: the second time other rows")
        return None

    def _damaged(self, seen: Look) -> set[str]:
        """Give the ids whose picture or map is not what the report says, and the strangers among the pictures."""
        ids, claimed = set(), set(seen.gone)
        for row in seen.rows:
            claimed.add(row["output_uri"])
            if row["output_uri"] and seen.images.get(row["output_uri"]) != row["output_sha256"]:
                ids.add(row["id"])
            name = f"maps/{row['map_key'][:2]}/{row['map_key']}.png" if row["map_key"] else None
            if name and (name not in seen.maps or seen.maps[name] == self.bad.get(name)):
                ids.add(row["id"])
        return ids | {f"stranger {name}" for name in seen.images.keys() - claimed}

    def _verified(self, command: Command, code: int, hurt: set[str]) -> None:
        """C: verify says what is so; repair says 0 only when all is well, and says it when all photos are there."""
        seen = look(self.output)
        damaged = self._damaged(seen)
        if command.name == "verify":
            tonight, ids = seen.first(), {record.id for record in self.shop.records()}
            left = {id for id in hurt if id in ids and tonight.get(id, {}).get("status", "failed") == "failed"}
            doubtful = any(id not in tonight or tonight[id]["status"] == "failed" for id in hurt)
            if "--repair" not in command.flags:
                left, doubtful = set(), False
            if (code == 0 and (damaged or left)) or (code and not damaged and not doubtful):
                self.say(f"C: {command} ended with {code}; damaged: {sorted(damaged)}, not mended: {sorted(left)}")
        if random.Random(f"{self.seed} {self.nights} verify").random() <= self.share:
            verified, said = self.ended(self.start(Command("verify", {})))
            if (verified == 0) != (not damaged):
                self.say(f"C: verify ended with {verified}; damaged are {sorted(damaged)}: {said[:300]}")
        self.bad = {n: s for n, s in self.bad.items() if {**seen.images, **seen.maps}.get(n, "") == s}

    # What befalls the output folder --------------------------------------------------------------------------------

    def damage(self, rng: random.Random, of_report: bool) -> str:
        """Damage the output folder; say how."""
        seen, report = look(self.output), self.output / "report"
        if of_report and report.exists():
            shards = sorted(p for p in report.rglob("part-*.parquet") if seen.latest and seen.latest in str(p.parent))
            what = rng.choice(["report", "latest", "no latest", "empty", "lost"])
            what = "report" if what in self.leave_out else what
            if what == "report" or not shards:
                shutil.rmtree(report)
                return "the report is removed"
            if what == "latest":
                (report / "latest.json").write_bytes(b"")
            elif what == "no latest":
                (report / "latest.json").unlink()
            elif what == "empty":
                rng.choice(shards).write_bytes(b"")
            else:
                rng.choice(shards).unlink()
            return f"{what} of the report"
        if rng.random() < 0.15:
            (self.output / "images/foreign.png").write_bytes(b"foreign")
            return "a foreign file among the pictures"
        kept = {row["output_uri"] for row in seen.rows}
        names = rng.choice([sorted(set(seen.images) & kept), sorted(seen.maps)])
        for name in names if rng.random() < 0.2 else rng.sample(names, min(1, len(names))):
            path, how = self.output / name, rng.choice(["deleted", "cut", "altered"])
            data = path.read_bytes()
            self.bad[name] = ""
            if how == "deleted":
                path.unlink()
                continue
            middle = len(data) // 2
            path.write_bytes(data[:middle] + (b"" if how == "cut" else bytes(8) + data[middle + 8 :]))
            self.bad[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"damaged: {list(self.bad)}"

    # What befalls the runs -----------------------------------------------------------------------------------------

    def struck(self, how: int, at: int) -> Callable[[Command], list[tuple[int, str]]]:
        """Send a process a signal at its n-th operation on a file."""
        return lambda command: [self.ended(self.start(command, Trouble(how, at)), killed=True)]

    def both(self, delay: float) -> Callable[[Command], list[tuple[int, str]]]:
        """Start a command twice."""

        def disturb(command: Command) -> list[tuple[int, str]]:
            one = self.start(command)
            time.sleep(delay)
            two = self.start(command)
            return [self.ended(one), self.ended(two)]

        return disturb

    def suspended(self, at: int, until: int) -> Callable[[Command], list[tuple[int, str]]]:
        """Suspend a run past its lease; wake it when another is at its operation `until`, and let it end first."""

        def disturb(command: Command) -> list[tuple[int, str]]:
            one = self.start(command, Trouble(signal.SIGSTOP, at))
            if not one.stopped():
                return [self.ended(one)]
            time.sleep(EXPIRY_S + 0.2)
            two = self.start(command, Trouble(signal.SIGSTOP, until))
            two.stopped(2 * HUNG_S / 3)  # it may wait for the first one
            os.kill(one.id, signal.SIGCONT)
            one.stopped(HUNG_S / 6)  # it may wait for the other's lock
            if two.code is None:
                os.kill(two.id, signal.SIGCONT)
            return [self.ended(one), self.ended(two)]

        return disturb
