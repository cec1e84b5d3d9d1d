"""U²-Net for Beam's RunInference. The pipeline itself has a DoFn of its own; transforms/saliency.py says why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from numpy.typing import NDArray

from model.engine import Engine
from pipeline.checks import check_engine, check_numbers, known_engine
from pipeline.errors import RequestError
from transforms.errors import FatalError, PhotoError
from transforms.saliency import counted_engine, predict_each
from weights.architecture import SIDE

BATCH_SIZE = 16


class U2NetModelHandler(ModelHandler[NDArray[np.uint8], PredictionResult, Engine]):
    """U²-Net for Beam's RunInference: uint8 [320, 320, 3] in (network_input makes it), uint8 [320, 320] out.

    Each example gets one PredictionResult, in order; its `inference` is the saliency map, the raw sigmoid probability
    times 255, the same whatever the batch. A photo on which the network fails alone gets a PhotoError as its
    `inference`, and its neighbours their maps. There is one network a process, which PutOnWhite shares.

    Where pictures are what you want, take PutOnWhite: RunInference moves inputs and maps between stages, and the photo
    that belongs to them is yours to keep.

    Args:
        model, weights, precision, batch_size: as the flags of `run` of those names. The weights must be at the same
            path on every worker.
        device: `auto`, `cpu` or `cuda`. `cuda` on a worker without a usable GPU raises FatalError: it never falls back.

    Raises:
        RequestError: weights or settings cannot be; one line.

    Example:
        >>> import io
        >>> import apache_beam as beam
        >>> from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
        >>> from PIL import Image, ImageDraw
        >>> from whitesweep import network_input
        >>> photo, file = Image.new("RGB", (300, 200), "#b0a890"), io.BytesIO()
        >>> ImageDraw.Draw(photo).ellipse((80, 40, 220, 170), fill="#a02020")
        >>> photo.save(file, "JPEG")
        >>> with beam.Pipeline(runner="FnApiRunner") as pipeline:
        ...     _ = (
        ...         pipeline
        ...         | beam.Create([("ball", network_input(file.getvalue()))])
        ...         | RunInference(KeyedModelHandler(U2NetModelHandler("u2netp")))
        ...         | beam.MapTuple(lambda id, result: print(id, result.inference.shape, result.inference.max() > 200))
        ...     )
        ball (320, 320) True
    """

    def __init__(
        self,
        model: str = "u2net",
        *,
        weights: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        check_numbers(batch_size=batch_size)
        super().__init__(min_batch_size=batch_size or BATCH_SIZE, max_batch_size=batch_size or BATCH_SIZE)
        checked = check_engine(model, weights, device, precision, batch_size, local=False)
        self.weights = checked.weights
        self.settings = (model, weights and checked.weights.path, device, precision, batch_size)

    def load_model(self) -> Engine:
        """Give this process's one engine, on the device of this worker.

        Raises:
            FatalError: weights or device are not what was asked for.
        """
        try:
            config = known_engine(*self.settings, local=True)  # what is open, each worker chooses for itself
        except RequestError as error:
            raise FatalError(str(error)) from error
        return counted_engine(replace(config, weights=self.weights))

    def run_inference(
        self, batch: Sequence[NDArray[np.uint8]], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> Iterable[PredictionResult]:
        """Predict a batch, no more photos a call than the engine takes.

        Raises:
            FatalError: the network fails on every photo.
        """
        results: list[Any] = [_wrong(example) for example in batch]
        right = [at for at, wrong in enumerate(results) if wrong is None]
        while right:
            now, right = right[: model.batch_size], right[model.batch_size :]
            for at, result in zip(now, predict_each(model, [batch[at] for at in now]), strict=True):
                results[at] = result
        return [PredictionResult(*pair) for pair in zip(batch, results, strict=True)]

    def get_num_bytes(self, batch: Sequence[NDArray[np.uint8]]) -> int:
        """Give the bytes of the pixels of a batch."""
        return sum(getattr(example, "nbytes", 0) for example in batch)

    def get_metrics_namespace(self) -> str:
        """Name what RunInference counts."""
        return "U2Net"

    def validate_inference_args(self, inference_args: dict[str, Any] | None) -> None:
        """Take none.

        Raises:
            RequestError: there are some.
        """
        if inference_args:
            raise RequestError(f"inference_args: U2NetModelHandler takes none, not {', '.join(inference_args)}")


def _wrong(example: Any) -> PhotoError | None:
    shape, dtype = getattr(example, "shape", None), getattr(example, "dtype", type(example).__name__)
    if shape == (SIDE, SIDE, 3) and dtype == np.uint8:
        return None
    found = f"{dtype} {list(shape) if shape is not None else ''}".strip()
    return PhotoError("inference_failed", f"expected uint8 [{SIDE}, {SIDE}, 3] as network_input gives it, not {found}")
