"""PutOnWhite: what a run does with a photo, in other people's Beam pipelines."""

from __future__ import annotations

import os
from typing import Any, Unpack

import apache_beam as beam
from apache_beam.options.pipeline_options import PortableOptions

from pipeline import runners
from pipeline.checks import Settings, make_settings
from pipeline.errors import RequestError
from pipeline.options import check_output, find_report
from transforms import storage
from transforms.errors import FatalError, PhotoError
from transforms.output.lease import LeaseError, check_free
from transforms.output.run import RunInfo
from transforms.pixels.methods import DEFAULT_POLICY
from transforms.pixels.policy import Policy
from transforms.plain_rows import PackPlainRows, PhotoOutcome, plain_outcome
from transforms.plan import PlanConfig
from transforms.plan_rows import PlanRows
from transforms.process import ProcessPhotos


class PutOnWhite(beam.PTransform):
    """Put the photos of a PCollection of rows on white, in a Beam pipeline of yours.

    A row is a dict, a beam.Row, a NamedTuple or a dataclass. `uri` is a path, an http(s):// or gs:// address; `id`
    (else taken of the uri), `category` and `attributes` (a dict of whatever) may be missing or None. Other fields are
    attributes too. Numbers become text.

    Out comes one PhotoOutcome a row, a NamedTuple with a schema whose fields are the columns of a report: `status`
    (`processed`, `failed` or `dropped`), `code`, `message`, `output_uri` (below the output folder), … A row that cannot
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
        policy: str | Policy = DEFAULT_POLICY,
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
        if runner == "DataflowRunner" and storage.is_local(settings.output):
            raise RequestError(f"--output {self.output}: Dataflow's workers cannot write here; use a gs:// address")
        _refuse_runs_own(settings.output)
        batches = rows | "PackRows" >> PackPlainRows(self.folder, settings.output)
        count = batches | "CountBatch" >> beam.Keys() | "CountRows" >> beam.CombineGlobally(sum)
        todo, *_ = batches | "PlanRows" >> PlanRows(PlanConfig(settings), count)
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
