"""This process's one network, and what to make of its failures. Without Beam, so that one photo needs none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.engine import DeviceError, DeviceFaultError, Engine, EngineConfig
from model.load import load
from model.shared_engine import SharedEngine, address_here
from transforms.errors import FatalError, PhotoError
from transforms.steps import is_out_of_memory
from weights.files import WeightsError


class Predictor(Protocol):
    """What is needed of an engine."""

    batch_size: int
    size_bytes: int

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map uint8 [N, 320, 320, 3] to uint8 [N, 320, 320]."""


_loading = threading.Lock()
_loaded: dict[EngineConfig, Engine] = {}


def the_engine(config: EngineConfig, tell: Callable[[Engine, float], None] = lambda *_: None) -> Engine:
    """Give this process's one engine, loaded by whichever thread asks first; one of another config takes its place.

    (Beam's `Shared` keeps only the last object acquired in a process alive, and drops it when its DoFns idle.)

    Args:
        config: what to load.
        tell: is told of an engine that was loaded just now, and the seconds it took.

    Raises:
        FatalError: weights or device are not what was asked for; one line.
    """
    with _loading:
        if config not in _loaded:
            began, address = time.perf_counter(), address_here()
            try:
                engine = load(config) if address is None else SharedEngine(config, address)
            except (WeightsError, DeviceError) as error:
                raise FatalError(str(error)) from error
            except DeviceFaultError as error:
                raise FatalError(f"the GPU failed: {error}") from error
            _loaded.clear()
            _loaded[config] = engine
            if not isinstance(engine, SharedEngine):
                tell(engine, time.perf_counter() - began)
            elif engine.seconds is not None:
                tell(engine, engine.seconds)
        return _loaded[config]


KEPT = threading.Event()
"""Set where the engine is wanted again soon: then it is not let go."""


def release_engine() -> None:
    """Let this process's engine go, and the memory it takes, once nobody uses it; whoever asks again loads it anew."""
    if KEPT.is_set():
        return
    with _loading:
        _loaded.clear()


def predict_one(engine: Predictor, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Predict one photo: uint8 [320, 320, 3] to its map, uint8 [320, 320].

    Raises:
        PhotoError: out_of_memory or inference_failed. FatalError: it is the engine, and not the photo.
    """
    try:
        return engine.predict(image[None])[0]
    except Exception as error:
        raise failure_alone(engine, image, error) from error


def failure_alone(engine: Predictor, image: NDArray[np.uint8], error: Exception) -> PhotoError:
    """Say what is wrong with a photo on which the network failed alone.

    Raises:
        FatalError: it is the engine, and not the photo.
    """
    if isinstance(error, DeviceFaultError):
        raise FatalError(f"the GPU failed: {error}") from error
    _prove_alive(engine, image, error)
    code = "out_of_memory" if is_out_of_memory(error) else "inference_failed"
    return PhotoError(code, f"the network failed on this photo alone: {error}")


def _prove_alive(engine: Predictor, image: NDArray[np.uint8], error: Exception) -> None:
    """Predict a picture that cannot be at fault: if that fails too, it is the engine and not the photo.

    Raises:
        FatalError: it failed.
    """
    try:
        engine.predict(np.zeros_like(image)[None])
    except Exception:
        raise FatalError(f"the network fails on every photo: {str(error).splitlines()[0]}") from error
