"""InfiMNIST's arithmetic against test vectors and literal loops; laws of the generated images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.datasets import infimnist
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.deformation import deform, uniform
from rdl_cli.datasets.infimnist import (
    MOVES,
    TRAIN,
    VALIDATION,
    deform_original,
    find_deformation,
    training_row,
)

VECTORS = {
    70_000: (1010, 987, 0, 2),
    70_001: (1275, 1254, 1, 6),
    70_002: (19, 0, 2, 1),
    79_999: (1163, 1352, 9999, 2),
    80_000: (1428, 97, 10_000, 6),
    129_999: (774, 511, 59_999, 0),
    130_000: (1039, 778, 0, 4),
    199_999: (826, 539, 9999, 7),
    8_109_999: (200, 245, 59_999, 2),
    10**9: (1254, 413, 30_000, 3),
    2**32 + 70_000: (1010, 445, 47_296, 2),
}


@pytest.mark.parametrize(("index", "expected"), VECTORS.items())
def test_find_deformation_gives_the_test_vectors(index: int, expected: tuple[int, ...]):
    assert tuple(int(part[0]) for part in find_deformation(np.array([index]))) == expected


def test_find_deformation_has_minus_signs_and_valid_fields():
    by = find_deformation(np.arange(70_000, 2_000_000))
    assert ((by.first + by.second) % 2 == 1).all()
    assert (
        by.first.max() <= 1520
        and by.second.max() <= 1521
        and min(by.first.min(), by.second.min()) >= 0
    )
    fractions = np.bincount(by.translation) / len(by.translation)
    assert len(fractions) == 9 and np.allclose(fractions, 1 / 9, atol=1e-3)


def test_training_row_covers_each_row_twice():
    assert (np.bincount(training_row(TRAIN), minlength=60_000) == 2).all()
    assert training_row(VALIDATION).tolist() == list(range(10_000))


def by_loops(index: int, digit: np.ndarray, fields: np.ndarray, tangents: np.ndarray) -> np.ndarray:
    """Return one image, pixel by pixel, from the description."""
    first = (index * 131_071 % 2**32) % 1521
    second = (first + 1 + 2 * index) % 1522
    a, sign = (index - 10_000) % 60_000, -1 if (first + second) % 2 else 1
    old = np.zeros((28, 28), dtype=np.uint8)
    for y in range(28):
        for x in range(28):
            difference = (
                fields[first, y, x] * tangents[a, 0, y, x]
                - fields[second, y, x] * tangents[a, 1, y, x]
            )
            old[y, x] = int(
                min(max(np.float32(digit[y, x]) + np.float32(sign) * difference, 0), 255)
            )
    code = first % 9
    if code in (0, 4, 5):
        old = np.array([[old[y + 1, x] if y < 27 else 0 for x in range(28)] for y in range(28)])
    if code in (1, 6, 7):
        old = np.array([[old[y - 1, x] if y > 0 else 0 for x in range(28)] for y in range(28)])
    if code in (2, 4, 6):
        flat = [*old.flatten(), 0]
        old = np.array(
            [[0 if x == 0 else flat[28 * y + x + 1] for x in range(28)] for y in range(28)]
        )
    if code in (3, 5, 7):
        flat = [0, *old.flatten()]
        old = np.array([[0 if x == 1 else flat[28 * y + x] for x in range(28)] for y in range(28)])
    return old


def test_deform_original_equals_literal_loops():
    random = np.random.default_rng(0)
    fields = random.normal(size=(1522, 28, 28)).astype(np.float32)
    tangents = np.zeros((60_000, 2, 28, 28), dtype=np.float32)
    index = np.array([*VECTORS, *range(70_003, 70_020)])
    tangents[training_row(index)] = random.normal(scale=60, size=(len(index), 2, 28, 28))
    digits = random.integers(0, 256, (len(index), 28, 28)).astype(np.uint8)
    images = deform_original(index, digits, fields, tangents)
    assert set(find_deformation(index).translation) == set(range(9)), (
        "some translation is not tried"
    )
    for image, at, digit in zip(images, index.tolist(), digits, strict=True):
        assert np.array_equal(image, by_loops(at, digit, fields, tangents)), at


def test_moves_with_an_empty_frame_are_plain_translations():
    image = np.zeros((1, 28, 28), dtype=np.uint8)
    image[:, 3:25, 3:25] = np.random.default_rng(1).integers(1, 256, (22, 22))
    expected = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)]
    for moves, (down, right) in zip(MOVES, expected, strict=True):
        moved = image
        for move in moves:
            moved = move(moved)
        assert np.array_equal(moved, np.roll(image, (down, right), (1, 2)))


@pytest.mark.parametrize("missing", ["both", "tangents", "short"])
def test_infimnist_names_missing_files(missing: str, tmp_path: Path):
    if missing != "both":
        (tmp_path / infimnist.FIELDS[0]).write_bytes(bytes(1522 * 28 * 28 * 4))
    if missing == "short":
        (tmp_path / infimnist.TANGENTS[0]).write_bytes(bytes(1000))
    expected = (
        "damaged: it has 1,000 bytes, not 376,320,000"
        if missing == "short"
        else f"not in {tmp_path}: there is no"
    )
    with pytest.raises(UserError, match=expected):
        load_dataset(f"infimnist:{tmp_path}", tmp_path)


def test_infimnist_reads_the_files_from_its_folder(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(infimnist, "TRAIN", np.array([80_000, 129_999, 130_000, 199_999]))
    monkeypatch.setattr(infimnist, "VALIDATION", np.array([70_000, 70_002]))
    fields = np.random.default_rng(0).normal(size=(1522, 28, 28)).astype("<f4")
    fields.tofile(tmp_path / infimnist.FIELDS[0])
    with (tmp_path / infimnist.TANGENTS[0]).open("wb") as file:
        file.truncate(60_000 * 2 * 784 * 4)  # a hole: nothing is deformed, only moved
    splits = load_dataset(f"infimnist:{tmp_path}", mnist_root)
    real = load_dataset("mnist", mnist_root)
    assert splits.train.ids.tolist() == [80_000, 129_999, 130_000, 199_999]
    assert splits.train.labels.tolist() == [int(real.train.labels[at]) for at in (10_000,)] + [
        int(real.validation.labels[9_999]),
        int(real.train.labels[0]),
        int(real.train.labels[9_999]),
    ]
    assert torch.equal(splits.train.images[1, 0, :27], real.validation.images[9_999, 0, 1:]), (
        "129,999 is row 59,999 one pixel up"
    )
    assert torch.equal(splits.test.images, real.test.images)
    assert load_dataset(
        f"infimnist:{tmp_path},holdout_val_rows=yes", mnist_root
    ).train.ids.tolist() == [80_000, 130_000, 199_999]
    with pytest.raises(UserError, match="neither yes nor no"):
        load_dataset(f"infimnist:{tmp_path},holdout_val_rows=2", mnist_root)


def test_infimnist_like_is_split_as_infimnist(mnist_root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(infimnist, "TRAIN", TRAIN[::500])
    monkeypatch.setattr(infimnist, "VALIDATION", VALIDATION[:50])
    splits, holdout = (
        load_dataset("infimnist-like", mnist_root),
        load_dataset("infimnist-like:holdout_val_rows=yes", mnist_root),
    )
    assert splits.train.ids.tolist() == TRAIN[::500].tolist() and splits.train.images.shape == (
        240,
        1,
        28,
        28,
    )
    assert len(holdout.train) == 200 and training_row(holdout.train.ids.numpy()).max() < 50_000
    assert np.isin(splits.train.ids, holdout.train.ids).sum() == 200
    real = load_dataset("mnist", mnist_root)
    assert torch.equal(splits.validation.labels, real.train.labels[:50])
    difference = (
        (splits.validation.images.float() - real.train.images[:50].float()).abs().mean((1, 2, 3))
    )
    assert difference.min() > 1, "an image was not deformed"
    ink = splits.validation.images.float().mean((1, 2, 3)) / real.train.images[:50].float().mean(
        (1, 2, 3)
    )
    assert ink.min() > 0.6 and ink.max() < 1.6, "a digit was lost or bloated"


def test_deform_depends_on_seed_and_index_alone(mnist_root: Path):
    digits = load_dataset("mnist", mnist_root).train.images[:40, 0].numpy()
    index = np.arange(70_000, 70_040)
    whole = deform(digits, index, 0)
    assert whole.dtype == np.uint8 and whole.shape == digits.shape
    assert np.array_equal(
        np.concatenate([deform(digits[at : at + 1], index[at : at + 1], 0) for at in range(40)]),
        whole,
    )
    assert not (deform(digits, index, 1) == whole).all((1, 2)).any()
    assert not (deform(digits, index + 60_000, 0) == whole).all((1, 2)).any()
    assert (deform(np.zeros_like(digits), index, 0) == 0).all()


def test_uniform_is_uniform_and_independent():
    drawn = uniform(3, np.arange(2_000), 100)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert (
        abs(drawn.mean() - 0.5) < 0.003 and abs(drawn.var() - 1 / 12) < 0.001
    )  # standard errors .0006 and .0002
    for a, b in (
        (drawn[:, :-1], drawn[:, 1:]),
        (drawn[:-1], drawn[1:]),
        (drawn, uniform(4, np.arange(2_000), 100)),
    ):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.012  # standard error .0022
    assert np.array_equal(uniform(3, np.array([7]), 100)[0], drawn[7])
    assert np.array_equal(uniform(3, np.arange(2_000), 10), drawn[:, :10])
