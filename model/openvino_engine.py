"""The network in OpenVINO: the fastest engine that a CPU has."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from model import openvino_graph
from model.checkpoint import load_state
from model.engine import Engine, EngineConfig
from model.int8 import read_largest
from model.machine import available_cpus, cpu_computes_in_bf16, give_back
from model.openvino_int8 import Quantizer
from model.openvino_ops import ov
from weights.architecture import SIDE

BYTES = {"fp32": 4, "bf16": 2, "int8": 1}


class OpenVinoEngine(Engine):
    """U²-Net on a CPU: photo by photo, one stream of one thread for each caller."""

    def __init__(self, config: EngineConfig) -> None:
        """Read, verify and place the weights (see load.load)."""
        self.name = f"openvino {ov.__version__.partition('-')[0]}"
        self.batch_size = config.batch_size or 1
        precision = config.precision
        int8 = Quantizer(read_largest(config.weights)) if precision == "int8" else None
        bf16 = precision == "bf16" or (precision == "int8" and cpu_computes_in_bf16())  # what int8 leaves out
        state = load_state(config.weights)
        self.size_bytes = sum(array.size for array in state.values()) * BYTES[precision]
        graph = openvino_graph.build(config.weights.model, state, bf16, int8)
        del state  # the graph has its own copy, and a third is made while it is compiled
        give_back()
        streams = available_cpus()
        self._compiled = ov.Core().compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
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
