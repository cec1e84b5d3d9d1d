"""Imports run one way: the contracts of pyproject.toml hold, and every room says what belongs in it."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT
from importlinter.cli import lint_imports

ROOMS = sorted(path.parent for path in ROOT.glob("*/**/__init__.py") if ".venv" not in path.parts)


def test_imports_run_one_way(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # It would disable the loggers that are there, and with them those of the tests after this one.
    monkeypatch.setattr("importlinter.cli.logging_config.dictConfig", lambda _: None)
    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("room", [str(room.relative_to(ROOT)) for room in ROOMS])
def test_a_room_says_what_belongs_in_it(room: str) -> None:
    said = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())) or ""
    assert len(said.split()) >= 15
