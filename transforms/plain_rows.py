"""Rows as other people's pipelines have them: a dict, beam.Row or NamedTuple in, a NamedTuple with a schema out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.errors import Failure, FatalError
from transforms.manifest import BATCH, LOGGER, Batch, ManifestFile, in_batches, keep_apart, row_of_record
from transforms.output.schema import SCHEMA, to_record
from transforms.tables import OWN_COLUMNS, Record, as_text, own_name
from transforms.types import ManifestRow, Outcome

ATTRIBUTES = "attributes"
_TYPES: dict[pa.DataType, Any] = {
    pa.string(): str,
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): bool,
    pa.list_(pa.string()): Sequence[str],
    pa.map_(pa.string(), pa.string()): Mapping[str, str],
}

_named_tuple: Any = NamedTuple  # its columns are the report's, and so not to be written here
PhotoOutcome = _named_tuple(
    "PhotoOutcome", [(f.name, _TYPES[f.type] | None if f.nullable else _TYPES[f.type]) for f in SCHEMA]
)
PhotoOutcome.__module__ = __name__
PhotoOutcome.__doc__ = "What became of one row. Its fields are the columns of a report (docs/reference.md)."
beam.coders.registry.register_coder(PhotoOutcome, beam.coders.RowCoder)


def plain_outcome(outcome: Outcome) -> Any:
    """Make a PhotoOutcome of an outcome. The traceback of a fault of ours is logged, as no run.json keeps it."""
    if outcome.failure is not None and outcome.failure.trace:
        LOGGER.error("%s: %s", outcome.row.uri, outcome.failure.trace)
    record = to_record(outcome.row)
    lists = {name: list(value) for name, value in record.items() if isinstance(value, tuple)}
    return PhotoOutcome(**{**record, **lists, ATTRIBUTES: dict(record[ATTRIBUTES])})


def manifest_row(row: Any, folder: str) -> ManifestRow:
    """Make a manifest row of a plain one; what cannot be used is a row with its failure.

    folder: what relative uris are below.
    """
    return row_of_record(_record(row), ManifestFile("row", "jsonl", folder), 0)


def _record(row: Any) -> Record:
    """Give the fields as text, those of `attributes` among them, without those that are missing; or what is wrong."""
    try:
        columns = _named_values(row)
        if columns is None:
            return f"{type(row).__name__}: expected a dict, a beam.Row or a NamedTuple with a uri"
        given = columns.pop(ATTRIBUTES, None)
        attributes = {} if given is None else _named_values(given)
        if attributes is None:
            return f"attributes: expected a dict, not {type(given).__name__}"
        if taken := [name for name in attributes if name in columns or name in OWN_COLUMNS]:
            return f"attributes: {taken[0]!r} is a column of the row"
        texts = {name: as_text(value) for name, value in {**columns, **attributes}.items()}
    except (ValueError, TypeError, RecursionError) as error:  # a value that has no text
        return f"cannot be read: {error}"
    return {name: text for name, text in texts.items() if name and text}


def _named_values(row: Any) -> dict[str, Any] | None:
    if isinstance(row, Mapping):
        pairs: Iterable[tuple[Any, Any]] = row.items()
    elif isinstance(row, beam.Row) or (isinstance(row, tuple) and hasattr(row, "_asdict")):
        pairs = row._asdict().items()
    elif is_dataclass(row) and not isinstance(row, type):
        pairs = ((f.name, getattr(row, f.name)) for f in fields(row))
    else:
        return None
    return {own_name(str(name)): value for name, value in pairs}


def _apart(row: ManifestRow, output: str) -> ManifestRow:
    try:
        return next(keep_apart([row], output))
    except FatalError:
        message = f"row: the photo {row.uri} lies in {output}/images, where pictures are written"
        return replace(row, failure=Failure("manifest", "bad_row", message))


class _Pack(beam.DoFn):
    """Pack a thousand rows at a time, and what is left of each bundle."""

    def __init__(self, folder: str, output: str) -> None:
        self.folder, self.output = folder, output

    def start_bundle(self) -> None:
        self._waiting: list[ManifestRow] = []

    def process(self, row: Any) -> Iterable[Batch]:
        self._waiting.append(_apart(manifest_row(row, self.folder), self.output))
        if len(self._waiting) >= BATCH:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        return map(GlobalWindows.windowed_value, self._flush())

    def _flush(self) -> Iterator[Batch]:
        waiting, self._waiting = self._waiting, []
        return in_batches(waiting)


class PackPlainRows(beam.PTransform):
    """Make batches of manifest rows of plain ones.

    folder: what relative uris are below. output: the output folder, among whose pictures no photo may lie.
    """

    def __init__(self, folder: str, output: str) -> None:
        super().__init__()
        self.folder, self.output = folder, output

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of plain rows to one of Batch."""
        return rows | "Pack" >> beam.ParDo(_Pack(self.folder, self.output)).with_output_types(Batch)
