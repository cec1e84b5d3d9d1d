"""The budget of large photos: they wait for room, ordinary ones do not, and nobody waits for ever."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_product
from PIL import Image

from transforms import process
from transforms.output.run import RunInfo
from transforms.pixel_budget import LARGE, PLAIN, PixelBudget, Reservation, bytes_to_render
from transforms.pixels.opencv import cv2
from transforms.settings import RunSettings
from transforms.steps import Effort, StepError, is_out_of_memory
from transforms.types import PlannedRow

ONE = LARGE


def in_thread(do: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread


def test_a_large_photo_waits_until_there_is_room() -> None:
    budget = PixelBudget(limit=2 * ONE, patience=60)
    first, second = budget.reserve(LARGE), None
    started: list[str] = []
    other = in_thread(lambda: started.append("too large beside the first") if budget.reserve(2 * LARGE) else None)
    other.join(0.2)
    assert other.is_alive()
    assert not started
    beside = in_thread(lambda: budget.reserve(LARGE))  # fits, and its room comes back when it is forgotten
    beside.join(5)
    assert not beside.is_alive()
    second = budget.reserve(LARGE // 2)  # of an ordinary size
    first.release()
    first.release()
    other.join(5)
    assert started
    second.release()


def test_a_photo_larger_than_the_budget_gets_it_alone() -> None:
    budget = PixelBudget(limit=ONE, patience=60)
    alone = budget.reserve(10 * LARGE)
    waiting = in_thread(lambda: budget.reserve(LARGE))
    waiting.join(0.2)
    assert waiting.is_alive()
    alone.release()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_thread_never_waits_for_its_own_photos() -> None:
    budget = PixelBudget(limit=ONE, patience=60)
    began = time.monotonic()
    held: list[Reservation] = [budget.reserve(LARGE) for _ in range(5)]  # a batch that fills up
    assert time.monotonic() - began < 5
    del held
    assert budget._used == 0  # forgotten reservations are given back


def test_nobody_waits_for_ever() -> None:
    budget = PixelBudget(limit=ONE, patience=0.1)
    lost = budget.reserve(LARGE)
    waiting = in_thread(lambda: budget.reserve(LARGE))
    waiting.join(5)
    assert not waiting.is_alive()
    lost.release()


def test_room_is_reserved_before_a_photo_is_decoded_and_given_back_when_its_row_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = PixelBudget(limit=ONE)
    monkeypatch.setattr(process, "PIXELS", budget)
    monkeypatch.setattr("transforms.pixel_budget.LARGE", 1000)
    draw_product(1, (40, 30)).save(tmp_path / "a.png")
    config = RunInfo(RunSettings(str(tmp_path / "out")))
    work = process.prepare([PlannedRow("a", "a.png", str(tmp_path / "a.png"))], config)
    assert work.failure is not None
    assert work.failure.code == "no_map"
    assert budget._used == 40 * 30 * PLAIN + len(work.data)
    finish = process._Finish(config)
    finish.setup()
    list(finish.process(work))
    assert budget._used == 0


def test_opencv_without_memory_fails_the_photo_alone() -> None:
    with pytest.raises(StepError) as failed, Effort().step("upsample"):
        cv2.resize(np.zeros((2, 2), np.uint8), (30_000_000, 30_000_000))  # 900 TB
    assert failed.value.failure.code == "out_of_memory"
    assert not is_out_of_memory(ValueError())


@pytest.mark.parametrize(
    ("name", "mode"),
    [("jpeg", "RGB"), ("png", "I;16"), ("png", "LA"), ("tiff", "CMYK"), ("webp", "RGBA"), ("avif", "RGBA")],
)
def test_no_more_is_taken_than_reserved(name: str, mode: str) -> None:
    """Take a photo of 9 megapixels its whole way in a process of its own, whose peak stays below what is reserved."""
    colour = draw_product(1, (3000, 3000))
    image = Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257) if mode == "I;16" else colour
    file = io.BytesIO()
    (image if mode == "I;16" else colour.convert(mode)).save(file, name)
    with Image.open(file) as opened:
        reserved = bytes_to_render(opened, len(file.getvalue()), "same")
    assert taken(file.getvalue()) <= 1.1 * reserved + 8e6


def taken(data: bytes) -> float:
    """Give the bytes by which a process grows that decodes, renders and encodes a photo."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "--one"], input=data, capture_output=True, check=True
    )
    return float(done.stdout)
