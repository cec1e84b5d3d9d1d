"""The flags: what there is to set, and what --help says of it. Imports nothing slow."""

from __future__ import annotations

import argparse
import difflib
import platform
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from typing import NoReturn

from model.engine import DEVICES, PRECISIONS
from pipeline.errors import RequestError
from transforms.pixels.decode import Limits
from transforms.pixels.encode import ENCODINGS
from transforms.pixels.methods import DEFAULT_METHOD, DEFAULT_POLICY, METHODS
from transforms.pixels.upsample import INTERPOLATIONS
from transforms.settings import NAMES
from weights.architecture import MODELS

PROGRAM = "run_pipeline.sh"
VERSION = "0.1.0"


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        hint = "" if wrong is None else did_you_mean(wrong[1], re.findall(r"'([^']*)'", wrong[2]))
        raise RequestError(f"{message}{hint}. See {self.prog} --help")


class Version(argparse.Action):
    """Prints versions, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Say what bytes depend on."""
        installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
        packages = ("apache-beam", "openvino", "torch", "pillow", "numpy")
        told = [f"{name} {installed[name]}" for name in packages if name in installed]
        print(f"whitesweep {VERSION} (Python {platform.python_version()}, {', '.join(told)})")
        parser.exit()


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Give a hint at what a mistyped word may have been meant for; nothing if nothing is close."""
    close = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {close[0]}?" if close else ""


def flag_meant(flag: str) -> str:
    """Give a hint at which of our flags may have been meant."""
    ours = {word for action in _subparsers().choices["run"]._actions for word in action.option_strings}
    word = flag.partition("=")[0].replace("-", "_").replace("__", "--", 1)
    return "; did you mean --dry_run, or the command plan?" if word == "--dry_run" else did_you_mean(word, ours)


@lru_cache(maxsize=1)
def _subparsers() -> argparse._SubParsersAction[Parser]:
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return commands


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add what decides how a map is made, and where."""
    network = parser.add_argument_group("the network")
    network.add_argument("--model", choices=MODELS, default="u2net", help="network (default: %(default)s)")
    network.add_argument("--weights", metavar="FILE", help="your own checkpoint of that network, .pth or .safetensors")
    network.add_argument(
        "--sharpen",
        type=int,
        default=150,
        metavar="PERCENT",
        help="strength of the unsharp mask before the network; 0 is off (default: %(default)s)",
    )
    network.add_argument(
        "--device",
        choices=["auto", *DEVICES],
        default="auto",
        help="auto takes a GPU if there is one; cuda without one is an error (default: %(default)s)",
    )
    network.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="auto is what the maps of this output were made in, where that can be had; of a new output the fastest "
        "that costs no accuracy: int8 for the published weights on a processor with VNNI, "
        "else bf16 where there is bf16, else fp32; on a cluster and on a GPU bf16, for u2netp fp32 "
        "(default: %(default)s)",
    )
    network.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        help="photos that go through the network together (default: 16 on a GPU, 1 on a CPU)",
    )


