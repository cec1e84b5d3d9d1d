"""The report: its schema, the same bytes for the same rows, and a commit that comes last."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from transforms import report, storage
from transforms.report import SCHEMA, RunInfo, ShardSummary, commit, shard_count, shard_name, to_parquet, write_shard
from transforms.types import FatalError, Outcome, PhotoError, ReportRow


def rows(count: int = 50) -> list[ReportRow]:
    return [ReportRow(f"id{n:03}", f"{n}.jpg", None, {"b": "2", "a": "1"}, "processed", width=n) for n in range(count)]


def test_the_same_rows_in_any_order_give_the_same_bytes() -> None:
    ordered = rows()
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert to_parquet(ordered) == to_parquet(shuffled)
    by_attribute = [ReportRow(f"id{n}", "", None, {"rank": str(9 - n)}, "failed") for n in range(5)]
    assert pq.read_table(io.BytesIO(to_parquet(by_attribute))).column("id").to_pylist() == [f"id{n}" for n in range(5)]
    twins = [ReportRow("twin", uri, None, {}, "failed") for uri in ("b.jpg", "a.jpg")]
    assert to_parquet(twins) == to_parquet(twins[::-1])


def test_rows_come_back_with_the_schema_and_its_version() -> None:
    table = pq.read_table(io.BytesIO(to_parquet(rows(3))))
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[b"whitesweep.report"] == b"2"
    assert table.column("id").to_pylist() == ["id000", "id001", "id002"]
    assert table.column("attributes").to_pylist()[0] == [("a", "1"), ("b", "2")]
    assert table.column("flags").to_pylist()[0] is None


def test_shards_are_counted_by_rows() -> None:
    assert [shard_count(n) for n in (0, 1, 100_000, 100_001, 10_000_000)] == [1, 1, 1, 2, 100]
    assert shard_name(3, 16) == "part-00003-of-00016.parquet"


def info(folder: Path) -> RunInfo:
    return RunInfo("r1", str(folder), 0.0, {"model": "u2net"}, {"python": "3"})


def test_a_commit_fills_in_empty_shards_and_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ROWS_PER_SHARD", 2)
    failed = ReportRow("z", "z.jpg", None, {}, "failed", "read", "not_found", "z.jpg: gone")
    three = [Outcome(row, {"read": 0.5}) for row in rows(3)]
    with pytest.raises(FatalError, match="4 rows were read and 3 reported"):
        commit(info(tmp_path), [write_shard(info(tmp_path), 0, 2, three)], 4)
    assert not (tmp_path / "report/latest.json").exists()
    commit(info(tmp_path), [write_shard(info(tmp_path), 0, 2, three)], 3)
    run = json.loads((tmp_path / "report/run=r1/run.json").read_text())
    assert run["statuses"] == {"processed": 3}
    assert run["step_seconds"] == {"read": 1.5}
    assert run["settings"] == {"model": "u2net"}
    assert sorted(p.name for p in (tmp_path / "report/run=r1").iterdir()) == [
        "_SUCCESS",
        "part-00000-of-00002.parquet",
        "part-00001-of-00002.parquet",
        "run.json",
    ]
    assert json.loads((tmp_path / "report/latest.json").read_text()) == {"run_id": "r1", "report": "report/run=r1"}
    second = write_shard(info(tmp_path), 1, 2, [Outcome(failed, {})])
    assert second.codes == {"not_found": 1}
    assert second.failures[0]["id"] == "z"


def test_latest_is_written_last_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(storage, "write", lambda uri, data, content_type="": written.append(uri.rsplit("/", 1)[1]))
    commit(info(tmp_path), [ShardSummary(0, Counter(processed=1))], 1)
    assert written == ["run.json", "_SUCCESS", "latest.json"]


def test_a_report_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PhotoError("write_failed", "disk on fire")

    monkeypatch.setattr(storage, "write", fail)
    with pytest.raises(FatalError, match="the report cannot be written: disk on fire"):
        write_shard(info(tmp_path), 0, 1, [])
