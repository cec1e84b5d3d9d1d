"""Local files: read with their version, written beside their final name and renamed, walked without circles."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob as local_glob
import hashlib
import logging
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from urllib.parse import unquote

from transforms.errors import FatalError, PhotoError
from transforms.storage.store import Blob, Buffered, SourceFacts, Store, split_path

TEMPORARY = ".whitesweep-tmp"
"""Ending of a file that is being written."""

STOPS_THE_RUN = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EROFS: "read-only"}
"""Write errors that the next photo would meet too."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Read errors that say something of this process rather than of the file."""

MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)

TAIL = 4096

LOCK_S = 30.0
"""A lock is held for milliseconds."""


def version_of(facts: os.stat_result) -> str:
    """Name the state of a file: its size and its modification time in ns."""
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def read(path: str, max_bytes: int | None) -> Blob:
    """Read a file (see storage.read)."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            raise PhotoError("not_found", f"{path}: not a file")
        with open(path, "rb") as stream:
            facts = os.fstat(stream.fileno())
            # Not simply `limit`: Python takes that much memory first, for every photo.
            limit = sys.maxsize if max_bytes is None else max_bytes + 1
            data = stream.read(min(facts.st_size + 1, limit))
            if len(data) > facts.st_size:  # it grew, or its size cannot be known
                data += stream.read(limit - len(data)) if max_bytes is not None else stream.read()
        if max_bytes is not None and len(data) > max_bytes:
            size = max(facts.st_size, len(data))
            raise PhotoError("too_large", f"{path}: {size} bytes, the limit is {max_bytes} (--max_bytes)")
    except ValueError:  # a NUL in the name
        raise PhotoError("not_found", f"{path!r}: not a file name") from None
    except PermissionError:
        raise PhotoError("forbidden", f"{path}: permission denied") from None
    except OSError as error:
        if error.errno in MISSING:
            raise PhotoError("not_found", f"{path}: {os.strerror(error.errno).lower()}") from None
        if error.errno in EXHAUSTED:
            raise FatalError(f"{path}: cannot be read, {os.strerror(error.errno).lower()}") from error
        raise PhotoError("read_failed", f"{path}: {error.strerror or error}") from error
    return Blob(data, version_of(facts))


def source_facts(path: str) -> SourceFacts | None:
    """Give a file's version, and a content key of its size and its last bytes; None if there is no such file.

    The end of a compressed picture differs where the pictures do. Equal files have equal keys; that is all that counts.
    """
    try:
        facts = os.stat(path)
        if not stat.S_ISREG(facts.st_mode):
            return None
        return SourceFacts(version_of(facts), lambda: _content_key(path, facts.st_size))
    except (OSError, ValueError):
        return None


def _content_key(path: str, size: int) -> str | None:
    try:
        with open(path, "rb", buffering=0) as stream:
            stream.seek(max(0, size - TAIL))
            return f"{size}-{hashlib.blake2b(stream.read(TAIL), digest_size=12).hexdigest()}"
    except OSError:
        return None


def holds(path: str, data: bytes) -> bool:
    """Tell whether there is a file of this name with exactly these bytes."""
    try:
        with open(path, "rb") as stream:
            return os.fstat(stream.fileno()).st_size == len(data) and stream.read() == data
    except OSError:
        return False


def write(path: str, data: bytes, exclusive: bool = False, below: str | None = None, durable: bool = False) -> None:
    """Write a file whole, replacing an older one; exclusively: fail if there is one (see storage.write, create)."""
    refuse_links(path, below)
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}{TEMPORARY}")
    try:
        try:
            stream = open(temporary, "xb")  # noqa: SIM115 - closed below, on a name that may be unlinked
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            stream = open(temporary, "xb")  # noqa: SIM115
        with stream:
            stream.write(data)
            if durable:  # or the name may survive a power cut and the bytes not
                stream.flush()
                os.fsync(stream.fileno())
        if exclusive:
            _rename_exclusively(temporary, path)
        else:
            os.replace(temporary, path)
        if durable:
            sync_folder(folder)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and not isinstance(error, FileExistsError):
            raise write_error(path, error) from error
        raise


def link(source: str, path: str, below: str | None = None) -> None:
    """Give a file a second name, or copy it where the file system has no hard links (see storage.link)."""
    refuse_links(path, below)
    temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(8)}{TEMPORARY}")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.link(source, temporary)
    except FileNotFoundError as error:
        raise PhotoError("not_found", f"{source}: no such file") from error
    except OSError:
        write(path, read(source, None).data, below=below)
        return
    try:
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with suppress(OSError):  # of two names for one file, rename removes none
            os.unlink(temporary)


def _rename_exclusively(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links; who needs more than this takes a lock
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(temporary, path)
    else:
        os.unlink(temporary)


def write_error(path: str, error: OSError) -> FatalError | PhotoError:
    """Say whether an error of writing is this file's, or would be everybody's."""
    if error.errno in STOPS_THE_RUN:
        return FatalError(f"{path}: cannot write, {STOPS_THE_RUN[error.errno]}")
    return PhotoError("write_failed", f"{path}: {error.strerror or error}")


def sync_folder(folder: str) -> None:
    """See to it that the names in a folder are on the disk."""
    handle = os.open(folder or ".", os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that cannot, such as some of the network
            os.fsync(handle)
    finally:
        os.close(handle)


def settle(folder: str) -> None:
    """See to it that all that was written to a folder's file system, by whatever process, is on the disk.

    One call for the file system costs less than one for each of millions of pictures, most of which are there already.

    Raises:
        FatalError: something could not be written.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not hasattr(_libc(), "syncfs"):  # macOS
            os.sync()
        elif _libc().syncfs(handle):
            code = ctypes.get_errno()
            raise FatalError(f"{folder}: the disk did not take all that was written: {os.strerror(code).lower()}")
    finally:
        os.close(handle)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def refuse_links(path: str, below: str | None) -> None:
    """Make sure that no folder between one and a file in it is a symbolic link: what is behind it is somebody else's.

    Raises:
        PhotoError: write_failed, if one is.
    """
    folder = os.path.dirname(path)
    while below is not None and len(folder) > len(below):
        if os.path.islink(folder):
            raise PhotoError("write_failed", f"{folder}: a symbolic link; nothing is written or removed behind it")
        folder = os.path.dirname(folder)


