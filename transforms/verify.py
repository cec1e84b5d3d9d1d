"""Whether an output folder is what its newest report says: pictures, maps, and the report's own rows.

Pictures and maps are read in chunks that any number of workers share; names are compared a shard of the report at a
time.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.errors import PhotoError
from transforms.output.commit import PARQUET, read_gone, write_or_stop
from transforms.output.earlier import Report
from transforms.output.maps import map_uri, read_map
from transforms.output.naming import ENDINGS, IMAGES, id_of_output, output_name
from transforms.output.schema import shard_of
from transforms.pixels.encode import ENCODINGS
from transforms.settings import NAMES

CHUNK = 500
COLUMNS = ["id", "status", "stage", "code", "output_uri", "output_sha256", "output_bytes", "map_key", "mask_flags"]

MADE = [
    *("id", "status", "source_sha256", "output_uri", "output_sha256"),
    *("map_key", "model", "weights_sha256", "precision", "sharpen"),
]

PROBLEMS = {
    "missing": "a picture of the report is not there",
    "altered": "a picture's bytes are not those of the report",
    "orphaned": "a picture is in no row of the report",
    "unreadable": "a picture or map cannot be read",
    "missing_map": "a map of the report is not there",
    "altered_map": "a map is damaged, or stored under another's key",
    "bad_row": "a row of the report does not add up",
}
"""Every way in which an output folder can differ from its report."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the report says. problem: a key of PROBLEMS. name: of the file, below the folder."""

    id: str
    problem: str
    name: str
    message: str


def read_shard(report: Report, at: int, columns: list[str] = COLUMNS) -> list[dict[str, Any]]:
    """Read columns of one shard of a report: those that can be verified, or others.

    Raises:
        DeadEndError: it cannot be read.
    """
    rows: list[dict[str, Any]] = report.read(at, columns).to_pylist()
    return rows


