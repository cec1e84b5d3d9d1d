"""Weights on disk: find the file, know its sha256, read exactly those bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weights.published import FOLDER, PUBLISHED

FETCH_AGAIN = "run `python -m weights` to fetch it"
NO_TORCH = "torch is not installed; start with ./run_pipeline.sh, which installs it, or `pip install -e '.[torch]'`"


class WeightsError(Exception):
    """Weights that are missing or not what they should be: one line that says what, where, and what to do."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One checked weights file: the network it is for, where it lies, and the sha256 its bytes must have."""

    model: str
    path: str
    sha256: str


def locate(model: str, file: str | None = None, folder: str | os.PathLike[str] = FOLDER) -> WeightsFile:
    """Find and check weights: the published ones for a model in `folder`, or a user's own checkpoint `file`.

    Raises:
        WeightsError: no such model or file, a wrong sha256, or neither safetensors nor a torch checkpoint.
    """
    published = PUBLISHED.get(model)
    if published is None:
        raise WeightsError(f"no model {model!r}; there are {', '.join(PUBLISHED)}")
    if file is not None:
        data = _bytes(file, "give the path of a .safetensors or .pth file")
        _kind(data, file)
        return WeightsFile(model, os.path.abspath(file), hashlib.sha256(data).hexdigest())
    path = os.path.abspath(os.path.join(folder, published.file))
    _check(_bytes(path, FETCH_AGAIN), path, published.sha256, FETCH_AGAIN)
    return WeightsFile(model, path, published.sha256)


def read(weights: WeightsFile) -> dict[str, NDArray]:
    """Read a checkpoint: arrays by parameter name (what is floating-point as float32), batch norm folded or not.

    The bytes that are checked are the bytes that are parsed, so a file swapped in between is refused too.

    Raises:
        WeightsError: the file is missing, has another sha256, or holds anything but named tensors.
    """
    weights = _here(weights)
    data = _bytes(weights.path, "it was there when the run began")
    _check(data, weights.path, weights.sha256, "it changed since the run began; restore it, or start again")
    try:
        state = _parse(data, _kind(data, weights.path))
    except WeightsError:
        raise
    except ImportError as error:
        raise WeightsError(f"{weights.path}: only torch reads such a checkpoint, and {NO_TORCH}") from error
    except Exception as error:  # a parser given hostile or damaged bytes may raise nearly anything
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise WeightsError(f"{weights.path}: not readable as a checkpoint ({reason})") from error
    return _named_arrays(state, weights.path)


def _here(weights: WeightsFile) -> WeightsFile:
    """Find published weights that lie elsewhere than where the run was begun, as in the image of a worker."""
    published = PUBLISHED.get(weights.model)
    if published is None or published.sha256 != weights.sha256 or os.path.exists(weights.path):
        return weights
    own = os.path.join(FOLDER, published.file)
    return replace(weights, path=own) if os.path.exists(own) else weights


def _bytes(path: str, advice: str) -> bytes:
    """Read a whole file, its errors turned into one line."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such weights file; {advice}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
    except ValueError as error:  # a NUL in the name
        raise WeightsError(f"{path!r}: not a file name ({error}); {advice}") from error


def _check(data: bytes, path: str, sha256: str, advice: str) -> None:
    """Refuse bytes whose sha256 is not the expected one."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise WeightsError(f"{path}: sha256 {found[:12]}… instead of {sha256[:12]}…; {advice}")


def _kind(data: bytes, path: str) -> str:
    """Tell by content: `safetensors`, or `torch` (a zip, or the pickle that torch wrote before 1.6)."""
    if data[8:9] == b"{" and _header_bytes(data) <= len(data) - 8:
        return "safetensors"
    if data.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "torch"
    what = "is empty" if not data else "is neither safetensors (or it is cut short) nor a torch checkpoint"
    raise WeightsError(f"{path}: {what}; give a whole .safetensors or .pth file")


def _header_bytes(safetensors: bytes) -> int:
    return int.from_bytes(safetensors[:8], "little")


def _parse(data: bytes, kind: str) -> Any:
    """Parse checked bytes; a pickle only ever with `weights_only`, which runs no code.

    torch is imported only for what NumPy cannot read: torch's own files, and safetensors in bfloat16.
    """
    if kind == "safetensors":
        import safetensors.numpy

        types = {entry.get("dtype") for entry in json.loads(data[8 : 8 + _header_bytes(data)]).values()}
        if types <= {"F16", "F32", "F64", "I64", None}:  # None: of the metadata
            return safetensors.numpy.load(data)
        import safetensors.torch

        return safetensors.torch.load(data)
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations, about how old files were written
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _named_arrays(state: Any, path: str) -> dict[str, NDArray]:
    """Check that a parsed file is a state dict, and give it plain names and float32 values."""
    if not isinstance(state, dict) or not state or not all(_is_array(value) for value in state.values()):
        raise WeightsError(f"{path}: holds no state dict (tensors by parameter name); save it with model.state_dict()")
    # torch.nn.DataParallel, which the authors' training script may use, puts `module.` before every name.
    prefix = "module." if all(str(name).startswith("module.") for name in state) else ""
    return {str(name).removeprefix(prefix): _as_array(value) for name, value in state.items()}


def _is_array(value: Any) -> bool:
    is_tensor = type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "numpy")
    return isinstance(value, np.ndarray) or is_tensor


def _as_array(value: Any) -> NDArray:
    """Give a NumPy array of an array or a torch tensor, float32 if it is floating-point."""
    if isinstance(value, np.ndarray):
        return value.astype(np.float32, copy=False) if value.dtype.kind == "f" else value
    array: NDArray = (value.float() if value.is_floating_point() else value).detach().numpy()
    return array
