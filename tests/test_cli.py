"""The command line: exit codes, one line for each error, and nothing touched by a wrong request."""

from __future__ import annotations

import errno
import inspect
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from apache_beam.utils import subprocess_server
from apache_beam.version import __version__
from conftest import ROOT, beside_the_plan, draw_product, run

from pipeline.errors import RequestError
from pipeline.flags import VERSION, make_parser
from pipeline.launch import _stopped_by
from pipeline.options import check_beam, check_run_settings
from transforms import storage
from transforms.errors import FatalError

pytestmark = pytest.mark.usefixtures("u2netp")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (1, 2):
        draw_product(seed, (120, 100)).save(folder / f"{seed}.jpg")
    return folder


WRONG = [
    (["--nonsense"], "neither whitesweep nor Beam knows this flag"),
    (["--manifest", "none.csv"], "no such file or folder"),
    (["--manifest", "none*.csv"], "no file matches"),
    (["--policy", "1.5"], "--policy 1.5"),
    (["--background", "blurple"], "--background blurple"),
    (["--background", "transparent", "--format", "jpeg"], "JPEG cannot be transparent"),
    (["--model", "u3net"], "invalid choice"),
    (["--weights", "none.pth"], "no such weights file"),
    (["--sharpen", "-1"], "--sharpen -1: must be from 0 to 1000"),
    (["--batch_size", "0"], "--batch_size 0: must be from 1"),
    (["--max_failure_fraction", "5"], "must be from 0 to 1"),
    (["--max_pixels", "ten"], "invalid int value"),
    (["--precision", "fp16", "--device", "cpu"], "only on a GPU"),
    (["--output", "s3://bucket/x"], "expected a folder or a gs:// address"),
    (["--output", "/dev/null/x"], "is not a folder"),
    (["--direct_num_workers", "many"], "invalid int value"),
    (["--runner", "bogus"], "Unexpected pipeline runner: bogus"),
    (["--runner", "a.b.C"], "--runner a.b.C"),
    (["--max_bytes", "9" * 30], "--max_bytes 9"),
    (["--output", "file:///tmp/o%00"], "not a file name"),
    (["--runner", "dataflow"], "--project, --region, --temp_location, --sdk_container_image must be given too"),
    (["--output", "gs://"], "names no bucket"),
    (["positional"], "a pattern must be quoted"),
    (["--output", ""], "--output is empty"),
    (["--output", "/proc/nope"], "--output /proc/nope: cannot be made"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_request_is_one_line_exit_2_and_touches_nothing(
    arguments: list[str],
    message: str,
    photos: Path,
    in_folder: Callable[[], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = [] if "--manifest" in arguments else ["--manifest", str(photos)]
    base += [] if "--output" in arguments else ["--output", "out"]
    base += [] if "--model" in arguments else ["--model", "u2netp"]
    assert run("run", *base, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert in_folder() == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_cuda_stops_before_the_first_photo(
    photos: Path, in_folder: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", "--manifest", photos, "--output", "out", "--model", "u2netp", "--device", "cuda") == 2
    assert "--device cuda: no usable CUDA device" in capsys.readouterr().err
    assert in_folder() == []


def test_altered_weights_stop_before_the_first_photo(
    photos: Path, in_folder: Callable[[], list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"\x80\x02 nothing")
    assert run("run", "--manifest", photos, "--output", "out", "--model", "u2netp", "--weights", broken) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert in_folder() == []


def test_output_inside_the_photos_folder_is_refused(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", "--manifest", photos, "--output", photos / "out", "--model", "u2netp") == 2
    assert "mixes with the photos" in capsys.readouterr().err


def test_photos_are_never_overwritten(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    photos.rename(shop / "images")
    (shop / "manifest.csv").write_text("id,uri\n1,images/1.jpg\n2,images/2.jpg\n")
    before = (shop / "images" / "1.jpg").read_bytes()
    (tmp_path / "link").symlink_to(shop)
    for manifest in (shop / "images", shop / "images" / "*.jpg", shop / "manifest.csv"):
        for output in (shop, tmp_path / "link"):
            assert run("run", "--manifest", manifest, "--output", output, "--model", "u2netp") == 2
            assert "mixes with the photos" in capsys.readouterr().err
    (tmp_path / "m.csv").write_text(f"id,uri\n1,{shop}/images/1.jpg\n2,{shop}/images/2.jpg\n")
    for output in (shop, tmp_path / "link"):
        for more in ((), ("--prune",), ("--format", "png")):
            assert run("run", "--manifest", tmp_path / "m.csv", "--output", output, "--model", "u2netp", *more) == 1
            assert "images, where pictures are written; use another --output" in capsys.readouterr().err
    assert (shop / "images" / "1.jpg").read_bytes() == before
    assert sorted(path.name for path in (shop / "images").iterdir()) == ["1.jpg", "2.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_output_is_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run("run", "--manifest", photos, "--output", locked / "out", "--model", "u2netp") == 2
    assert "no permission to write" in capsys.readouterr().err


def test_no_command_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert capsys.readouterr().err.count("\n") == 1
    for arguments in (["--help"], ["run", "--help"], ["demo", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        assert stopped.value.code == 0
        assert "usage: run_pipeline.sh" in capsys.readouterr().out


def test_more_failures_than_allowed_is_exit_1(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "3.jpg").write_bytes(b"no picture")
    arguments = ("run", "--manifest", photos, "--output", tmp_path / "out", "--model", "u2netp")
    assert run(*arguments) == 1
    assert "1 of 3 rows failed, more than 5.00% allowed" in capsys.readouterr().err
    assert run(*arguments, "--max_failure_fraction", "0.34") == 0


def test_a_full_disk_stops_the_run_with_one_reason(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write

    def full(uri: str, data: bytes, content_type: str = "", **more: Any) -> None:
        if "/images/" in uri:
            raise FatalError(f"{uri}: cannot write, {os.strerror(errno.ENOSPC).lower()}")
        write(uri, data, content_type, **more)

    monkeypatch.setattr(storage, "write", full)
    assert run("run", "--manifest", photos, "--output", tmp_path / "out", "--model", "u2netp") == 1
    printed = capsys.readouterr().err
    assert "the run stopped" in printed
    assert "no space left on device" in printed
    assert "all of it" not in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "out" / "report" / "latest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verfy"], "did you mean verify?"),
        (
            ["run", "--batch-size", "4"],
            "knows this flag; did you mean --batch_size?",
        ),
        (["run", "--polcy", "0.5"], "did you mean --policy?"),
        (["run", "--dry-run"], "did you mean --dry_run, or the command plan?"),
        (["run", "--xyzzy"], "--xyzzy: neither whitesweep nor Beam knows this flag. See"),
        (["run", "--format", "jpg"], "did you mean jpeg?"),
    ],
)
def test_a_slip_of_the_fingers_is_told(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("uri\n")
    paths = ["--manifest", str(tmp_path / "m.csv"), "--output", str(tmp_path / "out")] if len(arguments) > 1 else []
    assert run(*arguments, *paths) == 2
    assert said in capsys.readouterr().err


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--version")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("whitesweep 0.1.0 (Python 3.")
    assert "apache-beam 2.77" in said
    assert f'version="{VERSION}"' in (ROOT / "setup.py").read_text()


def test_nothing_but_the_summary_and_the_errors_is_printed(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "run", "--manifest", str(photos), "--output", str(tmp_path / "out")]
    found = subprocess.run([*command, "--model", "u2netp"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert beside_the_plan(found.stderr) == ""
    assert found.stdout.startswith("2 rows in")


def test_what_nobody_foresaw_is_one_line_that_names_a_log(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprise(*_: object) -> None:
        raise IndexError("list index out of range")

    monkeypatch.setattr("transforms.report.to_parquet", surprise)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run("run", "--manifest", photos, "--output", tmp_path / "out", "--model", "u2netp") == 1
    printed = capsys.readouterr().err
    assert "IndexError: list index out of range" in printed
    assert "Traceback" not in printed
    (log,) = tmp_path.glob("whitesweep-*.log")
    assert str(log) in printed
    assert "in surprise" in log.read_text()


def refused(runner: str, *flags: str) -> str:
    with pytest.raises(RequestError) as error:
        check_beam(runner, flags)
    return str(error.value)


def test_flinks_own_options_are_known_to_it_alone(tmp_path: Path) -> None:
    jar = tmp_path / "server.jar"
    jar.touch()
    named = ["--flink_job_server_jar", str(jar), "--job_server_java_launcher", sys.executable]
    flags = [
        "--number_of_execution_retries",
        "0",
        "--max_bundle_size=8",
        "--checkpointing_interval=1",
        "--object_reuse",
    ]
    assert check_beam("flink", [*named, *flags])[1:] == [*named, *flags]
    assert check_beam("PortableRunner", ["--job_endpoint=here:8099", *flags])
    assert refused("local", *flags).startswith("--number_of_execution_retries: neither whitesweep nor Beam knows")
    assert refused("flink", *named, "--max_bundle_sise=8").startswith("--max_bundle_sise=8: neither")


def test_a_template_is_of_a_run() -> None:
    assert refused("local", "--template_location=gs://bucket/template").startswith("--template_location: run and")
    assert check_beam("local", ["--template_location=gs://bucket/template"], template=True)


def test_what_a_job_server_lacks_is_one_line_and_no_download(tmp_path: Path) -> None:
    java = ("--job_server_java_launcher", sys.executable)
    flags = ("--flink_version=1.20", f"--jar_cache_dir={tmp_path}")
    place = f"{tmp_path}/beam-runners-flink-1.20-job-server-{__version__}.jar"
    line = refused("flink", *java, *flags)
    assert line.startswith(
        f"--runner flink: Beam's job server is not at {place}: put it there (Maven's org.apache.beam:"
    )
    assert "\n" not in line
    assert "needs Java, and there is no nojava" in refused("flink", "--job_server_java_launcher=nojava", *flags)
    assert refused("flink", *java, "--flink_job_server_jar=/no.jar") == "--runner flink: /no.jar: is not there"
    Path(place).touch()
    assert check_beam("flink", [*java, *flags])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    said = refused("flink", *java, *flags, f"--flink_master={master}")
    assert said.startswith(f"--runner flink: no Flink cluster answers at --flink_master {master}: ")
    assert "\n" not in said


def test_what_beam_says_of_a_job_server_that_cannot_be_fetched_is_one_line() -> None:
    assert "Unable to fetch remote job server jar at" in inspect.getsource(subprocess_server)
    told = "Unable to fetch remote job server jar at X: 404. If no Internet access, stage the jar at /jars/f.jar"
    error = _stopped_by(RuntimeError(told))
    assert error.dead_end
    assert str(error).startswith("Beam's job server cannot be fetched from here; put it at /jars/f.jar (")
    assert "--flink_job_server_jar" in str(error)


def test_a_local_worker_that_is_gone_is_one_line() -> None:
    error = _stopped_by(RuntimeError("bundle 3: Channel closed prematurely."))
    assert str(error) == "a worker process is gone: somebody killed it, or the system, for want of memory"
    assert not error.dead_end


def test_the_demo_has_what_a_run_asks_for(tmp_path: Path, u2netp: object) -> None:
    flags = make_parser().parse_args(["demo", "--output", str(tmp_path), "--model", "u2netp"])
    flags.manifest = [str(tmp_path / "m.csv")]
    settings, _ = check_run_settings(flags, [])
    assert settings.start_from is None
