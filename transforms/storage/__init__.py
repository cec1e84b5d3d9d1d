"""Bytes in and out: local paths and gs://; in only: http(s)://.

Nothing but this room touches storage, and the others use only the functions of this file. Each asks the store that a
URI's scheme belongs to; what a store must do is in store.py. Of photos it knows only that a server may fail one.

A local file is written beside its final name and renamed; an object appears whole when its one upload ends. So nobody
ever sees half a file (and a rename on an object store, which is a copy and a delete, is never needed).
"""

from __future__ import annotations

import glob as local_glob
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib import import_module

from transforms.errors import PhotoError
from transforms.storage.local import TEMPORARY, local_path
from transforms.storage.store import Blob, Buffered, SourceFacts, Store

__all__ = ["TEMPORARY", "Blob", "Buffered", "SourceFacts", "local_path"]

STORES = {"file": "local", "gs": "gcs", "http": "web", "https": "web"}
"""The module of each scheme; its STORE is what is asked. Imported when first asked: web and gcs take memory."""


def scheme(uri: str) -> str:
    """Name the storage that a URI belongs to: `file`, `gs`, or the scheme as written."""
    head, colon, _ = uri.partition("://")
    return head.lower() if colon and head.isalnum() else "file"


@lru_cache(maxsize=1 << 4)
def _store(kind: str) -> Store:
    store: Store = import_module(f"transforms.storage.{STORES[kind]}").STORE
    return store


def store_of(uri: str) -> Store:
    """Give the store of a URI.

    Raises:
        PhotoError: bad_row, there is none of this scheme.
    """
    kind = scheme(uri)
    if kind not in STORES:
        advice = "give a path, a gs:// or an https:// address"
        raise PhotoError("bad_row", f"{uri}: cannot read {kind}:// addresses; {advice}")
    return _store(kind)


def is_local(uri: str) -> bool:
    """Tell whether a URI names a file of this machine."""
    return scheme(uri) == "file"


def is_web(uri: str) -> bool:
    """Tell whether a URI is on a web server: it can be read, and nothing else."""
    return scheme(uri) in STORES and not store_of(uri).takes_outputs


def takes_outputs(uri: str) -> bool:
    """Tell whether an output can be there."""
    return scheme(uri) in STORES and store_of(uri).takes_outputs


def parallel(uri: str) -> int:
    """Tell how many answers of the store to wait for at once where many are due; 1 if there is nothing to wait for."""
    return store_of(uri).parallel


def join(folder: str, name: str) -> str:
    """Resolve a name against a folder, bucket prefix or web address; an absolute name or URI stays as it is."""
    if scheme(name) != "file" or name.lower().startswith("file://"):
        return name
    return store_of(folder).join(folder, name)


def parent(uri: str) -> str:
    """Give the folder that a file or object lies in."""
    return (store_of(uri) if scheme(uri) in STORES else Store()).parent(uri)


def path_of(uri: str) -> str:
    """Take off a web address what is not its path: what is asked of the server, and the place in the page."""
    return store_of(uri).path_of(uri) if scheme(uri) in STORES else uri


def read(uri: str, max_bytes: int | None = None, allow_private: bool = False) -> Blob:
    """Read a whole file or object, or what a web server answers.

    max_bytes: of a photo the most that it may have; None for what is no photo, and is waited for with more patience.
    allow_private: whether a web server may be at a private address.

    Raises:
        PhotoError: not_found, forbidden, blocked_address, too_large, timeout, http_error or bad_row (a scheme that is
            not read).
    """
    return store_of(uri).read(uri, max_bytes, allow_private)


def source_facts(uris: Iterable[str], allow_private: bool = False) -> dict[str, SourceFacts | None]:
    """Give of each photo its version and a content key, without reading it; None where that cannot be had.

    allow_private: as in read.
    """
    facts: dict[str, SourceFacts | None] = {}
    by_store: dict[str, list[str]] = defaultdict(list)
    for uri in uris:
        facts[uri] = None
        by_store[STORES.get(scheme(uri), "")].append(uri)
    for module, of_it in by_store.items():
        if module:
            facts |= store_of(of_it[0]).source_facts(of_it, allow_private)
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
    store_of(uri).write(uri, data, content_type, below, durable)


def link(source: str, uri: str, below: str | None = None) -> None:
    """Give a file or object a second name: locally a hard link, in a bucket a copy that the store makes by itself.

    What has the name is replaced. below: as in write.

    Raises:
        PhotoError: not_found, if there is no source; else as write does. FatalError: as write does.
    """
    if store_of(source) is not store_of(uri):
        write(uri, read(source).data, below=below)
    else:
        store_of(uri).link(source, uri, below)


