"""One photo on its way through the fused stage. It holds pixels, so it never crosses a stage boundary."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transforms.effort import Effort
from transforms.types import Failure, ManifestRow, MapOrigin, Photo, SaliencyMap


@dataclass(frozen=True, slots=True)
class Work:
    """What is known so far of one photo and of the manifest rows that name it.

    data: the photo's file. network_input: uint8 [320, 320, 3] while the photo waits for the network, else None.
    origin: what made the map, or will.
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