def delete(path: str, below: str | None = None) -> None:
    """Delete a file; one that is gone already is well."""
    refuse_links(path, below)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_error(path, error) from error


def walk(folder: str, follow: bool = True) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give every file below a folder in the order of names, hidden ones too, hidden folders not, and its relative name.

    Symbolic links are followed, but not in circles; or, if follow is false, said once and not followed.

    Raises:
        OSError: a folder cannot be listed; nothing is passed over in silence.
    """
    seen = set()
    waiting = [("", folder)]
    while waiting:
        prefix, here = waiting.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        folders = []
        with os.scandir(here) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            if not _is_folder(entry):
                yield prefix + entry.name, entry
            elif not follow and entry.is_symlink():
                _say_link(entry.path)
            elif not entry.name.startswith("."):
                folders.append((f"{prefix}{entry.name}/", entry.path))
        waiting += reversed(folders)


@lru_cache(maxsize=1000)
def _say_link(path: str) -> None:
    logging.getLogger("whitesweep").warning("%s: a link to another folder, which is left alone", path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def delete_folder(path: str) -> None:
    """Delete a folder with all that is in it; one that is gone already is well."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Hold an advisory lock on a folder, against other processes that take it too; it is made if it is not there.

    Raises:
        PhotoError: write_failed, if somebody holds it for so long that he must have been suspended.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    handle = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + LOCK_S
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PhotoError("write_failed", f"{folder}: locked by a process that does not go on") from None
                time.sleep(0.01)
            except OSError:  # a file system without locks
                break
            else:
                break
        yield
    finally:
        os.close(handle)