def add_rendering(parser: argparse.ArgumentParser, policy: str | None) -> None:
    """Add what decides how a map and a photo become a picture. policy: the default; None if it must be given."""
    pictures = parser.add_argument_group("the pictures")
    others = [name for name in METHODS if name != DEFAULT_METHOD]
    pictures.add_argument(
        "--policy",
        default=policy,
        required=policy is None,
        metavar="P",
        help=f"a threshold of the saliency probability, the name of a method ({', '.join(others)}), or "
        "a TOML file of rules" + (f" (default: {policy})" if policy else ""),
    )
    pictures.add_argument(
        "--interpolation",
        choices=sorted(INTERPOLATIONS),
        help="how the 320x320 map is brought to the photo's size (default: as the policy says, else bilinear)",
    )
    pictures.add_argument(
        "--background", default="white", metavar="COLOUR", help="a colour, or `transparent` (default: %(default)s)"
    )
    pictures.add_argument(
        "--format",
        choices=["same", *sorted(ENCODINGS)],
        default="same",
        help="`same` keeps JPEG, PNG and WebP and makes PNG of others; JPEG is written at quality 95 4:4:4, PNG and "
        "WebP lossless (default: %(default)s)",
    )
    pictures.add_argument(
        "--profile",
        metavar="NAME",
        help="make pictures as a marketplace asks for them, and check each as it was written: amazon, google, walmart, "
        "ebay, zalando, shopify, or a TOML file of your own (default: none)",
    )
    pictures.add_argument(
        "--keep_metadata",
        action="store_true",
        help="pictures say what their photos' files say (EXIF with camera and place, XMP, in JPEG also IPTC); a photo "
        "that the policy keeps is written as the file that it was",
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """Add what decides where the graph runs."""
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--runner",
        metavar="NAME",
        default="local",
        help="local, flink, dataflow, dataflow-gpu or any Beam runner; Beam's own flags may follow "
        "(default: %(default)s)",
    )
    run.add_argument("--verbose", action="store_true", help="show Beam's own log")
    run.add_argument(
        "--log_format",
        choices=["text", "json"],
        default="text",
        help="json writes one object a line, the summary too (default: %(default)s)",
    )


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add what concerns the run as a whole."""
    add_runner(parser)
    run = parser.add_argument_group("the rows")
    run.add_argument(
        "--max_failure_fraction",
        type=float,
        default=0.05,
        metavar="F",
        help="exit with 1 if a larger share of the rows failed (default: %(default)s)",
    )
    run.add_argument(
        "--max_gone_fraction",
        type=float,
        default=0.05,
        metavar="F",
        help="stop before anything is touched if a larger share of the rows of the report before has left the "
        "manifests (default: %(default)s)",
    )
    run.add_argument(
        "--max_changed_fraction",
        type=float,
        metavar="F",
        help="stop before anything is touched if a larger share of them would be done again; new rows, and those that "
        "failed before, do not count (default: off)",
    )
    run.add_argument(
        "--max_emptied_fraction",
        type=float,
        default=0.02,
        metavar="F",
        help="stop if, under other settings, a larger share of a category's rows loses its product: on a sample of "
        "stored maps before anything is touched, and before the report is published (default: %(default)s)",
    )
    run.add_argument(
        "--max_foreground_shift",
        type=float,
        default=0.05,
        metavar="F",
        help="stop in the same way if a category's mean foreground moves by more than this share of the photo "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--detach",
        action="store_true",
        help="on a cluster: submit the job and leave it; it commits by itself, `status` and `stop` find it",
    )
    run.add_argument(
        "--review", action="store_true", help="at the end, write the page that the command `review` writes"
    )
    run.add_argument(
        "--names",
        choices=NAMES,
        help="fingerprint: what a picture shows is in its name too, so that none is overwritten, and a report is "
        "published, or taken back, with all of its pictures at once (default: as the output is, else stable)",
    )
    run.add_argument(
        "--keep_reports",
        type=int,
        default=30,
        metavar="N",
        help="remove older reports than the newest N, but none that was the newest within a week; with fingerprints, "
        "also the pictures and maps that no report names any more "
        "(default: %(default)s)",
    )
    run.add_argument(
        "--max_bytes",
        type=int,
        default=Limits().max_bytes,
        metavar="N",
        help="a larger source file is a failed row (default: %(default)s)",
    )
    run.add_argument(
        "--max_pixels",
        type=int,
        default=Limits().max_pixels,
        metavar="N",
        help="a photo of more pixels is a failed row (default: %(default)s)",
    )
    run.add_argument(
        "--allow_private_addresses",
        action="store_true",
        help="read http(s) photos from servers in your own network too, whoever wrote the manifest",
    )


def make_parser() -> Parser:
    """Make the parser of the whole command line."""
    parser = Parser(
        prog=PROGRAM,
        description="Put a catalog's product photos on white.",
        epilog="`run_pipeline.sh test` runs the test suite; without a command the demo runs.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="say which versions are at work")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    run_parser = commands.add_parser(
        "run",
        help="put every photo of a manifest on white",
        description="Put every photo of the manifests on white, and write a report with one row for each.",
        allow_abbrev=False,
    )
    _add_paths(run_parser)
    run_parser.add_argument(
        "--from",
        dest="from_dir",
        metavar="DIR",
        help="start a new output from another one: pictures and maps that hold are linked, or copied by the bucket",
    )
    add_network(run_parser)
    _add_incremental(run_parser)
    _add_only(run_parser)
    add_rendering(run_parser, DEFAULT_POLICY)
    add_running(run_parser)
    _add_dry_run(run_parser)
    watch_parser = commands.add_parser(
        "watch",
        help="do what appears in a folder, as it appears",
        description="Watch for manifests of changes (as for run --partial), or for photos, and do each once. What is "
        "known is kept in the output folder, so a watch that was stopped or killed goes on where it was.",
        allow_abbrev=False,
    )
    _add_paths(watch_parser, required=False)
    watch_parser.add_argument(
        "--photos", action="append", metavar="P", help="a folder or pattern of images to watch, in place of --manifest"
    )
    watch_parser.add_argument(
        "--every", default="30s", metavar="T", help="how often to look, as 30s, 5m or 1h (default: %(default)s)"
    )
    add_network(watch_parser)
    add_rendering(watch_parser, DEFAULT_POLICY)
    add_running(watch_parser)
    watch_parser.add_argument("--prune", action="store_true", help="remove the pictures of rows that are deleted")
    watch_parser.set_defaults(partial=True, only=None, force=False, retry_failed=False, from_dir=None)
    plan_parser = commands.add_parser(
        "plan",
        help="see what a run or a migration would do, without doing it",
        description="Say what `run` with the same flags would do, or with --from what `migrate` would: which rows are "
        "done and why, what that takes, and which brake would stop it. Nothing is written. The exit code is 1 if a "
        "brake would.",
        allow_abbrev=False,
    )
    _add_paths(plan_parser)
    plan_parser.add_argument(
        "--from", dest="from_dir", metavar="DIR", help="plan a migration that starts from the output folder DIR"
    )
    plan_parser.add_argument(
        "--missing",
        choices=["fail", "predict"],
        default="fail",
        help="of a migration: what to do with a photo without a stored map (default: %(default)s)",
    )
    plan_parser.add_argument("--json", action="store_true", help="print JSON, with the fields of `plan` in run.json")
    add_network(plan_parser)
    _add_incremental(plan_parser)
    _add_only(plan_parser)
    add_rendering(plan_parser, DEFAULT_POLICY)
    add_running(plan_parser)
    migrate_parser = commands.add_parser(
        "migrate",
        help="apply another policy to a catalog, from its stored maps",
        description="Put every photo on white again under another policy, from the saliency maps that the newest "
        "report names: without the network, and byte for byte what a full run under that policy would give.",
        allow_abbrev=False,
    )
    _add_paths(migrate_parser)
    migrate_parser.add_argument(
        "--from",
        dest="from_dir",
        metavar="DIR",
        help="the output folder whose report and maps to start from (default: --output itself)",
    )
    migrate_parser.add_argument(
        "--missing",
        choices=["fail", "predict"],
        default="fail",
        help="what to do with a photo without a stored map: a failed row, or the network (default: %(default)s)",
    )
    add_rendering(migrate_parser, None)
    add_network(migrate_parser)
    add_running(migrate_parser)
    _add_dry_run(migrate_parser)
    compare_parser = commands.add_parser(
        "compare",
        help="see what another policy would change, before it is applied",
        description="Compare two policies on the stored maps of the newest report under a folder.",
        allow_abbrev=False,
    )
    compare_parser.add_argument(
        "--from", dest="from_dir", required=True, metavar="DIR", help="the output folder whose report and maps to use"
    )
    compare_parser.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="P",
        help="a policy as for run: B, beside the one in force; or given twice, A and B",
    )
    compare_parser.add_argument("--output", required=True, metavar="DIR", help="where the table and the sheet go")
    add_runner(compare_parser)
    verify_parser = commands.add_parser(
        "verify",
        help="compare the pictures and maps that are there with the newest report",
        description="Read every picture and map that the newest report names, and say what is missing, altered, "
        "orphaned or unreadable. The exit code is 1 if anything is.",
        allow_abbrev=False,
    )
    verify_parser.add_argument("--output", required=True, metavar="DIR", help="the output folder to verify")
    verify_parser.add_argument(
        "--repair", action="store_true", help="do just those rows again, with the settings of the report, and verify"
    )
    add_runner(verify_parser)
    status_parser = commands.add_parser(
        "status",
        help="see who is at work in an output folder, how far, and how the last ten runs ended",
        description="Say who is at work in an output folder, since when, how far that is, and how the last ten runs "
        "ended. Nothing is written, and it may be asked from anywhere.",
        allow_abbrev=False,
    )
    status_parser.add_argument("--output", required=True, metavar="DIR", help="the output folder")
    status_parser.add_argument("--json", action="store_true", help="print JSON")
    stop_parser = commands.add_parser(
        "stop",
        help="ask the run that is at work in an output folder to stop, wherever it is",
        description="Ask the run that is at work in an output folder to stop: what is in flight is finished, nothing "
        "more begun, and no report published. The same command as before goes on from there.",
        allow_abbrev=False,
    )
    stop_parser.add_argument("--output", required=True, metavar="DIR", help="the output folder")
    review_parser = commands.add_parser(
        "review",
        help="write a page on which to look at the worst masks, and to decide what becomes of them",
        description="Write review/index.html into an output folder: its newest report in figures, and its photos, the "
        "worst first. The page needs no server, and gives decisions as a file for --decisions.",
        allow_abbrev=False,
    )
    review_parser.add_argument("--output", required=True, metavar="DIR", help="the output folder")
    review_parser.add_argument(
        "--run", metavar="RUN", help="another release than the one in force, such as a candidate"
    )
    history_parser = commands.add_parser(
        "history",
        help="see the releases of an output folder: what each changed, and what it keeps alive",
        description="List the releases of an output folder, the newest first: when, by what, which settings differ "
        "from the release before, rows, and the bytes of pictures that no other release has. Nothing is written.",
        allow_abbrev=False,
    )
    history_parser.add_argument("--output", required=True, metavar="DIR", help="the output folder")
    history_parser.add_argument(
        "--keep_reports", type=int, metavar="N", help="say also what a run with this --keep_reports would remove"
    )
    history_parser.add_argument("--json", action="store_true", help="print JSON")
    for name, said, more in (
        ("rollback", "take a release back: the one before comes into force", "Nothing is rendered or copied."),
        ("publish", "bring a candidate into force", "The release in force must be the one that it was made from."),
        ("discard", "remove a candidate", "Pictures and maps that only it names go when reports are next removed."),
    ):
        parser_of = commands.add_parser(
            name,
            help=said,
            description=f"{said[0].upper()}{said[1:]}. {more} For outputs with fingerprints (--names fingerprint).",
            allow_abbrev=False,
        )
        parser_of.add_argument("--output", required=True, metavar="DIR", help="the output folder")
        if name == "rollback":
            parser_of.add_argument("--to", metavar="RUN", help="the release to go back to (default: the one before)")
        else:
            parser_of.add_argument("run", metavar="RUN", help="the candidate, as `history` names it")
    demo_parser = commands.add_parser(
        "demo",
        help="make a small sample catalog and run it (what no command at all does)",
        description="Render the sample catalog, put it on white, and measure the masks against the true ones.",
        allow_abbrev=False,
    )
    demo_parser.add_argument("--output", default="demo", metavar="DIR", help="where to (default: %(default)s)")
    add_network(demo_parser)
    _add_incremental(demo_parser)
    add_rendering(demo_parser, DEFAULT_POLICY)
    add_running(demo_parser)
    demo_parser.set_defaults(max_failure_fraction=0.1)  # one photo of it is cut short, and one shows nothing
    return parser


def _add_incremental(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is done again")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--force", action="store_true", help="do every row again, also what has not changed, and predict it anew"
    )
    which.add_argument(
        "--retry_failed", action="store_true", help="of the rows of the newest report, do only those that failed"
    )
    group.add_argument(
        "--prune", action="store_true", help="at the end, remove the pictures that no row of the manifests has"
    )


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print the job that would be handed in (runner, Beam's flags, stages, settings), and nothing else: no "
        "manifest, photo or output is looked at",
    )


def _add_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--partial",
        action="store_true",
        help="the manifests name only what is new or has changed and, by true in a column `deleted`, what is gone; all "
        "other rows stay as they are",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        metavar="ID",
        help="do these rows of the manifests, also if they have not changed, and carry all others of the newest report "
        "over as they are; ids, quoted patterns such as 'shoe-*', or @FILE with one of either a line",
    )


def _add_paths(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument(
        "--manifest",
        action="append",
        required=required,
        metavar="M",
        help="a CSV, JSON Lines or Parquet file with a uri column, also at an http(s) address; a glob of such files, a "
        "folder of images, or a glob of images; may be given more than once",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="a folder, or gs://bucket/prefix")
    parser.add_argument(
        "--decisions",
        metavar="FILE",
        help="a CSV of id, decision, parameters and note: what is decided on single photos, before any rule of the "
        "policy (default: decisions.csv beside the manifest, if there)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a TOML file of flags (default: whitesweep.toml beside the manifest, if there)"
    )
