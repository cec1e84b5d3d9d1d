"""One engine for all worker processes of a machine: a process that holds it, and what stands in its place elsewhere.

Python's lock lets one thread at a time work on pixels, so one process feeds a GPU a tenth of what that takes. Several
processes feed it well, but each with a network of its own would load torch, and fill the GPU, as often. So they
hand their photos over: 307 KB there and 102 KB back, through a socket that only this user can open.
"""

from __future__ import annotations

import os
import threading
import time
from multiprocessing.connection import Client, Connection, Listener

import numpy as np
from numpy.typing import NDArray

from model.engine import DeviceError, DeviceFaultError, Engine, EngineConfig, OutOfMemoryError
from model.load import load
from weights.architecture import SIDE
from weights.files import WeightsError

ADDRESS = "WHITESWEEP_ENGINE"
"""The environment variable that names the socket, for processes that are to share an engine."""

TELLING = {error.__name__: error for error in (WeightsError, DeviceError, DeviceFaultError, OutOfMemoryError)}
"""Errors that mean something to whoever asks (engine.py); any other is told as a ValueError, of this photo alone."""


class SharedEngine(Engine):
    """An engine that is in another process. Each thread has a connection of its own."""

    def __init__(self, config: EngineConfig, address: str) -> None:
        """Have the engine loaded, if nobody has yet; `seconds` is how long that took, None if it was there.

        Raises:
            WeightsError, DeviceError: as load does. DeviceFaultError: there is no such process.
        """
        self._config, self._address = config, address
        self._own = threading.local()
        self.seconds: float | None
        self.name, self.batch_size, self.size_bytes, self.seconds = self._ask(np.empty((0, SIDE, SIDE, 3), np.uint8))[1]

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        maps, (_, self.batch_size, _, _) = self._ask(images)
        return maps

    def _ask(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[str, int, int, float | None]]:
        try:
            connection = getattr(self._own, "connection", None)
            if connection is None:
                connection = self._own.connection = Client(self._address, "AF_UNIX")
                connection.send(self._config)
                _raise(connection.recv())
            connection.send(len(images))
            if len(images):
                connection.send_bytes(images.reshape(-1).data)
            said = connection.recv()
            _raise(said)
            maps = np.empty((len(images), SIDE, SIDE), np.uint8)
            if len(maps):
                connection.recv_bytes_into(maps.reshape(-1).data)
            return maps, said
        except (OSError, EOFError) as error:
            raise DeviceFaultError(f"the process that holds the network is gone ({error or 'it hung up'})") from error


def _raise(said: object) -> None:
    """Raise what the other side has met, if it is that."""
    if isinstance(said, dict):
        raise TELLING.get(said["error"], ValueError)(said["message"])


class _Holder:
    """The engine of this process, loaded when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._config: EngineConfig | None = None
        self._engine: Engine | None = None

    def get(self, config: EngineConfig) -> tuple[Engine, float | None]:
        with self._lock:
            if self._engine is not None and config == self._config:
                return self._engine, None
            began = time.perf_counter()
            self._engine = None
            self._engine, self._config = load(config), config
            return self._engine, time.perf_counter() - began


def serve(address: str) -> None:
    """Hold an engine for all who connect to a socket, each in a thread of its own. Does not return."""
    holder = _Holder()
    with Listener(address, "AF_UNIX", backlog=128) as listener:
        while True:
            connection = listener.accept()
            threading.Thread(target=_answer, args=(connection, holder), daemon=True).start()


def _answer(connection: Connection, holder: _Holder) -> None:
    try:
        try:
            engine, seconds = holder.get(connection.recv())
            connection.send(None)
        except (WeightsError, DeviceError) as error:
            connection.send({"error": type(error).__name__, "message": str(error)})
            return
        while True:
            images = np.empty((connection.recv(), SIDE, SIDE, 3), np.uint8)
            if len(images):
                connection.recv_bytes_into(images.reshape(-1).data)
            try:
                maps = engine.predict(images)
            except Exception as error:
                connection.send({"error": type(error).__name__, "message": str(error)})
                continue
            connection.send((engine.name, engine.batch_size, engine.size_bytes, seconds))
            seconds = None  # is counted once
            if len(maps):
                connection.send_bytes(maps.reshape(-1).data)
    except (OSError, EOFError):  # a worker that ended
        return
    finally:
        connection.close()


def address_here() -> str | None:
    """Give the socket of the engine that this process is to share, if it is to."""
    return os.environ.get(ADDRESS)
