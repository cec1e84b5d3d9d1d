"""Bytes in and out: local paths and gs://; in only: http(s)://.

Nothing but this module and those that it speaks for touches storage.
A local file is written beside its final name and renamed; an object appears whole when its one upload ends. So nobody
ever sees half a file (and a rename on an object store, which is a copy and a delete, is never needed).
"""

from __future__ import annotations

import glob as local_glob
import io
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache
from types import ModuleType
from typing import IO
from urllib.parse import unquote, urljoin

from transforms.errors import PhotoError
from transforms.storage import gcs, local
from transforms.storage.gcs import GS
from transforms.storage.store import Blob, SourceFacts

TEMPORARY = local.TEMPORARY


def scheme(uri: str) -> str:
    """Name the storage that a URI belongs to: `file`, `gs`, or the scheme as written."""
    head, colon, _ = uri.partition("://")
    return head.lower() if colon and head.isalnum() else "file"


def local_path(uri: str) -> str:
    """Turn a local URI into a path: `file:///a%20b` is unquoted, a plain path stays."""
    if uri.lower().startswith("file://"):
        _, slash, path = uri[len("file://") :].partition("/")  # before the slash stands the host: none, or this one
        return unquote(slash + path)
    return uri


def join(folder: str, name: str) -> str:
    """Resolve a name against a folder, bucket prefix or web address; an absolute name or URI stays as it is."""
    if is_web(folder) and scheme(name) == "file" and not name.lower().startswith("file://"):
        with suppress(ValueError):  # not an address, as reading it will say
            return urljoin(f"{folder}/", name)
        return f"{folder}/{name}"
    if scheme(name) != "file" or name.lower().startswith("file://") or os.path.isabs(name):
        return name
    if scheme(folder) == "file":
        return _normal(os.path.join(local_path(folder), name))
    bucket, path = gcs.split(folder)
    return f"{GS}{bucket}/{posixpath.normpath(posixpath.join('/', path, name)).lstrip('/')}"


def _normal(path: str) -> str:
    """Take `.` and `//` out of a local path, and `..` as the file system does: behind a link it leads elsewhere."""
    up, dots, rest = path.rpartition("/../")
    if dots:
        with suppress(ValueError, OSError):  # no path, as reading it will say
            path = os.path.join(_real(f"{up}/.."), rest)
    return os.path.normpath(path)


@lru_cache(maxsize=1 << 12)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def parent(uri: str) -> str:
    """Give the folder that a file or object lies in."""
    if scheme(uri) == "file":
        return os.path.dirname(os.path.abspath(local_path(uri)))
    return path_of(uri).rsplit("/", 1)[0]


def is_web(uri: str) -> bool:
    """Tell whether a URI is on a web server: it can be read, and nothing else."""
    return scheme(uri) in ("http", "https")


def path_of(uri: str) -> str:
    """Take off a web address what is not its path: what is asked of the server, and the place in the page."""
    return re.split("[?#]", uri, maxsplit=1)[0] if is_web(uri) else uri


def read(uri: str, max_bytes: int | None = None, allow_private: bool = False) -> Blob:
    """Read a whole file or object, or what a web server answers.

    allow_private: whether a web server may be at a private address.

    Raises:
        PhotoError: not_found, forbidden, blocked_address, too_large, timeout, http_error or bad_row (a scheme that is
            not read).
    """
    kind = scheme(uri)
    if kind == "file":
        return local.read(local_path(uri), max_bytes)
    if kind == "gs":
        return gcs.read(uri, max_bytes)
    if is_web(uri):
        return _web().read(uri, max_bytes, allow_private)
    raise PhotoError("bad_row", f"{uri}: cannot read {kind}:// addresses; give a path, a gs:// or an https:// address")


def _web() -> ModuleType:
    """Give the module that speaks to web servers. Imported late: most catalogs need none of it, and it takes memory."""
    from transforms.storage import web

    return web


def source_facts(uris: Iterable[str], allow_private: bool = False) -> dict[str, SourceFacts | None]:
    """Give of each photo its version and a content key, without reading it; None where that cannot be had.

    allow_private: as in read.
    """
    uris = list(uris)
    facts = gcs.source_facts([uri for uri in uris if scheme(uri) == "gs"])
    if pages := [uri for uri in uris if is_web(uri)]:
        facts |= _web().source_facts(pages, allow_private)
    for uri in uris:
        if uri not in facts:
            facts[uri] = local.source_facts(local_path(uri)) if scheme(uri) == "file" else None
    return facts


