"""The vocabulary: what passes from one step of the method to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transforms.credentials import without_secrets
from transforms.effort import Effort
from transforms.packing import pack, unpack

FAILURE_CODES = {
    "bad_row": "the manifest row cannot be read, or has no usable uri",
    "bad_id": "the id cannot become a file name: empty, absolute, with `..`, control characters, or too long",
    "duplicate_id": "another row of the manifests has the same id",
    "not_found": "there is no such file or object",
    "forbidden": "the file or object may not be read",
    "read_failed": "the file is there, but reading it failed",
    "blocked_address": "the web address leads to a machine that is not public (--allow_private_addresses)",
    "http_error": "the server or object store answered with an error",
    "host_unavailable": "its server has not answered several requests before this one; it is asked again after a while",
    "timeout": "the server or object store did not answer in time, or the photo took too long to decode",
    "too_large": "more bytes than --max_bytes",
    "too_many_pixels": "more pixels than --max_pixels",
    "not_an_image": "the bytes are no picture at all",
    "unsupported_format": "a picture, but of a format that is not read",
    "corrupt": "a picture whose data is damaged",
    "truncated": "a picture that ends too early",
    "no_map": "no saliency map of this photo is stored, and the network may not be asked",
    "out_of_memory": "no memory for this photo, even alone",
    "inference_failed": "the network failed on this photo alone",
    "no_subject": "the mask is empty, and the policy fails such photos",
    "write_failed": "the result could not be written",
    "internal_error": "a fault of whitesweep itself; run.json names the file with the traceback",
}
"""Every code that a failed row can carry, with its meaning."""


def in_one_line(text: str) -> str:
    """Make of a text a line that a report can hold and a terminal be shown: names of files may hold anything."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


class PhotoError(Exception):
    """What is wrong with one photo; it becomes a failed row and harms no other. No password gets into its message."""

    def __init__(self, code: str, message: str) -> None:
        message = without_secrets(message)
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[PhotoError], tuple[str, str]]:
        """Pickle by both parts; worker processes hand exceptions on."""
        return PhotoError, (self.code, self.message)


