"""The README is true: its tables are those of the code."""

from __future__ import annotations

import argparse
import re

import pytest
from conftest import ROOT

from pipeline.flags import make_parser
from transforms.errors import FAILURE_CODES
from transforms.output.schema import SCHEMA

README = (ROOT / "README.md").read_text(encoding="utf-8")


def flag_rows() -> list[str]:
    """Write the README's table of flags from what --help says."""
    commands = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    rows = []
    for action in commands.choices["run"]._actions:
        if action.dest != "help":
            name = action.option_strings[0] + (f" {action.metavar}" if action.metavar else "")
            values = "|".join(action.choices) if action.choices else ""
            text = str(action.help) % vars(action)
            rows.append(f"| `{name}{' ' + values if values else ''}` | {text} |")
    return rows


@pytest.mark.parametrize("row", flag_rows())
def test_every_flag_is_explained_as_in_help(row: str) -> None:
    assert row.replace("|", "").split() in [
        line.replace("\\|", "|").replace("|", "").split() for line in README.split("\n")
    ]


def test_every_failure_code_is_explained() -> None:
    for code, meaning in FAILURE_CODES.items():
        assert f"| `{code}` | {meaning} |" in README


def test_every_report_column_is_explained() -> None:
    table = README[README.index("## The report") : README.index("## Failure codes")]
    named = set(re.findall(r"`([a-z0-9_]+)`", table))
    assert {name for name in SCHEMA.names if not name.startswith(("coverage_", "bbox_"))} <= named
    assert {"bbox_left", "bbox_bottom", "coverage_10", "coverage_90"} <= named


def test_every_file_that_is_pointed_at_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for test in re.findall(r"`(tests/[a-z_0-9]+\.py)`", README):
        assert (ROOT / test).exists(), test
