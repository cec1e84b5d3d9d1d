"""Beam's faults, and what stands against each of them, in one place.

All are in Beam 2.77, the one version that setup.py admits. tests/test_beam_faults.py shows each in some ten lines as it
is without us, and fails once an installed Beam has mended it: then what is here for it goes.

Nothing of ours is imported here, and Beam only where it is needed: who asks for --help does not wait for it. What we
chose instead of a part of Beam is explained where it was chosen: RunInference in `saliency`, Shared in `network`,
WriteToParquet in `report`, resource hints in `process`, the client of Cloud Storage in `storage.gcs`. What Beam's local
worker process lacks is in `pipeline.local_worker`, in which it starts.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import apache_beam as beam

LOCAL_RUNNER = "FnApiRunner"
"""Beam's DirectRunner is one of three engines, by machine and by graph, and tries a download first.

Since 2.68 (apache/beam#34612, which also says to name this one).
"""

IN_MEMORY = "--direct_running_mode=in_memory"
"""For all its name and Beam's warning, it runs as many bundles side by side as there are workers.

Rows then pass from stage to stage as they are; in multi_threading they go through gRPC, which holds each five times
over. The warning came with apache/beam#14108; what the modes are for is asked in #20324.
"""


def flush_by_size() -> None:
    """Let the buffers between worker threads be flushed by their size alone (direct_running_mode=multi_threading).

    Beam also flushes them by a timer once a second, without a lock against the thread that is writing an element:
    longer bundles are torn. The timer came with apache/beam#10246; #21643 and #23944, tests of Beam's that fail now and
    then, look the same.
    """
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = -1


@contextmanager
def worker_command(arguments: Sequence[str]) -> Iterator[None]:
    """Let local worker processes start as `python ARGUMENTS -m BEAMS_MODULE`, and from a path with a space.

    Beam takes no other command than `{sys.executable} -m BEAMS_MODULE`, which it hands to a shell unquoted.
    No issue known.
    """
    plain = sys.executable
    sys.executable = shlex.join(["exec", plain, *arguments])
    try:
        yield
    finally:
        sys.executable = plain


@contextmanager
def without_tracebacks() -> Iterator[None]:
    """Swallow what worker threads print of an exception that they hand on as well. No issue known."""
    with redirect_stderr(io.StringIO()):
        yield


def leave(code: int) -> NoReturn:
    """End this process as it is.

    A run that fails leaves the other worker threads at their bundles. Python does not wait for them, as they are
    daemons, but would be torn down under them: what comes back from C++ then may abort it (python/cpython#87135, as
    may Arrow's own threads, apache/arrow#34314). Beam's exit hooks are not run: see apache/beam#19579.
    """
    os._exit(code)


def unknown_flags(arguments: Sequence[str]) -> list[str]:
    """List the arguments that no Beam option class knows; Beam itself only warns of them (apache/beam#28402).

    Raises:
        ValueError: a flag that Beam knows has a value it cannot take; one line.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    parsers: list[argparse.ArgumentParser] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)  # the public way to a parser of all classes
    parsers[0].exit_on_error = False
    try:
        return parsers[0].parse_known_args(list(arguments))[1]
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error


def never_encode(kind: type, nbytes: Callable[[Any], int]) -> None:
    """Keep elements of a kind inside their fused stage: their coder knows how large they are, and refuses to encode.

    Beam asks every coder for the size of the elements it samples; its own pickles them to find out, photos too. No
    issue known.
    """
    from apache_beam import coders

    class SizeCoder(coders.Coder):
        def encode(self, value: Any) -> NoReturn:
            raise TypeError(f"a {kind.__name__} never crosses a stage boundary")

        decode = encode

        def estimate_size(self, value: Any) -> int:
            return nbytes(value) if isinstance(value, kind) else 0

        def is_deterministic(self) -> bool:
            return False  # it is never a key

    coders.registry.register_coder(kind, SizeCoder)


def sole_output(output: beam.PCollection, label: str) -> beam.PCollection:
    """Make one of a step's several outputs the only one of a step, so that it can be a side input.

    As a side input, the bundle-based runner takes the first output of the step for any of them. No issue known.
    """
    import apache_beam as beam

    return output | label >> beam.Map(lambda element: element)


def without_annotations(*functions: Callable[..., Any]) -> None:
    """Let beam.Map take functions whose keywords (`**more`) are annotated, which it refuses. No issue known."""
    for function in functions:
        vars(function)["_beam_no_annotations"] = True  # Beam's own mark, as its typehints.no_annotations sets it
