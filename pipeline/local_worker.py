"""A local worker process: `python -m pipeline.local_worker [quiet] -m MODULE` runs Beam's module.

A Ctrl-C in a terminal reaches the workers too, and a service manager sends SIGTERM to all that it has started. Only the
driver answers to them: it tells the workers by the lease, or kills them. What a worker fails of goes to the driver as
well, which makes one line of it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from contextlib import nullcontext, redirect_stderr


def main() -> None:
    """Leave signals to the driver, and run the module named by the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    settings, sys.argv = sys.argv[1 : sys.argv.index("-m")], sys.argv[sys.argv.index("-m") + 1 :]
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stderr(nowhere) if "quiet" in settings else nullcontext(),
    ):
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
