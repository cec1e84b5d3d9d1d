"""What every store gives: the bytes of a file or object with their version, and what is known without reading it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blob:
    """A file or object as it was read.

    version: size and mtime_ns of a file, generation of an object, strong ETag and address of a web server's, or empty.
    """

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What can be known of a photo without reading it.

    version: as in Blob. content_key: gives what equal files have in common, or None if that cannot be had.
    """

    version: str
    content_key: Callable[[], str | None]
