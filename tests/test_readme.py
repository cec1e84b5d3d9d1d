"""README and docs are true: their tables are those of the code, their links, tests and commands exist."""

from __future__ import annotations

import argparse
import ast
import fnmatch
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, run, run_json

import whitesweep
from pipeline.flags import make_parser
from pipeline.runners import beam_arguments
from pipeline.signals import SIGNALS
from transforms import compare, verify
from transforms.beam_faults import unknown_flags
from transforms.errors import FAILURE_CODES
from transforms.output.schema import SCHEMA, SCHEMA_VERSION
from transforms.pixels.frame import LONGEST
from transforms.pixels.methods import METHODS, Range
from transforms.pixels.policy import CHOICES, FRAMES, SHARPEN, SIDES, SIZES, Rule, parse_policy
from transforms.pixels.profile import Profile, profile_names

MOST_WORDS = 1450
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README, REFERENCE, DESIGN = (PAGES[name] for name in ("README.md", "docs/reference.md", "docs/design.md"))


def section(page: str, heading: str) -> str:
    """Give what stands below a heading, up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"there is no {heading!r}"
    return found[1]


def table(text: str, first: str) -> list[list[str]]:
    """Give the rows of the table whose first heading begins so, each as its cells."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first}"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def quoted(cell: str) -> list[str]:
    """Give what stands in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def code_blocks(page: str) -> list[str]:
    """Give the indented blocks of a page."""
    blocks = re.findall(r"(?:(?<=\n\n)|\A)((?:    .*\n|\n)+)", page)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in blocks if block.strip()]


# Flags and commands


@lru_cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Give each command's parser."""
    actions = make_parser()._actions
    return dict(next(a for a in actions if isinstance(a, argparse._SubParsersAction)).choices)


def flag_rows(command: str) -> dict[str, list[str]]:
    """Write each flag's row of a table from what --help says."""
    rows = {}
    for action in parsers()[command]._actions:
        if action.dest != "help":
            name = " ".join([*action.option_strings[:1], *([str(action.metavar)] if action.metavar else [])])
            values = "|".join(action.choices) if action.choices else ""
            said = str(action.help) % vars(action)
            rows[name.split()[0]] = [f"`{name}{' ' + values if values else ''}`", said]
    return rows


@pytest.mark.parametrize("command", parsers())
def test_every_flag_stands_once_as_in_help(command: str) -> None:
    ours, runs = flag_rows(command), flag_rows("run")
    heading = "## Flags of run" if command == "run" else f"### {command}"
    expected = [row for flag, row in ours.items() if command == "run" or runs.get(flag) != row]
    assert sorted(table(section(REFERENCE, heading), "flag")) == sorted(expected)


@pytest.mark.parametrize("command", [command for command in parsers() if command != "run"])
def test_what_a_command_takes_of_run_is_said(command: str) -> None:
    ours, runs = set(flag_rows(command)), set(flag_rows("run"))
    said, _, _ = section(REFERENCE, f"### {command}").partition("|")
    sentence, _, _ = said.strip().partition(". ")
    own = {quoted(row[0])[0].split()[0] for row in table(section(REFERENCE, f"### {command}"), "flag")}
    if sentence == "Takes all that `run` takes":
        assert runs - ours == set()
    elif sentence.startswith("Takes no"):
        assert set(quoted(sentence)) == runs - ours
    else:
        assert sentence.startswith("Takes of `run` only")
        assert set(quoted(sentence)) - {"run"} == (runs & ours) - own


def shown_commands() -> Iterator[tuple[str, str]]:
    """Give each command that a page shows in a block, without what the shell takes for itself."""
    for name, page in PAGES.items():
        for block in code_blocks(page):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"run_pipeline\.sh\b(.*)", line)
                if found:
                    yield name, re.split(r"\s(?:>>|>|2>|\|\|?|&&)", found[1])[0]


@pytest.mark.parametrize(("page", "command"), list(shown_commands()))
def test_every_command_shown_is_one(page: str, command: str) -> None:
    arguments = shlex.split(command, comments=True)
    if arguments and arguments[0] != "test" and "--help" not in arguments:
        flags, others = make_parser().parse_known_args(arguments)
        assert unknown_flags(others) == []
        assert getattr(flags, "command", None) in parsers()


