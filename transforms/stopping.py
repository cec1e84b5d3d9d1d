"""Whether this process was asked to stop (SIGTERM, Ctrl-C): workers then finish what they have begun, no more."""

from __future__ import annotations

import threading

STOP = threading.Event()
