"""Some rows of the manifests: those whose ids are named, or fit a pattern."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

from transforms import storage
from transforms.errors import PhotoError


class SelectionError(Exception):
    """What selects rows cannot be read, or says nothing; one line."""


def read_selection(words: Iterable[str]) -> tuple[str, ...]:
    """Read what the user gave for --only: ids, patterns, or `@FILE` with one of either a line.

    Raises:
        SelectionError: a file cannot be read, or nothing is left.
    """
    found: list[str] = []
    for word in words:
        if not word.startswith("@"):
            found.append(word)
            continue
        try:
            text = storage.read(word[1:]).data.decode("utf-8-sig")
        except (PhotoError, UnicodeDecodeError) as error:
            raise SelectionError(f"--only {word}: cannot be read: {getattr(error, 'message', error)}") from error
        found += text.splitlines()
    selection = tuple(dict.fromkeys(word.strip() for word in found if word.strip()))
    if not selection:
        raise SelectionError("--only: names no id")
    return selection


def matches(selection: tuple[str, ...], id: str) -> list[str]:
    """Give the ids and patterns of a selection that an id meets: itself, or those it fits where nothing is it itself.

    A pattern has `*`, `?` and `[…]`; `*` stands for slashes too, and capitals are not small letters.
    """
    exact, patterns = _compiled(selection)
    return [id] if id in exact else [word for word, pattern in patterns if pattern.match(id)]


@lru_cache(maxsize=4)
def _compiled(selection: tuple[str, ...]) -> tuple[frozenset[str], list[tuple[str, re.Pattern[str]]]]:
    patterns = [(word, re.compile(fnmatch.translate(word))) for word in selection if re.search(r"[*?\[]", word)]
    return frozenset(selection), patterns