def test_commands_are_found_where_they_stand() -> None:
    shown = list(shown_commands())
    assert {command.split()[0] for page, command in shown if page == "README.md" and command.split()[:1]} >= {
        *("run", "migrate", "compare", "verify", "test")
    }
    told = {quoted(row[0])[0].partition(" ")[2] for row in table(REFERENCE, "command")}
    assert told == (set(parsers()) - {"demo"}) | {"", "test"}


def test_every_exit_code_is_explained() -> None:
    told = [int(row[0]) for row in table(section(REFERENCE, "## Exit codes"), "code")]
    assert told == [0, 1, 2, *sorted(SIGNALS.values())]
    of_readme = [int(code) for row in table(README, "exit code") for code in row[0].split(", ")]
    assert of_readme == told
    schedulers = table(section(PAGES["docs/engines.md"], "## Schedulers"), "exit code")
    assert [int(code) for row in schedulers for code in re.findall(r"\d+", row[0])] == told


@pytest.mark.parametrize(("runner", "column"), [("dataflow", 1), ("dataflow-gpu", 2)])
def test_every_flag_of_a_preset_is_explained(runner: str, column: int) -> None:
    rows = table(section(PAGES["docs/engines.md"], "## Dataflow"), "flag")
    told = {quoted(row[0])[0]: (row[1] if row[column] == "the same" else row[column]).partition(":")[0] for row in rows}
    found = dict(word.partition("=")[::2] for word in beam_arguments(runner, []))
    assert found.pop("--runner") == "DataflowRunner"
    found["--number_of_worker_harness_threads"] = "the cores in the machine's name"
    if services := found.pop("--dataflow_service_options", None):
        assert services in rows[3][column]
    assert {flag: told[flag] for flag in found} == found


# Manifests and policies


def number(value: float) -> str:
    """Write a number as the tables do."""
    return "1/255" if value == 1 / 255 else f"{value:g}" if value < 100_000 else f"{value:.0f}"


def test_every_method_and_parameter_is_explained() -> None:
    policies = section(REFERENCE, "## Policies")
    methods = table(policies, "method")
    assert [quoted(row[0])[0] for row in methods] == list(METHODS)
    for name, meaning in methods:
        assert set(METHODS[quoted(name)[0]].parameters) <= set(quoted(meaning)), name
    told = {
        (method, quoted(name)[0]): limits for name, of, *limits in table(policies, "parameter") for method in quoted(of)
    }
    expected: dict[tuple[str, str], Range] = {
        (name, parameter): span for name, method in METHODS.items() for parameter, span in method.parameters.items()
    }
    assert told == {key: [number(n) for n in (span.low, span.high, span.default)] for key, span in expected.items()}


def test_every_setting_of_a_policy_is_explained() -> None:
    told = {quoted(row[0])[0]: row[1:3] for row in table(section(REFERENCE, "## Policies"), "setting of any")}
    usual = Rule()
    expected = {
        name: [", ".join(f"`{v}`" for v in values), f"`{getattr(usual, name)}`"] for name, values in CHOICES.items()
    }
    expected |= {
        name: [f"{number(span.low)} to {number(span.high)}", number(span.default)]
        for name, span in {**SIZES, **SIDES}.items()
    }
    for name, span in {**FRAMES, "sharpen": SHARPEN}.items():
        expected[name] = [f"{number(span.low)} to {number(span.high)}", number(span.default)]
    expected["sharpen"][1] = "as `--sharpen`"
    expected["canvas"] = [f"a size such as `2000x2000`, up to {LONGEST}, or a ratio such as `4:5`", "none"]
    assert told == expected


def test_everything_that_a_profile_may_ask_is_explained() -> None:
    told = {name for row in table(section(REFERENCE, "## Profiles"), "key") for name in quoted(row[0])}
    assert told == {f.name for f in fields(Profile)} - {"name"}
    assert all(name in section(REFERENCE, "## Profiles") + README for name in profile_names())


def test_every_policy_shown_is_one() -> None:
    shown = [(name, block) for name, page in PAGES.items() for block in code_blocks(page) if block.startswith("[")]
    assert {name for name, _ in shown} >= {"README.md", "docs/reference.md", "docs/operating.md"}
    for name, block in shown:
        parse_policy(tomllib.loads(block), name)


def test_every_public_name_is_explained() -> None:
    names = table(section(REFERENCE, "## From Python"), "name")
    assert {name for row in names for name in quoted(row[0])} <= set(whitesweep.__all__)
    assert {name for row in names for cell in row for name in quoted(cell)} >= set(whitesweep.__all__)


# The report


