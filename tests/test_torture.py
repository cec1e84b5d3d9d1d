"""Nothing is lost, whenever it happens: the short form of benchmarks/torture.py, and a store that answers 503."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, draw_product, run
from google.api_core.retry import retry_unary
from gs import emulator

from transforms import storage
from transforms.storage import gcs

pytestmark = pytest.mark.usefixtures("u2netp")


@pytest.mark.timeout(600)
def test_killed_starved_and_misled_runs_end_where_an_undisturbed_one_does() -> None:
    command = [sys.executable, "-m", "benchmarks.torture", "--rounds", "4", "--seed", "11", "301"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "8 rounds from seed 11 and 301: 0 with a difference" in found.stdout


def test_a_store_that_answers_503_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        draw_product(n, (100, 100)).save(tmp_path / f"{n}.png")
    shorter = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 20), monotonic=time.monotonic)
    monkeypatch.setattr(retry_unary, "time", shorter)  # Google's client begins with a second
    with emulator(monkeypatch, "shop"):
        for path in tmp_path.iterdir():
            storage.write(f"gs://shop/in/{path.name}", path.read_bytes())
        count = itertools.count()
        session = gcs.client()._http
        send, refused = session.request, list[str]()

        def busy(method: str, url: str, *more: Any, **named: Any) -> Any:
            answer = send(method, url, *more, **named)
            if len(refused) < 15 and next(count) % 2:
                refused.append(url)
                answer.status_code, answer._content = 503, b"busy"
            return answer

        monkeypatch.setattr(session, "request", busy)
        arguments = ("run", "--manifest", "gs://shop/in", "--output", "gs://shop/out", "--model", "u2netp")
        assert run(*arguments) == 0
        assert len(refused) == 15
        run_id = json.loads(storage.read("gs://shop/out/report/latest.json").data)["run_id"]
        said = json.loads(storage.read(f"gs://shop/out/runs/{run_id}/run.json").data)
        assert said["statuses"] == {"processed": 4}
        assert run("verify", "--output", "gs://shop/out") == 0
