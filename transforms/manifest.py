"""Rows in: CSV, JSON Lines and Parquet manifests, folders and globs of images."""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, islice
from typing import TypeVar

import apache_beam as beam
import pyarrow as pa

from transforms import storage
from transforms.credentials import without_password, without_secrets
from transforms.decisions import NAME as DECISIONS
from transforms.errors import Failure, FatalError, PhotoError, in_one_line
from transforms.output.naming import check_id
from transforms.output.schema import DELETED
from transforms.packing import pack, unpack
from transforms.selection import matches
from transforms.tables import OWN_COLUMNS, Record, TableError, read_csv, read_jsonl, read_parquet
from transforms.types import ManifestRow
from transforms.unpacking import UnpackingError, unpacked

TABLE_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
COMPRESSION_ENDINGS = (".gz", ".zst")
IMAGE_ENDINGS = (
    *(".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    *(".apng", ".avifs", ".dib", ".heic", ".heif", ".hif", ".jfif", ".jif", ".jpe", ".mpo"),  # read later than those
)
"""Those of every format that is decoded. Of two files that differ in their ending alone, the first here has the id."""
LARGEST_DOWNLOAD = 4 << 30
"""Bytes of a manifest on a web server: it goes through a temporary file."""
FILES_COUNTED = 100_000
"""Of a larger folder, only so many are looked at to say what is passed over."""
BATCH = 1000
BATCH_CHARACTERS = 16 << 20
Row = TypeVar("Row", bound=ManifestRow)
Batch = tuple[int, bytes]
"""How many rows, and what pack_rows makes of them."""

LOGGER = logging.getLogger("whitesweep")
_READERS = {"csv": read_csv, "jsonl": read_jsonl, "parquet": read_parquet}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LEADING = re.compile(r"^(\.{0,2}(/|$))+")


class ManifestError(Exception):
    """A manifest that is missing, empty or of no known form; one line for the user."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of rows, one folder of images, or one image.

    kind: `csv`, `jsonl`, `parquet`, `folder` or `image`. base: the folder that relative uris and ids refer to.
    id: of an image, what its row is called.
    """

    uri: str
    kind: str
    base: str
    id: str = ""


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


def list_manifests(pattern: str, images: bool) -> list[ManifestFile]:
    """List the manifests that match a pattern or lie in a folder, or the images; there may be none. Nothing is read.

    Raises:
        OSError, ValueError, PhotoError: it cannot be looked there.
    """
    if storage.is_folder(pattern):
        pattern = f"{pattern.rstrip('/')}/**"
    try:
        found = _resolve(pattern, say=False)
    except ManifestError:
        return []
    named = [file for file in found if posixpath.basename(storage.path_of(file.uri)) != DECISIONS]
    return [file for file in named if (file.kind == "image") == images]


def _resolve(pattern: str, say: bool = True) -> list[ManifestFile]:
    if storage.is_folder(pattern):
        base = storage.join(os.getcwd(), storage.local_path(pattern)) if storage.is_local(pattern) else pattern
        others = [uri for uri in islice(storage.list_files(base), FILES_COUNTED) if not _is_image(uri)]
        _say_what_is_passed_over(pattern, others)
        return [ManifestFile(base, "folder", base)]
    names = storage.glob(pattern)
    if not names:
        what = "no file matches" if storage.has_magic(pattern) else "no such file or folder"
        raise ManifestError(f"--manifest {pattern}: {what}")
    if len(names) > 1:  # beside manifests, they are none
        names = [name for name in names if posixpath.basename(storage.path_of(name)) != DECISIONS]
    kinds = {storage.join(os.getcwd(), name): kind_of(name) for name in names}
    neither = [name for name, kind in kinds.items() if kind is None]
    if neither and len(names) == 1:
        endings = ", ".join(dict.fromkeys(TABLE_ENDINGS))
        advice = f"expected an ending {endings} (also .gz, .zst), or that of an image"
        raise ManifestError(f"--manifest {names[0]}: {advice}")
    if len(neither) == len(names):
        raise ManifestError(f"--manifest {pattern}: matches neither manifests nor images")
    if say:
        _say_what_is_passed_over(pattern, neither)
    base = storage.join(os.getcwd(), storage.split_pattern(pattern)[0])
    ids = _image_ids([name for name, kind in kinds.items() if kind == "image"], base)
    tables = [ManifestFile(name, kind, storage.parent(name)) for name, kind in kinds.items() if kind in _READERS]
    return tables + [ManifestFile(name, "image", base, id) for name, id in ids.items()]


def order_of(files: Iterable[ManifestFile]) -> tuple[str, ...]:
    """Name manifests as their rows name them, in order."""
    return tuple(dict.fromkeys(_clean(without_secrets(file.uri)) for file in files))


def _say_what_is_passed_over(pattern: str, names: list[str]) -> None:
    """Count files by their endings and say it, as nobody can see from the report what is not in it."""
    endings = [posixpath.splitext(name)[1].lower() for name in names]
    if endings:
        counts = Counter(ending if ending.isprintable() and len(ending) < 12 else "" for ending in endings)
        most = sorted(counts.items(), key=lambda item: (-item[1], not item[0], item[0]))
        kinds = ", ".join(f"{count} {ending or 'others'}" for ending, count in most[:8])
        more = ", …" if len(most) > 8 else ""
        files = "1 file" if len(endings) == 1 else f"{len(endings)} files"
        LOGGER.warning("%s: %s passed over (%s%s)", _clean(pattern), files, kinds, more)


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_ENDINGS)


