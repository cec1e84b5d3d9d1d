"""run_pipeline.sh, with a Python that only pretends to install: what is done, what is said, what is returned."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from weights.architecture import MODELS

SCRIPT = Path(__file__).parent.parent / "run_pipeline.sh"

# Every call is noted. It makes environments that hold a copy of itself, and its pip fails in the ways that pip does.
FAKE_PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
  *version_info*) echo "${FAKE_VERSION:-3.11}" ;;
  *python_version*) echo "${FAKE_VERSION:-3.11}.7" ;;
  *ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
  "-m venv "*)
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "version = ${FAKE_VERSION:-3.11}.7" >"$3/pyvenv.cfg"
    ;;
  "-m pip "*)
    echo "Collecting things"
    case "${FAKE_PIP:-}" in
      network)
        echo "WARNING: Retrying: NewConnectionError: [Errno -3] Temporary failure in name resolution"
        echo "ERROR: No matching distribution found for setuptools"; exit 1 ;;
      no_build) echo "ERROR: No matching distribution found for torch==2.13.*"; exit 1 ;;
      full) echo "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"; exit 1 ;;
      broken) echo "Installing collected packages: a, b"; echo "ERROR: b is odd"; exit 1 ;;
      odd) echo "ERROR: something new"; exit 1 ;;
      no_torch) case "$*" in *torch*) echo "ERROR: NewConnectionError"; exit 1 ;; esac ;;
      kill) touch "${0%/bin/python}/half"; kill -9 0 ;;
      slow) sleep 0.7 ;;
    esac
    ;;
  "-m weights"*)
    [ -z "${FAKE_WEIGHTS:-}" ] || { echo "weights: u2net: no network" >&2; exit "$FAKE_WEIGHTS"; }
    cd "${0%/.venv/bin/python}/weights"
    touch u2net.safetensors u2netp.safetensors
    case "$*" in *keep_onnx*) touch u2net.onnx u2netp.onnx ;; esac
    echo "fetched" ;;
  "-m ruff check"*) exit "${FAKE_RUFF:-0}" ;;
  "-m pipeline"* | "-m pytest"*)
    echo "$$ $PWD $PYTHONSAFEPATH $DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"; exit "${FAKE_EXIT:-0}" ;;
esac
"""


class Door:
    """A copy of the door in a folder with a space in its name, and a PATH on which only pretenders are Pythons."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "a b" / "white sweep"
        self.venv = self.root / ".venv"
        self.elsewhere = tmp_path / "elsewhere"
        self.bin = tmp_path / "bin"
        self.calls_file = tmp_path / "calls"
        self.script = self.root / "run_pipeline.sh"
        for folder in (self.root / "weights", self.elsewhere, self.bin):
            folder.mkdir(parents=True)
        shutil.copy(SCRIPT, self.script)
        for name in ("setup.py", "constraints.txt"):
            (self.root / name).write_text("torch==2.13.0\n")
        self.program("python3.11", FAKE_PYTHON)
        for name in ("python3.12", "python3", "nvidia-smi"):  # in front of the real ones
            self.program(name, "#!/bin/sh\nexit 127\n")

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def start(self, *arguments: str, script: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        keep = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        path = f"{self.bin}:/usr/local/bin:/usr/bin:/bin"
        return subprocess.Popen(
            [script or self.script, *arguments],
            cwd=self.elsewhere,
            env={**keep, "PATH": path, "CALLS": str(self.calls_file), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that the pretended kill -9 hits this run only
            # Whatever a shell starts in the background ignores SIGINT, and so does all that it starts in turn.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: str, script: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Start it, wait, and return what it said; `calls` then holds what it called."""
        self.calls_file.write_text("")
        process = self.start(*arguments, script=script, **environment)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def calls(self) -> list[str]:
        return [call for call in self.calls_file.read_text().splitlines() if call.startswith("-m")]

    @property
    def pip_calls(self) -> int:
        return sum(call.startswith("-m pip ") for call in self.calls)

    @property
    def installed(self) -> list[str]:
        """List what pip was asked for, but for setuptools."""
        return [call.rpartition(" -e ")[2] for call in self.calls if " -e " in call]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_first_start_sets_up_and_hands_over(door: Door) -> None:
    done = door.run("run", "--manifest", "my photos.csv")
    assert done.returncode == 0, done.stderr
    venv, setuptools, install, weights, pipeline = door.calls
    assert venv == f"-m venv {door.venv}"
    assert setuptools.endswith("-c constraints.txt setuptools")
    assert install.endswith("-c constraints.txt --no-build-isolation -e .[heif]")
    assert weights == "-m weights"
    assert pipeline == "-m pipeline run --manifest my photos.csv"
    assert done.stdout.split(" ", 1)[1] == f"{door.elsewhere} 1 True\n"
    assert len(done.stderr.splitlines()) == 4
    assert "in all about 300 MB to download, 1.1 GB on disk" in done.stderr
    assert "Collecting things" in (door.venv / "setup.log").read_text()
    assert not (door.venv / "tmp").exists()


