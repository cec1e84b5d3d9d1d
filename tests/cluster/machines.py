"""A Flink cluster of several processes on this machine, and commands that are given to it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

LIB = os.environ.get("WHITESWEEP_FLINK_LIB", "")
JAR = os.environ.get("WHITESWEEP_FLINK_JOB_SERVER_JAR", "")
MARK = "WHITESWEEP_TEST"
OPENED = ["lang", "lang.reflect", "net", "nio", "text", "time", "util", "util.concurrent", "util.concurrent.atomic"]
MEMORY = """
framework.heap.size framework.off-heap.size jvm-metaspace.size jvm-overhead.max jvm-overhead.min managed.size
network.max network.min task.heap.size task.off-heap.size
"""
SETTINGS = {
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": 3,
    "restart-strategy.fixed-delay.delay": "2 s",
    "heartbeat.timeout": 10000,  # ms
    "heartbeat.interval": 2000,
    "cluster.evenly-spread-out-slots": "true",
    "jobmanager.memory.process.size": "1g",
    "taskmanager.numberOfTaskSlots": 1,
    # Flink's start scripts would work these out of one of them.
    "taskmanager.cpu.cores": 1,
    **dict.fromkeys((f"taskmanager.memory.{one}" for one in MEMORY.split()), "256m"),
}
WORKER = """import os, sys
sys.path.insert(0, {root!r})
from transforms import network
load = network.load
def loaded(config):
    with open({loads!r}, "a") as stream:
        stream.write(f"{{os.getpid()}}\\n")
    return load(config)
network.load = loaded
from pipeline.worker import main
main()
"""
"""Our worker, which also tells of each model that it loads."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Marked:
    """Processes that can be told from all others, with whatever they start, by a variable of their environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.mark = folder, secrets.token_hex(8)
        quick = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}  # as no process lives for long
        self.environment = {**os.environ, **quick, "PYTHONPATH": str(ROOT), MARK: self.mark, **environment}
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        with open(self.folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(
                [str(one) for one in command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def left(self, of: str = "") -> dict[int, str]:
        """List those that live and have a text in their command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if command and of in command:
                        found[int(entry.name)] = command
        return found

    def kill_all(self) -> None:
        while found := self.left():
            for process in found:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)


def worker_script(folder: Path) -> Path:
    """Write the one file that starts our worker."""
    folder.mkdir(parents=True, exist_ok=True)
    program, script = folder / "worker.py", folder / "worker.sh"
    program.write_text(WORKER.format(root=str(ROOT), loads=str(folder / "loads")))
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{program}' \"$@\" 2>>'{folder}/workers.log'\n")
    script.chmod(0o755)
    return script


class FlinkCluster(Marked):
    """A JobManager and two TaskManagers of one slot each, which start a worker process each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rest, self.managers = free_port(), 2
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.script = worker_script(folder)
        self.loads = folder / "loads"
        settings = {
            **SETTINGS,
            "rest.port": self.rest,
            "jobmanager.rpc.port": free_port(),
            "io.tmp.dirs": folder,
            **{f"{name}.bind-host": "localhost" for name in ("jobmanager", "taskmanager")},
            **dict.fromkeys(("jobmanager.rpc.address", "taskmanager.host", "rest.address"), "localhost"),
        }
        (folder / "config.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))

    def arguments(self, script: Path | None = None) -> list[str]:
        """Give the flags of a command that is to run here."""
        place = ["--runner", "flink", "--flink_master", f"localhost:{self.rest}", "--parallelism", str(self.managers)]
        server = ["--flink_version", "1.20", "--flink_job_server_jar", JAR]
        kind = [
            "--environment_type",
            "PROCESS",
            "--environment_config",
            json.dumps({"command": str(script or self.script)}),
        ]
        return [*place, *server, *kind, "--environment_cache_millis", "600000", "--sdk_worker_parallelism", "1"]

    def start_manager(self, name: str) -> None:
        main = {
            "jobmanager": "entrypoint.StandaloneSessionClusterEntrypoint",
            "taskmanager": "taskexecutor.TaskManagerRunner",
        }[name.rstrip("0123456789")]
        opens = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED]
        opens += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-exports=java.base/sun.net.util=ALL-UNNAMED"]
        limits = ["-Xmx512m", "-XX:MaxDirectMemorySize=640m", "-XX:MaxMetaspaceSize=1g"]  # of which each job keeps some
        command = ["java", *limits, *opens, "-cp", f"{LIB}/*", f"org.apache.flink.runtime.{main}"]
        self.processes[name] = self.start(name, [*command, "--configDir", self.folder])

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self.rest}{path}", timeout=5) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        with suppress(OSError, ValueError):
            return bool(self.ask("/overview")["slots-available"] == self.managers)
        return False

    def last_job(self) -> dict[str, Any]:
        job: dict[str, Any] = max(self.ask("/jobs/overview")["jobs"], key=lambda job: job["start-time"])
        return job

    def failures(self) -> int:
        """Count what the last job failed of; it was tried again after each."""
        return len(self.ask(f"/jobs/{self.last_job()['jid']}/exceptions")["exceptionHistory"]["entries"])

    def workers(self) -> list[int]:
        return sorted(self.left(str(self.folder / "worker.py")))

    def __enter__(self) -> FlinkCluster:
        for name in ("jobmanager", "taskmanager1", "taskmanager2"):
            self.start_manager(name)
        wait_for(self.is_up, f"the cluster; see {self.folder}")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        for process in self.processes.values():
            process.wait()


def pool(folder: Path) -> tuple[Marked, str]:
    """Start a pool of workers of ours; give it, and its address."""
    port, marked, script = free_port(), Marked(folder), worker_script(folder)
    module = "apache_beam.runners.worker.worker_pool_main"
    marked.start("pool", [sys.executable, "-m", module, f"--service_port={port}", f"--container_executable={script}"])

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_for(answers, "the pool")
    return marked, f"127.0.0.1:{port}"


def flink_missing() -> str:
    """Say why there can be no Flink cluster here; empty if there can."""
    if not (LIB and JAR):
        return "WHITESWEEP_FLINK_LIB and WHITESWEEP_FLINK_JOB_SERVER_JAR name no Flink libraries and no job server"
    return "" if shutil.which("java") else "there is no java"


class Command(Marked):
    """A command of ours, as somebody gives it: it ends with an exit code, and leaves no process behind."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        super().__init__(folder, PYTHONUNBUFFERED="1")
        self.process = self.start("command", [sys.executable, "-m", "pipeline", *arguments])

    def end(self, seconds: float = 150) -> int:
        """Wait for its end; give the exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            pytest.fail(f"still at work: {self.said('command')}")
        deadline = time.monotonic() + 2  # what ends with a killed process ends a moment later
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.kill_all()
        assert not left, f"left behind: {left}"
        return code

    def signal(self, number: int) -> None:
        """Send a signal to it and all that it has started in its session, as a terminal does."""
        os.killpg(self.process.pid, number)

    @property
    def output(self) -> str:
        return self.said("command")