def kind_of(name: str) -> str | None:
    """Tell by its name what a file is: `csv`, `jsonl`, `parquet`, `image`, or nothing that is read."""
    stem, ending = os.path.splitext(storage.path_of(name).lower())
    if ending in COMPRESSION_ENDINGS:
        ending = os.path.splitext(stem)[1]
        return TABLE_ENDINGS.get(ending) if ending != ".parquet" else None
    return "image" if ending in IMAGE_ENDINGS else TABLE_ENDINGS.get(ending)


def _image_ids(uris: Iterable[str], base: str) -> dict[str, str]:
    """Call images by their path below a folder without its ending.

    Of those that differ in the ending alone, the first by IMAGE_ENDINGS and name is called so. The others keep their
    ending: `shoe.jpg` is `shoe`, and `shoe.tif` beside it is `shoe.tif`.
    """

    def rank(uri: str) -> tuple[int, str]:
        ending = posixpath.splitext(uri)[1].lower()
        return (IMAGE_ENDINGS.index(ending) if ending in IMAGE_ENDINGS else len(IMAGE_ENDINGS), uri)

    first: dict[str, str] = {}
    later = []
    for uri in sorted(uris, key=rank):
        path = _below(uri, base)
        if first.setdefault(_without_ending(path), uri) != uri:
            later.append((path, uri))
    for path, uri in later:
        while first.setdefault(path, uri) != uri:  # that of `shoe.tif.jpg`
            path += posixpath.splitext(path)[1]
    return {uri: id for id, uri in first.items()}


def _below(uri: str, base: str) -> str:
    """Give the path of a file below a folder."""
    if storage.is_local(uri):
        return os.path.relpath(uri, base).replace(os.sep, "/")
    return uri[len(base.rstrip("/")) + 1 :]


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
        yield _image_row(file.uri, file.id, file)
        return
    if file.kind == "folder":
        for _, uris in groupby(storage.list_files(file.uri), storage.parent):
            for uri, id in sorted(_image_ids(filter(_is_image, uris), file.base).items()):
                yield _image_row(uri, id, file)
        return
    line = 0
    try:
        with storage.open_read(file.uri, LARGEST_DOWNLOAD) as stream:
            for line, record in _READERS[file.kind](unpacked(stream)):
                yield row_of_record(record, file, line)
    except (TableError, UnpackingError) as error:
        raise FatalError(f"{file.uri}: {error}") from error
    except (OSError, EOFError, ValueError, OverflowError, PhotoError, pa.ArrowException) as error:
        raise FatalError(f"{file.uri}: cannot be read after line {line}: {_reason(error)}") from error
    if not line:  # of one that was looked at before, as a server may give another the second time
        raise FatalError(f"{file.uri}: holds no rows")