def settle(folder: str) -> None:
    """See to it that what was written below a folder survives a power cut; an object does once it is written.

    Raises:
        FatalError: the disk did not take it.
    """
    store_of(folder).settle(folder)


def create(uri: str, data: bytes, content_type: str = "application/octet-stream", durable: bool = False) -> bool:
    """Write a whole file or object unless there is one of this name; tell whether it was written. durable: as in write.

    Raises:
        FatalError, PhotoError: as write does.
    """
    return store_of(uri).create(uri, data, content_type, durable)


def swap(uri: str, data: bytes, content_type: str, version: str, durable: bool = False) -> bool:
    """Write a whole file or object in the place of one that was read as `version`; tell whether it was still that one.

    Of a local file that holds among those who hold the folder's lock (see locked). durable: as in write.

    Raises:
        FatalError, PhotoError: as write does.
    """
    return store_of(uri).swap(uri, data, content_type, version, durable)


def delete(uri: str, below: str | None = None) -> None:
    """Delete a file or object; one that is gone already is well. below: as in write.

    Raises:
        FatalError, PhotoError: as write does.
    """
    store_of(uri).delete(uri, below)


def delete_folder(folder: str) -> None:
    """Delete everything below a folder or prefix.

    Raises:
        FatalError, PhotoError: as write does.
    """
    store_of(folder).delete_folder(folder)


def locked(folder: str) -> AbstractContextManager[None]:
    """Hold a local folder against others who lock it; of an object store there is nothing to hold."""
    return store_of(folder).locked(folder)


def exists(uri: str) -> bool:
    """Tell whether there is a file or object of this name."""
    return store_of(uri).exists(uri)


def sizes(uris: Sequence[str]) -> list[int | None]:
    """Give the sizes in bytes of files or objects of one store; None where there is none of that name.

    Raises:
        PhotoError: a store cannot be asked.
    """
    if not uris:
        return []
    store = store_of(uris[0])
    with ThreadPoolExecutor(store.parallel) as pool:
        return list(pool.map(store.size, uris))


def holds(uri: str, data: bytes) -> bool:
    """Tell whether there is a file or object of this name with exactly these bytes (of an object, by size and MD5)."""
    return store_of(uri).holds(uri, data)


def is_folder(uri: str) -> bool:
    """Tell whether a URI names a folder: a local directory, or a prefix under which there is an object."""
    return store_of(uri).is_folder(uri)


def list_files(folder: str) -> Iterator[str]:
    """List every file below a folder or prefix, hidden ones left out, in the order of their names.

    Raises:
        OSError, PhotoError: a folder in it cannot be listed; nothing is passed over in silence.
    """
    return store_of(folder).list_files(folder)


def list_sizes(folder: str, start: str = "", end: str = "") -> Iterator[tuple[str, int]]:
    """List name below the folder and size in bytes of every file or object, hidden ones and unfinished ones too.

    What lies behind a symbolic link is not below the folder: a link to another folder is said, and left alone.
    start, end: only names from here (inclusive) to there (exclusive), so that several can share a long list.
    There may be no such folder; then nothing is listed.

    Raises:
        OSError, PhotoError: a folder in it cannot be listed.
    """
    return store_of(folder).list_sizes(folder, start, end)


def glob(pattern: str) -> list[str]:
    """List the files that match a pattern (`*`, `?`, `[…]`; `**` spans folders), sorted; a name matches itself.

    A folder in it that is there by that name is no pattern, and neither is a web address.

    Raises:
        PhotoError: an object store cannot be asked.
    """
    return store_of(pattern).glob(pattern)


def split_pattern(pattern: str) -> tuple[str, str]:
    """Split a pattern into the folder to look in, and what is looked for below it.

    A folder that is there by the very name is taken for it, though the name may look like a pattern (`new [2]`).
    """
    return store_of(pattern).split_pattern(pattern)


def has_magic(pattern: str) -> bool:
    """Tell whether a name is a pattern rather than a plain name."""
    return not is_web(pattern) and local_glob.has_magic(pattern)


def same_file(one: str, other: str) -> bool:
    """Tell whether two URIs name the same file or object."""
    if not (is_local(one) and is_local(other)):
        return one == other
    return os.path.realpath(local_path(one)) == os.path.realpath(local_path(other))


def open_read(uri: str, largest_download: int) -> Buffered:
    """Open a file, an object or what a web server answers for reading in pieces. Whoever calls trusts the address.

    largest_download: bytes of what a web server may answer, which is fetched as a whole.

    Raises:
        OSError: it cannot be opened, or later, read to its end.
        PhotoError: a web server does not give it.
    """
    return store_of(uri).open_read(uri, largest_download)
