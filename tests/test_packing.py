"""What a row weighs on its way from stage to stage: a local run holds all of them at once."""

from __future__ import annotations

from transforms.errors import Failure
from transforms.manifest import in_batches, pack_rows, unpack_rows
from transforms.output.earlier import Earlier
from transforms.output.pictures import OutputFile
from transforms.plan_rows import by_photo
from transforms.settings import MapOrigin
from transforms.types import PlannedRow


def row(number: int, source: str = "") -> PlannedRow:
    """Make a row as manifests have them: 350 bytes of text."""
    return PlannedRow(
        f"SKU-{number:06}",
        f"photos/{number:06}.jpg",
        source or f"/srv/shop/catalog/2026/photos/{number:06}.jpg",
        "shoes",
        {"brand": "Acme", "colour": "black", "season": "autumn-winter", "shop": "gr"},
        manifest="/srv/shop/catalog/2026/manifest.csv",
        line=number + 2,
    )


def test_rows_come_back_whole() -> None:
    earlier = Earlier("5a", "key", MapOrigin("u2net", "8d", "bf16"), OutputFile("images/a.jpg", "00", 7), "timeout")
    rows = [
        row(0),
        PlannedRow("", "", "", failure=Failure("manifest", "bad_row", "line 3: no uri")),
        PlannedRow("a", "a.jpg", "/a.jpg", group="g", earlier=earlier, present=("images/a.jpg",)),
    ]
    assert list(unpack_rows(pack_rows(rows), PlannedRow)) == rows


def test_a_row_among_others_is_a_few_bytes() -> None:
    ((count, packed),) = in_batches(map(row, range(1000)))
    assert count == 1000
    assert len(packed) < 20 * count  # as objects, what Beam would group, they are 1.5 KB each
    planned = by_photo(map(row, range(20_000)), 20_000)
    assert sum(len(packed) for _, packed in planned) < 50 * 20_000


def test_rows_of_one_photo_come_together_whichever_shard_they_are_in() -> None:
    shared = [row(number, "/one.jpg") for number in range(20)]
    others = [row(number) for number in range(100, 2000)]
    first, second = by_photo(shared[:5] + others, 5000), by_photo(shared[5:], 5000)
    (key,) = {key for key, _ in second}
    (packed,) = [packed for of, packed in first if of == key]
    together = list(unpack_rows(packed, PlannedRow))
    assert all(one in together for one in shared[:5])


def test_workers_that_are_dealt_groups_in_turn_get_as_many_rows_each() -> None:
    for count in (10, 100, 600, 10_000):
        sizes = [len(list(unpack_rows(packed, PlannedRow))) for _, packed in by_photo(map(row, range(count)), count)]
        assert sum(sizes) == count
        for workers in (2, 8):
            dealt = [sum(sizes[worker::workers]) for worker in range(workers)]
            assert max(dealt) - min(dealt) <= max(2, count // 100)
