"""The report: its schema, the same bytes for the same rows, and a commit that comes last."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.engine import EngineConfig
from transforms import network, report, storage
from transforms.errors import FatalError, PhotoError
from transforms.output import schema
from transforms.output.commit import Committed, Gone, ShardSummary, commit
from transforms.output.earlier import Report
from transforms.output.lease import Lease
from transforms.output.lease_file import standing
from transforms.output.run import RunInfo
from transforms.output.schema import SCHEMA, ReportRow, shard_count, shard_name, shards_before
from transforms.report import to_parquet, to_table, write_empty_shards, write_shard
from transforms.settings import RunSettings
from transforms.steps import Effort
from transforms.types import Outcome, Packed
from weights.files import WeightsFile


def rows(count: int = 50) -> list[ReportRow]:
    return [ReportRow(f"id{n:03}", f"{n}.jpg", None, {"b": "2", "a": "1"}, "processed", width=n) for n in range(count)]


def parquet(said: list[ReportRow]) -> bytes:
    return to_parquet(to_table(said))


def test_the_same_rows_in_any_order_give_the_same_bytes() -> None:
    ordered = rows()
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert parquet(ordered) == parquet(shuffled)
    by_attribute = [ReportRow(f"id{n}", "", None, {"rank": str(9 - n)}, "failed") for n in range(5)]
    assert pq.read_table(io.BytesIO(parquet(by_attribute))).column("id").to_pylist() == [f"id{n}" for n in range(5)]
    twins = [ReportRow("twin", uri, None, {}, "failed") for uri in ("b.jpg", "a.jpg")]
    assert parquet(twins) == parquet(twins[::-1])


def test_rows_come_back_with_the_schema_and_its_version() -> None:
    table = pq.read_table(io.BytesIO(parquet(rows(3))))
    assert table.schema.equals(SCHEMA)
    assert table.schema.metadata[b"whitesweep.report"] == b"5"
    assert table.column("id").to_pylist() == ["id000", "id001", "id002"]
    assert table.column("attributes").to_pylist()[0] == [("a", "1"), ("b", "2")]
    assert table.column("mask_flags").to_pylist()[0] is None


def test_a_shard_is_written_without_a_sorted_copy_of_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "ROW_GROUP", 1000)
    table = pa.concat_tables([to_table(rows(1000))] * 5)
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        data = to_parquet(table)
    finally:
        pa.set_memory_pool(before)
    assert pool.max_memory() < 0.5 * table.nbytes  # a copy alone would be all of it
    assert pq.ParquetFile(io.BytesIO(data)).metadata.num_row_groups == 5


def test_the_network_has_gone_when_the_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network:
        size_bytes = 0

    written: list[bool] = []
    monkeypatch.setattr(network, "load", lambda config: Network())
    network.release_engine()
    gone = weakref.ref(network.the_engine(EngineConfig(WeightsFile("u2netp", "/weights", ""), "cpu", "fp32")))
    assert gone() is not None
    monkeypatch.setattr(storage, "write", lambda *_, **__: written.append(gone() is None))
    write_shard(info(tmp_path), Report(), 0, 1, [])
    assert written == [True]


def test_shards_are_counted_by_rows() -> None:
    assert [shard_count(n) for n in (0, 1, 100_000, 100_001, 200_001, 10_000_000)] == [1, 1, 1, 2, 4, 128]
    assert shard_name(3, 16) == "part-00003-of-00016.parquet"


def info(folder: Path) -> RunInfo:
    return RunInfo(RunSettings(str(folder)), "r1", versions={"python": "3"})


def test_a_shards_rows_are_found_in_few_shards_of_the_report_before() -> None:
    ids = [f"id{n}" for n in range(500)]
    for before in (1, 2, 8, 3):
        for now in (1, 4, 8):
            for shard in range(now):
                found = shards_before(before, shard, now)
                assert {schema.shard_of(id, before) for id in ids if schema.shard_of(id, now) == shard} <= set(found)
    assert shards_before(2, 5, 8) == [1]
    assert shards_before(8, 1, 2) == [1, 3, 5, 7]


def test_a_commit_fills_in_empty_shards_and_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "ROWS_PER_SHARD", 2)
    failed = ReportRow("z", "z.jpg", None, {}, "failed", "read", "not_found", "z.jpg: gone")
    three = [Outcome(row, Effort({"read": 0.5}, Counter(photos_read=1))) for row in rows(3)]

    def total() -> ShardSummary:
        return write_empty_shards(info(tmp_path), [write_shard(info(tmp_path), Report(), 0, 2, [Packed.of(three)])], 2)

    with pytest.raises(FatalError, match="4 rows were read and 3 reported"):
        commit(info(tmp_path), total(), 4, [], 0)
    assert not (tmp_path / "report/latest.json").exists()
    commit(info(tmp_path), total(), 3, [], 0)
    run = json.loads((tmp_path / "runs/r1/run.json").read_text())
    assert run["statuses"] == {"processed": 3}
    assert run["step_seconds"] == {"read": 1.5}
    assert run["work"] == {"photos_read": 3}
    assert RunSettings.read(run["settings"]) == RunSettings(str(tmp_path))
    assert (run["exit_code"], run["reason"]) == (0, None)
    assert sorted(p.name for p in (tmp_path / "report/run=r1").iterdir()) == [
        "part-00000-of-00002.parquet",
        "part-00001-of-00002.parquet",
    ]
    latest = json.loads((tmp_path / "report/latest.json").read_text())
    assert (latest["run_id"], latest["report"]) == ("r1", "report/run=r1")
    assert [(move["run_id"], move["why"]) for move in latest["moves"]] == [("r1", "run")]
    second = write_shard(info(tmp_path), Report(), 1, 2, [Packed.of([Outcome(failed, Effort())])])
    assert second.codes == {"not_found": 1}
    assert second.failures[0]["id"] == "z"


def test_of_a_run_that_is_to_stop_nothing_is_published_and_nothing_fails(tmp_path: Path) -> None:
    lease = Lease(str(tmp_path), "r1", "test")
    lease.acquire()
    lease.ask_to_stop()
    leased = RunInfo(RunSettings(output=str(tmp_path)), "r1", leased=True)
    while standing(str(tmp_path), "r1") == "ours":
        time.sleep(0.01)
    assert commit(leased, ShardSummary(), 3, [], 0) == Committed(
        "", prune=False
    )  # a cluster would try again what fails
    lease.release()
    assert not (tmp_path / "report/latest.json").exists()


def test_a_run_says_why_it_is_no_success(tmp_path: Path) -> None:
    strict = RunInfo(RunSettings(str(tmp_path), max_failure_fraction=0.2), "r1")
    commit(strict, ShardSummary(0, Counter(processed=7, failed=3)), 10, [], 0)
    run = json.loads((tmp_path / "runs/r1/run.json").read_text())
    assert (run["exit_code"], run["reason"]) == (1, "3 of 10 rows failed, more than 20.00% allowed")


def test_a_prune_that_would_take_most_pictures_is_refused(tmp_path: Path) -> None:
    pruning = RunInfo(RunSettings(str(tmp_path), prune=True), "r1")
    gone = [Gone("a", "images/a.jpg"), Gone("b", "images/b.jpg")]
    assert commit(pruning, ShardSummary(0, Counter(processed=2), pictures=2), 2, gone, 0).prune
    assert not commit(pruning, ShardSummary(0, Counter(processed=1), pictures=1), 1, gone, 0).prune
    run = json.loads((tmp_path / "runs/r1/run.json").read_text())
    assert run["exit_code"] == 1
    assert "2 pictures would be pruned and 1 stay" in run["reason"]
    assert not commit(info(tmp_path), ShardSummary(0, Counter(processed=2), pictures=2), 2, gone, 0).prune


def test_latest_is_written_last_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    def write(uri: str, *_: object, **__: object) -> bool:
        written.append(uri.rsplit("/", 1)[1])
        return True

    for name in ("write", "create", "swap"):
        monkeypatch.setattr(storage, name, write)
    commit(info(tmp_path), ShardSummary(0, Counter(processed=1)), 1, [Gone("a", None)], 0)
    assert written == ["gone.parquet", "run.json", "latest.json"]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_run_that_slept_at_the_last_moment_does_not_replace_a_newer_report(
    is_first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an object store nothing is held between the last look at the lease and the write."""
    latest = tmp_path / "report/latest.json"
    latest.parent.mkdir()
    if not is_first:
        latest.write_text('{"run_id": "older", "report": "report/run=older"}')
    looks: list[RunInfo] = []

    def look(run: RunInfo) -> None:
        looks.append(run)
        if len(looks) == 2:  # the last one: another run takes over and is done before this one wakes
            latest.write_text('{"run_id": "a newer one", "report": "report/run=newer"}')

    monkeypatch.setattr("transforms.output.commit._refuse_taken_over", look)
    with pytest.raises(FatalError, match=r"latest\.json: another run was faster"):
        commit(info(tmp_path), ShardSummary(0, Counter(processed=1)), 1, [], 0)
    assert json.loads(latest.read_text())["run_id"] == "a newer one"