def test_second_start_does_nothing_but_hand_over(door: Door) -> None:
    door.run("demo")
    done = door.run()
    assert (done.returncode, done.stderr, door.calls) == (0, "", ["-m pipeline demo"])


def test_python_takes_the_place_of_the_script(door: Door) -> None:
    door.run("demo")
    process = door.start("demo", FAKE_EXIT="7")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7
    assert int(out.split()[0]) == process.pid  # so signals reach it, and nothing stands between


def test_call_through_symlinks(door: Door, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "first").symlink_to(door.script)
    (tmp_path / "links" / "second").symlink_to("first")
    done = door.run("demo", script=tmp_path / "links" / "second")
    assert done.returncode == 0, done.stderr
    assert (door.venv / "ready").exists()


@pytest.mark.parametrize(
    ("version", "line"),
    [("2.7", "too old"), ("3.9", "too old"), ("3.10", "too old"), ("3.13", "too new"), ("3.14", "too new")],
)
def test_python_of_the_wrong_age_is_one_line(door: Door, version: str, line: str) -> None:
    (door.bin / "python3.11").rename(door.bin / "python3")
    door.program("python3.11", "#!/bin/sh\necho 'pyenv: python3.11: command not found' >&2; exit 127\n")
    done = door.run("demo", FAKE_VERSION=version)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{door.bin}/python3 is Python {version}, which is {line}; install Python 3.11 or 3.12" in done.stderr
    assert not door.venv.exists()


def test_no_python_at_all_is_one_line(door: Door) -> None:
    door.program("python3.11", "#!/bin/sh\nexit 127\n")
    done = door.run("demo")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no Python that runs" in done.stderr


def test_python_without_venv_says_what_to_install(door: Door) -> None:
    done = door.run("demo", FAKE_NO_VENV="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "apt install python3.11-venv" in done.stderr


def test_named_python_is_the_only_one_tried(door: Door) -> None:
    done = door.run("demo", PYTHON="/nowhere/python3.11")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "/nowhere/python3.11 is no Python that runs" in done.stderr


def test_naming_another_python_builds_anew(door: Door) -> None:
    door.run("demo")
    door.program("other", FAKE_PYTHON.replace("FAKE_VERSION:-3.11", "FAKE_VERSION:-3.12"))
    done = door.run("demo", PYTHON=str(door.bin / "other"))
    assert done.returncode == 0, done.stderr
    assert "Python 3.12" in done.stderr
    assert door.run("demo").stderr == ""  # and it stays


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ("network", "the package index cannot be reached: is the network there?"),
        ("no_build", "No matching distribution found for torch==2.13.*: is the network there, and is there a build"),
        ("full", "the disk is full: the packages take 300 MB to download, 1.1 GB on disk"),
        ("odd", "ERROR: something new"),
    ],
)
def test_failed_set_up_is_one_line_and_the_next_start_completes(door: Door, failure: str, line: str) -> None:
    done = door.run("demo", FAKE_PIP=failure)
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert line in last
    assert str(door.venv / "setup.log") in last
    assert "-m pipeline demo" not in door.calls
    done = door.run("demo")
    assert done.returncode == 0, done.stderr
    assert door.calls[-1] == "-m pipeline demo"


