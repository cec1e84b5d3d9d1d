"""PredictSaliency: the network in a stage, in the style of RunInference.

Why not Beam's own RunInference: in 2.77 its torch handler pairs U²-Net's seven outputs with the wrong photos, falls
back to the CPU in silence, loses a whole batch for one bad photo, and its resource hints would cut the fused stage in
two, so that pixels were shuffled. The metric names are RunInference's, so its dashboards fit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.windowed_value import WindowedValue
from numpy.typing import NDArray

from model.engine import DeviceFaultError, Engine, EngineConfig
from transforms import network
from transforms.errors import Failure, PhotoError
from transforms.network import Predictor, failure_alone
from transforms.pixels.types import SaliencyMap
from transforms.work import Work

NAMESPACE = "PredictSaliency"

WAITING_BYTES = 256 * 1024 * 1024
"""Decoded pixels at which a worker thread no longer waits for its batch to fill: 16 photos of 5 megapixels.

A short batch takes the GPU as long as a full one; what waits takes the machine this much memory for each thread.
"""


REMEMBERED = 4
"""Maps of the latest photos that a worker thread keeps: 100 KB each."""


def counted_engine(config: EngineConfig) -> Engine:
    """Give this process's one engine (network.the_engine), and count as RunInference does if it was loaded for it."""
    return network.the_engine(config, _count_load)


def _count_load(engine: Engine, seconds: float) -> None:
    Metrics.distribution(NAMESPACE, "load_model_latency_milli_secs").update(int(seconds * 1000))
    Metrics.distribution(NAMESPACE, "model_byte_size").update(engine.size_bytes)


def predict_each(engine: Predictor, images: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8] | PhotoError]:
    """Predict a batch; if it fails, halve it until the culprit stands alone.

    Returns:
        for each image, in order, its map, uint8 [320, 320], or what is wrong with that one.
    """
    try:
        return list(engine.predict(np.stack(images)))
    except Exception as error:  # whatever a photo does to the network must not cost its neighbours
        if len(images) == 1 or isinstance(error, DeviceFaultError):
            return [failure_alone(engine, images[0], error)]
        Metrics.counter(NAMESPACE, "failed_batches_counter").inc()
    half = len(images) // 2
    return predict_each(engine, images[:half]) + predict_each(engine, images[half:])


def predict_batch(engine: Predictor, batch: list[Work]) -> Iterator[Work]:
    """Give each photo of a batch its saliency map or its failure, and count as RunInference does.

    Photos of the same bytes are predicted once.
    """
    images = {work.map_key: work.network_input for work in batch if work.network_input is not None}
    began = time.perf_counter()
    results = dict(zip(images, predict_each(engine, list(images.values())), strict=True))
    seconds = time.perf_counter() - began
    Metrics.distribution(NAMESPACE, "inference_batch_latency_micro_secs").update(int(seconds * 1e6))
    Metrics.distribution(NAMESPACE, "inference_request_batch_size").update(len(images))
    nbytes = sum(image.nbytes for image in images.values())
    Metrics.distribution(NAMESPACE, "inference_request_batch_byte_size").update(nbytes)
    Metrics.counter(NAMESPACE, "num_inferences").inc(len(images))
    for work in batch:
        result = results[work.map_key]
        if images.pop(work.map_key, None) is not None:  # the first of its bytes
            work.effort.spend("predict", seconds / len(results))
            work.effort.counts["photos_predicted"] += 1
        if isinstance(result, PhotoError):
            yield replace(work, network_input=None, failure=Failure("predict", result.code, result.message))
        else:
            yield replace(work, network_input=None, saliency=SaliencyMap(result, work.map_key), is_new_map=True)


class _Predict(beam.DoFn):
    """Batch across elements and windows; what needs no prediction passes at once.

    Photos of equal bytes come one after the other. They find their map in the store, but in a run that is to predict
    all anew; so the last few maps are remembered here.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def start_bundle(self) -> None:
        self._waiting: list[WindowedValue] = []
        self._waiting_bytes = 0
        self._recent: dict[str, SaliencyMap] = {}

    def process(
        self,
        work: Work,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterable[Work | WindowedValue]:
        if work.network_input is None:
            yield work
            return
        if work.map_key in self._recent:
            yield replace(work, network_input=None, saliency=self._recent[work.map_key], is_new_map=True)
            return
        self._waiting.append(WindowedValue(work, timestamp, (window,)))
        self._waiting_bytes += work.photo.nbytes if work.photo is not None else 0
        if self._waiting_bytes >= WAITING_BYTES or len(self._waiting) >= counted_engine(self.config).batch_size:
            yield from self._flush()

    def finish_bundle(self) -> Iterable[WindowedValue]:
        if self._waiting:
            yield from self._flush()

    def _flush(self) -> Iterator[WindowedValue]:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        predicted = predict_batch(counted_engine(self.config), [element.value for element in waiting])
        for element, work in zip(waiting, predicted, strict=True):
            if work.saliency is not None:
                self._recent[work.map_key] = work.saliency
            yield element.with_value(work)
        while len(self._recent) > REMEMBERED:
            del self._recent[next(iter(self._recent))]


class PredictSaliency(beam.PTransform):
    """Predict the saliency map of each Work that has a network input; pass the others on.

    The model is loaded when the first photo needs it: a run in which every map is in the store loads none.
    """

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self.config = config

    def expand(self, works: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of Work to one of Work."""
        return works | "PredictBatch" >> beam.ParDo(_Predict(self.config)).with_output_types(Work)
