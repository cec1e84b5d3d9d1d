"""The process that holds the engine of a local run on a GPU: `python -m pipeline.engine_process DRIVER SOCKET`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from model.shared_engine import ADDRESS, serve
from pipeline.errors import RunError
from pipeline.local_worker import end_with

PATIENCE_S = 60.0


def main() -> None:
    """Leave signals to the driver, end when it has ended, and serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    serve(sys.argv[2])


@contextmanager
def shared_engine() -> Iterator[None]:
    """Let the worker processes that are started in the block share one engine, loaded when the first of them asks.

    Raises:
        RunError: there can be no process for it.
    """
    with tempfile.TemporaryDirectory(prefix="whitesweep-") as folder:  # which nobody else may enter
        address = os.path.join(folder, "engine")
        process = subprocess.Popen([sys.executable, "-m", "pipeline.engine_process", str(os.getpid()), address])
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not os.path.exists(address):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RunError("the process that is to hold the network did not start")
                time.sleep(0.02)
            os.environ[ADDRESS] = address
            yield
        finally:
            os.environ.pop(ADDRESS, None)
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
