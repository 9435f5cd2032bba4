"""MATLAB's version 5 to 7 files, from their bytes.

SciPy's reader takes the lengths in a file for true: of 968 bytes with a few flipped, one in some hundred crashed the interpreter,
and others kept it for minutes. Here nothing is longer than what holds it, so a damaged file is a ValueError. The format is
MathWorks' "MAT-File Format": elements of (type, bytes), a matrix being flags, dimensions, name and then what its class has.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

MATRIX, COMPRESSED = 14, 15
CELL, STRUCT, OBJECT, CHAR, SPARSE, DOUBLE, UINT64 = 1, 2, 3, 4, 5, 6, 15
NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
COMPLEX = 0x0800


def variables(data: bytes) -> dict[str, Any]:
    """Numbers in the type they are stored in, `str`, object arrays of cells and of structs as `dict`; None for anything else."""
    order = _order(data)
    return dict(_matrix(body, order) for body in _bodies(data, order))


def names(data: bytes) -> list[str]:
    """The variables' names; of a compressed variable only the beginning is unpacked."""
    order = _order(data)
    return [_head(body, order)[2] for body in _bodies(data, order, at_most=4096)]


def _order(data: bytes) -> str:
    marks = {b"IM": "<", b"MI": ">"}
    if data[126:128] not in marks:
        raise ValueError("its header does not say in which order its bytes are")
    return marks[data[126:128]]


def _bodies(data: bytes, order: str, at_most: int = 0) -> Iterator[memoryview]:
    """The content of each variable's matrix element; its first bytes only with `at_most`."""
    at = 128
    while at < len(data):
        kind, body, at = _element(memoryview(data), at, order)
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            whole = memoryview(unpacker.decompress(body, at_most))
            if at_most:
                kind, body = struct.unpack_from(f"{order}I", whole)[0], whole[8:]
            elif not unpacker.eof:
                raise ValueError("a compressed variable ends early")
            else:
                kind, body, _ = _element(whole, 0, order)
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} stands where a variable should")
        yield body


def _element(data: memoryview, at: int, order: str) -> tuple[int, memoryview, int]:
    """An element's type and content, and where the next begins."""
    (first,) = struct.unpack_from(f"{order}I", data, at)
    if size := first >> 16:  # up to 4 bytes lie within the tag
        if size > 4 or at + 8 > len(data):
            raise ValueError(f"a small element of {size} bytes")
        return first & 0xFFFF, data[at + 4 : at + 4 + size], at + 8
    (size,) = struct.unpack_from(f"{order}I", data, at + 4)
    end = at + 8 + size
    if end > len(data):
        raise ValueError(
            f"an element of {size:,} bytes where {max(0, len(data) - at - 8):,} are left"
        )
    return first, data[at + 8 : end], end if first == COMPRESSED else end + -size % 8


def _head(body: memoryview, order: str) -> tuple[int, tuple[int, ...], str, int]:
    """Flags and class, dimensions, name, and where the content begins."""
    _, flags, at = _element(body, 0, order)
    _, dims, at = _element(body, at, order)
    _, name, at = _element(body, at, order)
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    if min(shape, default=-1) < 0:
        raise ValueError(f"dimensions of {shape}")
    return struct.unpack_from(f"{order}I", flags)[0], shape, bytes(name).decode("latin-1"), at


def _matrix(body: memoryview, order: str) -> tuple[str, Any]:
    if not len(body):
        return "", np.empty((0, 0))
    flags, shape, name, at = _head(body, order)
    kind, count = flags & 0xFF, math.prod(shape)
    if kind == CELL:
        return name, _shaped(_several(body, at, count, order), shape)
    if kind in (STRUCT, OBJECT):
        if kind == OBJECT:
            _, _, at = _element(body, at, order)  # its class
        _, width, at = _element(body, at, order)
        _, joined, at = _element(body, at, order)
        (wide,) = struct.unpack(f"{order}i", width)
        if wide <= 0 or len(joined) % wide:
            raise ValueError(f"field names of {wide} in {len(joined)} bytes")
        fields = [
            bytes(joined[i : i + wide]).split(b"\0")[0].decode("latin-1")
            for i in range(0, len(joined), wide)
        ]
        values = iter(_several(body, at, count * len(fields), order))
        return name, _shaped(
            [{field: next(values) for field in fields} for _ in range(count)], shape
        ) if fields else None
    if kind == CHAR:
        stored, raw, _ = _element(body, at, order)
        return name, _strings(bytes(raw), stored, shape, order)
    if DOUBLE <= kind <= UINT64 and not flags & COMPLEX:
        stored, raw, _ = _element(body, at, order)
        numbers = np.frombuffer(raw, np.dtype(order + NUMBERS[stored]))
        return name, numbers.astype(numbers.dtype.newbyteorder("=")).reshape(shape, order="F")
    return name, None


def _several(body: memoryview, at: int, count: int, order: str) -> list[Any]:
    """So many matrices, one after the other."""
    if count * 8 > len(body) - at:
        raise ValueError(f"{count:,} elements in {len(body) - at:,} bytes")
    values = []
    for _ in range(count):
        kind, each, at = _element(body, at, order)
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} stands where a matrix should")
        values.append(_matrix(each, order)[1])
    return values


def _shaped(values: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    for k, value in enumerate(
        values
    ):  # all at once, arrays of one shape would be taken for one array
        out[k] = value
    return out.reshape(shape, order="F")


def _strings(raw: bytes, stored: int, shape: tuple[int, ...], order: str) -> Any:
    """A row of characters as `str`, a matrix of them as an array of its rows, without the blanks that fill them up."""
    codec = TEXTS[stored]
    text = raw.decode(
        codec + ({"<": "-le", ">": "-be"}[order] if codec in ("utf-16", "utf-32") else "")
    )
    if len(shape) != 2 or shape[0] <= 1:
        return text.strip()
    if len(text) != math.prod(shape):
        raise ValueError(f"{len(text)} characters for {' × '.join(map(str, shape))}")
    return np.array(["".join(text[row :: shape[0]]).strip() for row in range(shape[0])])
