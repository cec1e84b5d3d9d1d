"""Rows in: CSV, JSON Lines and Parquet manifests, folders and globs of images."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import IO, Any, cast

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.credentials import without_password, without_secrets
from transforms.naming import output_name
from transforms.packing import pack, unpack
from transforms.types import Failure, FatalError, ManifestRow, PhotoError

TABLE_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
COMPRESSION_ENDINGS = (".gz", ".zst")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
OWN_COLUMNS = ("id", "uri", "category")
LONGEST_RECORD = 200  # lines of a CSV record with line breaks in it
BATCH = 1000
Batch = tuple[int, bytes]
"""How many rows, and what pack_rows makes of them."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ManifestError(Exception):
    """A manifest that is missing, empty or of no known form; one line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of rows, one folder of images, or one image.

    kind: `csv`, `jsonl`, `parquet`, `folder` or `image`. base: the folder that relative uris and ids refer to.
    """

    uri: str
    kind: str
    base: str


def find_manifests(patterns: Iterable[str]) -> list[ManifestFile]:
    """Resolve what the user gave for --manifest, and look into each file far enough to know that it can be read.

    Raises:
        ManifestError: nothing there, no known ending, no uri column, or no row.
    """
    found: list[ManifestFile] = []
    for pattern in patterns:
        try:
            found.extend(_resolve(pattern))
        except (OSError, ValueError, PhotoError) as error:
            raise ManifestError(f"--manifest {pattern}: {_reason(error)}") from error
    found = list(dict.fromkeys(found))
    for file in found:
        _check(file)
    return found


def _resolve(pattern: str) -> list[ManifestFile]:
    if storage.is_folder(pattern):
        base = storage.join(os.getcwd(), storage.local_path(pattern)) if storage.scheme(pattern) == "file" else pattern
        return [ManifestFile(base, "folder", base)]
    names = storage.glob(pattern)
    if not names:
        what = "no file matches" if storage.has_magic(pattern) else "no such file or folder"
        raise ManifestError(f"--manifest {pattern}: {what}")
    base = _static_folder(pattern)
    files = []
    for name in names:
        absolute = storage.join(os.getcwd(), name)
        kind = _kind(name)
        if kind is None and len(names) > 1:
            continue  # what a pattern catches beside manifests and images
        if kind is None:
            endings = ", ".join(dict.fromkeys(TABLE_ENDINGS))
            advice = f"expected an ending {endings} (also .gz, .zst), or that of an image"
            raise ManifestError(f"--manifest {name}: {advice}")
        files.append(ManifestFile(absolute, kind, base if kind == "image" else storage.parent(absolute)))
    if not files:
        raise ManifestError(f"--manifest {pattern}: matches neither manifests nor images")
    return files


def _kind(name: str) -> str | None:
    stem, ending = os.path.splitext(storage.path_of(name).lower())
    if ending in COMPRESSION_ENDINGS:
        ending = os.path.splitext(stem)[1]
        return TABLE_ENDINGS.get(ending) if ending != ".parquet" else None
    return "image" if ending in IMAGE_ENDINGS else TABLE_ENDINGS.get(ending)


def _static_folder(pattern: str) -> str:
    """Give the folder above the first wildcard: the one that ids of globbed images are relative to."""
    folder = storage.parent(storage.join(os.getcwd(), pattern))
    while storage.has_magic(folder):
        folder = storage.parent(folder)
    return folder


def _check(file: ManifestFile) -> None:
    """Read the first row of a file, so that a wrong one is an error of the request and not of the run."""
    try:
        first = next(iter(read_manifest(file)), None)
    except (FatalError, ManifestError) as error:
        raise ManifestError(str(error)) from error
    except (OSError, ValueError, EOFError, PhotoError) as error:
        raise ManifestError(f"{file.uri}: {_reason(error)}") from error
    if first is None:
        raise ManifestError(f"{file.uri}: holds no {'images' if file.kind == 'folder' else 'rows'}")


def read_manifest(file: ManifestFile) -> Iterator[ManifestRow]:
    """Read every row of a manifest; what cannot be used is a row with its failure.

    Raises:
        FatalError: the file breaks off or cannot be read to its end, so that rows would be missing.
        ManifestError: it has no uri column at all.
    """
    if file.kind == "image":
        yield _image_row(file.uri, file)
        return
    if file.kind == "folder":
        for uri in storage.list_files(file.uri):
            if uri.lower().endswith(IMAGE_ENDINGS):
                yield _image_row(uri, file)
        return
    line = 0
    try:
        with storage.open_read(file.uri) as stream:
            for line, record in _READERS[file.kind](_decompressed(stream), file.uri):
                yield _row(record, file, line)
    except ManifestError as error:
        raise FatalError(str(error)) from error
    except (OSError, EOFError, ValueError, OverflowError, PhotoError, pa.ArrowException) as error:
        raise FatalError(f"{file.uri}: cannot be read after line {line}: {_reason(error)}") from error
    if not line:  # of one that was looked at before, as a server may give another the second time
        raise FatalError(f"{file.uri}: holds no rows")


