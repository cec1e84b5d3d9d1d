"""Readers of tables: every record is a row, whatever its neighbours hold."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import json
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transforms import tables, unpacking
from transforms.tables import Record, TableError, read_csv, read_jsonl, read_parquet
from transforms.unpacking import UnpackingError, unpacked

LINE_ENDS = ("\n", "\r\n", "\r")
deterministic = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def read(reader: Callable[[io.BufferedReader], Iterator[tuple[int, Record]]], data: bytes) -> list[tuple[int, Record]]:
    return list(reader(io.BufferedReader(io.BytesIO(data))))


def csv_of(text: str) -> list[tuple[int, Record]]:
    return read(read_csv, text.encode())


def ids(records: list[tuple[int, Record]]) -> list[str]:
    return ["!" if isinstance(record, str) else record["id"] for _, record in records]


def split_lines(text: str) -> list[str]:
    r"""Cut after \n, \r\n and \r, a character at a time."""
    lines, line = [], ""
    for at, character in enumerate(text):
        line += character
        if character == "\n" or (character == "\r" and text[at + 1 : at + 2] != "\n"):
            lines.append(line)
            line = ""
    return [*lines, line] if line else lines


def record_at(lines: list[str], first: int) -> tuple[list[str], int] | None:
    """Read the record that begins with a line, by the definition, a character at a time; None if a quote is astray."""
    rest = "".join(lines[first:])
    fields, at = [], 0
    while True:
        field = ""
        if rest[at : at + 1] == '"':
            at += 1
            while True:
                if at == len(rest):
                    return None
                if rest[at] != '"':
                    field += rest[at]
                    at += 1
                elif rest[at + 1 : at + 2] == '"':
                    field += '"'
                    at += 2
                else:
                    at += 1
                    break
            if at < len(rest) and rest[at] not in ",\r\n":
                return None
        else:
            while at < len(rest) and rest[at] not in ",\r\n":
                field += rest[at]
                at += 1
        fields.append(field)
        if rest[at : at + 1] != ",":
            return fields, len(split_lines(rest[:at] + ("\n" if at < len(rest) else "")))
        at += 1


def by_definition(text: str) -> list[tuple[int, list[str] | None]]:
    """Give each record of a CSV with its line; None for a line with a stray quote."""
    lines, at, found = split_lines(text), 0, []
    while at < len(lines):
        if not lines[at].strip("\r\n"):
            at += 1
            continue
        record = record_at(lines, at)
        found.append((at + 1, record and record[0]))
        at += record[1] if record else 1
    return found


@deterministic
@given(st.text(alphabet='ab,""\n\r', max_size=60), st.integers(16, 40))
@example('a,"b\n' * 5, 16)
@example('x","z\n' * 5, 16)
@example('"""\n"\n,"\r,""\n', 16)
def test_any_text_is_read_by_the_definition(body: str, chunk: int) -> None:
    width = 40
    header = ",".join(["uri", *(f"c{n}" for n in range(width))]) + "\n"
    names = header.strip().split(",")
    expected = [
        (line + 1, fields and {name: value for name, value in zip(names, fields, strict=False) if value})
        for line, fields in by_definition(body)
        if fields is None or len(fields) <= width
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tables, "CHUNK", chunk)
        records = csv_of(header + body)
    found = [
        (line, None if isinstance(record, str) else record)
        for line, record in records
        if isinstance(record, dict) or record == tables.OPEN_QUOTE
    ]
    assert found == expected


plain = st.text(alphabet="ab\" '19;\t|é\u2028\x85\x00\x1c", max_size=8).filter(lambda text: not text.startswith('"'))
quoted = st.text(alphabet='ab",\n\r\u2028 ', max_size=8).map(lambda text: '"' + text.replace('"', '""') + '"')
astray = st.sampled_from(['"Best" monitor', '"a""b"c', '"12" x"', '""x'])


