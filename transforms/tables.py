"""Tables in: CSV, JSON Lines and Parquet, one record after the other, however long or odd a file is.

A record is its fields by column name, as text, without those that are missing; or a line that says what is wrong with
it. Every record of a file is given, with its line (of Parquet the number of the row), and none costs another.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.unpacking import CHUNK, Allowance

OWN_COLUMNS = ("id", "uri", "category")
DELIMITERS = ",;\t|"
LONGEST_RECORD = 4 << 20
"""Characters. A longer record is one failed row; it is passed over without being kept."""
ROWS_AT_ONCE = 200
LONGEST_DICTIONARY = 16 << 20
"""Bytes of a column in a row group of Parquet."""
EQUAL_VALUES = 10
"""Parquet holds a value that many rows share once, so it may unpack to so many times as much as other files."""

Record = dict[str, str] | str
Line = tuple[int, str | None]
"""Its number, from 1, and the line with its end; None if it is longer than LONGEST_RECORD."""

TOO_LONG = f"a record of more than {LONGEST_RECORD >> 20} million characters"
OPEN_QUOTE = (
    'not a CSV row: a quote is never closed, or not at the end of its field (within one, a quote is written "")'
)

OTHER_FILES = {
    b"PK\x03\x04": "an Excel workbook or a zip file; save the table as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the table as CSV UTF-8",
    b"%PDF": "a PDF file; a table in CSV, JSON Lines or Parquet is needed",
    b"PAR1": "a Parquet file; let its name end with .parquet",
    b"BZh": "packed with bzip2; pack it with gzip or zstd, or not at all",
    b"\xfd7zXZ": "packed with xz; pack it with gzip or zstd, or not at all",
    b"7z\xbc\xaf": "packed with 7-Zip; pack it with gzip or zstd, or not at all",
    b"\xff\xfe\0\0": "in UTF-32; save it as UTF-8",
    b"\0\0\xfe\xff": "in UTF-32; save it as UTF-8",
    b"<": "a web page or XML, perhaps the page of a login; a table in CSV, JSON Lines or Parquet is needed",
}
"""How files begin that are taken for tables, and what to say of them."""

_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_QUOTED = tuple(f'"{name}"' for name in OWN_COLUMNS)
_ONE_DOCUMENT = re.compile(r"[\s\ufeff]*(\[\s*[{\]]|\{[ \t]*[\r\n])")

csv.field_size_limit(max(csv.field_size_limit(), LONGEST_RECORD))  # a record is limited as a whole
# Bytes that are not UTF-16 become what such bytes become in UTF-8: a surrogate, which fails the one row.
codecs.register_error("whitesweep.lone", lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


class TableError(Exception):
    """A file that is no table of photos; one line that says why, and what to do."""


def read_csv(stream: IO[bytes], needed: str = "uri") -> Iterator[tuple[int, Record]]:
    r"""Read a CSV file, in UTF-8 or UTF-16, whose first line names the columns.

    Fields are separated by commas; by semicolons, tabs or `|` if only so there is the column that is needed, or if a
    first line `sep=;` says so. Lines end with \n, \r\n or \r; an empty line is no record. A field that begins with `"`
    is quoted: delimiters and line ends belong to it, `""` is a quote, and it ends with a quote before a delimiter or a
    line end. In any other field quotes are text (`19" monitor`). Where a quote is opened and not closed in this way,
    the line in which that record begins is wrong, and reading goes on with the next one. The search for its end is
    given up after LONGEST_RECORD characters, and lines that have been searched in vain are not searched again.

    Raises:
        TableError: it is something else, or lacks the column that is needed.
        OSError, EOFError: it cannot be read to its end.
    """
    lines = _Lines(_read_lines(stream))
    columns, delimiter = _read_header(lines, needed)
    width = len(columns)
    for number, fields in _csv_records(lines, delimiter):
        if isinstance(fields, str):
            yield number, fields
        elif len(fields) > width and any(fields[width:]):  # delimiters at the end do no harm
            yield number, f"{len(fields)} fields, more than the {width} of the first line"
        elif fields:
            # A column without a name, as pandas writes its index, is passed over.
            yield number, {name: value for name, value in zip(columns, fields, strict=False) if value and name}


def _read_header(lines: _Lines, needed: str) -> tuple[list[str], str]:
    """Read the first record: the names of the columns, and the delimiter."""
    try:
        separator = _SEPARATOR.fullmatch(next(lines, ""))
    except csv.Error:
        raise TableError(f"its first line is {TOO_LONG}") from None
    if separator is None:
        lines.give_back()
    delimiters = separator[1] if separator else DELIMITERS
    for delimiter in delimiters:
        fields = _first_fields(lines, delimiter)
        if needed in map(own_name, fields):
            return _named(fields, needed), delimiter
        lines.give_back()
    return _named(_first_fields(lines, delimiters[0]), needed), delimiters[0]


def _first_fields(lines: _Lines, delimiter: str) -> list[str]:
    for _, fields in _csv_records(lines, delimiter):
        if fields:
            return fields if isinstance(fields, list) else []
    return []


class _Lines:
    """Lines for csv.reader, which asks for one more as long as a quote is open. They can be given back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self._searched = 0  # from these lines on, no quote that is open at their beginning is ever closed
        self._size = 0
        self.taken: list[Line] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        taken = self.taken
        if taken and taken[-1][0] < self._searched:
            raise csv.Error
        try:
            numbered = self._again.popleft() if self._again else next(self._lines)
        except StopIteration:
            if taken:
                raise csv.Error from None
            raise
        line = numbered[1]
        self._size = (self._size if taken else 0) + (LONGEST_RECORD + 1 if line is None else len(line))
        if self._size > LONGEST_RECORD or line is None:
            if taken:
                self._again.appendleft(numbered)
                raise csv.Error
            taken.append(numbered)
            raise csv.Error(TOO_LONG)
        taken.append(numbered)
        return line

    def give_back(self, kept: int = 0) -> None:
        """Take again what was taken, but for the first ones; if some are kept, the search for a quote was in vain."""
        self._searched = max(self._searched, self.taken[-1][0]) if kept else 0
        self._again.extendleft(reversed(self.taken[kept:]))
        del self.taken[kept:]


