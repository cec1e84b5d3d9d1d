"""Manifests of every form, and rows that are wrong."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import assert_that, equal_to
from conftest import draw_product
from gs import emulator
from hypothesis import given, settings
from hypothesis import strategies as st
from webserver import serve

from transforms import manifest, storage
from transforms.errors import Failure, FatalError
from transforms.manifest import (
    ManifestError,
    ManifestFile,
    find_manifests,
    in_batches,
    keep_apart,
    pack_rows,
    photo_key,
    read_manifest,
    refuse_duplicates,
    unpack_rows,
)
from transforms.types import ManifestRow, PlannedRow

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


def test_of_equal_ids_the_first_by_uri_category_attributes_and_place_passes() -> None:
    expected = [
        ManifestRow("x", "a.jpg", "/2", category=None),
        ManifestRow("x", "b.jpg", "/0", category="hat", attributes={"colour": "blue"}),
        ManifestRow("x", "b.jpg", "/0", category="hat", attributes={"colour": "red"}),
        ManifestRow("x", "b.jpg", "/1", category="hat", attributes={"colour": "red"}),
        ManifestRow("x", "b.jpg", "/0", category="shoe", attributes={"colour": "blue"}),
    ]
    for order in itertools.permutations(expected):
        first, *others = refuse_duplicates(order)
        assert first == expected[0]
        assert [replace(row, failure=None) for row in others] == expected[1:]
        assert all(row.failure and "also that of a.jpg" in row.failure.message for row in others)


def test_rows_of_one_photo_belong_together_unless_they_failed() -> None:
    rows = [ManifestRow(str(n), f"{n}.jpg", "/a.jpg", line=n) for n in range(2)]
    assert photo_key(rows[0]) == photo_key(rows[1]) == "/a.jpg"
    failed = [replace(row, failure=Failure("manifest", "bad_id", "")) for row in rows]
    assert len({photo_key(row) for row in (*rows, *failed)}) == 3


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


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("shoe.jpg", "shoe.tif", "shoe.heic"), {"shoe.jpg": "shoe", "shoe.tif": "shoe.tif", "shoe.heic": "shoe.heic"}),
        (("shoe.tif", "shoe.heic"), {"shoe.tif": "shoe", "shoe.heic": "shoe.heic"}),
        (("shoe.heic",), {"shoe.heic": "shoe"}),
        (("a/x.JPG", "a/x.jpg", "b/x.jpg"), {"a/x.JPG": "a/x", "a/x.jpg": "a/x.jpg", "b/x.jpg": "b/x"}),
        (
            ("shoe.jpg", "shoe.tif", "shoe.tif.jpg"),
            {"shoe.jpg": "shoe", "shoe.tif": "shoe.tif.tif", "shoe.tif.jpg": "shoe.tif"},
        ),
    ],
)
@pytest.mark.parametrize("as_glob", [False, True])
def test_photos_that_differ_in_their_ending_have_ids_of_their_own(
    tmp_path: Path, names: tuple[str, ...], ids: dict[str, str], as_glob: bool
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    rows = rows_of(tmp_path / "**" / "*" if as_glob else tmp_path)
    assert {row.uri: row.id for row in rows} == ids
    assert not any(row.failure for row in rows)


def test_every_ending_that_is_decoded_is_read_and_the_others_are_counted(tmp_path: Path, log: list[str]) -> None:
    for ending in manifest.IMAGE_ENDINGS:
        (tmp_path / f"photo{ending.upper()}").write_bytes(b"")
    for name in ("a.txt", "b.TXT", "Thumbs.db", "readme", ".hidden", "m.csv"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "folder.jpg" / "x.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg" / "loop").symlink_to(tmp_path)
    rows = rows_of(tmp_path)
    assert len(rows) == len(manifest.IMAGE_ENDINGS) + 1
    assert len({row.id for row in rows}) == len(rows)
    assert log == [f"{tmp_path}: 5 files passed over (2 .txt, 1 .csv, 1 .db, 1 others)"]
    log.clear()
    find_manifests([str(tmp_path / "[!m]*")])
    assert log == [f"{tmp_path}/[!m]*: 4 files passed over (2 .txt, 1 .db, 1 others)"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.txt"], "1 file passed over (1 .txt)"),
        (["a.txt", "b.txt"], "2 files passed over (2 .txt)"),
        (["a.abcdefghij"], "1 file passed over (1 .abcdefghij)"),
        (["a.abcdefghijk"], "1 file passed over (1 others)"),  # no ending that one would know
        (["a.b\tc", "b.y", "c.z"], "3 files passed over (1 .y, 1 .z, 1 others)"),
        ([f"x.{n}" for n in "abcdefgh"], "8 files passed over (" + ", ".join(f"1 .{n}" for n in "abcdefgh") + ")"),
        ([f"x.{n}" for n in "abcdefghi"], "9 files passed over (" + ", ".join(f"1 .{n}" for n in "abcdefgh") + ", …)"),
    ],
)
def test_what_is_passed_over_is_said(tmp_path: Path, log: list[str], names: list[str], said: str) -> None:
    for name in ("good.jpg", *names):
        (tmp_path / name).write_bytes(b"")
    find_manifests([str(tmp_path)])
    assert log == [f"{tmp_path}: {said}"]
    log.clear()
    for name in names:
        (tmp_path / name).unlink()
    find_manifests([str(tmp_path)])
    assert log == []


def test_an_object_keeps_its_name_to_the_letter() -> None:
    """Slashes that a file system takes for one are two objects in a bucket."""
    assert manifest._below("gs://bucket/a//b.jpg", "gs://bucket") == "a//b.jpg"
    assert manifest._below("/photos/a//b.jpg", "/photos") == "a/b.jpg"


@pytest.mark.parametrize("name", [" a.jpg", "a .jpg", "a%20b.jpg", "a[1].jpg", "a;b'\".jpg", "a#b?.jpg", "é.jpg"])
def test_odd_names_of_files_are_ordinary_photos(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "new [2] %41"
    folder.mkdir()
    draw_product(1, (8, 8)).save(folder / name)
    for pattern in (folder, folder / "*.jpg", folder / name):
        (row,) = rows_of(pattern)
        assert (row.id, row.uri, row.failure) == (name[:-4], name, None)
        assert storage.read(row.source).data


@pytest.mark.parametrize(
    ("name", "code"), [(b"a\nb.jpg", "bad_id"), (b"a\xff.jpg", "bad_row"), (b"\x01.jpg", "bad_id")]
)
def test_names_that_no_report_holds_cost_their_file_alone(tmp_path: Path, name: bytes, code: str) -> None:
    for one in (name, b"good.jpg"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), one))).write_bytes(b"")
    bad, good = sorted(keep_apart(rows_of(tmp_path), str(tmp_path / "out")), key=lambda row: row.failure is None)
    assert good.id == "good"
    assert bad.failure is not None
    assert bad.failure.code == code
    assert "\n" not in bad.failure.message
    assert "line" not in bad.failure.message  # as a folder has none


def test_a_folder_whose_name_is_no_text_fails_its_photos(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    (row,) = rows_of(folder)
    assert row.failure is not None
    assert (row.id, row.failure.code) == ("a", "bad_row")


def test_a_relative_folder_is_taken_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for pattern in ("photos", "photos/", "./photos", f"file://{tmp_path}/photos", "photos/*.jpg"):
        assert [(row.id, row.source) for row in rows_of(pattern)] == [("a", str(tmp_path / "photos/a.jpg"))]
    assert [(row.id, row.source) for row in rows_of("b.jpg")] == [("b", str(tmp_path / "b.jpg"))]


def test_a_manifest_that_lost_its_rows_since_it_was_looked_at_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri\na.jpg\n")
    (file,) = find_manifests([str(path)])
    path.write_text("uri\n")
    with pytest.raises(FatalError, match="holds no rows"):
        list(read_manifest(file))
    path.unlink()
    with pytest.raises(FatalError, match="cannot be read after line 0"):
        list(read_manifest(file))


def test_a_folder_in_a_pattern_is_taken_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("br[1]/a.jpg", "br1/b.jpg", "br[1]/x/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [row.id for row in rows_of(tmp_path / "br[1]" / "*.jpg")] == ["a"]
    assert [row.id for row in rows_of(tmp_path / "br[1]" / "*" / "*.jpg")] == ["x/c"]
    assert [row.id for row in rows_of(tmp_path / "br[!x]" / "*.jpg")] == ["br1/b"]
    monkeypatch.chdir(tmp_path)
    assert [row.id for row in rows_of("br[1]/*.jpg")] == ["a"]
    assert [row.id for row in rows_of("b*/*.jpg")] == ["br1/b", "br[1]/a"]
    with emulator(monkeypatch, "shop"):
        for name in ("br[1]/a.jpg", "br1/b.jpg"):
            storage.write(f"gs://shop/p/{name}", b"-")
        assert [row.id for row in rows_of("gs://shop/p/br[1]/*.jpg")] == ["a"]
        assert [row.id for row in rows_of("gs://shop/p/br[1]")] == ["a"]
        assert [row.id for row in rows_of("gs://shop/p/b*/*.jpg")] == ["br1/b", "br[1]/a"]


def test_up_from_a_link_leads_where_the_file_system_says(tmp_path: Path) -> None:
    for name in ("releases/7/m.csv", "releases/shared/x.jpg", "shared/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("uri\n../shared/x.jpg\n" if name.endswith("csv") else name)
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "7")
    (row,) = rows_of(tmp_path / "current" / "m.csv")
    assert storage.read(row.source).data == b"releases/shared/x.jpg"
    assert row.source == str(tmp_path / "releases" / "shared" / "x.jpg")
    assert row.id == "shared/x"
    assert row.failure is None


def test_values_are_stripped_where_they_mean_something(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("id, uri , category,note\n a , a.jpg , hat, as it is \n")
    (row,) = rows_of(path)
    assert (row.id, row.uri, row.category, row.attributes) == ("a", "a.jpg", "hat", {"note": " as it is "})


odd_text = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["", "..", "/", "../..", "a\0/b.jpg", "file:///a%00b/x.jpg", "http://[", "file://[::1", "gs://", "//x", "a" * 5000]
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.dictionaries(st.sampled_from(["id", "uri", "category"]) | odd_text, odd_text, max_size=5),
    st.sampled_from(["/data", "gs://b/p", "https://h/p", "/data/br[1]"]),
    st.sampled_from(["", "file://", "https://", "gs://", "x/../", "/"]),
)
def test_no_record_can_raise_and_a_report_can_hold_it(fields: dict[str, str], base: str, prefix: str) -> None:
    if "uri" in fields:
        fields["uri"] = prefix + fields["uri"]
    file = ManifestFile(f"{base}/m.csv", "csv", base)
    (row,) = keep_apart([manifest.row_of_record(fields, file, 1)], "/out")
    said = row.failure.message if row.failure else ""
    texts = [row.id, row.uri, row.source, row.category or "", said, *row.attributes, *row.attributes.values()]
    "".join(texts).encode()
    assert said.isprintable()
    assert "cannot be used" not in said
    manifest.photo_key(row).encode()


def test_a_nul_in_a_folder_costs_its_row(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    uris = ["a\0b/x.jpg", f"file://{tmp_path}/a%00b/x.jpg", "good.jpg"]
    path.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    rows = list(keep_apart(rows_of(path), str(tmp_path / "out")))
    assert [row.failure and row.failure.code for row in rows] == ["bad_row", "bad_row", None]
    among_pictures = replace(rows[0], source=str(tmp_path / "out" / "images" / "x.jpg"))
    assert list(keep_apart([among_pictures], str(tmp_path / "out"))) == [among_pictures]
    with pytest.raises(FatalError, match="lies in"):
        list(keep_apart([replace(among_pictures, failure=None)], str(tmp_path / "out")))


def test_batches_of_long_rows_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "BATCH_CHARACTERS", 1000)
    rows = [ManifestRow(str(n), "u", "s", attributes={"x": "x" * 400}) for n in range(10)]
    batches = list(in_batches(rows))
    assert [count for count, _ in batches] == [3, 3, 3, 1]
    assert [row for _, packed in batches for row in unpack_rows(packed, ManifestRow)] == rows


def test_batches_hold_a_thousand_rows_or_16_mib_of_text() -> None:
    rows = [ManifestRow(str(n), "u", "s") for n in range(2500)]
    assert [count for count, _ in in_batches(rows)] == [1000, 1000, 500]
    assert list(in_batches([])) == []
    half, more = ManifestRow("", "u", "s", attributes={"x": "x" * ((8 << 20) - 1)}), ManifestRow("", "u", "s")
    counts = [count for count, _ in in_batches([half, half, more, half, half, more, half])]
    assert counts == [3, 3, 1]  # two halves are not more than 16 MiB


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
common = {
    **dict.fromkeys(("id", "uri", "source", "manifest", "group"), texts),
    "category": st.none() | texts,
    "attributes": st.dictionaries(texts, texts, max_size=2),
    "line": st.integers(0, 2**40),
    "failure": st.none() | st.builds(Failure, texts, texts, texts),
}


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.fixed_dictionaries(common), max_size=3))
def test_rows_come_back_as_they_were(drawn: list[dict[str, Any]]) -> None:
    planned = [PlannedRow(**row, present=("images/a.jpg",)) for row in drawn]
    plain = [ManifestRow(**{name: value for name, value in row.items() if name != "group"}) for row in drawn]
    for kind, rows in ((ManifestRow, plain), (PlannedRow, planned)):
        assert [kind(*row.values()) for row in rows] == rows
        assert list(unpack_rows(pack_rows(rows), kind)) == rows
    assert [row for _, packed in in_batches(plain) for row in unpack_rows(packed, ManifestRow)] == plain


def test_several_manifests_are_read_by_several_workers_and_one_by_one(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"uri\n{name}1.jpg\n{name}2.jpg\n")
    for pattern, ids in (("a.csv", ["a1", "a2"]), ("*.csv", ["a1", "a2", "b1", "b2"])):
        files = find_manifests([str(tmp_path / pattern)])
        pipeline = BeamPipeline()
        batches = pipeline | manifest.ReadManifests(files, str(tmp_path / "out"))
        names = [step.unique_name for step in pipeline.to_runner_api().components.transforms.values()]
        assert any("/Reshuffle" in name for name in names) is (len(files) > 1)
        assert_that(
            batches | beam.FlatMap(lambda batch: [row.id for row in unpack_rows(batch[1], ManifestRow)]), equal_to(ids)
        )
        pipeline.run().wait_until_finish()


def test_a_manifest_on_a_web_server_is_fetched_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve() as server:
        server.pages["/small.csv"] = b"uri\n" + b"a.jpg\n" * 100, None
        assert len(rows_of(f"{server.url}/small.csv")) == 100
        monkeypatch.setattr(manifest, "LARGEST_DOWNLOAD", 1000)
        server.pages["/large.csv"] = b"uri\n" + b"a.jpg\n" * 1000, None
        assert len(rows_of(f"{server.url}/small.csv")) == 100
        with pytest.raises(ManifestError, match="more than 1000 bytes; fetch it and give the file"):
            rows_of(f"{server.url}/large.csv")


def test_damage_within_a_packed_manifest_is_one_line(tmp_path: Path) -> None:
    numbers = random.Random(1)
    text = "".join(f"id{i},{numbers.random()}.jpg\n" for i in range(40_000))
    packed = bytearray(gzip.compress(f"id,uri\n{text}".encode()))
    for byte in range(len(packed) // 2, len(packed) // 2 + 50):
        packed[byte] ^= 0xFF
    path = tmp_path / "m.csv.gz"
    path.write_bytes(packed)
    (file,) = find_manifests([str(path)])
    with pytest.raises(FatalError, match="cannot be read after line"):
        list(read_manifest(file))