def _image_row(uri: str, id: str, file: ManifestFile) -> ManifestRow:
    """Make a row of a file: its name may hold what no manifest would, such as spaces at its ends or line breaks."""
    path = _below(uri, file.base)
    row = ManifestRow(_clean(id), _clean(path), _clean(uri), manifest=_clean(without_secrets(file.uri)))
    if not (_is_text(path) and _is_text(uri)):
        return _with_failure(row, "a file name that is not UTF-8; rename the file or folder")
    return _with_checked_id(row, id)


def row_of_record(record: Record, file: ManifestFile, line: int) -> ManifestRow:
    """Make a row of a record, or of the reason why there is none. Nothing that a record holds may cost another."""
    nothing = ManifestRow("", "", "", manifest=_clean(without_secrets(file.uri)), line=line)
    if isinstance(record, str):
        return _with_failure(nothing, without_secrets(record))
    try:
        return _row(record, file, line)
    except Exception as error:
        return _with_failure(nothing, without_secrets(f"cannot be used: {type(error).__name__}: {error}"))


def _row(fields: dict[str, str], file: ManifestFile, line: int) -> ManifestRow:
    uri = fields.get("uri", "").strip()
    id = without_password(fields.get("id", "").strip()) or _id_from_uri(uri)
    source = storage.join(file.base, uri) if uri else ""
    fields = {name: without_password(value) for name, value in fields.items()}  # source alone is to keep it
    uri, category = without_password(uri), fields.get("category", "").strip()
    row = ManifestRow(
        id=_clean(id),
        uri=_clean(uri),
        source=_clean(source),
        category=_clean(category) if category else None,
        attributes={_clean(name): _clean(fields[name]) for name in sorted(fields) if name not in OWN_COLUMNS},
        manifest=_clean(without_secrets(file.uri)),
        line=line,
    )
    if not uri:
        return _with_failure(row, "no uri")
    if storage.is_web(file.base) and storage.is_local(source):
        return _with_failure(row, "a local file, in a manifest on a web server")
    if not all(_is_text(text) for item in fields.items() for text in item) or not _is_text(source):
        return _with_failure(row, "not UTF-8; save the manifest as UTF-8")
    if _CONTROL.search(uri) or _CONTROL.search(storage.local_path(source)):
        return _with_failure(row, "a control character in the uri")
    return _with_checked_id(row, id)


def _with_failure(row: ManifestRow, problem: str) -> ManifestRow:
    name = posixpath.basename(storage.path_of(row.manifest).rstrip("/"))
    where = name + (f" line {row.line}" if row.line else "")
    return replace(row, failure=Failure("manifest", "bad_row", in_one_line(f"{where}: {problem}")))


def _with_checked_id(row: ManifestRow, id: str) -> ManifestRow:
    try:
        check_id(id)
    except PhotoError as error:
        return replace(row, failure=Failure("manifest", error.code, error.message))
    return row


def _is_text(value: str) -> bool:
    """Tell whether a string can be written as UTF-8: bytes that were none stand in it as surrogates."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _clean(value: str) -> str:
    """Make a string that a report can hold."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _id_from_uri(uri: str) -> str:
    """Take the path without its ending for an id; of an absolute one, what follows the scheme or the root."""
    if not storage.is_local(uri):
        host, slash, path = storage.path_of(uri).partition("://")[2].partition("/")
        return f"{host.rpartition('@')[2]}{slash}{_without_ending(path)}"  # without a password
    return _without_ending(storage.local_path(uri))


def _without_ending(path: str) -> str:
    """Take off the ending, and what leads out of the folder, as in `../photos/shoe.jpg`."""
    return posixpath.splitext(_LEADING.sub("", posixpath.normpath(path.replace(os.sep, "/"))))[0] if path else ""


