"""No picture and no row vanishes over many nights: the short form of benchmarks/nights.py."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import ROOT

from benchmarks.shop import Shop

pytestmark = pytest.mark.usefixtures("u2netp")

TOLD = [
    "photos_away_after_migrate",
    "photos_away_after_report_removed",
    "row_back_while_unreadable",
    "repair_after_other_is_gone",
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("flags", [["--seed", "1", "--series", "1", "--nights", "3"], ["--scenario", *TOLD]])
def test_nights_end_where_a_fresh_run_does(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    memory = tmp_path_factory.getbasetemp() / "what the network said"
    command = [sys.executable, "-m", "benchmarks.nights", *flags, "--memory", str(memory)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr[-1000:]
    assert " 0 with a difference" in found.stdout
    assert found.stdout.count(": as promised") == flags.count("--scenario") * len(TOLD)


def test_the_shop_says_what_its_manifest_does(tmp_path: Path) -> None:
    shop, rng = Shop(tmp_path, "parquet"), random.Random(3)
    shop.draw_all(rng, 6)
    shop.add_row(shop.rows[0].id, "nowhere.png", rng)
    shop.add_row("../up", shop.rows[0].photo, rng)
    shop.rows[1:2] = []
    shop.write()
    told = pq.read_table(shop.manifest).to_pylist()
    records = shop.records()
    assert [(row["id"], row["uri"]) for row in told] == [(record.id, record.uri) for record in records]
    assert sorted(code for record in records for code in record.codes if "new\n" not in record.uri) in (
        ["bad_id", "duplicate_id"],
        ["bad_id", "duplicate_id", "not_found"],
    )
    state = next(iter(shop.photos.values()))
    state.state = "cut"
    shop.write()
    assert any(record.codes == {"truncated", "corrupt"} for record in shop.records()) or state.name not in str(told)
