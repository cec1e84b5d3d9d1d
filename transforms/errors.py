"""What can go wrong with a photo and with a run, and the codes that a failed row carries."""

from __future__ import annotations

from dataclasses import dataclass

from transforms.credentials import without_secrets

FAILURE_CODES = {
    "bad_row": "the manifest row cannot be read, or has no usable uri",
    "bad_id": "the id cannot become a file name: empty, absolute, with `..`, control characters, or too long",
    "duplicate_id": "another row of the manifests has the same id",
    "not_found": "there is no such file or object",
    "forbidden": "the file or object may not be read",
    "read_failed": "the file is there, but reading it failed",
    "blocked_address": "the web address leads to a machine that is not public (--allow_private_addresses)",
    "http_error": "the server or object store answered with an error",
    "host_unavailable": "its server has not answered several requests before this one; it is asked again after a while",
    "timeout": "a server or store (the photo's or the output's) did not answer in time, or decoding took too long",
    "too_large": "more bytes than --max_bytes",
    "too_many_pixels": "more pixels than --max_pixels",
    "not_an_image": "the bytes are no picture at all",
    "unsupported_format": "a picture, but of a format that is not read",
    "corrupt": "a picture whose data is damaged",
    "truncated": "a picture that ends too early",
    "no_map": "no saliency map of this photo is stored, and the network may not be asked",
    "out_of_memory": "no memory for this photo, even alone",
    "inference_failed": "the network failed on this photo alone",
    "no_subject": "the mask is empty, and the policy fails such photos",
    "write_failed": "the result could not be written",
    "internal_error": "a fault of whitesweep itself; run.json names the file with the traceback",
}
"""Every code that a failed row can carry, with its meaning."""

NO_SUBJECT = "no product was found; look at the photo, or say on_no_subject in the policy"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no cutout: the step that failed, a key of FAILURE_CODES, and one line for the user.

    trace: of an `internal_error`, the traceback.
    """

    stage: str
    code: str
    message: str
    trace: str = ""


class PhotoError(Exception):
    """What is wrong with one photo; it becomes a failed row and harms no other. No password gets into its message."""

    def __init__(self, code: str, message: str) -> None:
        message = without_secrets(message)
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[PhotoError], tuple[str, str]]:
        """Pickle by both parts; worker processes hand exceptions on."""
        return PhotoError, (self.code, self.message)


class FatalError(Exception):
    """What no other photo would survive either (a full disk, a dead device): it stops the run. One line."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class DeadEndError(FatalError):
    """What would stop the same command again: going on from here takes more than starting it once more."""


def in_one_line(text: str) -> str:
    """Make of a text a line that a report can hold and a terminal be shown: names of files may hold anything."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
