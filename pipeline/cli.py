"""The command line: subcommands, the closing summary, exit codes.

0: done. 1: done, but more failures than allowed, or the run was stopped. 2: the request itself is wrong; nothing was
touched.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from pipeline.options import Parser, RequestError, RunRequest, add_settings, check_run

PROGRAM = "run_pipeline.sh"


def main(arguments: Sequence[str]) -> int:
    """Run one command; give its exit code."""
    try:
        flags, others = _parser().parse_known_args(list(arguments))
        logging.basicConfig(level=logging.INFO if flags.verbose else logging.CRITICAL, stream=sys.stderr)
        if flags.command == "demo":
            from pipeline.demo import demo

            return demo(flags, others)
        return run(check_run(flags, others))
    except RequestError as error:
        print(f"whitesweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("whitesweep: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # Beam's worker threads would go on to the end of their bundles


def _parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Put a catalog's product photos on white.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    run_parser = commands.add_parser(
        "run",
        help="put every photo of a manifest on white",
        description="Put every photo of the manifests on white, and write a report with one row for each.",
        allow_abbrev=False,
    )
    run_parser.add_argument(
        "--manifest",
        action="append",
        required=True,
        metavar="M",
        help="a CSV, JSON Lines or Parquet file with a uri column, a glob of such files, a folder of images, or a glob of "
        "images; may be given more than once",
    )
    run_parser.add_argument("--output", required=True, metavar="DIR", help="a folder, or gs://bucket/prefix")
    add_settings(run_parser)
    demo_parser = commands.add_parser(
        "demo",
        help="make a small sample catalog and run it (what no command at all does)",
        description="Render the sample catalog, put it on white, and measure the masks against the true ones.",
        allow_abbrev=False,
    )
    demo_parser.add_argument("--output", default="demo", metavar="DIR", help="where to (default: %(default)s)")
    add_settings(demo_parser)
    return parser


def run(request: RunRequest) -> int:
    """Run a checked request, print the summary, and give the exit code."""
    from pipeline.execute import RunError, execute
    from pipeline.summary import summarise

    try:
        report = execute(request)
    except RunError as error:
        print(f"whitesweep: the run stopped: {error}", file=sys.stderr)
        print("whitesweep: what was finished is kept; the same command goes on from there", file=sys.stderr)
        return 1
    print(summarise(report, request))
    failed = report["statuses"].get("failed", 0)
    if failed > request.max_failure_fraction * report["rows"]:
        allowed = f"{request.max_failure_fraction:.2%}"
        print(f"whitesweep: {failed} of {report['rows']} rows failed, more than {allowed} allowed", file=sys.stderr)
        return 1
    return 0
