"""The pictures of an output folder: whoever looks at them may be showing them to customers.

They are written here and removed here, and nowhere else. Both want the run to own the folder still, and neither goes
behind a symbolic link.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

from transforms import storage
from transforms.output.lease import lease_watch

Reason = Literal["pruned", "no_subject", "dropped", "replaced", "unnamed"]
"""Why a picture may be removed: no row of the manifests has it and --prune was given; the policy fails the row, or
drops it; its successor in another format is written; or, where pictures are kept for the releases that name them, none
does (then it may be a map, too)."""


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A written picture: its name below the output folder (`images/…`), sha256 and size in bytes."""

    name: str
    sha256: str
    bytes: int


def write_picture(folder: str, run_id: str, name: str, data: bytes, content_type: str) -> None:
    """Write a picture below an output folder.

    Raises:
        FatalError: the disk is full, or the folder is another run's by now. PhotoError: write_failed.
    """
    lease_watch(folder, run_id).refuse_lost()
    storage.write(f"{folder}/{name}", data, content_type, below=folder)


def remove_picture(folder: str, run_id: str, name: str, why: Reason) -> None:
    """Remove a picture below an output folder, for one of the reasons there are; one that is gone already is well.

    Raises:
        FatalError: the folder is another run's by now. PhotoError: write_failed.
    """
    assert why in get_args(Reason)
    lease_watch(folder, run_id).refuse_lost()
    storage.delete(f"{folder}/{name}", below=folder)


def look_at(folder: str, name: str) -> OutputFile:
    """Describe a picture that is there.

    Raises:
        PhotoError: as storage.read does.
    """
    data = storage.read(f"{folder}/{name}").data
    return OutputFile(name, hashlib.sha256(data).hexdigest(), len(data))
