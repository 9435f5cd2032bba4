import pytest

from rdl_cli.commands.options import reject_options, split_commas, to_config, to_flag
from rdl_cli.commands.settings import ExportSettings, StudentSettings
from rdl_cli.core.errors import UserError


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a,b", "c"], ["a", "b", "c"]),
        (["a, b,"], ["a", "b"]),
        ([" a b "], ["a b"]),
        (["", ","], []),
        ([], []),
    ],
)
def test_split_commas_joins_repeated_options(texts, expected):
    assert split_commas(texts) == ExportSettings(layers=texts).layer_names() == expected


def test_to_flag_writes_dashes():
    assert [to_flag(name) for name in ("image_size", "as_")] == ["--image-size", "--as"]


def test_to_config_leaves_out_empty_settings():
    config = to_config(StudentSettings(match=["fc"], task_weight=0.0))
    assert config["match"] == ["fc"] and config["task_weight"] == 0 and config["seed"] == 0
    assert not {"label", "objective", "train_size"} & config.keys()


def test_reject_options_names_the_flag_and_its_value():
    reject_options(ExportSettings(), ["views", "download"], "has no effect", "leave it out")
    with pytest.raises(UserError, match=r"^--views hflip has no effect$"):
        reject_options(ExportSettings(views="hflip"), ["views"], "has no effect", "")
    with pytest.raises(UserError, match=r"^--download has no effect$"):
        reject_options(ExportSettings(download=True), ["download"], "has no effect", "")
