"""What has appeared in watched places: files that are whole, each once for each content."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transforms import storage
from transforms.errors import PhotoError
from transforms.manifest import ManifestFile, fault_of, list_manifests
from transforms.output.history import WATCH
from transforms.output.run import JSON, json_of

SETTLED_S = 2.0
"""A local file that did not change for so long is whole; if it is not, what it then becomes is done again."""
DONE = ".done"
"""A file of a file's name and this ending says that the file is whole."""


@dataclass(slots=True)
class Inbox:
    """Watched manifests or photos, and what is known of them.

    patterns: of manifests, or (photos) of images. consumed: of manifests, by uri, the sha256 of what was done last.
    set_aside: by uri, the sha256 of what cannot be done, and why.
    """

    patterns: Sequence[str]
    photos: bool = False
    consumed: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, dict[str, str]] = field(default_factory=dict)
    _looked: dict[str, str] = field(default_factory=dict)
    _waiting: dict[str, tuple[str, float]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def look(self) -> list[ManifestFile]:
        """Give the files that are new or have changed, and are whole; of several, the oldest first.

        Raises:
            PhotoError, OSError: it cannot be looked there just now.
        """
        files = {file.uri: file for pattern in self.patterns for file in list_manifests(pattern, self.photos)}
        facts = storage.source_facts(files)
        versions = {uri: fact.version for uri, fact in facts.items() if fact is not None}
        if versions:  # or it may be a mount that is not there
            for known in (self.consumed, self.set_aside, self._looked, self._digests):
                for uri in known.keys() - versions.keys():
                    del known[uri]
        self._waiting = {uri: seen for uri, seen in self._waiting.items() if uri in versions}
        now = time.monotonic()
        ready = []
        for uri, version in versions.items():
            if self._looked.get(uri) == version:
                continue
            seen, since = self._waiting.get(uri, ("", now))
            if seen != version:
                self._waiting[uri] = (version, now)
                since = now
            if now - since >= SETTLED_S or not storage.is_local(uri) or storage.exists(f"{uri}{DONE}"):
                ready.append(uri)
        found = []
        for uri in sorted(ready, key=lambda uri: (_time_of(versions[uri]), uri)):
            del self._waiting[uri]
            self._looked[uri] = versions[uri]
            if not self.photos:  # before it is done: what is written meanwhile is told from it the next time
                self._digests[uri] = _sha256(uri)
            if self.photos or not self._is_known(uri):
                found.append(files[uri])
        return found

    def is_waiting(self) -> bool:
        """Tell whether a file is there that may still be being written."""
        return bool(self._waiting)

    def forget(self, files: Sequence[ManifestFile]) -> None:
        """Take files for new again."""
        for file in files:
            self._looked.pop(file.uri, None)

    def usable(self, files: Sequence[ManifestFile]) -> list[ManifestFile]:
        """Give the manifests that can be read to their ends; set the others aside."""
        found = []
        for file in files:
            try:
                fault = fault_of(file)
            except PhotoError as error:
                fault = f"{error.message}; it is tried again"
                self._digests[file.uri] = ""  # what is in it is not known
                self.forget([file])
            if fault is None:
                found.append(file)
            else:
                self.put_aside(file, fault)
        return found

    def put_aside(self, file: ManifestFile, reason: str) -> None:
        """Let a manifest be, until it changes."""
        self.set_aside[file.uri] = {"sha256": self._digests[file.uri], "reason": reason.partition("\n")[0]}

    def done(self, files: Sequence[ManifestFile]) -> None:
        """Remember what was done."""
        for file in files if not self.photos else ():
            self.consumed[file.uri] = self._digests[file.uri]
            self.set_aside.pop(file.uri, None)

    def _is_known(self, uri: str) -> bool:
        sha256 = self._digests[uri]
        return sha256 != "" and sha256 in (self.consumed.get(uri), self.set_aside.get(uri, {}).get("sha256"))

    def read_state(self, folder: str) -> None:
        """Take over what a watch before knew, from the output folder.

        Raises:
            PhotoError: it cannot be read. ValueError: it is damaged.
        """
        try:
            said = json.loads(storage.read(f"{folder}/{WATCH}").data)
        except PhotoError as error:
            if error.code == "not_found":
                return
            raise
        if not isinstance(said, dict) or not all(isinstance(said.get(k), dict) for k in ("consumed", "set_aside")):
            raise ValueError("it does not say what was done")
        self.consumed, self.set_aside = said["consumed"], said["set_aside"]

    def write_state(self, folder: str, more: dict[str, Any]) -> None:
        """Write down what is known, in the output folder.

        Raises:
            PhotoError, FatalError: it cannot be written.
        """
        said = {**more, "patterns": list(self.patterns), "consumed": self.consumed, "set_aside": self.set_aside}
        storage.write(f"{folder}/{WATCH}", json_of(said), JSON, durable=True)


def _time_of(version: str) -> int:
    """Give what orders versions by time: of a file its last change, of an object its generation."""
    return int(version.rpartition("-")[2] or 0)


def _sha256(uri: str) -> str:
    try:
        return hashlib.sha256(storage.read(uri).data).hexdigest()
    except PhotoError:
        return ""
