"""On Prism and on Beam's embedded portable runner, with workers of a pool: the same bytes, and nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import BRAKES_OFF, digests, draw_product, make_catalog, run
from machines import Command, pool, wait_for

from transforms.output.earlier import newest_report
from transforms.output.latest import NoReportError

PRISM = os.environ.get("WHITESWEEP_PRISM", "")
needs_prism = pytest.mark.skipif(not PRISM, reason="WHITESWEEP_PRISM names no binary of Prism")
ON_PRISM = ["--runner", "PrismRunner", "--prism_location", PRISM]
SETTINGS = ["--model", "u2netp", "--precision", "fp32", *BRAKES_OFF]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, u2netp: object) -> list[str]:
    return ["--manifest", str(make_catalog(tmp_path_factory.mktemp("photos") / "catalog")), "--output"]


@pytest.fixture(scope="module")
def reference(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "out"
    assert run("run", *paths, output, *SETTINGS) == 0
    return output


@pytest.fixture
def external(tmp_path: Path) -> Iterator[list[str]]:
    """The flags that let a pool do the work; its workers live no longer than it does."""
    marked, address = pool(tmp_path / "pool")
    yield ["--environment_type", "EXTERNAL", "--environment_config", address]
    assert (tmp_path / "pool/loads").read_text().count("\n") == 1  # one model, in one worker process
    for process in marked.left("worker_pool_main"):
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: not marked.left(), "the end of its workers")


def test_the_embedded_runner_with_a_worker_of_ours(
    paths: list[str], reference: Path, tmp_path: Path, external: list[str]
) -> None:
    embedded = ["--runner", "PortableRunner", "--job_endpoint", "embed"]
    assert Command(tmp_path / "command", "run", *paths, tmp_path / "out", *SETTINGS, *embedded, *external).end() == 0
    assert digests(tmp_path / "out") == digests(reference)


@needs_prism
def test_prism_with_a_worker_of_ours(paths: list[str], reference: Path, tmp_path: Path, external: list[str]) -> None:
    assert Command(tmp_path / "command", "run", *paths, tmp_path / "out", *SETTINGS, *ON_PRISM, *external).end() == 0
    assert digests(tmp_path / "out") == digests(reference)


@needs_prism
def test_prism_with_its_worker_in_the_driver_twice(paths: list[str], reference: Path, tmp_path: Path) -> None:
    assert Command(tmp_path / "run", "run", *paths, tmp_path / "out", *SETTINGS, *ON_PRISM).end() == 0
    assert digests(tmp_path / "out") == digests(reference)
    (tmp_path / "out/images/one.jpg").write_bytes(b"altered")
    repair = Command(tmp_path / "verify", "verify", "--repair", "--output", tmp_path / "out", *ON_PRISM)
    assert repair.end() == 0, repair.output  # three jobs, one after the other
    assert digests(tmp_path / "out")["images/one.jpg"] == digests(reference)["images/one.jpg"]


@needs_prism
def test_a_stream_does_what_appears_and_ends_when_it_is_asked_to(tmp_path: Path, u2netp: object) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        draw_product(number, (90, 70)).save(tmp_path / f"p{number}.png")
    output = tmp_path / "out"
    paths = ["--manifest", str(tmp_path / "in/*.csv"), "--output", str(output)]
    arguments = [*paths, "--model", "u2netp", "--precision", "fp32"]
    assert run("run", "--streaming", *arguments, *ON_PRISM) == 2  # windows would write over each other's pictures
    arguments += ["--names", "fingerprint"]
    stream = Command(tmp_path / "command", "run", "--streaming", *arguments, *ON_PRISM)

    def drop(name: str, *lines: str) -> None:
        hidden = tmp_path / f"in/.{name}"
        hidden.write_text("\n".join(["id,uri,deleted", *lines]).replace("@", f"{tmp_path}/p") + "\n")
        hidden.rename(tmp_path / "in" / name)

    def state() -> dict[str, str]:
        with suppress(NoReportError):
            report = newest_report(str(output))
            rows = [row for at in range(len(report)) for row in report.read(at, ["id", "uri"]).to_pylist()]
            return {row["id"]: Path(row["uri"]).name for row in rows}
        return {}

    drop("1.csv", "a,@0.png,", "b,@1.png,")
    wait_for(lambda: state() == {"a": "p0.png", "b": "p1.png"}, "the first window")
    drop("2.csv", "a,@2.png,", "b,,true")
    (tmp_path / "in/broken.csv").write_text("id,price\na,1\n")
    wait_for(lambda: state() == {"a": "p2.png"}, "the second window")
    stream.signal(signal.SIGTERM)
    assert stream.end() == 143
    assert run("verify", "--output", output) == 0
    assert run("run", "--streaming", *arguments) == 2  # which only ends
