"""Manifests of every form, and rows that are wrong."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import draw_product

from transforms.manifest import ManifestError, find_manifests, read_manifest, refuse_duplicates
from transforms.types import FatalError, ManifestRow

ROWS = [
    {"id": "a", "uri": "x/one.jpg", "category": "hat", "brand": "Ω", "price": "12"},
    {"id": "b", "uri": "/abs/two.jpg", "category": "", "brand": "", "price": "3"},
    {"id": "", "uri": "gs://bucket/dir/three.jpg", "category": "hat", "brand": 'with "quotes", commas', "price": ""},
]


def write_csv(path: Path) -> None:
    def cell(value: str) -> str:
        return '"' + value.replace('"', '""') + '"'

    lines = [",".join(ROWS[0])] + [",".join(map(cell, row.values())) for row in ROWS]
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")


def write_jsonl(path: Path) -> None:
    path.write_text("\n\n".join(json.dumps({k: v for k, v in row.items() if v}) for row in ROWS) + "\n")


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), path)


def rows_of(*patterns: object) -> list[ManifestRow]:
    return [row for file in find_manifests(map(str, patterns)) for row in read_manifest(file)]


@pytest.mark.parametrize("form", ["csv", "jsonl", "ndjson", "parquet", "csv.gz", "jsonl.gz", "csv.zst", "jsonl.zst"])
def test_every_form_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"m.{form}"
    plain = tmp_path / f"m.{form.split('.')[0]}"
    {"csv": write_csv, "jsonl": write_jsonl, "ndjson": write_jsonl, "parquet": write_parquet}[form.split(".")[0]](plain)
    if form.endswith(".gz"):
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif form.endswith(".zst"):
        path.write_bytes(pa.compress(plain.read_bytes(), codec="zstd", asbytes=True))
    rows = rows_of(path)
    assert [row.id for row in rows] == ["a", "b", "bucket/dir/three"]
    assert [row.source for row in rows] == [str(tmp_path / "x/one.jpg"), "/abs/two.jpg", "gs://bucket/dir/three.jpg"]
    assert [row.uri for row in rows] == [row["uri"] for row in ROWS]
    assert [row.category for row in rows] == ["hat", None, "hat"]
    assert rows[0].attributes == {"brand": "Ω", "price": "12"}
    assert rows[2].attributes == {"brand": 'with "quotes", commas'}
    assert not any(row.failure for row in rows)


def test_values_that_are_no_text_become_text(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": 7, "uri": "a.jpg", "tags": ["x", 1], "new": true, "none": null}\n')
    (row,) = rows_of(path)
    assert row.id == "7"
    assert row.attributes == {"new": "true", "tags": '["x", 1]'}


def test_a_folder_and_a_glob_of_images(tmp_path: Path) -> None:
    for name in ("a/one.jpg", "a/b/two.PNG", "three.webp", "notes.txt", ".hidden/four.jpg", "a/.five.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    rows = rows_of(tmp_path)
    assert sorted(row.id for row in rows) == ["a/b/two", "a/one", "three"]
    assert {row.source for row in rows} == {str(tmp_path / n) for n in ("a/one.jpg", "a/b/two.PNG", "three.webp")}
    assert [row.id for row in rows_of(tmp_path / "a" / "*.jpg")] == ["one"]
    assert sorted(row.id for row in rows_of(tmp_path / "**" / "*.[jw]*p*g")) == ["a/one"]
    assert [row.id for row in rows_of(tmp_path / "three.webp")] == ["three"]


def test_a_glob_of_manifests_and_several_of_them(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"m{number}.csv").write_text(f"id,uri\nid{number},p.jpg\n")
    assert [row.id for row in rows_of(tmp_path / "m*.csv")] == ["id0", "id1", "id2"]
    assert [row.id for row in rows_of(tmp_path / "m1.csv", tmp_path / "m*.csv")] == ["id1", "id0", "id2"]


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (b"id,uri\na,\n", "bad_row", "m.csv line 2: no uri"),
        (b"id,uri\na,x.jpg,extra\n", "bad_row", "m.csv line 2: 3 fields, more than the 2"),
        (b"id,uri\n\xff\xfe,x.jpg\n", "bad_row", "m.csv line 2: not UTF-8"),
        (b"id,uri\na,x\0y.jpg\n", "bad_row", "m.csv line 2: a control character"),
        (b"id,uri\n../a,x.jpg\n", "bad_id", "`..`"),
        (b"id,uri\n/a,x.jpg\n", "bad_id", "begins with /"),
        (b"id,uri\na,file:///x%00y.jpg\n", "bad_row", "m.csv line 2: a control character"),
        (b'id,uri,title\na,x.jpg,"12" inch\n', "bad_row", "m.csv line 2: not a CSV row"),
        (b"id,uri\na\0b,x.jpg\n", "bad_id", "control character"),
        (b"uri\n..\n", "bad_id", "is empty"),
    ],
)
def test_wrong_rows_of_a_csv(tmp_path: Path, text: bytes, code: str, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(text + (b"good,good.jpg\n" if b"id," in text else b"good.jpg\n"))
    bad, good = rows_of(path)
    assert bad.failure is not None
    assert bad.failure.code == code
    assert message in bad.failure.message
    assert "\n" not in bad.failure.message
    bad.failure.message.encode()  # a report can hold it
    bad.uri.encode()
    assert good.failure is None


def test_wrong_lines_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"uri": "a.jpg"}\n{broken\n[1]\n{"id": "x"}\n{"uri": "b.jpg"}\n')
    rows = rows_of(path)
    assert [row.failure.code if row.failure else None for row in rows] == [None, "bad_row", "bad_row", "bad_row", None]
    assert rows[1].failure is not None
    assert "line 2: not JSON" in rows[1].failure.message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", b"id,url\na,b\n", "no uri column"),
        ("m.csv", b"id,uri\n", "holds no rows"),
        ("m.csv", b"", "no uri column"),
        ("m.csv", b"uri,uri\na,b\n", "same name"),
        ("m.csv", "uri,größe\na,b\n".encode("latin-1"), "not UTF-8"),
        ("m.json", b'[{"uri": "a.jpg"}]', "one JSON array"),
        ("m.parquet", b"PAR1 nonsense", "cannot be read"),
        ("m.csv.gz", b"this is not gzip", "no uri column"),
        ("m.csv.gz", b"\x1f\x8b\x08\0nonsense", "cannot be read"),
        ("m.xlsx", b"PK", "expected an ending"),
    ],
)
def test_manifests_that_are_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        find_manifests([str(tmp_path / name)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_empty(tmp_path: Path) -> None:
    for pattern, message in (("none.csv", "no such file"), ("*.csv", "no file matches")):
        with pytest.raises(ManifestError, match=message):
            find_manifests([str(tmp_path / pattern)])
    with pytest.raises(ManifestError, match="holds no images"):
        find_manifests([str(tmp_path)])


def test_a_manifest_that_breaks_off_stops_the_run_rather_than_lose_rows(tmp_path: Path) -> None:
    rows = "".join(f"id{i},{random.Random(i).random()}.jpg\n" for i in range(20_000))
    whole = gzip.compress(f"id,uri\n{rows}".encode())
    path = tmp_path / "m.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    (file,) = find_manifests([str(path)])
    with pytest.raises(FatalError, match="cannot be read after line"):
        list(read_manifest(file))


def test_which_of_two_equal_ids_passes_does_not_depend_on_their_order(tmp_path: Path) -> None:
    draw_product(1, (8, 8)).save(tmp_path / "a.png")
    rows = [ManifestRow("x", f"{name}.jpg", f"/{name}.jpg", line=i) for i, name in enumerate("cab")]
    for order in (rows, rows[::-1]):
        first, *others = refuse_duplicates(order)
        assert first.uri == "a.jpg"
        assert first.failure is None
        assert [row.failure.code for row in others if row.failure] == ["duplicate_id"] * 2


def test_what_a_bad_row_says_of_itself_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,uri,category,colour\nb,,hat,red\n")
    (row,) = rows_of(path)
    assert (row.id, row.category, row.attributes) == ("b", "hat", {"colour": "red"})


def test_the_index_column_that_pandas_writes_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",uri\n0,a.png\n1,b.png\n")
    rows = rows_of(path)
    assert [row.id for row in rows] == ["a", "b"]
    assert not any(row.failure or row.attributes for row in rows)


def test_hostile_json_costs_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("[" * 100_000 + "\n" + '{"uri": "a.jpg", "x\\ud800": "1"}\n' + '{"uri": "b.jpg"}\n')
    rows = rows_of(path)
    assert [row.failure.code if row.failure else None for row in rows] == ["bad_row", "bad_row", None]
    for row in rows:
        "".join([row.id, row.uri, *row.attributes, *row.attributes.values()]).encode()


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "br[1]"
    folder.mkdir()
    draw_product(1, (8, 8)).save(folder / "a.png")
    assert [row.id for row in rows_of(folder)] == ["a"]


@pytest.mark.parametrize("tail", ["", 'r99,"p.jpg,last\n', 'r99,p.jpg,"la"st\n'])
def test_a_quote_that_is_never_closed_costs_one_row(tmp_path: Path, tail: str) -> None:
    lines = [f"r{n},p{n}.jpg,title\n" for n in range(50)]
    lines[20] = 'r20,"p20.jpg,title\n'
    lines[30] = 'r30,p30.jpg,"a title\nof two ""lines"""\n'
    path = tmp_path / "m.csv"
    path.write_text("id,uri,title\n" + "".join(lines) + tail)
    rows = rows_of(path)
    failed = [row for row in rows if row.failure]
    assert len(rows) == 50 + bool(tail)
    assert len(failed) == 1 + bool(tail)
    assert failed[0].failure is not None
    assert "m.csv line 22: not a CSV row" in failed[0].failure.message
    assert {row.id: row for row in rows}["r30"].attributes == {"title": 'a title\nof two "lines"'}
    assert {row.id: row for row in rows}["r49"].line == 52


def test_a_pattern_passes_over_what_is_neither_manifest_nor_image(tmp_path: Path) -> None:
    for name in ("a.jpg", "noext", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [row.id for row in rows_of(tmp_path / "*")] == ["a"]
    with pytest.raises(ManifestError, match="neither manifests nor images"):
        find_manifests([str(tmp_path / "no*")])


def test_text_in_binary_columns_is_text(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"uri": pa.array([b"a.png", b"\xff.png"], pa.binary())}), path)
    good, bad = rows_of(path)
    assert good.source == str(tmp_path / "a.png")
    assert bad.failure is not None
    assert bad.failure.code == "bad_row"


def test_addresses_that_are_none_cost_their_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id,uri\na,file://[\nb,file://[::1/x.png\n")
    assert [row.id for row in rows_of(path)] == ["a", "b"]