def fault_of(file: ManifestFile) -> str | None:
    """Say what is wrong with what is in a manifest; None if it can be read to its end.

    Raises:
        PhotoError: it cannot be read just now, so that nothing can be said of what is in it.
    """
    for is_last in (False, True):  # once is no proof: something may have been wrong on the way
        try:
            for _ in read_manifest(file):
                pass
        except (FatalError, ManifestError, PhotoError, OSError) as error:
            storage.read(file.uri)
            if is_last:
                return str(getattr(error, "message", None) or error)
        else:
            break
    return None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    return next(iter(str(text).strip().splitlines()), type(error).__name__)


def deletion(row: ManifestRow) -> ManifestRow:
    """Take the column `deleted` of a manifest of changes for what it says; such a row needs no more than its id."""
    word = row.attributes.get(DELETED, "").strip().lower()
    row = replace(row, attributes={name: value for name, value in row.attributes.items() if name != DELETED})
    if word in ("", "0", "false", "no"):
        return row
    if word not in ("1", "true", "yes"):
        return _with_failure(row, f"{DELETED} is {word!r}; write true or false")
    if not row.id:
        return _with_failure(row, f"{DELETED}, and no id that says which")
    return replace(_with_checked_id(replace(row, failure=None), row.id), deleted=True)


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
    if row.failure is None:
        return row.source
    return f"\0{row.manifest}\0{row.line}\0{row.id}\0{row.uri}\0{row.failure.message}"


def pack_rows(rows: Iterable[ManifestRow]) -> bytes:
    """Pack rows for the way to another stage."""
    return pack(row.values() for row in rows)


def unpack_rows(packed: bytes, kind: type[Row]) -> Iterator[Row]:
    """Give the rows again, of the type that they were."""
    return (kind(*values) for values in unpack(packed))


def in_batches(rows: Iterable[ManifestRow]) -> Iterator[Batch]:
    """Pack rows a thousand at a time, fewer of long ones: a runner's overhead for each is that of several rows."""
    batch: list[ManifestRow] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.uri) + sum(map(len, row.attributes.values()))
        if len(batch) == BATCH or characters > BATCH_CHARACTERS:
            yield len(batch), pack_rows(batch)
            batch, characters = [], 0
    if batch:
        yield len(batch), pack_rows(batch)


def keep_apart(rows: Iterable[ManifestRow], output: str) -> Iterator[ManifestRow]:
    """Pass rows on, and make sure that no photo lies where pictures are written, replaced and removed.

    Raises:
        FatalError: one does.
    """
    pictures = f"{_real_folder(output)}/images/"
    for row in rows:
        if row.failure is not None or row.deleted:
            yield row
            continue
        try:
            folder = _real_folder(storage.parent(row.source))
        except (OSError, ValueError) as error:  # what no file system has
            yield _with_failure(row, f"no path: {error}")
            continue
        if f"{folder}/".startswith(pictures):
            raise FatalError(
                f"{row.manifest} line {row.line}: the photo {row.uri} lies in {output}/images, where pictures are "
                "written; use another --output"
            )
        yield row


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder) if storage.is_local(folder) else folder.rstrip("/")


class ReadManifests(beam.PTransform):
    """Read manifests into rows of photos that do not lie among an output folder's pictures.

    only: ids and patterns of the rows that are wanted; all of them if there is none. partial: rows may be deleted.
    """

    def __init__(
        self, files: list[ManifestFile], output: str, only: tuple[str, ...] = (), partial: bool = False
    ) -> None:
        super().__init__()
        self.partial = partial
        self.files = files
        self.output = output
        self.only = only

    def expand(self, root: beam.Pipeline) -> beam.PCollection:
        """Give a PCollection of Batch."""
        output, only, partial = self.output, self.only, self.partial

        def read(file: ManifestFile) -> Iterator[Batch]:
            rows = read_manifest(file)
            rows = keep_apart(map(deletion, rows) if partial else rows, output)
            return in_batches(row for row in rows if not only or matches(only, row.id))

        return (
            root
            | "ListManifests" >> beam.Create(self.files, reshuffle=len(self.files) > 1)
            | "ReadManifest" >> beam.FlatMap(read).with_output_types(Batch)
        )
