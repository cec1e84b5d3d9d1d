"""Whatever reads a folder of Parquet reads a report as it is, and counts each row once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from transforms.output.commit import Gone, commit
from transforms.output.earlier import Report
from transforms.output.run import RunInfo
from transforms.output.schema import ReportRow
from transforms.report import write_empty_shards, write_shard
from transforms.settings import RunSettings
from transforms.steps import Effort
from transforms.types import Outcome, Packed

ROWS = 6


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed report of two shards, the second without rows; width is null in every other row."""
    monkeypatch.setattr("transforms.output.schema.ROWS_PER_SHARD", 3)
    info = RunInfo(RunSettings(str(tmp_path)), "20260101T000000.000Z-abcdef")
    rows = [
        ReportRow(f"id{n}", f"{n}.jpg", "hat", {"price": "7"}, "processed", width=None if n % 2 else 1200)
        for n in range(ROWS)
    ]
    total = write_shard(info, Report(), 0, 2, [Packed.of([Outcome(row, Effort()) for row in rows])])
    commit(info, write_empty_shards(info, [total], 2), ROWS, [Gone("away", "images/away.jpg")], 2)
    return tmp_path / info.report


def by_pyarrow(folder: Path) -> list[Any]:
    return list(pq.read_table(folder).column("width").to_pylist())


def by_pandas(folder: Path) -> list[Any]:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(folder)
    assert str(frame.width.dtype) == "Int64"  # not a float, for all that some are missing
    assert frame.mask_flags.isna().all()  # by its name, too
    return [None if width is pandas.NA else width for width in frame.width]


def by_polars(folder: Path) -> list[Any]:
    return list(pytest.importorskip("polars").read_parquet(folder)["width"])


def by_duckdb(folder: Path) -> list[Any]:
    duckdb = pytest.importorskip("duckdb")
    return [width for (width,) in duckdb.sql(f"SELECT width FROM '{folder}/*.parquet'").fetchall()]


def by_duckdb_below(folder: Path) -> list[Any]:
    """As who knows only the output folder might; of one run, it is the same."""
    duckdb = pytest.importorskip("duckdb")
    return [width for (width,) in duckdb.sql(f"SELECT width FROM '{folder.parent}/**/*.parquet'").fetchall()]


def by_spark(folder: Path) -> list[Any]:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark takes 300 MB and Java: tried by hand")
    spark = sql.SparkSession.builder.master("local[1]").getOrCreate()
    return [row.width for row in spark.read.parquet(str(folder)).collect()]


@pytest.mark.parametrize("read", [by_pyarrow, by_pandas, by_polars, by_duckdb, by_duckdb_below, by_spark])
def test_it_is_read_as_it_is(report: Path, read: Callable[[Path], list[Any]]) -> None:
    found = read(report)
    assert sorted(found, key=str) == [1200] * 3 + [None] * 3
    assert not any(isinstance(width, float) for width in found)
