"""Preprocessing against formulas in NumPy, and laws for every kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import Split, load_dataset
from rdl_cli.datasets.preprocessing import PREPROCESSING, Preprocess


def make_split(n: int = 20, channels: int = 3, seed: int = 0) -> Split:
    images = torch.randint(
        0,
        256,
        (n, channels, 6, 5),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )
    images[0] = 77  # one grey
    return Split(images, torch.zeros(n, dtype=torch.int64), torch.arange(n), ("thing",))


@pytest.mark.parametrize("name", PREPROCESSING.names())
def test_preprocessing_treats_images_alone_and_its_spec_is_complete(name: str):
    split = make_split()
    before = split.images.clone()
    made = PREPROCESSING.make(name, split)
    whole = made(split.images)
    assert (
        whole.dtype == torch.float32
        and whole.shape == split.images.shape
        and whole.isfinite().all()
    )
    torch.testing.assert_close(torch.cat([made(image[None]) for image in split.images]), whole)
    again = PREPROCESSING.make(
        made.spec, make_split(seed=5)
    )  # another data set changes nothing: the numbers are in the spec
    assert torch.equal(again(split.images), whole) and again.spec == made.spec
    assert torch.equal(split.images, before)


def reference_gcn(x: np.ndarray, scale: float, bias: float, by: str) -> np.ndarray:
    """pylearn2's global_contrast_normalize, written out from its description."""
    x = x.astype(np.float64)
    x = x - x.mean(1, keepdims=True)
    divisor = (
        np.sqrt(bias + x.var(1, ddof=1)) if by == "sd" else np.sqrt(bias + (x**2).sum(1))
    ) / scale
    divisor[divisor < 1e-8] = 1.0
    return x / divisor[:, None]


@given(st.sampled_from(["sd", "norm"]), st.floats(0.1, 100), st.floats(0, 100), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_gcn_equals_pylearn2(by: str, scale: float, bias: float, seed: int):
    split = make_split(seed=seed)
    output = PREPROCESSING.make(f"gcn:by={by},scale={scale},bias={bias}", split)(split.images)
    expected = reference_gcn(split.images.flatten(1).numpy(), scale, bias, by)
    np.testing.assert_allclose(output.flatten(1).numpy(), expected, rtol=1e-4, atol=1e-5 * scale)


def test_gcn_removes_brightness_and_contrast():
    made: Preprocess = PREPROCESSING.make("gcn", make_split())
    dim = torch.randint(
        0, 60, (8, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )
    out = made(dim)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).std(1), torch.ones(8))
    torch.testing.assert_close(made(dim * 4 + 10), out)
    assert torch.equal(
        made(torch.full((1, 3, 6, 5), 200, dtype=torch.uint8)), torch.zeros(1, 3, 6, 5)
    )


def test_standard_has_mean_0_and_sd_1_on_its_training_images():
    split = load_dataset("digits", Path("nowhere")).train
    out = PREPROCESSING.make("standard", split)(split.images).double()
    assert abs(out.mean().item()) < 1e-5 and abs(out.std(correction=0).item() - 1) < 1e-5


@pytest.mark.parametrize(
    "spec",
    [
        "standard:mean=.5,sd=.2",
        "standard:mean=a/b/c",
        "standard:mean=.1/.1/.1,sd=.1/.1/0",
        "gcn:by=max",
        "zca",
    ],
)
def test_preprocessing_refuses_wrong_specs(spec: str):
    with pytest.raises(UserError):
        PREPROCESSING.make(spec, make_split())


def test_preprocessing_refuses_floats():
    made = PREPROCESSING.make("unit", make_split())
    with pytest.raises(AssertionError, match="uint8"):
        made(made(make_split().images))