def test_killed_set_up_is_built_anew(door: Door) -> None:
    assert door.run("demo", FAKE_PIP="kill").returncode == -signal.SIGKILL
    assert (door.venv / "half").exists()
    done = door.run("demo")
    assert done.returncode == 0, done.stderr
    assert not (door.venv / "half").exists()
    assert not door.venv.with_name(".venv.old").exists()
    assert door.run("demo").stderr == ""


def test_interrupted_set_up_says_so_and_the_next_start_completes(door: Door) -> None:
    door.calls_file.write_text("")
    process = door.start("demo", FAKE_PIP="slow")
    while not door.pip_calls:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "whitesweep: interrupted; the next start completes the set-up"
    assert door.run("demo").returncode == 0


def test_changed_pins_are_installed_into_what_is_there(door: Door) -> None:
    door.run("demo")
    (door.venv / "kept").touch()
    (door.root / "constraints.txt").write_text("torch==2.13.1\n")
    done = door.run("demo")
    assert (done.returncode, door.pip_calls) == (0, 2)
    assert (door.venv / "kept").exists()


@pytest.mark.parametrize("failure", ["network", "full"])
def test_failure_before_anything_changed_leaves_what_worked(door: Door, failure: str) -> None:
    door.run("demo")
    assert door.run("test", FAKE_PIP=failure).returncode == 2
    done = door.run("demo")
    assert (done.returncode, done.stderr, door.pip_calls) == (0, "", 0)


def test_failure_in_the_middle_of_a_change_builds_anew(door: Door) -> None:
    door.run("demo")
    (door.venv / "kept").touch()
    assert door.run("test", FAKE_PIP="broken").returncode == 2
    assert door.run("demo").returncode == 0
    assert not (door.venv / "kept").exists()


# torch: not for a run on a CPU

GPU = "#!/bin/sh\n[ \"$1\" = -L ] && echo 'GPU 0: NVIDIA Something (UUID: GPU-1)'\n"
NO_GPU = '#!/bin/sh\necho "NVIDIA-SMI has failed because it couldn\'t communicate with the NVIDIA driver"; exit 9\n'


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--device", "cuda"],
        ["run", "--device=cuda", "--output", "out"],
        ["run", "--weights", "my own.pth"],
        ["run", "--weights=mine.pth", "--device", "cpu"],
    ],
)
def test_torch_is_added_when_it_is_asked_for_and_stays(door: Door, arguments: list[str]) -> None:
    door.run("demo", "--device", "cpu")
    assert door.installed == [".[heif]"]
    done = door.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert door.installed == [".[heif,torch]"]
    assert "in all about 3 GB to download, 6 GB on disk" in done.stderr
    assert door.calls[-1] == f"-m pipeline {' '.join(arguments)}"
    for again in (arguments, ["demo"]):
        assert (door.run(*again).stderr, door.installed) == ("", [])


def test_a_machine_with_a_gpu_gets_torch_at_once(door: Door) -> None:
    door.program("nvidia-smi", GPU)
    assert door.run("demo").returncode == 0
    assert door.installed == [".[heif,torch]"]
    door.program("nvidia-smi", "#!/bin/sh\nsleep 60\n")  # it is slow to start, and no longer asked
    assert (door.run("demo").stderr, door.installed) == ("", [])


