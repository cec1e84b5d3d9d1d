"""Rows packed many in one element, for their way from one stage to the next.

A local run keeps every element of a stage boundary in memory, and several times while it is handed on. A row among
others takes a fifth of the bytes that it takes alone, and a tenth of what it takes as objects, which a runner makes of
whatever it groups that is not plain bytes.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable
from typing import Any


def pack(items: Iterable[Any]) -> bytes:
    """Pack items; those that are alike cost little."""
    return zlib.compress(pickle.dumps(list(items), pickle.HIGHEST_PROTOCOL), 1)


def unpack(packed: bytes) -> list[Any]:
    """Give the items again."""
    items: list[Any] = pickle.loads(zlib.decompress(packed))
    return items