def test_a_report_that_cannot_be_written_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PhotoError("write_failed", "disk on fire")

    monkeypatch.setattr(storage, "write", fail)
    with pytest.raises(FatalError, match="the report cannot be written: disk on fire"):
        write_shard(info(tmp_path), Report(), 0, 1, [])


def test_a_run_that_lost_its_lease_does_not_commit(tmp_path: Path) -> None:
    leased = replace(info(tmp_path), leased=True)
    with pytest.raises(FatalError, match="taken over by nobody we know"):
        commit(leased, ShardSummary(0, Counter(processed=1)), 1, [], 0)
    lease = Lease(str(tmp_path), "another", "test")
    lease.acquire()
    with pytest.raises(FatalError, match="taken over by another"):
        commit(leased, ShardSummary(0, Counter(processed=1)), 1, [], 0)
    lease.release()
    assert not (tmp_path / "report/latest.json").exists()


def test_arrows_compute_functions_wait_until_a_report_is_written(tmp_path: Path) -> None:
    """They take 7 MB, and only the photos before that are at the peak of a run."""
    write_shard(info(tmp_path), Report(), 0, 1, [Packed.of([Outcome(row, Effort()) for row in rows(3)])])
    shard = str(tmp_path / "report/run=r1/part-00000-of-00001.parquet")
    reading = f"""
import os, sys

class NoPandas:  # it is here for the tests alone, and Arrow would take it with all that it needs
    def find_spec(name, path, target=None):
        if name == "pandas":
            raise ImportError(name)

sys.meta_path.insert(0, NoPandas)
import pipeline.execute, pipeline.options
from transforms.output.earlier import Report, load_table
assert len(load_table(Report(({shard!r},)), 0, 1)) == 3
assert "pyarrow.compute" not in sys.modules
os._exit(0)  # as every command ends; Arrow's threads may abort a Python that ends by itself (apache/arrow#34314)
"""
    subprocess.run([sys.executable, "-c", reading], check=True, cwd=Path(__file__).parent.parent)
