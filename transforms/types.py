"""What passes from one step of the pipeline to the next: rows in, and rows out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from transforms.decisions import Decision
from transforms.errors import Failure
from transforms.output.commit import Gone
from transforms.output.earlier import Earlier
from transforms.output.schema import ReportRow
from transforms.packing import pack, unpack
from transforms.steps import Effort


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One row of a manifest, or what could be read of it.

    id: names the output. uri: as written in the manifest. source: the same, resolved against the manifest's folder.
    manifest, line: where the row stands (line counts from 1, for Parquet the row number).
    failure: what is already known to be wrong with it. deleted: a manifest of changes says that it is gone.
    """

    id: str
    uri: str
    source: str
    category: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    manifest: str = ""
    line: int = 0
    failure: Failure | None = None
    deleted: bool = False

    def values(self) -> tuple[Any, ...]:
        """Give all fields in order: ManifestRow(*row.values()) is the row.

        Between stages rows pass as these. Pickling a dataclass of slots costs ten times as much, for every row.
        """
        where = (self.manifest, self.line, self.failure, self.deleted)
        return (self.id, self.uri, self.source, self.category, self.attributes, *where)


@dataclass(frozen=True, slots=True)
class PlannedRow(ManifestRow):
    """A row that is to be done, with what the plan found of it.

    group: what rows of equal photos have in common. earlier: what the earlier report says of this id.
    present: the names of the pictures of this id that are in the output folder already.
    decision: what is decided on this row alone.
    """

    group: str = ""
    earlier: Earlier | None = None
    present: tuple[str, ...] = ()
    decision: Decision | None = None

    def values(self) -> tuple[Any, ...]:
        """Give all fields in order, as ManifestRow's does."""
        return (*ManifestRow.values(self), self.group, self.earlier, self.present, self.decision)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report row on its way to its shard, with what never enters it.

    effort: what it cost. failure: why it failed. left: pictures of its id that are there and that it does not name: a
    failed row's others, and what it has replaced but could not remove.
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
    """Rows of the earlier report that stand in the new one as they are.

    positions: where they stand in that report's table (earlier.load_table). changes: by position, the columns in which
    they differ all the same, as the manifest or the policy's other rules now say something else. links: files of theirs
    that lie elsewhere or have another name, and the names that they get below the output folder.
    rows: others that stand in it as they are, by themselves (packed_table). deleted: ids of rows that are no more.
    """

    positions: tuple[int, ...]
    changes: dict[int, dict[str, Any]]
    links: tuple[tuple[str, str], ...] = ()
    rows: bytes = b""
    deleted: tuple[str, ...] = ()
