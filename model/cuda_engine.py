"""The network on a GPU: batches of one fixed shape, several under way at once, on deterministic kernels.

Each caller takes a slot, writes its batch there and launches it; only the launch, which is short, is one at a time.
Then it waits for its own batch while others launch theirs, so the GPU always has its next batch. In it each photo goes
through the network by itself (cuda_device.py says why), so that a map depends on its photo alone; tests/test_cuda.py
and benchmarks/gpu.py check that on a card.
"""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray

from model import u2net
from model.checkpoint import load_state
from model.cuda_device import Buffers, Device, Slot, Step, first_line, is_out_of_memory
from model.engine import DeviceError, DeviceFaultError, Engine, EngineConfig, OutOfMemoryError
from model.torch_engine import DTYPES, NOT_A_NUMBER, are_finite, forward, place, quantise
from weights.architecture import SIDE

SLOTS = 4
"""Batches under way: one is computed, one is on the device already, and two are written or read by threads that may
have to wait for Python's lock."""


class Rig:
    """What is made for one batch size. step: None until it is built, and after memory ran out."""

    def __init__(self, device: Device, size: int) -> None:
        self.size = size
        self.slots: SimpleQueue[Slot] = SimpleQueue()
        for _ in range(SLOTS):
            self.slots.put(device.slot(size))
        self.step: Step | None = None


class CudaEngine(Engine):
    """U²-Net on a GPU. Short batches are padded to the fixed shape, longer ones split."""

    def __init__(self, config: EngineConfig, device: Device | None = None) -> None:
        """Read, verify and place the weights (see load.load), and find the batch size that fits."""
        state = load_state(config.weights)
        try:
            self._device = device or Device()
            self._dtype = DTYPES[config.precision]
            self._network = place(u2net.build(config.weights.model, state), self._device.kind, self._dtype)
            self.size_bytes = sum(p.numel() * p.element_size() for p in self._network.parameters())
            self.batch_size = config.batch_size or 16
            self._rig = Rig(self._device, self.batch_size)
            self._launching = threading.Lock()
            self._run(np.zeros((1, SIDE, SIDE, 3), np.uint8))
        except (torch.OutOfMemoryError, torch.AcceleratorError, OutOfMemoryError, DeviceFaultError) as error:
            raise DeviceError(f"--device cuda: the GPU cannot take the network: {first_line(error)}") from error

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        maps, finite = self._run(images)
        if not finite.all():
            raise FloatingPointError(NOT_A_NUMBER)
        return maps

    def _run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Give maps, uint8 [N, 320, 320], and which of them are numbers throughout, bool [N]."""
        maps, finite = np.empty((len(images), SIDE, SIDE), np.uint8), np.empty(len(images), np.bool_)
        first = 0
        while first < len(images):
            rig = self._rig
            part = slice(first, first + rig.size)
            if self._run_part(rig, images[part], maps[part], finite[part]):
                first += rig.size
        return maps, finite

    def _run_part(
        self, rig: Rig, images: NDArray[np.uint8], maps: NDArray[np.uint8], finite: NDArray[np.bool_]
    ) -> bool:
        """Run one batch in a slot of a rig. Gives False, and does nothing, if another rig has taken its place."""
        slot = rig.slots.get()
        try:
            slot.fill(images)
            with self._launching:
                if rig is not self._rig or not self._launch(rig, slot):
                    return False
            slot.take(maps, finite)
            return True
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError(first_line(error)) from error
            if isinstance(error, torch.AcceleratorError):
                raise DeviceFaultError(first_line(error)) from error
            raise
        finally:
            rig.slots.put(slot)

    def _launch(self, rig: Rig, slot: Slot) -> bool:
        """Launch a batch. Gives False if memory ran out: then a rig of half the size is in place of this one.

        Raises:
            OutOfMemoryError: it ran out for a batch of one. The next call tries again.
        """
        try:
            with torch.inference_mode():
                rig.step = rig.step or self._build(rig.size)
                self._device.launch(slot, rig.step)
            return True
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        # Outside the except: the error holds the frames it came through, and these the activations.
        self._device.settle()  # batches under way keep their slots, and come out whole
        rig.step = None
        self._device.give_back()
        if rig.size == 1:
            raise OutOfMemoryError(reason)
        self._rig = Rig(self._device, rig.size // 2)
        self.batch_size = self._rig.size
        return False

    def _build(self, size: int) -> Step:
        """Make what predicts a batch of this size, and say in the name how it runs."""
        own = Buffers.make(size, self._device.kind)

        def predict(place: slice) -> None:
            probability = forward(self._network, own.images[place], self._dtype)
            own.maps[place].copy_(quantise(probability))
            own.finite[place].copy_(are_finite(probability))

        photos = [partial(predict, slice(place, place + 1)) for place in range(size)]

        def network() -> None:
            self._device.side_by_side(photos)

        run, why_not = self._device.capture(network)

        def step(batch: Buffers) -> None:
            own.images.copy_(batch.images)
            run()
            batch.maps.copy_(own.maps)
            batch.finite.copy_(own.finite)

        how = "CUDA graph" if why_not is None else f"no CUDA graph ({why_not})"
        self.name = f"torch {torch.__version__}, {self._device.name}, {how}"
        return step