@deterministic
@given(
    st.lists(st.tuples(st.one_of(plain, quoted), plain) | st.tuples(astray, st.none()), min_size=1, max_size=20),
    st.sampled_from(LINE_ENDS),
    st.sampled_from(["", "\ufeff"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be"]),
)
def test_as_many_rows_as_records_and_in_order(
    records: list[tuple[str, str | None]], end: str, mark: str, ended: bool, spaced: bool, encoding: str
) -> None:
    lines = ["id,uri,title,last"] + [f"{n},{n}.jpg,{title},{last}" for n, (title, last) in enumerate(records)]
    text = mark + (end * 2 if spaced else end).join(lines) + (end if ended else "")
    found = read(read_csv, text.encode(encoding))
    assert ids(found) == ["!" if last is None else str(n) for n, (_, last) in enumerate(records)]
    assert all(record["uri"] == f"{record['id']}.jpg" for _, record in found if not isinstance(record, str))


def test_one_inch_mark_costs_nothing() -> None:
    rows = [f"r{n},p{n}.jpg,a title\n" for n in range(400)]
    rows[5] = 'r5,p5.jpg,19" monitor\n'
    found = csv_of("id,uri,title\n" + "".join(rows))
    assert ids(found) == [f"r{n}" for n in range(400)]
    assert dict(found)[7] == {"id": "r5", "uri": "p5.jpg", "title": '19" monitor'}


@pytest.mark.parametrize("line", ['x,"x.jpg,"t\n', 'x,x.jpg,"Best" monitor\n', 'x,x.jpg,"never closed\n'])
def test_a_stray_quote_costs_its_line(line: str) -> None:
    rows = [f'r{n},p{n}.jpg,"a\ntitle"\n' for n in range(300)]
    found = csv_of("id,uri,title\n" + "".join([*rows[:150], line, *rows[150:]]))
    assert ids(found) == [*(f"r{n}" for n in range(150)), "!", *(f"r{n}" for n in range(150, 300))]
    assert found[150] == (302, tables.OPEN_QUOTE)


@pytest.mark.parametrize("line", ['x","z\n', 'a,"b\n', '"""b\n', 'a,"\n', '",",x\n'])
def test_lines_that_each_open_a_quote_are_looked_through_once(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    step = tables._Lines.__next__

    def counted(lines: tables._Lines) -> str:
        nonlocal steps
        steps += 1
        return step(lines)

    monkeypatch.setattr(tables._Lines, "__next__", counted)
    csv_of("uri,b,c\n" + line * 20_000)
    assert steps < 100_000


@pytest.mark.parametrize("end", LINE_ENDS)
def test_records_at_the_limit_and_beyond(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_RECORD", 1000)
    monkeypatch.setattr(tables, "CHUNK", 100)
    base = f'm,m.jpg,""{end}'
    for over in (-1, 0, 1, 2, 700, 5000):
        wanted = 1000 - len(base) + over
        for inside in ("x" * wanted, ("y" * 9 + "\n") * (wanted // 10) + "y" * (wanted % 10)):
            lines = ["id,uri,title", "a,a.jpg,", f'm,m.jpg,"{inside}"', "b,b.jpg,"]
            found = csv_of(end.join([*lines, ""]))
            assert [line for line, _ in found] == sorted({line for line, _ in found})
            if over <= 0:
                assert ids(found) == ["a", "m", "b"]
            else:
                assert ids(found)[:2] == ["a", "!"]
                assert ids(found)[-1] == "b"
                assert inside[0] == "y" or len(found) == 3


@pytest.mark.parametrize("reader", [read_csv, read_jsonl])
def test_a_line_without_an_end_is_passed_over_in_bounded_memory(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_RECORD", 1 << 18)
    monkeypatch.setattr(tables, "CHUNK", 1 << 14)
    first = b"uri,id\na.jpg,a\n" if reader is read_csv else b'{"uri": "a.jpg", "id": "a"}\n\n'
    last = b"\nb.jpg,b\n" if reader is read_csv else b'\n{"uri": "b.jpg", "id": "b"}\n'
    data = first + b'"' + b"x" * (8 << 20) + last
    tracemalloc.start()
    try:
        found = read(reader, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ids(found) == ["a", "!", "b"]
    assert [line for line, _ in found] == ([2, 3, 4] if reader is read_csv else [1, 3, 4])
    assert peak < 4 << 20


@pytest.mark.parametrize("delimiter", list(",;\t|"))
@pytest.mark.parametrize("mark", ["", "sep={}\r\n", '"sep={}"\r'])
def test_delimiters_that_the_header_shows(delimiter: str, mark: str) -> None:
    rows = [[" URI ", "Id", "Größe, cm; x\t|"], ["a.jpg", "a", 'x "y"'], ["b,;|\t.jpg", "b", "1"]]
    text = "\r\n".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    (_, first), (_, second) = csv_of(mark.format(delimiter) + text)
    assert first == {"uri": "a.jpg", "id": "a", "Größe, cm; x\t|": 'x "y"'}
    assert isinstance(second, dict)
    assert second["uri"] == "b,;|\t.jpg"


def test_a_header_of_several_lines_is_read_once() -> None:
    assert csv_of('"a\nb";uri\n1;x.jpg\n') == [(3, {"a\nb": "1", "uri": "x.jpg"})]


def test_a_comma_is_the_delimiter_wherever_it_can_be() -> None:
    assert csv_of("uri,a;b\nx.jpg,1;2\n") == [(2, {"uri": "x.jpg", "a;b": "1;2"})]
    assert csv_of("\n\nuri\nx;y.jpg\n") == [(4, {"uri": "x;y.jpg"})]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x14\0", "Excel"),
        (b"\xd0\xcf\x11\xe0", "Excel"),
        (b"\xef\xbb\xbf\r\n <!DOCTYPE html><title>Log in</title>", "web page"),
        (b"PAR1xxxx", "Parquet"),
        ("uri\nx.jpg\n".encode("utf-32"), "UTF-32"),
        (b"uri,URI\na,b\n", "same name, 'uri'"),
        (b"uri, brand,brand\na,b,c\n", "same name, 'brand'"),
        (b'"uri,id\na,b\n', "no uri column"),
        (b"id;url\na;b\n", "no uri column in the first line; its columns are id;url"),
        (b"x" * (5 << 20), "its first line is a record of more than"),
        (b"\0" * 100, "no uri column"),
        ("uri,größe\na,b\n".encode("cp1252"), "not UTF-8"),
    ],
)
def test_what_is_no_table(data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        read(read_csv, data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-8"])
def test_encodings(encoding: str) -> None:
    rows = '{"id": "é😀", "uri": "a.jpg"}\r\n{"id": "b", "uri": "b.jpg"}\r\n'
    assert ids(read(read_jsonl, rows.encode(encoding))) == ["é😀", "b"]
    assert ids(read(read_csv, "id,uri\né😀,a.jpg\nb,b.jpg".encode(encoding))) == ["é😀", "b"]


def test_what_is_not_of_its_encoding_is_in_its_row_alone() -> None:
    for encoding, stray in (("utf-8", b"\xff"), ("utf-16-le", b"\x00\xd8")):
        data = "id,uri\nx".encode(encoding) + stray + ",a.jpg\nb,b.jpg\n".encode(encoding)
        (_, first), (_, second) = read(read_csv, data)
        assert isinstance(first, dict)
        with pytest.raises(UnicodeEncodeError):
            first["id"].encode()
        assert second == {"id": "b", "uri": "b.jpg"}
    assert ids(read(read_csv, "id,uri\na,a.jpg\nb,b.jpg".encode("utf-16")[:-1])) == ["a", "b"]


json_text = st.text(alphabet='ab"\\\u2028\u2029\x85\x1c\n\r,{}é', max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | json_text, lambda inner: st.lists(inner, max_size=3)
)


@deterministic
@given(
    st.lists(st.dictionaries(json_text, json_values, max_size=3) | st.sampled_from(["{broken", "[1]"]), max_size=8),
    st.sampled_from(LINE_ENDS),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_as_many_rows_as_json_lines(records: list[Any], end: str, raw: bool, encoding: str) -> None:
    lines = [
        record if isinstance(record, str) else json.dumps({**record, "id": n, "uri": f"{n}.jpg"}, ensure_ascii=not raw)
        for n, record in enumerate(records)
    ]
    found = read(read_jsonl, (end.join(['{"id": "first", "uri": "f"}', *lines]) + end).encode(encoding))
    assert ids(found) == ["first", *("!" if isinstance(r, str) else str(n) for n, r in enumerate(records))]
    assert [line for line, _ in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ('{"uri": "a", "n": ' + "9" * 5000 + "}", {"uri": "a", "n": "9" * 5000}),
        ('{"uri": "a", "n": [' + "9" * 5000 + "]}", {"uri": "a", "n": '["' + "9" * 5000 + '"]'}),
        ('{"uri": "a", "id": 7.0, "x": NaN, "y": 1e15, "z": 1e300, "i": -Infinity}',
         {"uri": "a", "id": "7", "y": "1000000000000000", "z": "1e+300", "i": "-inf"}),
        ('{"uri": "a", "uri": "a", "x": 1, "x": 2}', {"uri": "a", "x": "2"}),
        ('{"uri": "a", "uri": "b"}', "two values of uri"),
        ('{"id": 1, "id": 2, "uri": "b"}', "two values of id"),
        ('{"Uri": "a", "Uri": "b"}', "two values of uri"),
        ('{"uri": "a", "x": "id", "id": "\\u03a9"}', {"uri": "a", "x": "id", "id": "Ω"}),
        ('{"URI": "a", " Id ": "b"}', {"uri": "a", "id": "b"}),
        ('{"URI": "a", "uri": "b"}', "two values of uri"),
        ('{"URI": null, "uri": "b"}', {"uri": "b"}),
        ('\ufeff{"uri": "a"}', {"uri": "a"}),
        ('{"uri": "a"}{"uri": "b"}', "not JSON"),
        ('{"a": ' * 100_000, "too many brackets"),
        ('{"uri": "a", "x": ' + "[" * 900 + "]" * 900 + "}", None),
        ('{"uri": "\\ud800"}', {"uri": "\ud800"}),
        ("7", "not a JSON object"),
    ],
)  # fmt: skip
def test_json_lines_of_all_kinds(line: str, record: Any) -> None:
    found = read(read_jsonl, f'{{"uri": "x"}}\n{line}\n{{"uri": "z"}}\n'.encode())
    assert [number for number, _ in found] == [1, 2, 3]
    assert (found[0][1], found[2][1]) == ({"uri": "x"}, {"uri": "z"})
    if isinstance(record, str):
        assert record in found[1][1]
    elif record is not None:
        assert found[1][1] == record


@pytest.mark.parametrize("text", ['[{"uri": "a"}]', '[\n  {"uri": "a"}\n]', '\ufeff{\r\n  "uri": "a"\r\n}', "[]"])
def test_one_json_document_is_one_line(text: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(TableError, match="one JSON array"):
            read(read_jsonl, text.encode(encoding))


def parquet(store_schema: Any = True, **columns: Any) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target, store_schema=store_schema, row_group_size=2)
    return target.getvalue()


ODD_COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "ns": (pa.array([1, 10**18], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001", "2001-09-09 01:46:40"]),
    "ns zone": (pa.array([1, None], pa.timestamp("ns", "UTC")), ["1970-01-01 00:00:00.000000001Z", None]),
    "far": (pa.array([2**62, 0], pa.timestamp("ms")), [..., "1970-01-01 00:00:00"]),
    "zone": (pa.array([0, None], pa.timestamp("us", "Mars/Phobos")), ["0", None]),
    "date": (pa.array([2**30, 1], pa.date32()), [..., "1970-01-02"]),
    "date64": (pa.array([0, None], pa.date64()), ["1970-01-01", None]),
    "time": (pa.array([1, 1000], pa.time64("ns")), ["00:00:00.000000001", "00:00:00.000001"]),
    "duration": (pa.array([2**62, 1], pa.duration("s")), ["4611686018427387904", "0:00:01"]),
    "decimal": (pa.array([decimal.Decimal("1.50"), None]), ["1.50", None]),
    "decimal256": (pa.array([decimal.Decimal("1.50"), None], pa.decimal256(70, 2)), ["1.50", None]),
    "float": (pa.array([1.0, float("nan")]), ["1", None]),
    "floats": (pa.array([1e15, 2.0**53]), ["1000000000000000", "9007199254740992.0"]),
    "float32": (pa.array([7.0, 2.0**24], pa.float32()), ["7", "16777216.0"]),
    "float16": (pa.array(np.array([7, 2048], np.float16)), ["7", "2048.0"]),
    "uint64": (pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"]),
    "bool": (pa.array([True, None]), ["true", None]),
    "null": (pa.nulls(2), [None, None]),
    "dictionary": (pa.array(["a", None]).dictionary_encode(), ["a", None]),
    "numbers": (pa.array([5, 6]).dictionary_encode(), ["5", "6"]),
    "large": (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
    "view": (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    "binary": (pa.array([b"a", b"\xff\xd8"], pa.binary()), ["a", None]),
    "fixed": (pa.array([b"ab", b"\xff\xd8"], pa.binary(2)), ["ab", None]),
    "list": (pa.array([[1, None], None], pa.list_(pa.int8())), ["[1, null]", None]),
    "late list": (pa.array([[2**62], None], pa.list_(pa.timestamp("ms"))), [..., None]),
    "struct": (pa.array([{"b": 1, "a": "x"}, None]), ['{"a": "x", "b": 1}', None]),
    "map": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())), ['[["k", 1]]', None]),
    "uuid": (pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
             [str(uuid.UUID(bytes=b"0" * 16)), None]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}", None])), ["{}", None]),
    "tensor": (pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int32(), [1]),
               pa.array([[1], [2]], pa.list_(pa.int32(), 1))), [..., ...]),
    "not UTF-8": (pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)),
                  pa.py_buffer(b"a\xff")]), ["a", None]),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_COLUMNS)
@pytest.mark.parametrize("store_schema", [True, False])
def test_every_type_of_column_is_text_or_left_out(name: str, store_schema: bool) -> None:
    column, expected = ODD_COLUMNS[name]
    found = read(read_parquet, parquet(store_schema, uri=["a", "b"], x=column))
    assert [line for line, _ in found] == [1, 2]
    for (_, record), text in zip(found, expected, strict=True):
        assert isinstance(record, dict)
        if text is not ... and (store_schema or name not in ("uuid", "duration", "zone")):
            assert record.get("x") == text


def test_ids_of_every_type() -> None:
    data = parquet(uri=[b"a", b"\xff", None], id=[1.0, 2.5, float("nan")], category=pa.array([None] * 3))
    (_, first), (_, second), (_, third) = read(read_parquet, data)
    assert first == {"uri": "a", "id": "1"}
    assert second == {"uri": "\udcff", "id": "2.5"}  # which fails this row
    assert third == {}


def test_columns_of_parquet_have_names() -> None:
    assert read(read_parquet, parquet(**{"URI": ["a"], " id": ["b"], "a.b": ["c"]})) == [
        (1, {"uri": "a", "id": "b", "a.b": "c"})
    ]
    table = io.BytesIO()
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["uri", "x", "x"]), table)
    with pytest.raises(TableError, match="same name, 'x'"):
        read(read_parquet, table.getvalue())


def test_a_value_that_many_rows_share_is_in_memory_once() -> None:
    target = io.BytesIO()
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"uri": [str(n) for n in range(2000)], "x": shared}), target)
    before = peak = pa.total_allocated_bytes()
    for number, record in read_parquet(target):
        assert isinstance(record, dict)
        assert len(record["x"]) == 100_000
        peak = max(peak, pa.total_allocated_bytes()) if number % 1000 == 1 else peak
    assert number == 2000
    assert peak - before < 20 << 20


