"""The command line: subcommands, the closing summary, exit codes.

0: done. 1: done, but more failures than allowed, or something stopped the run. 2: the request itself is wrong; nothing
was touched. 130, 143: Ctrl-C or SIGTERM stopped it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from pipeline.config import parse
from pipeline.errors import RequestError, RunError
from pipeline.signals import StoppedError
from transforms.credentials import without_secrets

KEPT = "whitesweep: what was finished is kept"
GOES_ON = "the same command goes on from there"


def main(arguments: Sequence[str]) -> int:
    """Run one command; give its exit code."""
    try:
        flags, others = parse(arguments)
        _set_up_logging(flags.verbose)
        if flags.command == "demo":
            from pipeline.demo import demo

            return demo(flags, others)
        if flags.command == "compare":
            from pipeline.compare import check_compare, compare

            return compare(check_compare(flags, others), flags.policy)
        if flags.command == "plan":
            from pipeline.plan import plan

            return plan(flags, others)
        if flags.command == "verify":
            from pipeline.verify import verify

            return verify(flags, others)
        from pipeline.execute import run
        from pipeline.options import check_migrate, check_run

        return run({"run": check_run, "migrate": check_migrate}[flags.command](flags, others))
    except RequestError as error:
        print(f"whitesweep: {without_secrets(str(error))}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"whitesweep: the run stopped: {without_secrets(str(error))}", file=sys.stderr)
        print(KEPT if error.dead_end else f"{KEPT}; {GOES_ON}", file=sys.stderr)
        return 1
    except StoppedError as error:
        print(f"{KEPT}; {GOES_ON}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("whitesweep: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


def _set_up_logging(verbose: bool) -> None:
    """Show our own signs of life, and Beam's log only if asked."""
    logging.basicConfig(stream=sys.stderr)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.CRITICAL)
    ours = logging.getLogger("whitesweep")
    ours.setLevel(logging.INFO)
    if not ours.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("whitesweep: %(message)s"))
        ours.addHandler(handler)
        ours.propagate = False
