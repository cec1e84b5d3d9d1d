"""ICC profiles: written for colours that are described by numbers (cICP, nclx, gAMA, cHRM, EXIF); their tone curves."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from transforms.errors import PhotoError

Floats = NDArray[np.float64]
Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue, in the order of PNG's cHRM."""

D65 = (0.3127, 0.3290)
SRGB_PRIMARIES: Chromaticities = (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)

PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB_PRIMARIES,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""By their number in ITU-T H.273; a number that is not here counts as `unspecified`: sRGB."""

GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
"""Transfer functions of H.273 that are powers. All others but HDR and film are taken for sRGB's, as browsers do."""

HDR = {9: "logarithmic", 10: "logarithmic", 16: "PQ", 17: "SMPTE 428", 18: "HLG"}

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
ADOBE_RGB: Chromaticities = (*D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
ADOBE_GAMMA = 563 / 256

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def from_codes(primaries: int, transfer: int) -> bytes | None:
    """Write the profile that primaries and transfer function of H.273 describe, None for sRGB.

    Raises:
        PhotoError: unsupported_format, if it is HDR: its bright parts have no place in sRGB without a taste.
    """
    if transfer in HDR:
        message = f"an HDR picture ({HDR[transfer]}), which is not read; export it as an ordinary (SDR) one"
        raise PhotoError("unsupported_format", message)
    return from_numbers(PRIMARIES.get(primaries, SRGB_PRIMARIES), GAMMAS.get(transfer))


def from_numbers(primaries: Chromaticities, gamma: float | None) -> bytes | None:
    """Write the profile of these chromaticities and a power (None: sRGB's curve); None if it is sRGB, or nonsense."""
    is_srgb = bool(np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() < 0.004)
    if is_srgb and gamma is None:
        return None
    try:
        return write_profile(_colorants(primaries), gamma)
    except (ArithmeticError, struct.error, np.linalg.LinAlgError):
        return None


def _colorants(primaries: Chromaticities) -> Floats:
    """Give the XYZ of red, green and blue as columns, adapted to D50 by Bradford's method."""
    points = np.array(primaries, np.float64).reshape(4, 2)
    if points.min() < 0 or points[:, 1].min() <= 0:
        raise ArithmeticError("no colours")
    xyz = np.column_stack((points, 1 - points.sum(1))).T / points[:, 1]
    white, columns = xyz[:, 0], xyz[:, 1:]
    columns = columns * np.linalg.solve(columns, white)
    cones = BRADFORD @ D50 / (BRADFORD @ white)
    adapted: Floats = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ columns
    if not np.abs(adapted).max() < 4:  # also if it is no number
        raise ArithmeticError("no colours that can be seen")
    return adapted


@lru_cache(maxsize=16)
def _cached(colorants: tuple[float, ...], gamma: float | None) -> bytes:
    columns = np.array(colorants).reshape(3, 3)
    curve = _parametric(3, *SRGB_CURVE) if gamma is None else _parametric(0, gamma)
    text = b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", 20, 28) + "whitesweep".encode("utf-16-be")
    tags = {b"desc": text, b"cprt": text, b"wtpt": _xyz(D50)}
    tags |= {name: _xyz(columns[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", size, 0x04300000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", *np.round(D50 * 65536).astype(int)) + bytes(48) + table + body


def write_profile(colorants: Floats, gamma: float | None = None) -> bytes:
    """Write an ICC profile of the XYZ of red, green and blue (columns, D50) and a power, or sRGB's curve."""
    return _cached(tuple(np.asarray(colorants, np.float64).ravel().tolist()), gamma)


def _xyz(values: Floats) -> bytes:
    return b"XYZ " + struct.pack(">4x3i", *np.round(np.asarray(values) * 65536).astype(int))


def _parametric(kind: int, *values: float) -> bytes:
    numbers = [round(value * 65536) for value in values]
    return b"para" + struct.pack(f">4xH2x{len(numbers)}i", kind, *numbers)


def tags_of(profile: bytes) -> dict[bytes, bytes]:
    """Give a profile's tags by name; damaged ones are left out."""
    if len(profile) < 132:
        return {}
    count = min(struct.unpack_from(">I", profile, 128)[0], 200)
    tags = {}
    for position in range(132, min(132 + 12 * count, len(profile) - 11), 12):
        name, offset, size = struct.unpack_from(">4sII", profile, position)
        tags[name] = profile[offset : offset + size]
    return tags


def tone_curve(tag: bytes) -> Callable[[Floats], Floats] | None:
    """Read a tone curve (`curv` or `para`, ICC.1:2022 10.6 and 10.18): 0..1 to linear light 0..1; None if damaged."""
    try:
        if tag[:4] == b"curv":
            count = struct.unpack_from(">I", tag, 8)[0]
            if count == 0:
                return lambda v: v
            if count == 1:
                power = struct.unpack_from(">H", tag, 12)[0] / 256
                return lambda v: v**power
            table = np.frombuffer(tag, ">u2", count, 12) / 65535
            return lambda v: np.interp(v, np.linspace(0, 1, count), table)
        if tag[:4] == b"para":
            kind = struct.unpack_from(">H", tag, 8)[0]
            return _parametric_curve(kind, np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536)
    except (struct.error, IndexError, ValueError):
        pass
    return None


def _parametric_curve(kind: int, numbers: Floats) -> Callable[[Floats], Floats]:
    g, a, b, c, d, e, f = np.concatenate((numbers, np.zeros(7 - len(numbers)))).tolist()
    if kind == 0:
        return lambda v: v**g
    if kind == 1:
        c, d = 0.0, -b / a if a else 0.0
    elif kind == 2:
        c, d, e, f = 0.0, -b / a if a else 0.0, c, c
    return lambda v: np.where(v >= d, np.maximum(a * v + b, 0) ** g + e, c * v + f)


def srgb_encode(linear: Floats) -> Floats:
    """Encode linear light 0..1 as sRGB 0..1 (IEC 61966-2-1)."""
    held = np.clip(linear, 0, 1)
    return np.where(held <= 0.0031308, held * 12.92, 1.055 * held ** (1 / 2.4) - 0.055)