def read_made(report: Report, ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """Read from a report what rows have and what their maps were made with, by id; of some rows, or of one shard's.

    Raises:
        DeadEndError: a shard cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    for at in range(1 if ids is None else len(report)):
        for row in read_shard(report, at, MADE):
            before = found.get(row["id"])
            if (ids is None or row["id"] in ids) and (before is None or before["map_key"] is None):
                found[row["id"]] = row  # of rows with one id, all but one are duplicates
    return found


def check_rows(rows: Iterable[dict[str, Any]], shard: int, shards: int) -> Iterator[Difference]:
    """Check what can be told from a shard's rows alone."""
    seen: Counter[str] = Counter()
    for row in rows:
        id = row["id"]
        seen[id] += row["status"] != "failed"
        wrong = None
        if shard_of(id, shards) != shard:
            wrong = "belongs in another shard"
        elif row["status"] not in ("processed", "unchanged", "failed", "dropped"):
            wrong = f"has the status {row['status']}"
        elif (row["status"] == "failed") != (row["code"] is not None):
            wrong = "has a failure code and no failure, or the other way round"
        elif row["status"] == "dropped" and row["output_uri"] is not None:
            wrong = "is dropped and has a picture"
        elif row["status"] in ("processed", "unchanged") and (row["output_uri"] is None or _lacks_map(row)):
            wrong = f"is {row['status']} without a picture or a map"
        elif row["output_uri"] is not None and not _is_output_of(id, row["output_uri"], row["output_sha256"]):
            wrong = f"has the picture of another id, {row['output_uri']}"
        if wrong:
            yield Difference(id, "bad_row", "", f"the row {wrong}")
    yield from (Difference(id, "bad_row", "", f"{n} rows have this id") for id, n in seen.items() if n > 1)


def _lacks_map(row: dict[str, Any]) -> bool:
    """Tell whether a row has no map and should: of a photo that is kept because it is on white none is made."""
    return row["map_key"] is None and not {"already_white", "kept_original"} <= set(row["mask_flags"] or ())


def _is_output_of(id: str, name: str, sha256: str) -> bool:
    try:
        endings = [encoding.extension for encoding in ENCODINGS.values()]
        return any(output_name(id, ending, told) == name for ending in endings for told in (None, sha256))
    except PhotoError:
        return False


def check_names(
    rows: Iterable[dict[str, Any]], listed: Iterable[str], gone: Iterable[str], names: str
) -> Iterator[Difference]:
    """Find the pictures that no row claims and that the report does not list as gone, and unfinished files.

    Of pictures with fingerprints only these: another release may name them, and what none does goes with reports.
    """
    claimed = {row["output_uri"] for row in rows} | set(gone)
    for name in listed:
        if name.endswith(storage.TEMPORARY) or (names == NAMES[0] and f"{IMAGES}/{name}" not in claimed):
            message = "an unfinished file" if name.endswith(storage.TEMPORARY) else "no row has this picture"
            yield Difference(id_of_output(name, names), "orphaned", f"{IMAGES}/{name}", message)


def check_files(folder: str, row: dict[str, Any]) -> Iterator[Difference]:
    """Read a row's picture and map, and compare them with what the row says."""
    id, name, key = row["id"], row["output_uri"], row["map_key"]
    if name is not None:
        try:
            data = storage.read(f"{folder}/{name}").data
            if hashlib.sha256(data).hexdigest() != row["output_sha256"] or len(data) != row["output_bytes"]:
                yield Difference(id, "altered", name, f"{len(data)} bytes, not the {row['output_bytes']} of the report")
        except PhotoError as error:
            yield Difference(id, "missing" if error.code == "not_found" else "unreadable", name, error.message)
    if key is not None:
        name = map_uri("maps", key)
        try:
            read_map(f"{folder}/maps", key)
        except PhotoError as error:
            problem = {"not_found": "missing_map", "corrupt": "altered_map"}.get(error.code, "unreadable")
            yield Difference(id, problem, name, error.message)


def check_chunk(folder: str, rows: list[dict[str, Any]]) -> list[Difference]:
    """Check the files of some rows; of an object store many at a time, as each answer is waited for."""
    at_once = storage.parallel(folder)
    if at_once == 1:
        return [difference for row in rows for difference in check_files(folder, row)]
    with ThreadPoolExecutor(at_once) as pool:
        return [one for found in pool.map(lambda row: list(check_files(folder, row)), rows) for one in found]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at, and what was not as it should be."""

    rows: int
    differences: list[Difference]


def write_verdict(uri: str, rows: int, differences: Iterable[Difference]) -> None:
    """Write all differences as one Parquet file, sorted, with the number of rows in its metadata."""
    ordered = sorted(differences, key=lambda one: (one.id, one.problem, one.name))
    schema = pa.schema([(name, pa.string()) for name in Difference.__slots__], metadata={"rows": str(rows)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([asdict(one) for one in ordered], schema=schema), sink, compression="zstd")
    write_or_stop(uri, bytes(sink.getvalue()), PARQUET)


def read_verdict(uri: str) -> Verdict:
    """Read what write_verdict wrote."""
    table = pq.ParquetFile(io.BytesIO(storage.read(uri).data)).read()
    return Verdict(int(table.schema.metadata[b"rows"]), [Difference(**row) for row in table.to_pylist()])


class Verify(beam.PTransform):
    """Check an output folder against the report of a run, and write the verdict to a file.

    names: how pictures are named.
    """

    def __init__(self, folder: str, run_id: str, report: Report, names: str, verdict: str) -> None:
        super().__init__()
        self.names = names
        self.folder = folder
        self.run_id = run_id
        self.report = report
        self.verdict = verdict

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Give a PCollection of nothing."""
        folder, run_id, report, verdict = self.folder, self.run_id, self.report, self.verdict
        names, count = self.names, len(report)

        def by_shard(_: None) -> Iterator[tuple[int, list[str]]]:
            parts: dict[int, list[str]] = defaultdict(list)
            for name, _size in storage.list_sizes(f"{folder}/{IMAGES}"):
                if name.endswith((*ENDINGS, storage.TEMPORARY)):
                    parts[shard_of(id_of_output(name, names), count)].append(name)
            yield from parts.items()

        def gone_by_shard(_: None) -> Iterator[tuple[int, list[str]]]:
            parts: dict[int, list[str]] = defaultdict(list)
            for name in filter(None, (one.name for one in read_gone(folder, run_id))):
                parts[shard_of(id_of_output(name.removeprefix(f"{IMAGES}/"), names), count)].append(name)
            yield from parts.items()

        def check_shard(keyed: tuple[int, dict[str, Iterable[Any]]]) -> Iterator[Any]:
            shard, parts = keyed
            rows = read_shard(report, shard)
            listed, gone = ([name for part in parts[kind] for name in part] for kind in ("listed", "gone"))
            for difference in (*check_rows(rows, shard, count), *check_names(rows, listed, gone, names)):
                yield beam.pvalue.TaggedOutput("differences", difference)
            yield beam.pvalue.TaggedOutput("counts", len(rows))
            for start in range(0, len(rows), CHUNK):
                yield rows[start : start + CHUNK]

        once = root | "Once" >> beam.Create([None])
        joined = {
            "shard": root | "ListShards" >> beam.Create([(at, at) for at in range(count)]),
            "listed": once | "ListImages" >> beam.FlatMap(by_shard).with_output_types(tuple[int, list]),
            "gone": once | "ListGone" >> beam.FlatMap(gone_by_shard).with_output_types(tuple[int, list]),
        } | "JoinByShard" >> beam.CoGroupByKey()
        chunks, differences, counts = joined | "CheckShard" >> beam.FlatMap(check_shard).with_outputs(
            "differences", "counts", main="chunks"
        )
        damaged = (
            chunks | "Spread" >> beam.Reshuffle() | "CheckFiles" >> beam.FlatMap(lambda rows: check_chunk(folder, rows))
        )
        found = (differences, damaged) | "AllDifferences" >> beam.Flatten()
        rows = counts | "CountRows" >> beam.CombineGlobally(sum)
        return once | "WriteVerdict" >> beam.Map(
            lambda _, rows, differences: write_verdict(verdict, rows, differences),
            beam.pvalue.AsSingleton(rows),
            beam.pvalue.AsList(found),
        )
