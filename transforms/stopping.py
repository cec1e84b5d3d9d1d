"""STOP: set in the driver's own process by SIGTERM and Ctrl-C. What is in flight is finished, nothing more begun."""

import threading

STOP = threading.Event()
