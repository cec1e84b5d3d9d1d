"""PredictSaliency: batches, culprits, windows, one model a process, RunInference's metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as BeamPipeline
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import FixedWindows, GlobalWindow, TimestampedValue
from apache_beam.utils.windowed_value import WindowedValue

from model.engine import DeviceFaultError, Engine, EngineConfig, OutOfMemoryError
from model.load import load
from transforms import network, saliency
from transforms.errors import Failure, FatalError, PhotoError
from transforms.pixels.types import Photo
from transforms.saliency import PredictSaliency, counted_engine, predict_each
from transforms.types import PlannedRow
from transforms.work import Held, Work


class Fussy:
    """Stands in for an engine that cannot be had here: one that fails on some pictures (a GPU out of memory)."""

    batch_size = 4
    size_bytes = 0

    def __init__(self, error: Exception, fits: int = 8) -> None:
        self.error, self.fits, self.calls = error, fits, 0

    def predict(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        if len(images) > self.fits or (images[:, 0, 0, 0] == 13).any():
            raise self.error
        return images[:, :, :, 0]


def pictures(*levels: int) -> list[np.ndarray]:
    return [np.full((4, 4, 3), level, np.uint8) for level in levels]


def test_a_failing_batch_is_split_until_the_culprit_stands_alone() -> None:
    engine = Fussy(ValueError("poison"))
    results = predict_each(engine, pictures(1, 2, 13, 4, 5, 6, 7))
    assert [int(r[0, 0]) if isinstance(r, np.ndarray) else r.code for r in results] == [
        1,
        2,
        "inference_failed",
        4,
        5,
        6,
        7,
    ]
    assert engine.calls <= 8  # the batch, its halves down to one, and a picture that proves the engine alive


def test_a_batch_that_does_not_fit_is_halved() -> None:
    engine = Fussy(OutOfMemoryError("no memory"), fits=2)
    assert [int(r[0, 0]) for r in predict_each(engine, pictures(*range(8))) if isinstance(r, np.ndarray)] == list(
        range(8)
    )
    alone = predict_each(Fussy(MemoryError("no memory")), pictures(13))
    assert isinstance(alone[0], PhotoError)
    assert alone[0].code == "out_of_memory"


@pytest.mark.parametrize("error", [RuntimeError("cuDNN error"), OutOfMemoryError("no memory")])
def test_an_engine_that_fails_on_every_photo_stops_the_run(error: Exception) -> None:
    with pytest.raises(FatalError, match="the network fails on every photo: "):
        predict_each(Fussy(error, fits=0), pictures(1, 2, 3))


def test_a_dead_device_stops_the_run() -> None:
    with pytest.raises(FatalError, match="the GPU failed: illegal access"):
        predict_each(Fussy(DeviceFaultError("illegal access")), pictures(13, 1))


def work_of(n: int) -> Work:
    """Make a photo that waits for the network; made inside the stage, as one cannot be brought into it."""
    image = np.random.default_rng(n).integers(0, 256, (320, 320, 3), np.uint8)
    return Work((PlannedRow(str(n), "u", "s"),), map_key=str(n), network_input=image)


def failed_work() -> Work:
    return Work((PlannedRow("failed", "u", "s"),), failure=Failure("read", "not_found", "gone"))


def describe(work: Work, window: Any = beam.DoFn.WindowParam) -> tuple[str, int, bool]:
    found = work.saliency is not None and work.saliency.key == work.rows[0].id and work.network_input is None
    return work.rows[0].id, int(window.start), found or work.failure is not None


def test_photos_keep_their_windows_and_those_without_input_pass(u2netp: Any) -> None:
    with BeamPipeline(runner="FnApiRunner") as root:
        found = (
            root
            | beam.Create([*range(5), -1], reshuffle=False)
            | beam.Map(lambda n: TimestampedValue(n, max(0, 10 * n)))
            | beam.WindowInto(FixedWindows(20))
            | "Work" >> beam.Map(lambda n: failed_work() if n < 0 else work_of(n)).with_output_types(Work)
            | PredictSaliency(EngineConfig(u2netp, "cpu", "fp32", batch_size=3))
            | beam.Map(describe)
        )
        expected = [(str(n), n // 2 * 20, True) for n in range(5)]
        assert_that(found, equal_to([*expected, ("failed", 0, True)]), reify_windows=False)


def photo_of(megapixels: int, has_alpha: bool = False) -> Photo:
    """Make a photo that takes no memory, and says that it does."""
    pixels = np.broadcast_to(np.uint8(0), (1000, 1000 * megapixels, 3))
    return Photo(pixels, pixels[:, :, 0] if has_alpha else None, "jpeg")


@pytest.mark.parametrize(
    ("photo", "sizes"),
    [
        (photo_of(1), [10]),  # 30 MB in all
        (photo_of(50), [2, 2, 2, 2, 2]),  # 150 MB each: never more than two wait
        (photo_of(68), [2, 2, 2, 2, 2]),  # 204 MB each
        (photo_of(68, has_alpha=True), [1] * 10),  # 272 MB each
        (None, [10]),
    ],
)
def test_a_batch_of_big_photos_does_not_wait_to_be_full(
    photo: Photo | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Fussy(ValueError("none"), fits=16)
    engine.batch_size = 16
    monkeypatch.setattr(saliency, "counted_engine", lambda config: engine)
    found: list[int] = []

    def watched(engine: Any, batch: list[Work]) -> Iterator[Work]:
        found.append(len(batch))
        return saliency_predict_batch(engine, batch)

    saliency_predict_batch = saliency.predict_batch
    monkeypatch.setattr(saliency, "predict_batch", watched)
    step = saliency._Predict(EngineConfig(None, "cpu", "fp32"))  # type: ignore[arg-type]  # no engine is loaded
    step.start_bundle()
    works = [replace(work_of(n), held=Held(photo=photo)) for n in range(10)]
    done = [out for work in works for out in step.process(work, 0, GlobalWindow())]
    done += step.finish_bundle()
    assert found == sizes
    assert [out.value.map_key for out in done if isinstance(out, WindowedValue)] == [str(n) for n in range(10)]


def test_counts_as_run_inference_does(u2netp: Any) -> None:
    network.release_engine()
    root = beam.Pipeline(runner="FnApiRunner")
    _ = (
        root
        | beam.Create(range(5), reshuffle=False)
        | beam.Map(work_of).with_output_types(Work)
        | PredictSaliency(EngineConfig(u2netp, "cpu", "fp32", batch_size=3))
    )
    result = root.run()
    result.wait_until_finish()
    found = result.metrics().query()
    counters = {m.key.metric.name: m.committed for m in found["counters"]}
    distributions = {m.key.metric.name: m.committed for m in found["distributions"]}
    assert counters["num_inferences"] == 5
    assert distributions["inference_request_batch_size"].max == 3
    assert distributions["inference_request_batch_size"].sum == 5
    assert distributions["inference_batch_latency_micro_secs"].count == 2
    assert distributions["load_model_latency_milli_secs"].count == 1
    assert distributions["model_byte_size"].sum > 4_000_000


def test_one_model_a_process(u2netp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network.release_engine()
    loads = []

    def counted(config: EngineConfig) -> Engine:
        loads.append(1)
        return load(config)

    monkeypatch.setattr(network, "load", counted)
    engines: list[object] = []
    threads = [
        threading.Thread(target=lambda: engines.append(counted_engine(EngineConfig(u2netp, "cpu", "fp32"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1]
    assert len({id(engine) for engine in engines}) == 1


def test_altered_weights_stop_the_run_with_one_line(u2netp: Any) -> None:
    with pytest.raises(FatalError, match="sha256"):
        counted_engine(EngineConfig(replace(u2netp, sha256="0" * 64), "cpu", "fp32"))
