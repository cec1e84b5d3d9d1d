"""`python -m weights`: make sure of the published weights."""

from __future__ import annotations

import argparse
import sys

from weights.fetch import fetch
from weights.files import WeightsError
from weights.published import FOLDER, PUBLISHED


def main() -> int:
    """Fetch what is missing; return 0, or 2 with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m weights",
        description="Fetch the published U²-Net weights that are missing, check their sha256, and convert them once.",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(PUBLISHED)}")
    parser.add_argument("--folder", default=str(FOLDER), help="where they go (default: %(default)s)")
    parser.add_argument("--keep_onnx", action="store_true", help="leave the ONNX file beside, to compare with")
    arguments = parser.parse_args()
    try:
        for model in arguments.models or PUBLISHED:
            print(fetch(model, arguments.folder, arguments.keep_onnx))
    except WeightsError as error:
        print(f"weights: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
