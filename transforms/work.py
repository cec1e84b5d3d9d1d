"""One photo on its way through the fused stage. It holds pixels, so it never crosses a stage boundary."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from transforms.beam_faults import never_encode
from transforms.errors import Failure
from transforms.pixel_budget import Reservation
from transforms.pixels.types import Photo, SaliencyMap
from transforms.settings import MapOrigin
from transforms.steps import Effort
from transforms.types import PlannedRow


@dataclass(slots=True)
class Held:
    """What a photo holds of memory until its rows are done: its file, its pixels, and the room that it has for them.

    There is one for a photo, whatever is found out of it: runners hold on to an element for longer than it is of use.
    """

    data: bytes = b""
    photo: Photo | None = None
    room: Reservation | None = None

    def release(self) -> None:
        """Let go of all of it."""
        self.data, self.photo = b"", None
        if self.room is not None:
            self.room.release()


@dataclass(frozen=True, slots=True)
class Work:
    """What is known so far of one photo and of the manifest rows that name it.

    held: its file and its pixels. network_input: uint8 [320, 320, 3] while it waits for the network, else None.
    origin: what made the map, or will. is_kept: it stands on white already, and nobody needs its map.
    failure: why the photo goes no further; then it passes the remaining steps untouched.
    """

    rows: tuple[PlannedRow, ...]
    effort: Effort = field(default_factory=Effort)
    source_version: str | None = None
    source_sha256: str | None = None
    held: Held = field(default_factory=Held)
    map_key: str = ""
    network_input: NDArray[np.uint8] | None = None
    saliency: SaliencyMap | None = None
    origin: MapOrigin | None = None
    is_new_map: bool = False
    is_kept: bool = False
    failure: Failure | None = None

    @property
    def data(self) -> bytes:
        """The photo's file."""
        return self.held.data

    @property
    def photo(self) -> Photo | None:
        """The decoded photo."""
        return self.held.photo

    @property
    def nbytes(self) -> int:
        """Bytes of the file and of the decoded pixels that it holds."""
        return len(self.data) + (0 if self.photo is None else self.photo.nbytes)


never_encode(Work, attrgetter("nbytes"))
