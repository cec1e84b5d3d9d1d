"""A command measured from outside: seconds, processor seconds of all its processes, peak resident memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """seconds: of wall clock. busy: seconds of all processors. said: its output.

    peak: resident MB of the largest process; never less than that of the process that started it.
    """

    seconds: float
    busy: float
    peak: float
    said: str


def measured(command: list[str], environment: dict[str, str] | None = None) -> Measured:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; with what it said.
    """
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{text}")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)