def test_every_failure_code_is_explained() -> None:
    told = {quoted(code)[0]: meaning for code, meaning in table(section(REFERENCE, "## Failure codes"), "code")}
    assert told == FAILURE_CODES
    triage = table(section(PAGES["docs/operating.md"], "## Triage of failures"), "code")
    assert [quoted(row[0])[0] for row in triage] == list(FAILURE_CODES)


def test_every_report_column_is_explained() -> None:
    columns = section(REFERENCE, "## Report columns")
    assert sorted(name for row in table(columns, "column") for name in quoted(row[0])) == sorted(SCHEMA.names)
    assert f"Schema version {SCHEMA_VERSION}," in columns


def test_every_column_of_a_comparison_is_explained() -> None:
    told = [name for row in table(REFERENCE, "column of comparison.parquet") for name in quoted(row[0])]
    assert sorted(told) == sorted(compare.SCHEMA.names)


def test_every_problem_that_verify_finds_is_explained() -> None:
    assert {quoted(name)[0]: meaning for name, meaning in table(REFERENCE, "problem")} == verify.PROBLEMS


@lru_cache
def constants() -> dict[str, set[Any]]:
    """Collect the constants of our modules: by name, the values that it has."""
    found: dict[str, set[Any]] = {}
    for path in [*(ROOT / "transforms").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    names = target.elts if isinstance(target, ast.Tuple) else [target]
                    values = node.value.elts if isinstance(node.value, ast.Tuple) and len(names) > 1 else [node.value]
                    for name, value in zip(names, values, strict=False):
                        if isinstance(name, ast.Name):
                            found.setdefault(name.id, set()).add(ast.unparse(value))
    return found


def test_every_mask_flag_is_explained() -> None:
    told = [quoted(row[0])[0] for row in table(section(REFERENCE, "## Mask flags"), "flag")]
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "transforms").rglob("*.py"))
    raised = re.findall(r'flags\.append\("([a-z_]+)"\)|\(\*flags, "([a-z_]+)"\)', source)
    assert sorted(told) == sorted(one or other for one, other in raised)


@pytest.mark.parametrize(
    ("name", "value", "heading", "said"),
    [
        ("NO_SUBJECT_BELOW", "0.001", "## Mask flags", "less than 0.1 % of the picture"),
        ("LOW_CONFIDENCE_ABOVE", "0.5", "## Mask flags", "more than half as many uncertain cells"),
        ("DOUBTFUL_BELOW", "0.9", "## Mask flags", "is below 0.9"),
        ("FRAGMENTED_ABOVE", "3", "## Mask flags", "more than three pieces"),
        ("FRAGMENT_CELLS", "64", "## Mask flags", "larger than 64 of"),
        ("FULL_FRAME_ABOVE", "0.95", "## Mask flags", "the foreground is more than 95 %"),
        ("ALREADY_WHITE_ABOVE", "0.95", "## Mask flags", "more than 95 % of a border"),
        ("WHITE_LEVEL", "250", "## Mask flags", "each channel ≥ 250"),
        ("UNCERTAIN", "(0.3, 0.7)", "## Report columns", "with 0.3 ≤ p ≤ 0.7"),
        ("CLEAR_MAJORITY", "0.6", "## What a run does again", "more than 60 % of"),
        ("WINDOW", "30", "## What a run does again", "the last 30"),
        ("ENOUGH", "1000", "## What a run does again", "or a thousand"),
        ("IN_A_ROW", "10", "## What a run does again", "Ten photos of a thread in a row"),
        ("TOLERATED_FRACTION", "0.01", "## What a run does again", "more than one in a hundred"),
        ("ROWS_PER_SHARD", "100000", "## The output folder", "at most some 100,000"),
        ("SECONDS", "20.0", "## Failure codes", "20 seconds of processor time"),
        ("FIRST", "10", "## run.json", "ten of them"),
        ("MOST_CHANGED", "100", "## Other files", "the hundred rows"),
        ("REDIRECTS", "5", "## Web servers", "at most 5 redirects"),
        ("PHOTO_S", "300", "## Web servers", "300 seconds a photo"),
        ("REQUESTS_PER_HOST", "16", "## Web servers", "at most 16 requests"),
        ("ATTEMPTS", "5", "## Web servers", "tried 5 times"),
        ("BUSY", "(408, 425, 429, 500, 502, 503, 504)", "## Web servers", "408, 425, 429, 500, 502, 503 and 504"),
        ("LONGEST_WAIT_S", "60", "## Web servers", "within 60 seconds"),
        ("ANSWER_S", "20", "## Web servers", "Silence is 20 seconds"),
        ("AGAIN_S", "5", "## Web servers", "5 seconds where the server"),
        ("LEAST_BYTES_A_SECOND", "4096", "## Web servers", "less than 4 KB a second"),
        ("LOST_IN_A_ROW", "3", "## Web servers", "three photos in a row"),
        ("REFUSED_IN_A_ROW", "10", "## Web servers", "ten if it does"),
        ("FIRST_PAUSE_S", "10.0", "## Web servers", "asked again after 10 seconds"),
        ("LONGEST_PAUSE_S", "300.0", "## Web servers", "up to 300 seconds"),
        ("LARGEST_DOWNLOAD", "4 << 30", "## Manifests", "may have 4 GiB"),
        ("FREE_BYTES", "256 << 20", "## Manifests", "256 MiB in any case"),
        ("LARGEST_RATIO", "100", "## Manifests", "a hundred times their size"),
        ("LARGEST_BYTES", "64 << 30", "## Manifests", "64 GiB"),
        ("LONGEST_RECORD", "4 << 20", "## Manifests", "4 million characters"),
    ],
)
def test_limits_are_those_of_the_code(name: str, value: str, heading: str, said: str) -> None:
    assert value in {found.replace("_", "") for found in constants()[name]}
    assert said in " ".join(section(REFERENCE, heading).split())


