"""RDMs as PNG and as numbers."""

import base64
import io

import numpy as np
from PIL import Image

from rdl_cli.report.rdm_image import encode_rdm, encode_values


def test_encode_rdm_is_symmetric_with_a_dark_diagonal_and_grey_gaps():
    values = np.array([1.0, np.nan, 3, 4, 5, 6])
    with Image.open(io.BytesIO(base64.b64decode(encode_rdm(values)))) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (4, 4, 3)
    assert (pixels == pixels.transpose(1, 0, 2)).all()
    assert len(set(map(tuple, pixels[range(4), range(4)]))) == 1
    assert tuple(pixels[0, 2]) == (0xD9, 0xD9, 0xD9)
    assert pixels[2, 3].sum() > pixels[0, 1].sum()  # far is light


def test_encode_values_come_back_within_a_step():
    values = np.random.default_rng(0).normal(size=45)
    values[7] = np.nan
    text, low, high = encode_values(values)
    steps = np.frombuffer(base64.b64decode(text), "<u2")
    assert steps[7] == 65535
    back = low + steps / 65534 * (high - low)
    measured = ~np.isnan(values)
    assert np.abs(back - values)[measured].max() <= (high - low) / 65534


def test_encode_values_of_a_constant_rdm_are_its_value():
    text, low, high = encode_values(np.full(3, 2.5))
    assert (low, high) == (2.5, 2.5)
    assert not np.frombuffer(base64.b64decode(text), "<u2").any()
