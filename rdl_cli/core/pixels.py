"""What a picture is known by everywhere: the digest of its pixels."""

import hashlib

import numpy as np


def pixel_digests(pictures: np.ndarray) -> np.ndarray:
    """SHA-256 in hexadecimal of the shape and the pixels of each picture (n, c, h, w): S64 (n,).

    Hashed are the text `C,H,W;` in ASCII, for example `1,28,28;`, and then the C·H·W bytes of the uint8 picture, channel
    by channel and row by row, before views and preprocessing.
    """
    assert pictures.dtype == np.uint8, f"a digest is taken of uint8 pixels, not of {pictures.dtype}"
    n, channels, height, width = pictures.shape
    start = hashlib.sha256(f"{channels},{height},{width};".encode())
    found = np.empty(n, dtype="S64")
    for row in range(n):
        each = start.copy()
        each.update(pictures[row].tobytes())
        found[row] = each.hexdigest()
    return found