def _csv_records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Give each record with the number of its first line: its fields, or what is wrong with it."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    taken = lines.taken
    while True:
        taken.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong = TOO_LONG if TOO_LONG in error.args else OPEN_QUOTE
            number = taken[0][0]
            lines.give_back(kept=1)
            yield number, wrong
        else:
            yield taken[0][0], fields


def _named(columns: Iterable[str], needed: str = "uri") -> list[str]:
    """Clean the names of columns, and see that the one that is needed is there, and none twice."""
    columns = [own_name(name) for name in columns]
    named = [name for name in columns if name]
    if needed not in named:
        found = "".join(c if c.isprintable() else "?" for c in ", ".join(columns)[:80]) or "none"
        raise TableError(f"no {needed} column in the first line; its columns are {found}")
    for name in named:
        if named.count(name) > 1:
            raise TableError(f"two columns have the same name, {name!r} (small letters or capitals, spaces around it)")
    if any("\ud800" <= character <= "\udfff" for name in named for character in name):
        raise TableError("the first line is not UTF-8; save the file as UTF-8")
    return columns


@lru_cache(maxsize=1 << 12)
def own_name(name: str) -> str:
    """Take spaces off a column's name; those that mean something are found in capitals too."""
    name = name.strip()
    return name.lower() if name.lower() in OWN_COLUMNS else name


def _read_lines(stream: IO[bytes], json_lines: bool = False) -> Iterator[Line]:
    r"""Give each line with its number and its end: \n, \r\n or \r."""
    number, rest, over = 0, "", False
    for text in _decoded(stream):
        if json_lines and not number and _ONE_DOCUMENT.match(rest + text):
            raise TableError(
                "this is one JSON array, or an object over several lines; write JSON Lines, one object a line"
            )
        if over and text and rest != "\r" and "\n" not in text and "\r" not in text:
            continue  # the middle of what is passed over
        lines = io.StringIO(rest + text, newline="").readlines()
        # What ends with \r may go on with \n.
        rest = lines.pop() if text and lines and not lines[-1].endswith("\n") else ""
        for line in lines:
            number += 1
            yield number, None if over or len(line) > LONGEST_RECORD else line
            over = False
        if len(rest) > LONGEST_RECORD:
            rest, over = "\r" if rest[-1] == "\r" else "…", True


