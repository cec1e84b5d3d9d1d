"""The network in OpenVINO: the fastest engine that a CPU has."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from model import openvino_graph
from model.checkpoint import load_state
from model.cpus import available_cpus
from model.engine import SIDE, Engine, EngineConfig, choose_precision
from model.memory import give_back
from model.openvino_runtime import ov

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine(Engine):
    """U²-Net on a CPU: photo by photo, one stream of one thread for each caller."""

    def __init__(self, config: EngineConfig) -> None:
        """Read, verify and place the weights (see engine.load)."""
        self.name = f"openvino {ov.__version__.partition('-')[0]}"
        self.batch_size = config.batch_size or 1
        state = load_state(config.weights)
        precision = choose_precision(config.precision, config.weights.model, "cpu")
        self.size_bytes = sum(array.nbytes for array in state.values()) // (1 if precision == "fp32" else 2)
        graph = openvino_graph.build(config.weights.model, state, bf16=precision == "bf16")
        del state  # the graph has its own copy, and a third is made while it is compiled
        give_back()
        streams = available_cpus()
        self._compiled = ov.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": HINTS[precision],
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": streams,
                "ENABLE_CPU_PINNING": False,  # another process of ours would pin its threads to the same cores
            },
        )
        del graph
        give_back()  # 200 MB of U²-Net's
        self._callers = threading.BoundedSemaphore(streams)
        self._mine = threading.local()

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        with self._callers:
            return np.concatenate([self._forward(images[i : i + 1]) for i in range(len(images))])

    def _forward(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        request = getattr(self._mine, "request", None) or self._compiled.create_infer_request()
        self._mine.request = request
        request.infer([image], share_inputs=True)
        probability = request.get_output_tensor(0).data  # of the request itself, so it is read before the next photo
        if not np.isfinite(probability).all():
            raise FloatingPointError("the network returned a value that is not a number")
        return np.rint(probability * 255).astype(np.uint8).reshape(1, SIDE, SIDE)