def test_a_long_record_of_any_form_is_one_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LONGEST_RECORD", 1000)
    rows = [{"uri": "a", "id": "a"}, {"uri": "b" * 1000, "id": "b"}, {"uri": "c", "id": "c"}]
    text = "uri,id\n" + "".join(f"{row['uri']},{row['id']}\n" for row in rows)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    columns = {name: [row[name] for row in rows] for name in ("uri", "id")}
    for found in (csv_of(text), read(read_jsonl, lines.encode()), read(read_parquet, parquet(**columns))):
        assert ids(found) == ["a", "!", "c"]
        assert found[1][1] == tables.TOO_LONG


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_what_unpacks_without_end_is_stopped(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)
    packed = bytes(pa.compress(b"uri\n" + b"a" * (20 << 20), codec=codec, asbytes=True))
    with pytest.raises(UnpackingError, match="100 times its size"):
        read(lambda stream: read_csv(unpacked(stream)), packed)
    monkeypatch.setattr(unpacking, "LARGEST_BYTES", 2 << 20)
    monkeypatch.setattr(unpacking, "LARGEST_RATIO", 1 << 30)
    with pytest.raises(UnpackingError, match="unpacks to more than 0 GiB"):
        read(lambda stream: read_csv(unpacked(stream)), packed)


