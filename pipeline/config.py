"""Settings in a file, so that every night says the same: whitesweep.toml beside the manifest, or that of --config."""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Sequence
from typing import Any

from pipeline.errors import RequestError
from pipeline.flags import Parser, make_parser
from transforms import storage
from transforms.errors import PhotoError

NAME = "whitesweep.toml"
COMMANDS = ("run", "migrate", "plan", "watch")
NOT_IN_A_FILE = (
    *("config", "detach", "dry_run", "every", "force", "from", "json", "manifest", "missing", "only", "output"),
    *("partial", "photos", "retry_failed"),
)
"""What is of one night, or says where to look for the file."""
PATHS = ("decisions", "policy", "profile", "weights")
"""What may name a file: relative to the folder that the settings are in."""


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse a command line, with what a file of settings adds to it; flags win over the file.

    Returns:
        the flags, with `config`, the file or None, and `configured`, the names that the file decides; and Beam's flags.

    Raises:
        RequestError: a flag, or the file, cannot be what it is.
    """
    parser = make_parser()
    given = list(arguments)
    if not given or given[0] not in COMMANDS:
        return parser.parse_known_args(given)
    file = _find(given[1:])
    words, names = ([], []) if file is None else _words(file, parser, given)
    try:
        flags, others = parser.parse_known_args([given[0], *words, *given[1:]])
    except RequestError as error:
        if words and _parses(parser, given):
            raise RequestError(f"{file}: {error}") from error
        raise
    flags.config, flags.configured = file, tuple(names)
    return flags, others


def _parses(parser: Parser, arguments: list[str]) -> bool:
    try:
        parser.parse_known_args(arguments)
    except RequestError:
        return False
    return True


def _find(arguments: Sequence[str]) -> str | None:
    """Find the file: the one that is named, or the one beside the first manifest."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    own.add_argument("--config")
    own.add_argument("--manifest", "--photos", action="append", default=[])
    own.add_argument("--dry_run", action="store_true")
    try:
        known, _ = own.parse_known_args(list(arguments))
    except argparse.ArgumentError:
        return None  # the whole parser will say what is wrong
    if known.config is not None:
        return str(known.config)
    return None if known.dry_run and not all(map(storage.is_local, known.manifest)) else beside(known.manifest, NAME)


def beside(manifests: Sequence[str], name: str) -> str | None:
    """Find a file of a name beside the first of some manifests.

    Raises:
        RequestError: one cannot look there.
    """
    if not manifests or storage.is_web(manifests[0]):
        return None
    try:
        file = storage.join(_folder(manifests[0]), name)
        return file if storage.exists(file) else None
    except PhotoError as error:
        raise RequestError(f"--manifest {error.message}") from error
    except Exception as error:  # whatever keeps us from it: a bucket that cannot be reached, a name that is none
        reason = str(error).partition("\n")[0]
        raise RequestError(f"--manifest {manifests[0]}: cannot be looked at: {reason}") from error


def _folder(manifest: str) -> str:
    if storage.has_magic(manifest):
        return storage.split_pattern(manifest)[0] or "."
    return manifest.rstrip("/") if storage.is_folder(manifest) else storage.parent(manifest) or "."


def _words(file: str, parser: Parser, given: list[str]) -> tuple[list[str], list[str]]:
    """Give the flags that a file stands for, and the names of those that no flag overrides."""
    command = given[0]
    allowed, ours = _options(parser, "run"), _options(parser, command)
    words, names = [], []
    for name, value in _read(file).items():
        if name not in allowed or name in NOT_IN_A_FILE:
            close = difflib.get_close_matches(name, set(allowed) - set(NOT_IN_A_FILE), 1)
            hint = f"; did you mean {close[0]}?" if close else "; it may have the flags of run"
            why = "is for the command line alone" if name in NOT_IN_A_FILE else "is no setting"
            raise RequestError(f"{file}: {name!r} {why}{hint if why == 'is no setting' else ''}")
        if name not in ours:
            continue  # of `run`, in a file that other commands read too
        if isinstance(allowed[name], argparse._StoreTrueAction):
            if not isinstance(value, bool):
                raise RequestError(f"{file}: {name} is {value!r}; expected true or false")
            words += [f"--{name}"] if value else []
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise RequestError(f"{file}: {name} is {value!r}; expected one word or number")
        else:
            words.append(f"--{name}={_place(file, str(value)) if name in PATHS else value}")
        if not any(word == f"--{name}" or word.startswith(f"--{name}=") for word in given):
            names.append(name)
    return words, names


def _options(parser: Parser, command: str) -> dict[str, argparse.Action]:
    """Give the flags of a command by their names, without the dashes."""
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    actions = commands.choices[command]._actions
    return {word.removeprefix("--"): a for a in actions for word in a.option_strings if word.startswith("--")}


def _read(file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(storage.read(file).data.decode("utf-8-sig"))
    except PhotoError as error:
        raise RequestError(f"--config {error.message}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{file}: not TOML: {error}") from error


def _place(file: str, value: str) -> str:
    """Place a path of the file beside it; a threshold and the name of a method are none."""
    return storage.join(storage.parent(file) or ".", value) if "." in value and not _is_number(value) else value


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