def local_path(uri: str) -> str:
    """Turn a local URI into a path: `file:///a%20b` is unquoted, a plain path stays."""
    if uri.lower().startswith("file://"):
        _, slash, path = uri[len("file://") :].partition("/")  # before the slash stands the host: none, or this one
        return unquote(slash + path)
    return uri


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


class _Local(Store):
    def read(self, uri: str, max_bytes: int | None, allow_private: bool) -> Blob:
        return read(local_path(uri), max_bytes)

    def source_facts(self, uris: Iterable[str], allow_private: bool) -> dict[str, SourceFacts | None]:
        return {uri: source_facts(local_path(uri)) for uri in uris}

    def open_read(self, uri: str, largest_download: int) -> Buffered:
        return open(local_path(uri), "rb")

    def join(self, folder: str, name: str) -> str:
        return name if os.path.isabs(name) else _normal(os.path.join(local_path(folder), name))

    def parent(self, uri: str) -> str:
        return os.path.dirname(os.path.abspath(local_path(uri)))

    def glob(self, pattern: str) -> list[str]:
        if self.exists(pattern):  # a name may itself contain a bracket
            return [local_path(pattern)]
        folder, rest = self.split_pattern(pattern)
        if not local_glob.has_magic(rest):
            return []
        found = local_glob.glob(rest, root_dir=folder or None, recursive=True)
        return sorted(path for name in found if os.path.isfile(path := os.path.join(folder, name)))

    def split_pattern(self, pattern: str) -> tuple[str, str]:
        path = local_path(pattern)
        folder, rest = split_path(path, self.is_folder)
        return folder or "/" * path.startswith("/"), rest

    def is_folder(self, uri: str) -> bool:
        return os.path.isdir(local_path(uri))

    def list_files(self, folder: str) -> Iterator[str]:
        return (entry.path for _, entry in walk(local_path(folder)) if not entry.name.startswith("."))

    def list_sizes(self, folder: str, start: str, end: str) -> Iterator[tuple[str, int]]:
        path = local_path(folder)
        if not os.path.isdir(path):
            return
        for name, entry in walk(path, follow=False):
            if name >= start and (not end or name < end):
                with suppress(OSError):  # gone since, or a link to nowhere
                    yield name, entry.stat().st_size

    def write(self, uri: str, data: bytes, content_type: str, below: str | None, durable: bool) -> None:
        write(local_path(uri), data, below=below, durable=durable)

    def link(self, source: str, uri: str, below: str | None) -> None:
        link(local_path(source), local_path(uri), below)

    def create(self, uri: str, data: bytes, content_type: str, durable: bool) -> bool:
        try:
            write(local_path(uri), data, exclusive=True, durable=durable)
        except FileExistsError:
            return False
        return True

    def swap(self, uri: str, data: bytes, content_type: str, version: str, durable: bool) -> bool:
        found = source_facts(local_path(uri))
        if found is None or found.version != version:
            return False
        write(local_path(uri), data, durable=durable)
        return True

    def delete(self, uri: str, below: str | None) -> None:
        delete(local_path(uri), below)

    def delete_folder(self, folder: str) -> None:
        delete_folder(local_path(folder))

    def exists(self, uri: str) -> bool:
        return os.path.isfile(local_path(uri))

    def size(self, uri: str) -> int | None:
        path = local_path(uri)
        return os.path.getsize(path) if os.path.isfile(path) else None

    def holds(self, uri: str, data: bytes) -> bool:
        return holds(local_path(uri), data)

    def settle(self, folder: str) -> None:
        settle(local_path(folder))

    def locked(self, folder: str) -> AbstractContextManager[None]:
        return locked(local_path(folder))


STORE = _Local()
