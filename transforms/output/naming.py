"""Ids to file names: injective, and unable to leave the output folder."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from transforms.errors import PhotoError
from transforms.pixels.encode import ENCODINGS

IMAGES = "images"
"""The folder of the pictures, below the output folder."""
ENDINGS = tuple(f".{encoding.extension}" for encoding in ENCODINGS.values())

# Kept as they are: letters and digits of any script, and the punctuation that no file system or shell pattern minds.
_ESCAPED = re.compile(r"[^\w.+=@,~ ()'&!-]|^[.~ ]|[. ]$")
_FOLDER_ENDING = re.compile(r"\.(?=(?:jpe?g|png|webp)$)", re.IGNORECASE)
_FINGERPRINT = re.compile(r"\.[0-9a-f]{16}$")
_LONGEST_SEGMENT = 200  # bytes; file systems take 255, and an ending must fit
_LONGEST_NAME = 900  # bytes; object names take 1024


def output_name(id: str, extension: str, sha256: str | None = None) -> str:
    """Name the output of an id: `images/<escaped id>.<extension>`; slashes make folders.

    sha256: of the picture, where its name has a fingerprint: `images/<escaped id>.<16 hex digits>.<extension>`.

    Other characters are percent-escaped as UTF-8, `%` itself too, so two ids never share a name. In a folder's name the
    dot of an ending like `.jpg` is escaped as well, so that the folder of id `a.jpg/b` never meets the file of id `a`.

    Raises:
        PhotoError: bad_id (see FAILURE_CODES).
    """
    if not id:
        raise PhotoError("bad_id", "the id is empty")
    if not (id.isascii() and id.isprintable()) and any(
        unicodedata.category(character) in ("Cc", "Cs") for character in id
    ):
        raise PhotoError("bad_id", f"the id {id!r} holds a control character or is not Unicode text")
    segments = id.split("/")
    if not segments[0]:
        raise PhotoError("bad_id", f"the id {id!r} begins with /; ids are relative")
    if any(segment in ("", ".", "..") for segment in segments):
        raise PhotoError("bad_id", f"the id {id!r} has an empty, `.` or `..` part")
    escaped = [_ESCAPED.sub(_percent, segment) for segment in segments]
    folders = [_FOLDER_ENDING.sub("%2E", segment) for segment in escaped[:-1]]
    name = "/".join([*folders, escaped[-1]])
    if len(name) > _LONGEST_SEGMENT // 4 and (  # of which no character takes more than four bytes
        len(name.encode()) > _LONGEST_NAME or any(len(part.encode()) > _LONGEST_SEGMENT for part in escaped)
    ):
        raise PhotoError("bad_id", f"the id {id[:40]!r}… is too long for a file name")
    return f"{IMAGES}/{name}.{extension}" if sha256 is None else f"{IMAGES}/{name}.{sha256[:16]}.{extension}"


def check_id(id: str) -> None:
    """Make sure that an id can become a file name.

    Raises:
        PhotoError: bad_id (see FAILURE_CODES).
    """
    output_name(id, "")


def id_of_output(name: str, names: str) -> str:
    """Give the id that a name below `images/` belongs to: the inverse of output_name. names: of settings.NAMES."""
    stem = name.rpartition(".")[0]
    if names == "fingerprint":
        stem = _FINGERPRINT.sub("", stem)
    return unquote(stem) if "%" in stem else stem


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())
