"""Recipes: what is read, and what is refused before anything is trained."""

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.jobs import reproduce
from rdl_cli.stores.run import Run

ALIKE = """
[students]
dataset = "digits"
batch_size = 10
epochs = 2

[methods.few]
train_size = 200
tune.lr = [0.0, 0.1]

[methods.more]
like = "few"
train_size = 100

[tuning]
epochs = 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return "mine.toml"

    return write


def test_a_method_like_another_takes_its_options_and_what_was_chosen_for_it(recipe, tmp_path):
    reproduce.reproduce(recipe(ALIKE), tmp_path / "out")
    few, more = (Run(tmp_path / "out" / name).config for name in ("few", "more"))
    assert (few["train_size"], more["train_size"]) == (200, 100)
    assert few["lr"] == more["lr"] == 0.1, "a rate of zero learns nothing, and was tried"
    assert not (tmp_path / "out" / "tuning" / "more").exists()


def test_a_method_cannot_be_like_one_below_it(recipe, tmp_path):
    with pytest.raises(UserError, match=r"method above \[methods.more\]"):
        reproduce.reproduce(recipe(ALIKE.replace('like = "few"', 'like = "fewer"')), tmp_path / "out")
    assert not (tmp_path / "out").exists()