def test_a_gpu_that_comes_later_gets_torch_then(door: Door) -> None:
    door.program("nvidia-smi", NO_GPU)
    door.run("demo")
    assert door.installed == [".[heif]"]
    door.program("nvidia-smi", GPU)
    assert door.run("demo", "--device", "cpu").stderr == ""
    door.run("demo")
    assert door.installed == [".[heif,torch]"]


def test_what_worked_on_the_cpu_goes_on_if_torch_cannot_be_added(door: Door) -> None:
    door.run("demo")
    done = door.run("demo", "--device", "cuda", FAKE_PIP="no_torch")
    assert done.returncode == 2
    assert "the package index cannot be reached" in done.stderr.splitlines()[-1]
    assert "-m pipeline demo" not in door.calls
    assert (door.run("demo").stderr, door.pip_calls) == ("", 0)


def test_changed_pins_forget_torch_until_it_is_asked_for(door: Door) -> None:
    door.run("demo", "--device", "cuda")
    (door.root / "constraints.txt").write_text("torch==2.13.1\n")
    door.run("demo")
    assert door.installed == [".[heif]"]
    door.run("demo", "--device", "cuda")
    assert door.installed == [".[heif,torch]"]


def test_moved_folder_is_set_up_again(door: Door) -> None:
    door.run("demo")
    door.root = door.root.rename(door.root.with_name("moved"))
    done = door.run("demo", script=door.root / "run_pipeline.sh")
    assert (done.returncode, door.pip_calls) == (0, 2)


@pytest.mark.skipif(not shutil.which("flock"), reason="without flock(1) nothing keeps two set-ups apart")
def test_two_first_starts_at_once_set_up_once(door: Door) -> None:
    door.calls_file.write_text("")
    processes = [door.start("demo", FAKE_PIP="slow") for _ in range(2)]
    said = [process.communicate(timeout=30)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert door.pip_calls == 2  # the two steps of one set-up
    assert any("waiting for another set-up" in text for text in said)


def test_the_weights_that_are_missed_are_those_of_the_code() -> None:
    assert f"for model in {' '.join(MODELS)}; do" in SCRIPT.read_text()


def test_help_and_own_weights_need_no_fetch(door: Door) -> None:
    for arguments in (["--help"], ["run", "-h"], ["run", "--weights", "mine.pth"], ["run", "--weights=mine.pth"]):
        door.run(*arguments)
        assert "-m weights" not in door.calls
    door.run("run")
    assert "-m weights" in door.calls


def test_failed_fetch_stops_with_its_own_line(door: Door) -> None:
    done = door.run("demo", FAKE_WEIGHTS="2")
    assert done.returncode == 2
    assert done.stderr.endswith("weights: u2net: no network\n")
    assert "-m pipeline demo" not in door.calls


def test_test_runs_everything_in_order(door: Door) -> None:
    done = door.run("test")
    assert done.returncode == 0, done.stderr
    assert door.calls[2].endswith("-e .[heif,test]")
    assert door.calls[3:] == [
        "-m weights --keep_onnx",
        "-m ruff check .",
        "-m ruff format --check .",
        "-m mypy",
        "-m pytest -m pure",
        "-m pytest -m not pure -n 2 --dist worksteal",
    ]
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == [f"{door.root} 1 True"] * 2
    assert door.run("demo", "--device", "cuda").stderr == ""  # what the tests need includes what a run needs
    assert door.run("test").stderr == ""


def test_test_with_arguments_runs_only_pytest(door: Door) -> None:
    door.run("demo")
    assert door.run("test", "-k", "a or b", FAKE_EXIT="5").returncode == 5
    assert door.calls[-1] == "-m pytest -k a or b"
    assert not any("ruff" in call for call in door.calls)


def test_test_stops_at_the_first_complaint(door: Door) -> None:
    assert door.run("test", FAKE_RUFF="1").returncode == 1
    assert door.calls[-1] == "-m ruff check ."