def test_parquet_that_unpacks_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 20)
    rows = 150_000
    target = io.BytesIO()
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 1000]))
    pq.write_table(pa.table({"uri": shared}), target)
    with pytest.raises(UnpackingError):
        read(read_parquet, target.getvalue())
    target = io.BytesIO()
    options = {"use_dictionary": False, "compression": "zstd"}
    pq.write_table(pa.table({"uri": ["a"], "x": ["x" * (16 << 20)]}), target, **options)
    with pytest.raises(UnpackingError):
        read(read_parquet, target.getvalue())


def test_members_of_gzip_and_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gzip.compress(b"uri\na\n") + gzip.compress(b"b\n" * 10_000)
    assert len(read(lambda stream: read_csv(unpacked(stream)), whole)) == 10_001
    for at in range(0, len(whole), 3):
        damaged = whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]
        try:
            read(lambda stream: read_csv(unpacked(stream)), damaged)
        except (OSError, EOFError, TableError):
            continue


def test_dates_stay_what_they_were() -> None:
    made = datetime.datetime(2024, 1, 2, 3, 4, 5)
    ((_, record),) = read(read_parquet, parquet(uri=["a"], made=[made], day=[made.date()]))
    assert record == {"uri": "a", "made": "2024-01-02 03:04:05", "day": "2024-01-02"}