def write(
    uri: str,
    data: bytes,
    content_type: str = "application/octet-stream",
    below: str | None = None,
    durable: bool = False,
) -> None:
    """Write a whole file or object; it appears complete or not at all.

    below: the folder below which no symbolic link is followed. durable: only return once it would survive a power cut.

    Raises:
        FatalError: the disk is full, or the whole file system cannot be written.
        PhotoError: write_failed, for this name alone.
    """
    if scheme(uri) == "gs":
        gcs.write(uri, data, content_type)
    else:
        local.write(local_path(uri), data, below=below, durable=durable)


def settle(folder: str) -> None:
    """See to it that what was written below a folder survives a power cut; an object does once it is written.

    Raises:
        FatalError: the disk did not take it.
    """
    if scheme(folder) == "file":
        local.settle(local_path(folder))


def create(uri: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
    """Write a whole file or object unless there is one of this name; tell whether it was written.

    Raises:
        FatalError, PhotoError: as write does.
    """
    try:
        if scheme(uri) == "gs":
            gcs.write(uri, data, content_type, generation=0)
        else:
            local.write(local_path(uri), data, exclusive=True)
    except FileExistsError:
        return False
    return True


def swap(uri: str, data: bytes, content_type: str, version: str) -> bool:
    """Write a whole file or object in the place of one that was read as `version`; tell whether it was still that one.

    Of a local file that holds among those who hold the folder's lock (see locked).

    Raises:
        FatalError, PhotoError: as write does.
    """
    if scheme(uri) == "gs":
        try:
            gcs.write(uri, data, content_type, generation=int(version))
        except FileExistsError:
            return False
        return True
    found = local.source_facts(local_path(uri))
    if found is None or found.version != version:
        return False
    local.write(local_path(uri), data)
    return True


def delete(uri: str, below: str | None = None) -> None:
    """Delete a file or object; one that is gone already is well. below: as in write.

    Raises:
        FatalError, PhotoError: as write does.
    """
    if scheme(uri) == "gs":
        gcs.delete(uri)
    else:
        local.delete(local_path(uri), below)


def delete_folder(folder: str) -> None:
    """Delete everything below a folder or prefix.

    Raises:
        FatalError, PhotoError: as write does.
    """
    if scheme(folder) == "gs":
        for name, _ in list(list_sizes(folder)):
            gcs.delete(f"{folder}/{name}")
    else:
        local.delete_folder(local_path(folder))


def locked(folder: str) -> AbstractContextManager[None]:
    """Hold a local folder against others who lock it; of an object store there is nothing to hold."""
    return nullcontext() if scheme(folder) == "gs" else local.locked(local_path(folder))


def exists(uri: str) -> bool:
    """Tell whether there is a file or object of this name."""
    return gcs.exists(uri) if scheme(uri) == "gs" else os.path.isfile(local_path(uri))


def holds(uri: str, data: bytes) -> bool:
    """Tell whether there is a file or object of this name with exactly these bytes (of an object, by size and MD5)."""
    return gcs.holds(uri, data) if scheme(uri) == "gs" else local.holds(local_path(uri), data)


def is_folder(uri: str) -> bool:
    """Tell whether a URI names a folder: a local directory, or a prefix under which there is an object."""
    if scheme(uri) == "gs":
        return next(iter(list_files(uri)), None) is not None
    return not is_web(uri) and os.path.isdir(local_path(uri))


def list_files(folder: str) -> Iterator[str]:
    """List every file below a folder or prefix, hidden ones left out, in the order of their names.

    Raises:
        OSError, PhotoError: a folder in it cannot be listed; nothing is passed over in silence.
    """
    if scheme(folder) != "gs":
        yield from (e.path for _, e in local.walk(local_path(folder)) if not e.name.startswith("."))
        return
    bucket, prefix = gcs.split(_as_folder(folder))
    for blob in gcs.list_blobs(bucket, prefix):
        if not any(part.startswith(".") for part in blob.name[len(prefix) :].split("/")):
            yield f"{GS}{bucket}/{blob.name}"


def list_sizes(folder: str, start: str = "", end: str = "") -> Iterator[tuple[str, int]]:
    """List name below the folder and size in bytes of every file or object, hidden ones and unfinished ones too.

    What lies behind a symbolic link is not below the folder: a link to another folder is said, and left alone.
    start, end: only names from here (inclusive) to there (exclusive), so that several can share a long list.
    There may be no such folder; then nothing is listed.

    Raises:
        OSError, PhotoError: a folder in it cannot be listed.
    """
    if scheme(folder) == "gs":
        bucket, prefix = gcs.split(_as_folder(folder))
        for blob in gcs.list_blobs(bucket, prefix, prefix + start, prefix + end if end else None):
            yield blob.name[len(prefix) :], blob.size
        return
    path = local_path(folder)
    if not os.path.isdir(path):
        return
    for name, entry in local.walk(path, follow=False):
        if name >= start and (not end or name < end):
            with suppress(OSError):  # gone since, or a link to nowhere
                yield name, entry.stat().st_size


def _as_folder(uri: str) -> str:
    """End a prefix with a slash; a whole bucket has none."""
    return f"{uri.rstrip('/')}/" if gcs.split(uri)[1] else uri


def glob(pattern: str) -> list[str]:
    """List the files that match a pattern (`*`, `?`, `[…]`; `**` spans folders), sorted; a name matches itself.

    A folder in it that is there by that name is no pattern, and neither is a web address.

    Raises:
        PhotoError: an object store cannot be asked.
    """
    if is_web(pattern):
        return [pattern]
    if exists(pattern):  # a name may itself contain a bracket
        return [pattern if scheme(pattern) == "gs" else local_path(pattern)]
    folder, rest = split_pattern(pattern)
    if not local_glob.has_magic(rest):
        return []
    if scheme(pattern) == "gs":
        bucket, prefix = gcs.split(_as_folder(folder))
        matcher = gcs.glob_regex(rest)
        prefix += rest[: min(rest.find(c) for c in "*?[" if c in rest)]
        listed = (blob.name for blob in gcs.list_blobs(bucket, prefix))
        start = len(gcs.split(_as_folder(folder))[1])
        return sorted(f"{GS}{bucket}/{found}" for found in listed if matcher.fullmatch(found[start:]))
    found = local_glob.glob(rest, root_dir=folder or None, recursive=True)
    return sorted(path for name in found if os.path.isfile(path := os.path.join(folder, name)))


def split_pattern(pattern: str) -> tuple[str, str]:
    """Split a pattern into the folder to look in, and what is looked for below it.

    A folder that is there by the very name is taken for it, though the name may look like a pattern (`new [2]`).
    """
    if is_web(pattern):
        return parent(pattern), pattern.rpartition("/")[2]
    head = f"{GS}{gcs.split(pattern)[0]}/" if scheme(pattern) == "gs" else ""
    path = pattern[len(head) :] if head else local_path(pattern)
    *folders, rest = path.split("/")
    found: list[str] = []
    for at, name in enumerate(folders):
        if local_glob.has_magic(name) and not is_folder(head + "/".join([*found, name])):
            rest = "/".join([*folders[at:], rest])
            break
        found.append(name)
    folder = "/".join(found)
    return (f"{head}{folder}".rstrip("/") if head else folder or "/" * path.startswith("/")), rest


def has_magic(pattern: str) -> bool:
    """Tell whether a name is a pattern rather than a plain name."""
    return not is_web(pattern) and local_glob.has_magic(pattern)


def same_file(one: str, other: str) -> bool:
    """Tell whether two URIs name the same file or object."""
    if scheme(one) != "file" or scheme(other) != "file":
        return one == other
    return os.path.realpath(local_path(one)) == os.path.realpath(local_path(other))


def open_read(uri: str, largest_download: int) -> IO[bytes]:
    """Open a file, an object or what a web server answers for reading in pieces. Whoever calls trusts the address.

    largest_download: bytes of what a web server may answer, which is fetched as a whole.

    Raises:
        OSError: it cannot be opened, or later, read to its end.
        PhotoError: a web server does not give it.
    """
    if is_web(uri):
        return _web().download(uri, allow_private=True, max_bytes=largest_download)
    if scheme(uri) == "gs":
        return io.BufferedReader(gcs.ObjectReader(uri), buffer_size=1 << 20)
    return open(local_path(uri), "rb")