def _decoded(stream: IO[bytes]) -> Iterator[str]:
    """Give the text in pieces, the last of them empty. Bytes that are no text become surrogates."""
    data = stream.read(CHUNK)
    encoding, errors, mark = _encoding(data)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    data = data[mark:]
    while data:
        if text := decoder.decode(data):
            yield text
        data = stream.read(CHUNK)
    if text := decoder.decode(b"", True):
        yield text
    yield ""


def _encoding(data: bytes) -> tuple[str, str, int]:
    """Tell by its beginning how a text is encoded: codec, what to do with errors, and the length of the mark."""
    for beginning, what in OTHER_FILES.items():
        if data.startswith(beginning) or (beginning == b"<" and data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"):
            raise TableError(f"this is {what}")
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8", "surrogateescape", 3
    even, odd = data[0:6:2], data[1:6:2]
    for name, mark, others, zeros in (
        ("utf-16-le", codecs.BOM_UTF16_LE, even, odd),
        ("utf-16-be", codecs.BOM_UTF16_BE, odd, even),
    ):
        if data.startswith(mark):
            return name, "whitesweep.lone", 2
        if len(zeros) == 3 and not any(zeros) and all(others):
            return name, "whitesweep.lone", 0
    return "utf-8", "surrogateescape", 0


def read_jsonl(stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
    r"""Read JSON Lines, in UTF-8 or UTF-16: an object a line. Lines end with \n, \r\n or \r; an empty one is none.

    Raises:
        TableError: it is something else, such as one JSON document over several lines.
        OSError, EOFError: it cannot be read to its end.
    """
    for number, line in _read_lines(stream, json_lines=True):
        if line is None:
            yield number, TOO_LONG
        elif not line.isspace():
            yield number, _json_record(line)


class _Twice(dict[str, Any]):
    """A JSON object in which a name stands twice with different values. names: which."""

    names: frozenset[str] = frozenset()


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = _Twice(made)
    twice.names = frozenset(name for name, value in pairs if value != made[name])
    return twice


def _long_number(digits: str) -> int | str:
    return int(digits) if len(digits) < 4000 else digits  # beyond these Python refuses to


def _json_record(line: str) -> Record:
    try:
        try:
            # The hook sees what stands twice, and takes as long as all the rest: it is for lines that may need it.
            small = line.lower()
            hook = _json_object if any(small.count(name) > 1 for name in _QUOTED) else None
            record = json.loads(line, object_pairs_hook=hook)
        except ValueError:
            record = json.loads(line.lstrip("\ufeff"), object_pairs_hook=_json_object, parse_int=_long_number)
        if not isinstance(record, dict):
            return "not a JSON object"
        found: dict[str, str] = {}
        for name, value in record.items():
            text, name = value if type(value) is str else as_text(value), own_name(name)
            if text and name:
                if name in found and name in OWN_COLUMNS and found[name] != text:
                    return f"two values of {name}"
                found[name] = text
    except ValueError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return "not JSON that can be read: too many brackets within brackets"
    if isinstance(record, _Twice) and (names := sorted({*map(own_name, record.names)}.intersection(OWN_COLUMNS))):
        return f"two values of {names[0]}"
    return found


def as_text(value: Any, exact: int = 1 << 53) -> str | None:
    """Write a value as text: whole numbers without a fraction; None if it is missing, as null and NaN are.

    exact: from here on a floating-point number no longer says which whole number it was, and stays what it is.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return None
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < exact else str(value)
    if isinstance(value, bytes):  # as Parquet files of some writers hold text; what is no UTF-8 fails its row
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (dict, list, bool)):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


def read_parquet(stream: IO[bytes]) -> Iterator[tuple[int, Record]]:
    """Read a Parquet file, some hundred rows at a time. What of its values has no text (pictures, say) is left out.

    Raises:
        TableError: it has no uri column.
        UnpackingError: it unpacks to more than it may.
        OSError, ValueError, pa.ArrowException: it cannot be read to its end.
    """
    size = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    allowance = Allowance(lambda: size * EQUAL_VALUES)
    plain = pq.ParquetFile(stream)
    schema, metadata = plain.schema_arrow, plain.metadata
    columns = _named(schema.names)
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    Allowance(lambda: size).take(sum(chunk.total_uncompressed_size for chunk in chunks))
    # A value that a million rows share stays in its dictionary, once. Of columns that are long in themselves, the
    # dictionary would be of all values of a row group.
    long = {chunk.path_in_schema for chunk in chunks if chunk.total_uncompressed_size > LONGEST_DICTIONARY}
    texts = [field.name for field in schema if _is_text(field.type) and field.name not in long]
    piece = CHUNK if _is_local(stream) else 0  # on an object store each would be a request
    file = pq.ParquetFile(stream, metadata=metadata, read_dictionary=texts, buffer_size=piece)
    number = 0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
        values = [_texts(column, name in OWN_COLUMNS) for name, column in zip(columns, batch.columns, strict=True)]
        for row in zip(*values, strict=True):
            number += 1
            record = {name: text for name, text in zip(columns, row, strict=True) if text and name}
            length = sum(map(len, record.values()))
            allowance.take(length + 1)
            yield number, record if length <= LONGEST_RECORD else TOO_LONG


def _is_local(stream: IO[bytes]) -> bool:
    try:
        return stream.fileno() >= 0
    except OSError:
        return False


def _is_text(type: pa.DataType) -> bool:
    types = pa.types
    text = types.is_string(type) or types.is_large_string(type) or types.is_string_view(type)
    return text or types.is_binary(type) or types.is_large_binary(type) or types.is_binary_view(type)


def _texts(column: Any, own: bool) -> list[str | None]:
    """Write a column's values as text. own: a value that is no text is to be seen, as it fails its row."""
    if pa.types.is_dictionary(column.type):
        used = column.indices.unique().drop_null()
        texts = dict(zip(used.to_pylist(), _texts(column.dictionary.take(used), own), strict=True))
        return [texts.get(index) for index in column.indices.to_pylist()]
    exact = 1 << 11 if pa.types.is_float16(column.type) else 1 << 24 if pa.types.is_float32(column.type) else 1 << 53
    coarser = _in_microseconds(column.type)
    try:
        values = column.to_pylist() if coarser is None else [_value(scalar, coarser) for scalar in column]
    except Exception:  # a time of nanoseconds, a date after 9999, a text that is no UTF-8, … : see which one it is
        values = [_value(scalar) for scalar in column]
    return [value if type(value) is str else _value_text(value, exact, own) for value in values]


def _in_microseconds(type: pa.DataType) -> pa.DataType | None:
    """Give the type of microseconds beside one of nanoseconds, which Arrow makes something else of where pandas is."""
    if type in (pa.time64("ns"), pa.duration("ns")):
        return pa.time64("us") if type == pa.time64("ns") else pa.duration("us")
    return pa.timestamp("us", type.tz) if pa.types.is_timestamp(type) and type.unit == "ns" else None


def _value(scalar: Any, coarser: pa.DataType | None = None) -> Any:
    for give in (
        lambda: (scalar if coarser is None else scalar.cast(coarser)).as_py(),
        lambda: scalar.as_buffer().to_pybytes(),
        lambda: scalar.cast(pa.string()).as_py(),
        lambda: str(scalar.value),
    ):
        try:
            return give()
        except Exception:  # and so the next way; a value that has no text at all is left out
            continue
    return None


def _value_text(value: Any, exact: int, own: bool) -> str | None:
    try:
        if isinstance(value, bytes) and not own:
            return value.decode()
        return as_text(value, exact)
    except Exception:  # no text, or nested beyond measure
        return None
