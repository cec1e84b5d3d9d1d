"""A local worker process: `python -m pipeline.local_worker DRIVER [quiet] -m MODULE` runs Beam's module.

A Ctrl-C in a terminal reaches the workers too, and a service manager sends SIGTERM to all that it has started. Only the
driver answers to them: it tells the workers by the lease, or kills them (apache/beam#19674). What a worker fails of
goes to the driver as well, which makes one line of it. And Beam's worker waits two minutes for a driver that was killed
while it started.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from contextlib import nullcontext, redirect_stderr

PERIOD_S = 1.0


def main() -> None:
    """Leave signals to the driver, end when it has ended, and run the module named by the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    settings, sys.argv = sys.argv[1 : sys.argv.index("-m")], sys.argv[sys.argv.index("-m") + 1 :]
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stderr(nowhere) if "quiet" in settings else nullcontext(),
    ):
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def end_with(parent: int) -> None:
    """End this process once it has another parent. Half-written files are the next run's to sweep."""
    while os.getppid() == parent:
        time.sleep(PERIOD_S)
    os._exit(1)


if __name__ == "__main__":
    main()
