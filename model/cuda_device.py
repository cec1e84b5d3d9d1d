"""Every CUDA call of the GPU's engine, and no other logic: what a test without a GPU replaces.

Copies and kernels run beside the threads that ask for them. A batch has a slot of its own: pinned memory, which the GPU
reads and writes by itself, and a stream of its own for the two copies, so that one batch is copied while another is
computed. The network of a batch is captured once as a CUDA graph, in which its photos stand side by side.

Why each photo goes through the network by itself, and not the batch as one tensor: cuDNN chooses kernels by the batch's
size, and some of those that it chooses for a Hopper card split their sums by where in the batch a photo lies. On an
H100, maps of u2net in bf16 differed with place and batch size; alone, a photo always meets the same kernels. One photo
does not fill the card, several streams of the graph do (RESULTS.md: 767 photos a second instead of 910).

Why a CUDA graph and not torch.compile: a pass is some 500 kernels, and each of them wants Python's one interpreter
lock, which the threads that decode and encode photos want too; as a graph it is one call, with the lock released. The
kernels stay those of eager torch, so the maps do as well, and a capture costs four passes. torch.compile would also
fuse ReLU, add and concat with what stands before them, but it compiles on each worker before the first photo, Triton
needs a C compiler there, and fused kernels round differently: a worker that falls back for want of a compiler would
make other maps than its neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weights.architecture import SIDE

WARM_UPS = 3  # passes before the capture, as torch's own make_graphed_callables has it
BRANCHES = 8  # streams side by side; 4 were a tenth slower on an H100, 16 no faster


@dataclass(frozen=True, slots=True)
class Buffers:
    """Room for one batch. images: uint8 [N, 320, 320, 3]. maps: uint8 [N, 320, 320].

    finite: bool [N], whether the network gave a number for every pixel of the photo.
    """

    images: Tensor
    maps: Tensor
    finite: Tensor

    @staticmethod
    def make(size: int, device: str, pinned: bool = False) -> Buffers:
        """Allocate buffers for `size` photos, zeroed."""
        image = torch.zeros((size, SIDE, SIDE, 3), dtype=torch.uint8, device=device, pin_memory=pinned)
        map_ = torch.zeros((size, SIDE, SIDE), dtype=torch.uint8, device=device, pin_memory=pinned)
        return Buffers(image, map_, torch.zeros(size, dtype=torch.bool, device=device, pin_memory=pinned))


Step = Callable[[Buffers], None]
"""What predicts the batch in some buffers on the device, into the same buffers."""


class Done(Protocol):
    """What says that a batch is finished: an event, to be waited for without Python's lock."""

    def synchronize(self) -> None:
        """Wait for it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one batch under way. host, device: where it comes from and goes to, and its copy on the device."""

    host: Buffers
    device: Buffers
    stream: Any
    done: Done

    def fill(self, images: NDArray[np.uint8]) -> None:
        """Write a batch for the device to fetch, a short one padded with black photos."""
        room = self.host.images.numpy()
        room[: len(images)] = images
        room[len(images) :] = 0

    def take(self, maps: NDArray[np.uint8], finite: NDArray[np.bool_]) -> None:
        """Wait for the batch, and copy out as many of its results as there is room for."""
        self.done.synchronize()
        maps[:] = self.host.maps.numpy()[: len(maps)]
        finite[:] = self.host.finite.numpy()[: len(finite)]


class Device:
    """One GPU, set up so that the same input gives the same bits."""

    kind = "cuda"

    def __init__(self) -> None:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False  # the algorithm follows from the shape, not from who was timed fastest
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        self.name = torch.cuda.get_device_name()
        self._network = torch.cuda.Stream()
        self._branches = [torch.cuda.Stream() for _ in range(BRANCHES)]

    def slot(self, size: int) -> Slot:
        """Make a slot. The event blocks: a thread that waits for it sleeps, and leaves its core to those who decode."""
        host, device = Buffers.make(size, "cpu", pinned=True), Buffers.make(size, self.kind)
        torch.cuda.current_stream().synchronize()  # before another stream writes there, the zeros are through
        return Slot(host, device, torch.cuda.Stream(), torch.cuda.Event(blocking=True))

    def capture(self, network: Callable[[], None]) -> tuple[Callable[[], None], str | None]:
        """Capture a network that reads and writes buffers of its own, always the same.

        Returns:
            what runs it in one call; or, if it cannot be captured, the network itself and why.
        """
        # On the stream it will run on: there the first pass loads kernels and sets up cuDNN, which no capture may do.
        self._network.wait_stream(torch.cuda.current_stream())
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._network):
            for _ in range(WARM_UPS):
                network()
            try:
                # Other threads may go on waiting for their events, which a capture of mode `global` would not survive.
                with torch.cuda.graph(graph, stream=self._network, capture_error_mode="thread_local"):
                    network()
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                return network, first_line(error)
        return graph.replay, None

    def side_by_side(self, calls: Sequence[Callable[[], None]]) -> None:
        """Make calls on streams that branch off the current one and end in it again; a capture takes them all in."""
        trunk = torch.cuda.current_stream()
        begun = []
        try:
            for number, branch in enumerate(self._branches[: len(calls)]):
                branch.wait_stream(trunk)
                begun.append(branch)
                with torch.cuda.stream(branch):
                    for call in calls[number::BRANCHES]:
                        call()
        finally:  # when memory runs out, too: a capture that is left with open ends gives none of it back
            for branch in begun:
                trunk.wait_stream(branch)

    def launch(self, slot: Slot, step: Step) -> None:
        """Start a batch: copy it in, predict it, copy its maps out. Returns at once; slot.done says when it is done."""
        with torch.cuda.stream(slot.stream):  # while the network still computes the batch before
            slot.device.images.copy_(slot.host.images, non_blocking=True)
        self._network.wait_stream(slot.stream)
        with torch.cuda.stream(self._network):
            step(slot.device)
        slot.stream.wait_stream(self._network)
        with torch.cuda.stream(slot.stream):  # while the network computes the batch after
            slot.host.maps.copy_(slot.device.maps, non_blocking=True)
            slot.host.finite.copy_(slot.device.finite, non_blocking=True)
            slot.stream.record_event(slot.done)

    def settle(self) -> None:
        """Wait until everything that was launched is done."""
        torch.cuda.synchronize()

    def give_back(self) -> None:
        """Give memory that is no longer used back to the driver, so that differently cut pieces fit in."""
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether memory was the reason, of this error or of the one that it came after.

    Besides torch's own class there are the errors of the driver (pinned memory, the launch of a graph) and of cuDNN.
    """
    if error is None:
        return False
    text = str(error)
    found = isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "_ALLOC" in text
    return found or is_out_of_memory(error.__context__)


def first_line(error: BaseException) -> str:
    """Give the first sentence or line of a message; torch's go on with advice."""
    return str(error).split("\n")[0].split(". ")[0] or type(error).__name__
