"""Random augmentation in training: with a live teacher or none, never with a store."""

import pytest

from rdl_cli.core.errors import UserError

AUGMENT = ["RandomAffine:degrees=0,translate=(0.2,0.2)", "GaussianNoise:sigma=0.1"]


def test_train_with_a_store_refuses_random_augmentation(tiny, follow, tmp_path):
    with pytest.raises(UserError, match=r"RandomAffine.* draws images without number") as error:
        tiny.train(tmp_path / "run", augment=AUGMENT, **follow)
    assert "live teacher" in str(error.value.hint) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("live", [False, True])
def test_train_with_random_augmentation_can_be_repeated(live, tiny, teacher, tmp_path):
    settings = {"targets": str(teacher), "match": [tiny.LAYERS]} if live else {}
    runs = [
        tiny.train(tmp_path / f"run{k}", augment=augment, epochs=2, **settings)
        for k, augment in enumerate((AUGMENT, AUGMENT, []))
    ]
    first, second, plain = ([row["train/task"] for row in tiny.metrics(run)] for run in runs)
    assert first == second != plain


def test_train_refuses_an_augmentation_of_another_size(tiny, tmp_path):
    with pytest.raises(UserError, match="makes 1 × 4 × 4 uint8 of 1 × 8 × 8"):
        tiny.train(tmp_path / "run", augment=["RandomCrop:size=4"])
