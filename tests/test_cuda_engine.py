"""The GPU's engine without a GPU: slots, threads and memory, with a thread in the place of the device."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import draw_product

from model import cuda_device, cuda_engine, torch_engine
from model.checkpoint import load_state
from model.cuda_device import Buffers, Device, Slot, Step, is_out_of_memory
from model.cuda_engine import SLOTS, CudaEngine
from model.engine import DeviceError, DeviceFaultError, EngineConfig, OutOfMemoryError
from model.torch_engine import TorchEngine
from transforms.saliency import predict_each


class Event:
    """Done when the stand-in's thread is through with the batch."""

    def __init__(self) -> None:
        self.batch: Future[None] | None = None

    def synchronize(self) -> None:
        if self.batch is not None:
            self.batch.result()


class StandIn(Device):
    """A device that is a thread: like a GPU it works later than it is asked to, and one batch after the other.

    fits: photos a batch for which there is memory. pause: seconds before each batch, so that callers overtake it.
    """

    kind = "cpu"

    def __init__(self, fits: int = 64, pause: float = 0.0) -> None:
        self.name = "stand-in"
        self.fits, self.pause = fits, pause
        self.shapes: list[tuple[int, ...]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.networks: list[weakref.ref[Any]] = []
        self.why_not: str | None = None
        self.fault: Exception | None = None
        self._thread = ThreadPoolExecutor(1)

    def slot(self, size: int) -> Slot:
        return Slot(Buffers.make(size, "cpu"), Buffers.make(size, "cpu"), None, Event())

    def capture(self, network: Callable[[], None]) -> tuple[Callable[[], None], str | None]:
        self.networks.append(weakref.ref(network))
        return network, self.why_not

    def side_by_side(self, calls: Sequence[Callable[[], None]]) -> None:
        for call in reversed(calls):  # in any order
            call()

    def launch(self, slot: Slot, step: Step) -> None:
        if self.fault is not None:
            raise self.fault
        if len(slot.device.images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        assert isinstance(slot.done, Event)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        slot.done.batch = self._thread.submit(self._work, slot, step)

    def _work(self, slot: Slot, step: Step) -> None:
        time.sleep(self.pause)
        self.shapes.append(tuple(slot.host.images.shape))
        slot.device.images.copy_(slot.host.images)
        with torch.inference_mode():
            step(slot.device)
        slot.host.maps.copy_(slot.device.maps)
        slot.host.finite.copy_(slot.device.finite)
        self.under_way -= 1

    def settle(self) -> None:
        self._thread.submit(lambda: None).result()

    def give_back(self) -> None:
        pass


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([np.asarray(draw_product(seed, (320, 320))) for seed in range(6)])


@pytest.fixture
def expected(images: np.ndarray) -> np.ndarray:
    return torch_engine.quantise(brightness(None, torch.from_numpy(images), torch.float32)).numpy()


def brightness(network: Any, images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Stand in for the network: quick, exact, and different for every photo."""
    return images.float().mean(3) / 255


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_engine, "forward", brightness)


def make(u2netp: Any, device: Device, batch_size: int = 4, precision: str = "fp32") -> CudaEngine:
    return CudaEngine(EngineConfig(u2netp, "cuda", precision, batch_size=batch_size), device)


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run each job on a thread of its own, all of them begun before any is done."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(run, job) for job in jobs]]


def test_gives_the_maps_of_the_other_engines(u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_engine, "forward", torch_engine.forward)
    engine = make(u2netp, StandIn(), batch_size=2)
    parts = [images[:2], images[2:3]]
    found = np.concatenate(at_once([partial(engine.predict, part) for part in parts]))
    expected = TorchEngine(EngineConfig(u2netp, "cpu", "fp32")).predict(images[:3])
    assert np.abs(found.astype(int) - expected).max() <= 1  # on a CPU the last bits depend on the number of threads


def test_each_photo_goes_through_the_network_by_itself(
    u2netp: Any, images: np.ndarray, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set()

    def watched(network: Any, batch: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        sizes.add(len(batch))
        return brightness(network, batch, dtype)

    monkeypatch.setattr(cuda_engine, "forward", watched)
    assert np.array_equal(make(u2netp, StandIn()).predict(images), expected)
    assert sizes == {1}


def test_many_callers_at_once_get_their_own_maps(u2netp: Any, images: np.ndarray, expected: np.ndarray) -> None:
    device = StandIn(pause=0.01)
    engine = make(u2netp, device, batch_size=2)
    parts = [[0, 1], [2], [3, 4], [5], [5, 0], [1], [4, 2], [3]] * 3
    for part, maps in zip(parts, at_once([partial(engine.predict, images[part]) for part in parts]), strict=True):
        assert np.array_equal(maps, expected[part])
    assert 1 < device.most_under_way <= SLOTS


def test_short_batches_are_padded_and_long_ones_split(u2netp: Any, images: np.ndarray, expected: np.ndarray) -> None:
    device = StandIn()
    engine = make(u2netp, device)
    device.shapes.clear()
    assert np.array_equal(engine.predict(images[:1]), expected[:1])
    assert np.array_equal(engine.predict(images), expected)
    assert device.shapes == [(4, 320, 320, 3)] * 3


def test_padding_is_black_whatever_was_there_before(u2netp: Any, images: np.ndarray) -> None:
    slot = StandIn().slot(4)
    slot.fill(images[:4])
    slot.fill(images[4:5])
    assert np.array_equal(slot.host.images[0].numpy(), images[4])
    assert not slot.host.images[1:].any()


def test_memory_that_runs_out_costs_nobody_a_map(u2netp: Any, images: np.ndarray, expected: np.ndarray) -> None:
    device = StandIn(pause=0.02)
    engine = make(u2netp, device)
    before = device.networks[-1]

    def late() -> np.ndarray:
        device.fits = 2  # from now on, while others wait for slots, for the lock and for their maps
        return engine.predict(images[1:5])

    jobs: list[Callable[[], Any]] = [lambda: engine.predict(images[:4])] * 6
    found = at_once([*jobs, late, *jobs])
    for maps in (*found[:6], *found[7:]):
        assert np.array_equal(maps, expected[:4])
    assert np.array_equal(found[6], expected[1:5])
    assert engine.batch_size == 2  # for good, and halved once however many callers ran into it
    assert {shape[0] for shape in device.shapes} == {4, 2}
    assert device.shapes[-1][0] == 2
    assert len(device.networks) == 2  # one of each size: who waited with a slot of the old size did not build it anew
    gc.collect()
    assert before() is None  # the network of the old size, with its buffers and its graph, is gone
    results = predict_each(engine, list(images))
    assert np.array_equal(np.stack([r for r in results if isinstance(r, np.ndarray)]), expected)


def test_a_batch_that_does_not_fit_at_the_start_is_halved_before_the_first_photo(u2netp: Any) -> None:
    assert make(u2netp, StandIn(fits=3), batch_size=16).batch_size == 2


def test_no_memory_for_a_single_photo_raises_and_may_pass(
    u2netp: Any, images: np.ndarray, expected: np.ndarray
) -> None:
    device = StandIn()
    engine = make(u2netp, device)
    device.fits = 0
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory"):
        engine.predict(images[:2])
    assert engine.batch_size == 1
    device.fits = 64
    assert np.array_equal(engine.predict(images[:2]), expected[:2])


def test_a_network_that_does_not_fit_at_all_is_no_engine(u2netp: Any) -> None:
    with pytest.raises(DeviceError, match="the GPU cannot take the network: CUDA out of memory"):
        make(u2netp, StandIn(fits=0))


def test_a_fault_of_the_device_is_told_from_lack_of_memory(u2netp: Any, images: np.ndarray) -> None:
    device = StandIn()
    engine = make(u2netp, device)
    device.fault = torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCompile with …")
    with pytest.raises(DeviceFaultError, match=r"an illegal memory access was encountered$"):
        engine.predict(images[:1])
    assert engine.batch_size == 4
    for text in ("CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"):
        assert is_out_of_memory(torch.AcceleratorError(text))
    after = RuntimeError("the capture could not be ended")
    after.__context__ = torch.OutOfMemoryError("CUDA out of memory")
    assert is_out_of_memory(after)


def test_other_errors_come_through_as_they_are(u2netp: Any, images: np.ndarray) -> None:
    device = StandIn()
    engine = make(u2netp, device)
    device.fault = RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
    with pytest.raises(RuntimeError, match="EXECUTION_FAILED"):
        at_once([lambda: engine.predict(images[:1])] * (2 * SLOTS))
    device.fault = None
    assert engine.predict(images[:1]).shape == (1, 320, 320)  # every slot came back


def test_a_map_that_is_no_number_is_noticed_and_a_neighbours_is_not(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(network: Any, batch: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        probability = brightness(network, batch, dtype)
        white = (batch == 255).flatten(1).all(1)
        return torch.where(white[:, None, None], torch.nan, probability)

    monkeypatch.setattr(cuda_engine, "forward", poisoned)
    engine = make(u2netp, StandIn())
    white = np.full_like(images[:1], 255)
    with pytest.raises(FloatingPointError, match="not a number"):
        engine.predict(np.concatenate((images[:2], white)))
    assert engine.predict(images[:3]).shape == (3, 320, 320)


def test_weights_that_are_no_numbers_are_noticed(
    u2netp: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = load_state(u2netp)
    broken["outconv.bias"] = np.array([np.nan], np.float32)
    monkeypatch.setattr(cuda_engine, "load_state", lambda _: broken)
    monkeypatch.setattr(cuda_engine, "forward", torch_engine.forward)
    with pytest.raises(FloatingPointError, match="not a number"):
        make(u2netp, StandIn(), batch_size=1).predict(images[:1])


def test_the_name_says_whether_there_is_a_graph(u2netp: Any) -> None:
    assert make(u2netp, StandIn()).name.endswith(", stand-in, CUDA graph")
    device = StandIn()
    device.why_not = "operation not permitted"
    assert make(u2netp, device).name.endswith(", stand-in, no CUDA graph (operation not permitted)")


class Recorder:
    """Stands in for torch.cuda, and writes down what is asked of it and on which stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.streams = ["default"]
        self.capture_fails: Exception | None = None
        made = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
        recorder = self

        class FakeStream:
            def __init__(self) -> None:
                self.name = next(made)

            def wait_stream(self, other: Any) -> None:
                recorder.log.append(f"{self.name} waits for {other.name}")

            def record_event(self, event: Any) -> None:
                recorder.log.append(f"{self.name} records {event}")

            def synchronize(self) -> None:
                recorder.log.append(f"{self.name} synchronized")

        class On:
            def __init__(self, stream: Any) -> None:
                self.stream = stream

            def __enter__(self) -> None:
                recorder.streams.append(self.stream.name)

            def __exit__(self, *_: object) -> None:
                recorder.streams.pop()

        class Capture(On):
            def __init__(self, graph: Any, stream: Any, capture_error_mode: str) -> None:
                super().__init__(stream)
                recorder.log.append(f"capture {capture_error_mode}")

            def __exit__(self, *_: object) -> None:
                super().__exit__()
                if recorder.capture_fails:
                    raise recorder.capture_fails

        default = SimpleNamespace(
            name="default", wait_stream=self.wait, synchronize=lambda: self.log.append("default synchronized")
        )
        cuda = SimpleNamespace(
            Stream=FakeStream,
            Event=lambda blocking: f"event blocking={blocking}",
            CUDAGraph=lambda: SimpleNamespace(replay=lambda: self.say("replay")),
            graph=Capture,
            stream=On,
            current_stream=lambda: default,
            get_device_name=lambda: "a card",
            synchronize=lambda: self.log.append("synchronize"),
            empty_cache=lambda: self.log.append("empty_cache"),
        )
        for name, value in vars(cuda).items():
            monkeypatch.setattr(torch.cuda, name, value, raising=False)
        plain = Buffers.make
        monkeypatch.setattr(Buffers, "make", staticmethod(lambda size, device, pinned=False: plain(size, "cpu")))
        for name in ("deterministic", "benchmark", "allow_tf32"):
            monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))  # put back afterwards

    def wait(self, other: Any) -> None:
        self.log.append(f"default waits for {other.name}")

    def say(self, what: str) -> None:
        self.log.append(f"{what} on {self.streams[-1]}")


def test_the_gpu_is_asked_in_the_right_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Recorder(monkeypatch)
    device = Device()  # its stream is A
    slot = device.slot(2)  # its stream is the first behind the branches
    run, why_not = device.capture(lambda: asked.say("network"))
    assert why_not is None
    run()
    assert asked.log == [
        "default synchronized",
        "A waits for default",
        *["network on A"] * cuda_device.WARM_UPS,
        "capture thread_local",
        "network on A",
        "replay on default",
    ]
    asked.log.clear()
    slot.host.images[:] = 7
    slot.host.maps[:] = 0

    def step(batch: Buffers) -> None:
        asked.say("step")
        assert (batch.images == 7).all()
        batch.maps[:] = 9

    device.launch(slot, step)
    own = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[1 + cuda_device.BRANCHES]
    assert asked.log == [f"A waits for {own}", "step on A", f"{own} waits for A", f"{own} records event blocking=True"]
    assert (slot.host.maps == 9).all()


def test_photos_side_by_side_begin_and_end_with_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Recorder(monkeypatch)
    monkeypatch.setattr(cuda_device, "BRANCHES", 2)
    Device().side_by_side([partial(asked.say, f"photo {number}") for number in range(3)])
    assert asked.log == [
        *("B waits for default", "photo 0 on B", "photo 2 on B"),
        *("C waits for default", "photo 1 on C"),
        *("default waits for B", "default waits for C"),
    ]


def test_without_a_capture_the_network_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Recorder(monkeypatch)
    asked.capture_fails = RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")
    run, why_not = Device().capture(lambda: asked.say("network"))
    assert why_not == "CUDA error: operation not permitted when stream is capturing"
    assert asked.streams == ["default"]
    asked.log.clear()
    run()
    assert asked.log == ["network on default"]
    asked.capture_fails = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        Device().capture(lambda: None)