def test_an_output_folder_is_as_told(u2netp: Any, tmp_path: Path) -> None:
    manifest, output = tmp_path / "catalog.csv", tmp_path / "out"
    manifest.write_text("uri\nnowhere.jpg\n")
    assert run("run", "--manifest", manifest, "--output", output, "--model", "u2netp") == 1
    told = [name for row in table(section(REFERENCE, "## run.json"), "field") for name in quoted(row[0])]
    assert sorted(told) == sorted(run_json(output))
    patterns = [quoted(row[0])[0] for row in table(section(REFERENCE, "## The output folder"), "path")]
    globs = [re.sub(r"<[^>]*>", "*", pattern) for pattern in patterns]
    left = [path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()]
    assert left
    for name in left:
        assert any(fnmatch.fnmatch(name, pattern) for pattern in globs), name


# The pages themselves


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def slug(heading: str) -> str:
    """Name a heading as links do."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]) if "://" not in target]
    assert targets
    for target in targets:
        path, _, heading = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in map(slug, headings), target


def test_every_page_is_reached_from_the_readme() -> None:
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(re.findall(r"\]\(([^)#]+)\)", README))


def test_every_promise_has_tests_that_exist() -> None:
    promises = re.split(r"^(?=\*\*)", section(DESIGN, "## Promises"), flags=re.MULTILINE)[1:]
    assert len(promises) >= 16
    for promise in promises:
        tests = [line[2:] for line in promise.splitlines() if line.startswith("- ")]
        assert tests, promise
        for test in tests:
            found = re.fullmatch(r"`(tests/\w+\.py)::(\w+)`", test)
            assert found, test
            tree = ast.parse((ROOT / found[1]).read_text(encoding="utf-8"))
            assert found[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_the_readme_names_what_there_is() -> None:
    reading = section(README, "## Reading the result")
    columns = [name for row in table(reading, "column") for name in quoted(row[0])]
    assert set(columns) <= set(SCHEMA.names)
    codes = next(quoted(row[1]) for row in table(reading, "column") if "`code`" in row[0])
    assert set(codes) <= set(FAILURE_CODES)
    flags = {quoted(row[0])[0] for row in table(section(REFERENCE, "## Mask flags"), "flag")}
    said = re.search(r"Flags to begin with:(.*?)\n\n", reading, re.DOTALL)
    assert said
    assert set(quoted(said[1])) <= flags | set(FAILURE_CODES)


def test_how_fast_it_is_was_measured() -> None:
    measured = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    rates = [
        rate for row in table(section(README, "## How fast it is"), "job") for rate in re.findall(r"[\d.]*\d", row[1])
    ]
    assert len(rates) >= 6
    for rate in rates:
        assert re.search(rf"(?<![\d.]){re.escape(rate)}(?![\d.]*\d)", measured), rate


def test_python_that_is_shown_compiles() -> None:
    shown = [
        block for page in PAGES.values() for block in code_blocks(page) if re.match(r"import |from |latest = ", block)
    ]
    assert len(shown) >= 4
    for block in shown:
        compile(block, "docs", "exec")