def _image_row(uri: str, file: ManifestFile) -> ManifestRow:
    relative = (
        os.path.relpath(uri, file.base) if storage.scheme(uri) == "file" else uri[len(file.base.rstrip("/")) + 1 :]
    )
    return _row({"uri": relative}, file, 0)


def _decompressed(stream: IO[bytes]) -> IO[bytes]:
    begins = cast(io.BufferedReader, stream).peek(4)[:4]  # not the name: a web server may have unpacked it on the way
    if begins[:2] == b"\x1f\x8b":
        return gzip.open(stream)  # type: ignore[return-value]
    if begins == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    return stream


def _text(stream: IO[bytes]) -> io.TextIOWrapper:
    # Bytes that are not UTF-8 become surrogates, which _row then finds and fails the one row for.
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _read_csv(stream: IO[bytes], uri: str) -> Iterator[tuple[int, Any]]:
    records = _csv_records(_text(stream))
    _, first = next(records, (1, []))
    columns = [name.strip() for name in first] if isinstance(first, list) else []
    _check_columns(columns, uri)
    for line, fields in records:
        if isinstance(fields, str):
            yield line, fields
        elif len(fields) > len(columns):
            yield line, f"{len(fields)} fields, more than the {len(columns)} of the first line"
        elif fields:  # an empty line is none
            # A column without a name, as pandas writes its index, is passed over.
            yield line, {name: value for name, value in zip(columns, fields, strict=False) if name}


def _csv_records(text: Iterable[str]) -> Iterator[tuple[int, list[str] | str]]:
    """Give each record with the number of its line: its fields, or what is wrong with it.

    A record goes on to the next line while a quote is open. A quote that is never closed, or closed where no field
    ends, must not swallow the rows behind it: then its first line alone is wrong, and reading goes on with the second.
    """
    lines = enumerate(text, start=1)
    again: list[tuple[int, str]] = []
    while True:
        number, line = again.pop(0) if again else next(lines, (0, ""))
        if not number:
            return
        record = [line]
        behind: list[tuple[int, str]] = []
        while sum(part.count('"') for part in record) % 2 and len(record) <= LONGEST_RECORD:
            following = again.pop(0) if again else next(lines, None)
            if following is None:
                break
            behind.append(following)
            record.append(following[1])
        try:
            yield number, next(csv.reader(record, strict=True), [])
        except csv.Error as error:
            again[:0] = behind
            yield number, f"not a CSV row: {error}"


def _check_columns(columns: list[str], uri: str) -> None:
    if "uri" not in columns:
        found = "".join(c if c.isprintable() else "?" for c in ", ".join(columns)[:80]) or "none"
        raise ManifestError(f"{uri}: no uri column in the first line; its columns are {found}")
    named = [name for name in columns if name]
    if len(set(named)) < len(named):
        raise ManifestError(f"{uri}: two columns have the same name")
    if not all(_is_text(name) for name in named):
        raise ManifestError(f"{uri}: the first line is not UTF-8; save the file as UTF-8")


