"""The quick run of the tests: it passes over what is not pure, and holds to it what says it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

MARKED = "import pytest\npytestmark = pytest.mark.pure\n"
FILES = {
    "test_heavy.py": MARKED + "import apache_beam\n",
    "test_tries.py": MARKED
    + """
def test_network(): import model.load
def test_process(): import subprocess; subprocess.run(['true'])
def test_server(): import socket; socket.socket().bind(('127.0.0.1', 0))
def test_nothing(): pass
""",
    "test_other.py": "import apache_beam\ndef test_other(): pass\n",
}


def test_a_pure_test_that_is_none_fails_and_others_are_not_even_read(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-m", "pure", "-rA", "--continue-on-collection-errors", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    lines = sorted(line.partition(" - ")[0] for line in found.stdout.splitlines() if line.startswith(tuple("EFP")))
    assert [line for line in lines if ".py" in line and line.split()[0] in ("ERROR", "FAILED", "PASSED")] == [
        "ERROR test_heavy.py",
        *(f"FAILED test_tries.py::test_{name}" for name in ("network", "process", "server")),
        "PASSED test_tries.py::test_nothing",
    ], found.stdout
    assert found.stdout.count("a pure test needs none of this: ") >= 4
