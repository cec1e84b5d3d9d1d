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
from pipeline.telling import Handler, as_json, handler
from transforms.credentials import without_secrets

WITHOUT_BEAM = ("status", "stop", "review", "history", "rollback", "publish", "discard")
KEPT = "what was finished is kept"
GOES_ON = "the same command goes on from there"


def main(arguments: Sequence[str]) -> int:
    """Run one command; give its exit code."""
    try:
        flags, others = parse(arguments)
        if flags.command in WITHOUT_BEAM and others:  # which have no Beam to hand them to
            raise RequestError(f"{others[0]}: {flags.command} does not know this flag. See --help")
        if flags.command == "status":
            from pipeline.status import status

            return status(flags)
        if flags.command == "stop":
            from pipeline.stop import stop

            return stop(flags)
        if flags.command in ("history", "rollback", "publish", "discard"):
            from pipeline import releases

            return int(getattr(releases, flags.command)(flags))
        if flags.command == "review":
            from pipeline.review.write import review

            return review(flags)
        _set_up_logging(flags.verbose, flags.log_format)
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
        if flags.command == "watch":
            from pipeline.watch import watch

            return watch(flags, others)
        if flags.dry_run:
            from pipeline.dry_run import dry_run

            return dry_run(flags, others)
        if "--streaming" in others:
            from pipeline.stream import stream

            return stream(flags, others)
        from pipeline.execute import run
        from pipeline.options import check_migrate, check_run

        return run({"run": check_run, "migrate": check_migrate}[flags.command](flags, others))
    except RequestError as error:
        _say(str(error))
        return 2
    except RunError as error:
        _say(f"the run stopped: {error}")
        _say(KEPT if error.dead_end else f"{KEPT}; {GOES_ON}")
        return 1
    except StoppedError as error:
        _say(f"{KEPT}; {GOES_ON}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on where this one stopped")
        return 130


def _say(message: str) -> None:
    """Say on stderr what went wrong, in the form of the log."""
    own = handler()
    if own is not None and own.log_format == "json":
        print(as_json("ERROR", "error", message, {}), file=sys.stderr)
    else:
        print(f"whitesweep: {without_secrets(message)}", file=sys.stderr)


def _set_up_logging(verbose: bool, log_format: str) -> None:
    """Show our own signs of life, and Beam's log only if asked."""
    logging.basicConfig(stream=sys.stderr)
    logging.getLogger().setLevel(logging.INFO if verbose else logging.CRITICAL)
    ours = logging.getLogger("whitesweep")
    ours.setLevel(logging.INFO)
    if own := handler():
        own.log_format = log_format
    elif not ours.handlers:
        ours.addHandler(Handler(log_format))
        ours.propagate = False
