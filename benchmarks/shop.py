"""A small shop, drawn and simulated: its photos, its manifest, and what docs/reference.md promises of each row of it.

This is the side of benchmarks/nights.py that knows nothing of the code: no import of ours. It knows which photos can be
read, because it has damaged the others itself, and which code their rows may have, because docs/reference.md says so.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

UNREADABLE = {
    "cut": {"truncated", "corrupt"},
    "text": {"not_an_image"},
    "empty": {"not_an_image", "truncated"},
    "gone": {"not_found"},
    "folder": {"not_found", "read_failed"},
    "eio": {"read_failed"},
}
"""The states in which a photo cannot be read, and the codes that its row may then have."""
NAMES = [
    *("a", "b", "c.d", "x [1]", "b%20c", "q'uo\"te", "caf\u00e9", "cafe\u0301", "n#1", "w?y", "star*", "{y,z}"),
    *("\u00e9" * 50, "\u6f22\u5b57", "-x", "~", "new\nline", "a&b;c", "under_score", "plus+", "sub/dir", "sub [2]/e"),
]
IDS = [
    *("one", "two", "hats/three", "a.jpg/b", "x [1]", "100%", 'q"uote', "it's", "caf\u00e9", "cafe\u0301", "*", "a?b"),
    *("\u00e9" * 70, "%41", "A", "-rf", "~x", "\u6f22\u5b57/\u5b57", "a:b", "nine", ".hidden", "a b", "{c}", "CON"),
]
BAD_IDS = ["../up", "/root", "a//b", "new\nline", "\u00e9" * 300]
CATEGORIES = ["hat", "shoe", "glasses, round", None]


@dataclass
class Photo:
    """A photo of the shop. good: its bytes when it can be read. state: `good`, or a key of UNREADABLE."""

    name: str
    good: bytes
    state: str = "good"
    time: int = 0


@dataclass(frozen=True)
class Row:
    """A row of the manifest. photo: the name of its photo, None for a row without a uri. id: None where not given."""

    id: str | None
    photo: str | None
    category: str | None = None
    colour: str | None = None


@dataclass(frozen=True)
class Record:
    """What the manifest says tonight, as the report has to repeat it, and the codes that may come of it.

    codes: empty for a row whose picture has to be made, unless its policy finds no subject.
    """

    id: str
    uri: str
    category: str | None
    attributes: tuple[tuple[str, str], ...]
    codes: frozenset[str]


@dataclass
class Shop:
    """Photos in `folder`/photos and a manifest beside them; every change is made here and on the disk."""

    folder: Path
    kind: str
    photos: dict[str, Photo] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    away: bool = False
    columns: frozenset[str] = frozenset({"id", "category", "colour"})
    missing: set[int] = field(default_factory=set)
    halved: bool = False
    clock: int = 1_700_000_000_000_000_000

    @property
    def manifest(self) -> Path:
        """What is given as --manifest."""
        return self.folder / ("photos" if self.kind == "folder" else f"catalog.{self.kind}")

    def draw(self, name: str, rng: random.Random) -> None:
        """Draw one of forty products on a grey wall, or on white; the file of a photo that is there is replaced."""
        number = rng.randrange(40)
        rng = random.Random(number)
        size, fill = (rng.randint(60, 120), rng.randint(60, 120)), tuple(rng.randrange(70) for _ in range(3))
        noise = np.random.default_rng(rng.randrange(1 << 30)).normal(185, 5, (size[1], size[0], 3))
        image = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
        box = (size[0] * 0.2, size[1] * 0.15, size[0] * 0.8, size[1] * 0.85)
        if number % 4:
            ImageDraw.Draw(image).ellipse(box, fill=fill)
        else:
            image.paste("white", (0, 0, *size))
            ImageDraw.Draw(image).polygon([(box[0], box[1]), (box[2], box[3]), (box[0], box[3])], fill=fill)
        sink = io.BytesIO()
        kind = {".jpg": "JPEG", ".webp": "WEBP"}.get(os.path.splitext(name)[1], "PNG")
        image.save(sink, kind, **({"lossless": True} if kind == "WEBP" else {}))
        self.put(name, sink.getvalue())

    def put(self, name: str, good: bytes, state: str = "good", time: int | None = None) -> None:
        """Set a photo's bytes and state."""
        self.clock += 1_000_000_000
        self.photos[name] = Photo(name, good, state, time or self.clock)

    def draw_all(self, rng: random.Random, count: int, lead: bool = True) -> None:
        """Fill the shop: photos under plain and hostile names, rows under plain and hostile ids."""
        for name in rng.sample(NAMES, count):
            self.draw(name + rng.choice([".png", ".png", ".jpg", ".webp", ".PNG"]), rng)
        if self.kind == "folder" and lead:
            self.draw(" lead.png", rng)
        names = list(self.photos)
        for id in rng.sample(IDS, count):
            self.add_row(id, rng.choice(names), rng)

    def add_row(self, id: str | None, photo: str | None, rng: random.Random) -> None:
        """Append a row."""
        self.rows.append(Row(id, photo, rng.choice(CATEGORIES), rng.choice(["red", "\u00e9cru", None])))

    def happen(self, rng: random.Random) -> list[str]:
        """Let a day pass; say what happened."""
        said = []
        if self.away and rng.random() < 0.7:
            self.away, said = False, ["the photos are back"]
        if self.halved and rng.random() < 0.7:
            self.halved, said = False, [*said, "the manifest is whole again"]
        self.missing = set() if rng.random() < 0.7 else self.missing
        for photo in self.photos.values():
            if photo.state != "good" and rng.random() < 0.5:  # with the time it had, or a new one
                self.put(photo.name, photo.good, "good", rng.choice([photo.time, None]))
                said.append(f"{photo.name!r} can be read again")
        for _ in range(rng.choice([0, 1, 1, 2, 3])):
            said.append(rng.choice(self._events())(rng))
        self.write()
        return said

    def _events(self) -> list:
        photos = [self._replace, self._spoil, self._spoil, self._spoil, self._touch, self._send_away]
        rows = [self._rename, self._duplicate, self._move, self._miss, self._miss, self._halve, self._columns]
        return photos + ([*rows, self._add] if self.kind != "folder" else [self._move])

    def _replace(self, rng: random.Random) -> str:
        name = rng.choice(list(self.photos))
        self.draw(name, rng)
        return f"{name!r} is another photo"

    def _spoil(self, rng: random.Random) -> str:
        name, state = rng.choice(list(self.photos)), rng.choice(list(UNREADABLE))
        self.photos[name].state = state
        return f"{name!r} is {state}"

    def _touch(self, rng: random.Random) -> str:
        name = rng.choice(list(self.photos))
        self.put(name, self.photos[name].good, self.photos[name].state)
        return f"{name!r} has another time"

    def _send_away(self, rng: random.Random) -> str:
        self.away = True
        return "all photos are away"

    def _rename(self, rng: random.Random) -> str:
        at, id = rng.randrange(len(self.rows)), rng.choice([*IDS, None, *BAD_IDS])
        said = f"row {self.rows[at].id!r} is now {id!r}"
        self.rows[at] = replace(self.rows[at], id=id)
        return said

    def _duplicate(self, rng: random.Random) -> str:
        row = rng.choice(self.rows)
        self.add_row(row.id, rng.choice(list(self.photos)), rng)
        return f"another row {row.id!r}"

    def _move(self, rng: random.Random) -> str:
        old = rng.choice(list(self.photos))
        stem, dot = os.path.splitext(old)
        new = f"{stem}_{dot}" if len(stem) < 60 else f"m{dot}"
        if new in self.photos:
            return "nothing"
        photo = self.photos.pop(old)
        self.photos[new] = replace(photo, name=new)
        self.rows = [replace(row, photo=new) if row.photo == old else row for row in self.rows]
        return f"{old!r} is now {new!r}"

    def _miss(self, rng: random.Random) -> str:
        self.missing = {rng.randrange(len(self.rows))}
        return f"rows {[self.rows[at].id for at in self.missing]!r} are missing for a night or two"

    def _halve(self, rng: random.Random) -> str:
        self.halved = True
        return "the manifest is halved"

    def _columns(self, rng: random.Random) -> str:
        self.columns = frozenset(name for name in ("id", "category", "colour") if rng.random() < 0.8)
        return f"columns {sorted(self.columns)}"

    def _add(self, rng: random.Random) -> str:
        if len(self.rows) > 12:
            return "nothing"
        photo = rng.choice([*self.photos, None, "nowhere.png"])
        self.add_row(rng.choice([*IDS, None]), photo, rng)
        return f"a new row of {photo!r}"

    def tonight(self) -> list[Row]:
        """Give the rows that the manifest has tonight."""
        rows = [row for at, row in enumerate(self.rows) if at not in self.missing] or self.rows
        return rows[: (len(rows) + 1) // 2] if self.halved else rows

    def write(self) -> None:
        """Make files of it all: the folder of photos as it is tonight, and the manifest."""
        here = self.folder / "photos"
        shutil.rmtree(here, ignore_errors=True)
        for photo in self.photos.values() if not self.away else ():
            path = here / photo.name
            path.parent.mkdir(parents=True, exist_ok=True)
            if photo.state == "folder":
                path.mkdir()
            elif photo.state != "gone":
                half = photo.good[: len(photo.good) // 2]
                path.write_bytes({"cut": half, "text": b"no picture", "empty": b""}.get(photo.state, photo.good))
                os.utime(path, ns=(photo.time, photo.time))
        if self.kind == "folder":
            return
        named = [self._named(row) for row in self.tonight()]
        columns = [name for name in ("id", "uri", "category", "colour") if name in {*self.columns, "uri"}]
        if self.kind == "parquet":
            pq.write_table(pa.table({c: pa.array([n[c] for n in named], pa.string()) for c in columns}), self.manifest)
        elif self.kind == "jsonl":
            lines = [{c: n[c] for c in columns if n[c] is not None} for n in named]
            self.manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        else:
            with open(self.manifest, "w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerows([columns, *([n[c] if n[c] is not None else "" for c in columns] for n in named)])

    def _named(self, row: Row) -> dict[str, str | None]:
        uri = None if row.photo is None else f"photos/{row.photo}"
        return {"id": row.id, "uri": uri, "category": row.category, "colour": row.colour}

    def unreadable(self) -> list[str]:
        """Give the paths of the photos whose disk is to fail tonight."""
        return [str(self.folder / "photos" / photo.name) for photo in self.photos.values() if photo.state == "eio"]

    def records(self) -> list[Record]:
        """Say what the report must have of tonight's manifest: one record a row."""
        found: list[Record] = []
        if self.kind == "folder":
            here = [p for p in self.photos.values() if p.state not in ("gone", "folder") and not self.away]
            for photo in here:
                found.append(self._record(os.path.splitext(photo.name)[0], photo.name, photo.name, None, ()))
        else:
            for row in self.tonight():
                named = {name: value for name, value in self._named(row).items() if name in {*self.columns, "uri"}}
                uri = named["uri"] or ""
                colour = (("colour", named["colour"]),) if named.get("colour") else ()
                id = named.get("id") or os.path.splitext(uri)[0]
                found.append(self._record(id, uri, row.photo, named.get("category"), colour))  # type: ignore[arg-type]
        usable = sorted(
            (r for r in found if not r.codes & {"bad_row", "bad_id"}), key=lambda r: (r.uri, r.category or "")
        )
        first: dict[str, Record] = {}
        for record in usable:
            first.setdefault(record.id, record)
        twins = Counter(first.values())
        result = []
        for record in found:
            if not record.codes & {"bad_row", "bad_id"}:
                if twins[record] > 0:
                    twins[record] -= 1
                else:
                    record = replace(record, codes=frozenset({"duplicate_id"}))
            result.append(record)
        return result

    def _record(
        self, id: str, uri: str, name: str | None, category: str | None, attributes: tuple[tuple[str, str], ...]
    ) -> Record:
        photo = self.photos.get(name) if name is not None else None
        if not uri or "\n" in uri:
            codes = {"bad_row"} | ({"bad_id"} if "\n" in uri else set())
        elif id in BAD_IDS:
            codes = {"bad_id"}
        elif photo is None or self.away:
            codes = {"not_found"}
        else:
            codes = set() if photo.state == "good" else UNREADABLE[photo.state]
        return Record(id, uri, category, attributes, frozenset(codes))