def _read_jsonl(stream: IO[bytes], uri: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_text(stream), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        if number == 1 and isinstance(record, list):
            raise ManifestError(f"{uri}: one JSON array; write JSON Lines, one object a line")
        yield number, record if isinstance(record, dict) else "not a JSON object"


def _read_parquet(stream: IO[bytes], uri: str) -> Iterator[tuple[int, Any]]:
    file = pq.ParquetFile(stream)
    _check_columns(file.schema_arrow.names, uri)
    number = 0
    for batch in file.iter_batches(batch_size=10_000):
        for record in batch.to_pylist():
            number += 1
            yield number, record


_READERS = {"csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}


def _row(record: dict[str, Any] | str, file: ManifestFile, line: int) -> ManifestRow:
    """Make a row of a record, or of the reason why there is none."""
    if isinstance(record, str):
        where = f"{posixpath.basename(storage.path_of(file.uri))} line {line}"
        failure = Failure("manifest", "bad_row", _clean(f"{where}: {without_secrets(record)}"))
        return ManifestRow("", "", "", manifest=_clean(without_secrets(file.uri)), line=line, failure=failure)
    fields = {str(name): _as_text(value) for name, value in record.items() if name and value not in (None, "")}
    uri = fields.get("uri", "").strip()
    id = without_password(fields.get("id", "").strip()) or _id_from_uri(uri)
    source = storage.join(file.base, uri) if uri else ""
    problem, here = None, _clean(without_secrets(file.uri))
    fields = {name: without_password(value) for name, value in fields.items()}  # source alone is to keep it
    uri = without_password(uri)
    if not uri:
        problem = "no uri"
    elif storage.is_web(file.base) and storage.scheme(source) == "file":
        problem = "a local file, in a manifest on a web server"
    elif not all(_is_text(text) for item in fields.items() for text in item):
        problem = "not UTF-8"
    elif _CONTROL.search(uri) or _CONTROL.search(storage.local_path(source)):
        problem = "a control character in the uri"
    row = ManifestRow(
        id=_clean(id),
        uri=_clean(uri),
        source=_clean(source),
        category=_clean(fields["category"]) if "category" in fields else None,
        attributes={_clean(name): _clean(fields[name]) for name in sorted(fields) if name not in OWN_COLUMNS},
        manifest=here,
        line=line,
    )
    if problem:
        where = f"{posixpath.basename(storage.path_of(file.uri))} line {line}"
        return replace(row, failure=Failure("manifest", "bad_row", _clean(f"{where}: {problem}")))
    try:
        output_name(id, "")
    except PhotoError as error:
        return replace(row, failure=Failure("manifest", error.code, error.message))
    return row


def _is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8: bytes that were none stand in it as surrogates."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _clean(value: str) -> str:
    """Make a string that a report can hold."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):  # as Parquet files of some writers hold text; what is no UTF-8 fails its row
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


def _id_from_uri(uri: str) -> str:
    """Take the path without its ending for an id; of an absolute one, what follows the scheme or the root."""
    if storage.scheme(uri) != "file":
        host, slash, path = storage.path_of(uri).partition("://")[2].partition("/")
        return f"{host.rpartition('@')[2]}{slash}{_without_ending(path)}"  # without a password
    return _without_ending(storage.local_path(uri))


def _without_ending(path: str) -> str:
    return posixpath.splitext(posixpath.normpath(path.replace(os.sep, "/")).lstrip("/"))[0] if path else ""


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0]


def refuse_duplicates(rows: Iterable[ManifestRow]) -> Iterator[ManifestRow]:
    """Pass one of the rows that share an id, and fail the others.

    Which one passes depends on what the rows say, not on where they stand, so that a shuffled manifest gives the same
    pictures: the first by uri, category and attributes.
    """
    ordered = sorted(rows, key=lambda row: (row.uri, row.category or "", sorted(row.attributes.items()), row.source))
    first, *others = ordered
    yield first
    for row in others:
        message = f"the id {row.id!r} is also that of {first.uri}; give each row an id of its own"
        yield replace(row, failure=Failure("manifest", "duplicate_id", message))


def photo_key(row: ManifestRow) -> str:
    """Name the work a row belongs to: its photo, or the row alone if it has failed already."""
    return row.source if row.failure is None else f"\0{row.manifest}\0{row.line}\0{row.id}\0{row.uri}"


def pack_rows(rows: Iterable[ManifestRow]) -> bytes:
    """Pack rows for the way to another stage."""
    return pack(row.values() for row in rows)


def unpack_rows(packed: bytes) -> Iterator[ManifestRow]:
    """Give the rows again."""
    return (ManifestRow(*values) for values in unpack(packed))


def in_batches(rows: Iterable[ManifestRow]) -> Iterator[Batch]:
    """Pack rows a thousand at a time: a runner's overhead for each element is that of several rows."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield len(batch), pack_rows(batch)


def keep_apart(rows: Iterable[ManifestRow], output: str) -> Iterator[ManifestRow]:
    """Pass rows on, and make sure that no photo lies where pictures are written, replaced and removed.

    Raises:
        FatalError: one does.
    """
    pictures = f"{_real_folder(output)}/images/"
    for row in rows:
        if row.source and f"{_real_folder(storage.parent(row.source))}/".startswith(pictures):
            raise FatalError(
                f"{row.manifest} line {row.line}: the photo {row.uri} lies in {output}/images, where pictures are "
                "written; use another --output"
            )
        yield row


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder) if storage.scheme(folder) == "file" else folder.rstrip("/")


class ReadManifests(beam.PTransform):
    """Read manifests into rows of photos that do not lie among an output folder's pictures."""

    def __init__(self, files: list[ManifestFile], output: str) -> None:
        super().__init__()
        self.files = files
        self.output = output

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Give a PCollection of Batch."""
        output = self.output
        return (
            root
            | "ListManifests" >> beam.Create(self.files, reshuffle=len(self.files) > 1)
            | "ReadManifest"
            >> beam.FlatMap(lambda file: in_batches(keep_apart(read_manifest(file), output))).with_output_types(Batch)
        )
