"""Seeds of one method under one name, which is short and its own."""

from pathlib import Path

import pytest

from rdl_cli.runs.grouping import group_by_method
from rdl_cli.runs.run import Run


def made(root: Path, *folders: str, **config) -> list[Run]:
    """A run in each folder, of one method, with the seeds 0, 1, ..."""
    for seed, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        Run(root / folder).write_config({"network": folder.split("/")[0], **config, "seed": seed})
    return [Run(root / folder) for folder in folders]


def test_a_number_is_part_of_a_name_where_all_seeds_have_it(tmp_path):
    runs = [
        made(tmp_path, f"{name}/seed0", f"{name}/seed1")
        for name in ("resnet18", "resnet50", "rdl-100")
    ]
    assert list(group_by_method([run for several in runs for run in several])) == [
        "resnet18",
        "resnet50",
        "rdl-100",
    ]


@pytest.mark.parametrize(
    "folders", [("rdl0", "rdl1"), ("rdl-3", "rdl-4"), ("rdl_seed0", "rdl_seed1")]
)
def test_a_number_in_which_the_seeds_differ_is_left_out(folders, tmp_path):
    assert list(group_by_method(made(tmp_path, *folders, network="nin"))) == ["rdl"]