class FatalError(Exception):
    """What no other photo would survive either (a full disk, a dead device): it stops the run. One line."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class DeadEndError(FatalError):
    """What would stop the same command again: going on from here takes more than starting it once more."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no cutout: the step that failed, a key of FAILURE_CODES, and one line for the user.

    trace: of an `internal_error`, the traceback.
    """

    stage: str
    code: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class MapOrigin:
    """What made a map: the network, the sha256 of its weights, and the precision it ran in."""

    model: str
    weights_sha256: str
    precision: str


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


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A written picture: its name below the output folder (`images/…`), sha256 and size in bytes."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier report says of a row: which photo it was, its map and what made it, its picture, its failure."""

    source_sha256: str | None
    map_key: str | None
    origin: MapOrigin | None
    output: OutputFile | None
    code: str | None


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row of a manifest, or what could be read of it.

    id: names the output. uri: as written in the manifest. source: the same, resolved against the manifest's folder.
    manifest, line: where the row stands (line counts from 1, for Parquet the row number).
    failure: what is already known to be wrong with it.
    group: what rows of equal photos have in common. earlier: what the report before says of this id.
    present: the names of the pictures of this id that are in the output folder already.
    """

    id: str
    uri: str
    source: str
    category: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    manifest: str = ""
    line: int = 0
    failure: Failure | None = None
    group: str = ""
    earlier: Earlier | None = None
    present: tuple[str, ...] = ()

    def values(self) -> tuple[Any, ...]:
        """Give all fields in order: ManifestRow(*row.values()) is the row.

        Between stages rows pass as these. Pickling a dataclass of slots costs ten times as much, for every row.
        """
        own = (self.id, self.uri, self.source, self.category, self.attributes, self.manifest, self.line)
        return (*own, self.failure, self.group, self.earlier, self.present)


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: upright, sRGB.

    rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], or None without transparency. format: `jpeg`, `png`, …
    """

    rgb: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None
    format: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels."""
        return self.rgb.nbytes + (0 if self.alpha is None else self.alpha.nbytes)


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """What left the network. pixels: uint8 [320, 320], sigmoid probability × 255, rounded. key: maps.map_key."""

    pixels: NDArray[np.uint8]
    key: str


@dataclass(frozen=True, slots=True)
class MaskStatistics:
    """What the mask looks like; statistics.describe defines each figure."""

    foreground_fraction: float
    bbox_left: int | None
    bbox_top: int | None
    bbox_right: int | None
    bbox_bottom: int | None
    fill_fraction: float | None
    edge_contact: tuple[str, ...]
    probability_max: float
    probability_mean: float
    uncertain_fraction: float
    coverage_10: float
    coverage_20: float
    coverage_30: float
    coverage_40: float
    coverage_50: float
    coverage_60: float
    coverage_70: float
    coverage_80: float
    coverage_90: float
    otsu_threshold: float
    components: int
    holes: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cutout:
    """A finished picture: encoded bytes, their format and content type, and what its mask looks like."""

    data: bytes
    format: str
    content_type: str
    threshold: float | None
    statistics: MaskStatistics


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What became of one manifest row (docs/reference.md). Neither clock nor host nor run is in it."""

    id: str
    uri: str
    category: str | None
    attributes: dict[str, str]
    status: str
    stage: str | None = None
    code: str | None = None
    message: str | None = None
    source_version: str | None = None
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_format: str | None = None
    width: int | None = None
    height: int | None = None
    output_uri: str | None = None
    output_sha256: str | None = None
    output_bytes: int | None = None
    map_key: str | None = None
    model: str | None = None
    weights_sha256: str | None = None
    precision: str | None = None
    policy_sha256: str | None = None
    rule: str | None = None
    rule_sha256: str | None = None
    settings_sha256: str | None = None
    method: str | None = None
    threshold: float | None = None
    statistics: MaskStatistics | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report row on its way to its shard, with what never enters it.

    effort: what it cost. failure: why it failed. left: pictures of a failed row that are there and that it cannot name.
    """

    row: ReportRow
    effort: Effort
    failure: Failure | None = None
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Packed:
    """Report rows of one shard on their way to it, with what they cost together, what they left, and tracebacks.

    A report row is 1.3 KB when it is encoded alone and some 200 bytes among others, and a local run keeps them all in
    memory until the end.
    """

    rows: bytes
    effort: Effort
    left: tuple[Gone, ...] = ()
    traces: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(outcomes: Iterable[Outcome]) -> Packed:
        """Pack outcomes; of each traceback only the first photo's id is kept."""
        rows: list[ReportRow] = []
        effort = Effort()
        left: list[Gone] = []
        traces: dict[str, str] = {}
        for outcome in outcomes:
            rows.append(outcome.row)
            effort.add(outcome.effort)
            left += [Gone(outcome.row.id, name) for name in outcome.left]
            if outcome.failure is not None and outcome.failure.trace:
                traces.setdefault(outcome.failure.trace, outcome.row.id)
        return Packed(pack(rows), effort, tuple(left), tuple((id, trace) for trace, id in traces.items()))

    def unpack(self) -> list[ReportRow]:
        """Give the rows."""
        return unpack(self.rows)


@dataclass(frozen=True, slots=True)
class Carried:
    """Rows of the report before that stand in the new one as they are.

    positions: where they stand in that report's table (earlier.load_table). changes: by position, the columns in which
    they differ all the same, as the manifest or the policy's other rules now say something else.
    """

    positions: tuple[int, ...]
    changes: dict[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Gone:
    """What the manifest no longer names: a row of the report before, or a picture that no row claims.

    name: of the picture below the output folder, or None if there is none.
    """

    id: str
    name: str | None
