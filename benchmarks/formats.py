"""What becomes of every file of a folder: its code, or how it was read.

    python -m benchmarks.formats [FOLDER …]

Prints a line a file, the slowest last, and a table of codes by folder.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from pathlib import Path

from transforms.errors import PhotoError
from transforms.pixels.decode import decode

CORPUS = Path(__file__).parent.parent.parent / "shared/data/decode"


def outcome(data: bytes) -> tuple[str, str]:
    """Give `read` or the code, and what it was read as or why not."""
    try:
        photo = decode(data)
    except PhotoError as error:
        return error.code, error.message
    alpha = "" if photo.alpha is None else ", alpha"
    return "read", f"{photo.format} {photo.size[0]}x{photo.size[1]}{alpha}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="*", type=Path, default=[CORPUS])
    lines, codes = [], defaultdict[str, Counter[str]](Counter)
    for path in sorted(path for folder in parser.parse_args().folder for path in folder.rglob("*") if path.is_file()):
        start = time.perf_counter()
        code, words = outcome(path.read_bytes())
        milliseconds = (time.perf_counter() - start) * 1000
        lines.append((milliseconds, f"{milliseconds:8.1f} ms  {code:18}  {path.name}: {words}"))
        codes[path.parent.name][code] += 1
    for _, line in sorted(lines):
        print(line)
    for folder, counts in codes.items():
        print(f"| {folder} | {counts.total()} | " + ", ".join(f"{code} {n}" for code, n in counts.most_common()) + " |")


if __name__ == "__main__":
    main()
