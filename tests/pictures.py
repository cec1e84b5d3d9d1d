"""Pictures written by hand, byte for byte: layouts that no encoder at hand writes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 40, 24


def deep_picture() -> NDArray[np.uint16]:
    """Give uint16 [24, 40, 3]: slopes over all levels, black, white and strong colours."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    pixels = np.stack((x, y, 1 - x * y), -1)
    pixels[:4, :8] = 0
    pixels[:4, 8:16] = 1
    pixels[4:8, :8], pixels[4:8, 8:16], pixels[4:8, 16:24] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    return np.rint(pixels * 65535).astype(np.uint16)


def scaled(pixels: NDArray[Any], white: int = 65535, to: int = 255) -> NDArray[Any]:
    """Scale integers from 0 … white to 0 … to."""
    return np.rint(pixels.astype(np.float64) * to / white).astype(np.int64)


def picture() -> NDArray[np.uint8]:
    return scaled(deep_picture()).astype(np.uint8)


def grey_picture(white: int = 65535) -> NDArray[np.int64]:
    """Give [24, 40] over 0 … white."""
    return scaled(np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH), 65535, white)


def alpha_picture() -> NDArray[np.uint8]:
    return np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def packed(samples: NDArray[Any], bits: int, order: str = ">") -> bytes:
    """Pack rows [H, N] of integers into so many bits each, every row to whole bytes, as TIFF and PNG do."""
    if bits in (8, 16, 32):
        return samples.astype(f"{order}u{bits // 8}").tobytes()
    each = (samples[..., None].astype(np.int64) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def png(samples: NDArray[Any], kind: int, depth: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write [H, W] or [H, W, C] as a PNG of this colour type and depth, with these chunks before the pixels."""
    height, width = samples.shape[:2]
    rows = [packed(row.reshape(1, -1), depth) for row in samples]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    every = ((b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in every)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(
    samples: NDArray[Any],
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    planar: int = 1,
    compression: int = 1,
    predictor: int = 1,
    big: bool = False,
    tile: int = 0,
    rows_per_strip: int = 7,
    tags: dict[int, tuple[str, tuple[int, ...]]] | None = None,
    raw: list[bytes] | None = None,
) -> bytes:
    """Write [H, W, C] as a TIFF of one page.

    bits: a sample. compression: 1 none, 8 deflate. tile: side of square tiles, else strips. tags: further ones, by
    number: a struct letter and values. raw: encoded strips, instead of those made of the samples.
    """
    height, width, channels = samples.shape
    planes = [samples[..., i : i + 1] for i in range(channels)] if planar == 2 else [samples]
    parts = []
    for plane in planes:
        if tile:
            bottom, right = -height % tile, -width % tile
            full = np.pad(plane, ((0, bottom), (0, right), (0, 0)))
            for top in range(0, height, tile):
                parts += [full[top : top + tile, left : left + tile] for left in range(0, width, tile)]
        else:
            parts += [plane[top : top + rows_per_strip] for top in range(0, height, rows_per_strip)]
    strips = []
    for part in parts:
        if predictor == 2:
            part = np.asarray(np.diff(part.astype(np.int64), axis=1, prepend=0), np.int64) & (1 << bits) - 1
        data = packed(part.reshape(len(part), -1), bits, order)
        strips.append(zlib.compress(data) if compression == 8 else data)
    strips = raw or strips
    word, offset = ("Q", 16) if big else ("I", 8)
    offsets = []
    for data in strips:
        offsets.append(offset)
        offset += len(data)
    entries: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (bits,) * channels),
        259: ("H", (compression,)),
        262: ("H", (photometric,)),
        277: ("H", (channels,)),
        284: ("H", (planar,)),
        317: ("H", (predictor,)),
        **({322: ("I", (tile,)), 323: ("I", (tile,))} if tile else {278: ("I", (rows_per_strip,))}),
        324 if tile else 273: (word, tuple(offsets)),
        325 if tile else 279: (word, tuple(map(len, strips))),
        **(tags or {}),
    }
    kinds = {"B": 7, "H": 3, "I": 4, "Q": 16}
    number, slot = ("Q", 8) if big else ("H", 4)
    start = offset + offset % 2
    table = struct.pack(order + number, len(entries))
    behind = start + len(table) + len(entries) * (20 if big else 12) + slot
    far = b""
    for tag, (letter, values) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(values)}{letter}", *values)
        table += struct.pack(f"{order}HH{word}", tag, kinds[letter], len(values))
        if len(content) > slot:
            table += struct.pack(order + word, behind + len(far))
            far += content + bytes(len(content) % 2)
        else:
            table += content.ljust(slot, b"\0")
    mark = b"II" if order == "<" else b"MM"
    version = struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42)
    head = mark + version + struct.pack(order + word, start)
    return head + b"".join(strips) + bytes(offset % 2) + table + bytes(slot) + far


def bmp(
    rows: bytes, bits: int, *, masks: bytes = b"", compression: int = 0, top_down: bool = False, header: int = 40
) -> bytes:
    """Write a BMP of WIDTH × HEIGHT of encoded rows."""
    height = -HEIGHT if top_down else HEIGHT
    if header == 12:
        info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(rows), 0, 0, 0, 0)
        info = (info + (masks if header > 40 else b"")).ljust(header, b"\0") + (masks if header == 40 else b"")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows


def gif(size: tuple[int, int], frames: list[bytes], palette: bytes = b"", background: int = 0) -> bytes:
    """Write a GIF of encoded frames (gif_frame), with a global palette of a power of two of colours."""
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    return b"GIF89a" + struct.pack("<HHBBB", *size, flags, background, 0) + palette + b"".join(frames) + b";"


def gif_frame(
    indices: NDArray[Any],
    at: tuple[int, int] = (0, 0),
    palette: bytes = b"",
    transparent: int | None = None,
    disposal: int = 0,
) -> bytes:
    """Encode a frame of indices below 128, with no more compression than LZW can't do without."""
    height, width = indices.shape
    control = b""
    if transparent is not None or disposal:
        control = b"\x21\xf9\x04" + bytes(((transparent is not None) | disposal << 2, 0, 0, transparent or 0, 0))
    flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
    codes: list[int] = []
    for start in range(0, indices.size, 100):  # a clear code in time keeps all codes at 8 bits
        codes += [128, *indices.ravel()[start : start + 100].tolist()]
    data = bytes((*codes, 129))
    blocks = b"".join(bytes((len(data[i : i + 255]),)) + data[i : i + 255] for i in range(0, len(data), 255))
    return control + b"," + struct.pack("<HHHHB", *at, width, height, flags) + palette + b"\x07" + blocks + b"\0"
