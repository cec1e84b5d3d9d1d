"""What an earlier report says of each row: where its map is."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq

from transforms import storage
from transforms.types import Earlier, FatalError, ManifestRow, MapOrigin, PhotoError

COLUMNS = ["id", "source_sha256", "map_key", "model", "weights_sha256", "precision"]


class NoReportError(Exception):
    """There is no complete report under a folder; one line for the user."""


def newest_report(folder: str) -> list[str]:
    """List the shards of the newest complete report under an output folder.

    Raises:
        NoReportError: there is none.
    """
    try:
        latest = json.loads(storage.read(f"{folder}/report/latest.json").data)
        shards = storage.glob(f"{folder}/{latest['report']}/part-*.parquet")
    except PhotoError as error:
        raise NoReportError(f"{folder}: no complete report in it ({error.message})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NoReportError(f"{folder}/report/latest.json: cannot be read ({error})") from error
    if not shards:
        raise NoReportError(f"{folder}/{latest['report']}: holds no part-*.parquet")
    return shards


def read_mapped(shard: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Read from a report's shard some columns of the rows that have a map.

    Raises:
        FatalError: the shard cannot be read.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(storage.read(shard).data))
    except (PhotoError, OSError, ValueError) as error:
        raise FatalError(f"{shard}: cannot be read: {error}") from error
    for batch in file.iter_batches(columns=columns):
        yield from (row for row in batch.to_pylist() if row["map_key"] is not None)


def read_earlier(shard: str) -> Iterator[tuple[str, Earlier]]:
    """Read from a report's shard what a migration needs, by id."""
    for row in read_mapped(shard, COLUMNS):
        origin = MapOrigin(row["model"], row["weights_sha256"], row["precision"])
        yield row["id"], Earlier(row["source_sha256"], row["map_key"], origin)


def attach(keyed: tuple[str, dict[str, Iterable]]) -> Iterator[ManifestRow]:
    """Give each manifest row what the report says of its id."""
    earlier = next(iter(keyed[1]["earlier"]), None)
    for row in keyed[1]["rows"]:
        yield replace(row, earlier=earlier) if row.failure is None else row


class AttachEarlier(beam.PTransform):
    """Attach to manifest rows what the shards of a report say of them."""

    def __init__(self, shards: list[str]) -> None:
        super().__init__()
        self.shards = shards

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Map a PCollection of ManifestRow to one of the same rows."""
        earlier = (
            rows.pipeline
            | "ListShards" >> beam.Create(self.shards)
            | "ReadShard" >> beam.FlatMap(read_earlier).with_output_types(tuple[str, Earlier])
        )
        keyed = rows | "KeyById" >> beam.Map(lambda row: (row.id, row)).with_output_types(tuple[str, ManifestRow])
        return (
            {"rows": keyed, "earlier": earlier} | "JoinById" >> beam.CoGroupByKey() | "Attach" >> beam.FlatMap(attach)
        )
