"""What a store must do.

A new one is a file with a class of these and an instance of it, STORE, and a row in the table of `transforms.storage`.
Errors are what the functions there say.
"""

from __future__ import annotations

import glob as local_glob
import io
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NoReturn

from transforms.errors import PhotoError

Buffered = io.BufferedReader | io.BufferedRandom
"""What a file is read from in pieces: it can be looked into (`peek`) before it is read."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file or object as it was read.

    version: size and mtime_ns of a file, generation of an object, strong ETag and address of a web server's, or empty.
    """

    data: bytes
    version: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What can be known of a photo without reading it.

    version: as in Blob. content_key: gives what equal files have in common, or None if that cannot be had.
    """

    version: str
    content_key: Callable[[], str | None]


class Store:
    """A store, by the URIs of its files. What each method means is said where it is called, in `transforms.storage`.

    takes_outputs: files can be written. parallel: how many answers to wait for at once where many are due.
    """

    takes_outputs = True
    parallel = 1

    def read(self, uri: str, max_bytes: int | None, allow_private: bool) -> Blob:
        """See storage.read."""
        raise NotImplementedError

    def source_facts(self, uris: Iterable[str], allow_private: bool) -> dict[str, SourceFacts | None]:
        """See storage.source_facts."""
        raise NotImplementedError

    def open_read(self, uri: str, largest_download: int) -> Buffered:
        """See storage.open_read."""
        raise NotImplementedError

    def join(self, folder: str, name: str) -> str:
        """Resolve a name, which is no URI, against a folder."""
        raise NotImplementedError

    def parent(self, uri: str) -> str:
        """See storage.parent."""
        return self.path_of(uri).rsplit("/", 1)[0]

    def path_of(self, uri: str) -> str:
        """See storage.path_of."""
        return uri

    def glob(self, pattern: str) -> list[str]:
        """See storage.glob."""
        raise NotImplementedError

    def split_pattern(self, pattern: str) -> tuple[str, str]:
        """See storage.split_pattern."""
        raise NotImplementedError

    def is_folder(self, uri: str) -> bool:
        """See storage.is_folder."""
        return False

    def list_files(self, folder: str) -> Iterator[str]:
        """See storage.list_files."""
        raise NotImplementedError

    # What follows is asked only of a store that takes outputs.

    def write(self, uri: str, data: bytes, content_type: str, below: str | None, durable: bool) -> None:
        """See storage.write."""
        self._refuse(uri)

    def link(self, source: str, uri: str, below: str | None) -> None:
        """See storage.link."""
        self._refuse(uri)

    def create(self, uri: str, data: bytes, content_type: str, durable: bool) -> bool:
        """See storage.create."""
        self._refuse(uri)

    def swap(self, uri: str, data: bytes, content_type: str, version: str, durable: bool) -> bool:
        """See storage.swap."""
        self._refuse(uri)

    def delete(self, uri: str, below: str | None) -> None:
        """See storage.delete."""
        self._refuse(uri)

    def delete_folder(self, folder: str) -> None:
        """See storage.delete_folder."""
        self._refuse(folder)

    def exists(self, uri: str) -> bool:
        """See storage.exists."""
        self._refuse(uri)

    def size(self, uri: str) -> int | None:
        """See storage.sizes."""
        self._refuse(uri)

    def holds(self, uri: str, data: bytes) -> bool:
        """See storage.holds."""
        self._refuse(uri)

    def list_sizes(self, folder: str, start: str, end: str) -> Iterator[tuple[str, int]]:
        """See storage.list_sizes."""
        self._refuse(folder)

    def settle(self, folder: str) -> None:
        """See storage.settle. Of an object store nothing is to be done."""

    def locked(self, folder: str) -> AbstractContextManager[None]:
        """See storage.locked. Of an object store there is nothing to hold."""
        return nullcontext()

    def _refuse(self, uri: str) -> NoReturn:
        raise PhotoError("write_failed", f"{uri}: an output is in a folder or at a gs:// address")


class ObjectStore(Store):
    """A store of buckets: what can be done by listing a prefix. root: its scheme with slashes, `gs://`.

    Left to each: read, source_facts, open_read, list_objects (in the order of names), write, create and swap (both on
    a condition that the store itself holds), delete, exists and holds.
    """

    root: str

    def list_objects(self, bucket: str, prefix: str, start: str = "", end: str = "") -> Iterator[tuple[str, int]]:
        """List name and size in bytes of the objects of a prefix, from a name on (inclusive) up to one (exclusive)."""
        raise NotImplementedError

    def split(self, uri: str) -> tuple[str, str]:
        """Split an address into bucket and name."""
        bucket, _, name = uri[len(self.root) :].partition("/")
        return bucket, name

    def join(self, folder: str, name: str) -> str:
        """Resolve a name against a prefix; an absolute path is a local file."""
        if os.path.isabs(name):
            return name
        bucket, path = self.split(folder)
        return f"{self.root}{bucket}/{posixpath.normpath(posixpath.join('/', path, name)).lstrip('/')}"

    def _prefix(self, folder: str) -> tuple[str, str]:
        """Give the bucket of a folder, and what the names in it begin with; in a whole bucket that is nothing."""
        bucket, name = self.split(folder)
        return bucket, f"{name.rstrip('/')}/" if name else ""

    def is_folder(self, uri: str) -> bool:
        """Tell whether there is an object below a prefix."""
        return next(iter(self.list_files(uri)), None) is not None

    def list_files(self, folder: str) -> Iterator[str]:
        """List the objects below a prefix, hidden ones left out."""
        bucket, prefix = self._prefix(folder)
        for name, _ in self.list_objects(bucket, prefix):
            if not any(part.startswith(".") for part in name[len(prefix) :].split("/")):
                yield f"{self.root}{bucket}/{name}"

    def list_sizes(self, folder: str, start: str, end: str) -> Iterator[tuple[str, int]]:
        """List name and size of all objects below a prefix."""
        bucket, prefix = self._prefix(folder)
        for name, size in self.list_objects(bucket, prefix, prefix + start, prefix + end if end else ""):
            yield name[len(prefix) :], size

    def delete_folder(self, folder: str) -> None:
        """Delete one object after the other."""
        for name, _ in list(self.list_sizes(folder, "", "")):
            self.delete(f"{folder}/{name}", None)

    def split_pattern(self, pattern: str) -> tuple[str, str]:
        """Split behind the last folder that is none of the pattern."""
        head = f"{self.root}{self.split(pattern)[0]}/"
        folder, rest = split_path(pattern[len(head) :], lambda path: self.is_folder(head + path))
        return f"{head}{folder}".rstrip("/"), rest

    def glob(self, pattern: str) -> list[str]:
        """List the objects whose names match."""
        if self.exists(pattern):  # a name may itself contain a bracket
            return [pattern]
        folder, rest = self.split_pattern(pattern)
        if not local_glob.has_magic(rest):
            return []
        bucket, prefix = self._prefix(folder)
        matcher = glob_regex(rest)
        plain = rest[: min(rest.find(c) for c in "*?[" if c in rest)]
        listed = (name for name, _ in self.list_objects(bucket, prefix + plain))
        return sorted(f"{self.root}{bucket}/{name}" for name in listed if matcher.fullmatch(name[len(prefix) :]))


def split_path(path: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    """Split a pattern of names into the folders that are there by these very names, and the rest."""
    *folders, rest = path.split("/")
    found: list[str] = []
    for at, name in enumerate(folders):
        if local_glob.has_magic(name) and not is_folder("/".join([*found, name])):
            rest = "/".join([*folders[at:], rest])
            break
        found.append(name)
    return "/".join(found), rest


def glob_regex(pattern: str) -> re.Pattern[str]:
    """Compile a glob for object names, with the same meaning as for local files: `*` stays within a folder."""
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

    def translate(token: str) -> str:
        if token.startswith("[") and token.endswith("]"):
            return token.replace("[!", "[^", 1)
        return wild.get(token) or re.escape(token)

    try:
        return re.compile("".join(map(translate, re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern))))
    except re.error as error:
        raise ValueError(f"{pattern}: not a pattern: {error}") from error
