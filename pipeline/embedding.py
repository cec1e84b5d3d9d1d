"""What others put into Beam pipelines of their own: PutOnWhite, and U²-Net for Beam's RunInference."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult
from apache_beam.options.pipeline_options import PortableOptions
from numpy.typing import NDArray

from model.engine import Engine, EngineConfig
from pipeline import runners
from pipeline.checks import Settings, check_engine, make_settings
from pipeline.errors import RequestError
from pipeline.options import check_output, find_report
from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.manifest import Batch
from transforms.output.commit import RunInfo
from transforms.output.lease import LeaseError, check_free
from transforms.pixels.policy import Policy
from transforms.pixels.sharpen import SIDE
from transforms.plain_rows import PackPlainRows, PhotoOutcome, plain_outcome
from transforms.plan import PlanConfig, PlanRows
from transforms.process import ProcessPhotos
from transforms.saliency import predict_each, the_engine

BATCH_SIZE = 16


class PutOnWhite(beam.PTransform):
    """Put the photos of a PCollection of rows on white, in a Beam pipeline of yours.

    A row is a dict, a beam.Row, a NamedTuple or a dataclass. `uri` is a path, an http(s):// or gs:// address; `id`
    (else taken of the uri), `category` and `attributes` (a dict of whatever) may be missing or None. Other fields are
    attributes too. Numbers become text.

    Out comes one PhotoOutcome a row, a NamedTuple with a schema whose fields are the columns of a report: `status`
    (`processed` or `failed`), `code`, `message`, `output_uri` (below the output folder), `flags`, … A row that cannot
    be used, or a photo, costs its own outcome only. Of rows with the same id one is done and the others fail as
    `duplicate_id`. Pictures are named by ids as in a run and stand in `images/`; maps stand in `maps/`, and are taken
    from there the next time.

    Supported is a bounded PCollection in the global window. Rows are shuffled, photos never are. Nobody keeps a second
    pipeline from writing into the same folder; a folder in which `run` has written is refused. What no photo would
    survive (a full disk, altered weights) raises FatalError in the worker, and with it the pipeline fails. In a process
    that reads photos, the allocator is told to keep its buffers.

    Args:
        output: the folder below which pictures and maps are written, a local path or gs:// address.
        policy: a threshold, the name of a method, the path of a TOML file, or a Policy.
        folder: what relative uris are below; by default the working directory.
        background, format, model, more: as the flags of `run` of those names.
        allow_private_addresses: read from web servers in your own network too.

    Raises:
        RequestError: when it is applied, if what was asked for cannot be; one line.

    Example:
        >>> import os, tempfile
        >>> from PIL import Image, ImageDraw
        >>> shop = tempfile.mkdtemp()
        >>> photo = Image.new("RGB", (300, 200), "#b0a890")
        >>> ImageDraw.Draw(photo).ellipse((80, 40, 220, 170), fill="#a02020")
        >>> photo.save(f"{shop}/ball.jpg")
        >>> rows = [{"id": 7, "uri": "ball.jpg", "category": "toys", "attributes": {"colour": "red"}}]
        >>> with beam.Pipeline(runner="FnApiRunner") as pipeline:
        ...     _ = (
        ...         pipeline
        ...         | beam.Create(rows)
        ...         | PutOnWhite(f"{shop}/white", model="u2netp", folder=shop)
        ...         | beam.Map(lambda outcome: print(outcome.id, outcome.status, outcome.output_uri))
        ...     )
        7 processed images/7.jpg
        >>> sorted(os.listdir(f"{shop}/white"))
        ['images', 'maps']
    """

    def __init__(
        self,
        output: str | os.PathLike[str],
        policy: str | Policy = "0.7",
        *,
        folder: str | os.PathLike[str] = "",
        background: str = "white",
        format: str = "same",
        model: str = "u2net",
        allow_private_addresses: bool = False,
        **more: Unpack[Settings],
    ) -> None:
        super().__init__()
        self.output = os.fspath(output)
        self.folder = storage.join(os.getcwd(), os.fspath(folder))
        self.policy = policy
        self.settings: dict[str, Any] = {
            "background": background,
            "format": format,
            "model": model,
            "allow_private_addresses": allow_private_addresses,
            **more,
        }

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of rows to one of PhotoOutcome."""
        if not rows.is_bounded or not rows.windowing.is_default():
            raise RequestError("PutOnWhite takes a bounded PCollection in the global window: a batch, not a stream")
        runner = type(rows.pipeline.runner).__name__
        endpoint = rows.pipeline.options.view_as(PortableOptions).job_endpoint
        settings = make_settings(
            self.policy,
            output=check_output(self.output),
            local=runners.is_local(runner, [str(endpoint)]),
            **self.settings,
        )
        if runner == "DataflowRunner" and storage.scheme(settings.output) == "file":
            raise RequestError(f"--output {self.output}: Dataflow's workers cannot write here; use a gs:// address")
        _refuse_runs_own(settings.output)
        pack = beam.ParDo(PackPlainRows(self.folder, settings.output)).with_output_types(Batch)
        batches = rows | "PackRows" >> pack
        count = batches | "CountBatch" >> beam.Keys() | "CountRows" >> beam.CombineGlobally(sum)
        todo, _, _ = batches | "PlanRows" >> PlanRows(PlanConfig(settings), count)
        outcomes = todo | "ProcessPhotos" >> ProcessPhotos(RunInfo(settings))
        return outcomes | "PlainOutcomes" >> beam.Map(plain_outcome).with_output_types(PhotoOutcome)


def _refuse_runs_own(output: str) -> None:
    """Refuse a folder of which a report says what is in it."""
    try:
        check_free(output)
    except (LeaseError, FatalError, PhotoError) as error:
        raise RequestError(f"--output {error}") from error
    if find_report(output, needed=False):
        raise RequestError(f"--output {output}: holds what `run` has written, with its report; use another folder")


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
        super().__init__(min_batch_size=batch_size or BATCH_SIZE, max_batch_size=batch_size or BATCH_SIZE)
        checked = check_engine(model, weights, device, precision, batch_size, local=False)
        self.config = EngineConfig(checked.weights, device, precision, batch_size)  # the worker chooses what is open

    def load_model(self) -> Engine:
        """Give this process's one engine.

        Raises:
            FatalError: weights or device are not what was asked for.
        """
        return the_engine(self.config)

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
