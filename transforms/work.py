"""One photo on its way through the fused stage. It holds pixels, so it never crosses a stage boundary."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from transforms.effort import Effort
from transforms.pixel_budget import Reservation
from transforms.types import Failure, ManifestRow, MapOrigin, Photo, SaliencyMap


@dataclass(frozen=True, slots=True)
class Work:
    """What is known so far of one photo and of the manifest rows that name it.

    data: the photo's file. network_input: uint8 [320, 320, 3] while the photo waits for the network, else None.
    origin: what made the map, or will.
    room: what the decoded photo may take of memory, given back when its rows are done.
    failure: why the photo goes no further; then it passes the remaining steps untouched.
    """

    rows: tuple[ManifestRow, ...]
    effort: Effort = field(default_factory=Effort)
    source_version: str | None = None
    source_sha256: str | None = None
    data: bytes = b""
    photo: Photo | None = None
    map_key: str = ""
    network_input: NDArray[np.uint8] | None = None
    saliency: SaliencyMap | None = None
    origin: MapOrigin | None = None
    is_new_map: bool = False
    failure: Failure | None = None
    room: Reservation | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the file and of the decoded pixels that it holds."""
        return len(self.data) + (0 if self.photo is None else self.photo.nbytes)


class WorkCoder(beam.coders.Coder):
    """Refuses to encode a Work, so that one can only pass from step to step inside the fused stage.

    Beam asks every coder for the size of the elements it samples; its own would pickle the photo to find out.
    """

    def encode(self, value: Any) -> NoReturn:
        """Refuse: pixels never cross a stage boundary."""
        raise TypeError("a Work holds pixels and never crosses a stage boundary")

    decode = encode

    def estimate_size(self, value: Any) -> int:
        """Give the bytes that an element holds, for Beam's metrics."""
        return value.nbytes if isinstance(value, Work) else 0

    def is_deterministic(self) -> bool:
        """Tell that no Work is ever a key."""
        return False


beam.coders.registry.register_coder(Work, WorkCoder)
