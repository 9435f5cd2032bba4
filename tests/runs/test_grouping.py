"""Runs grouped into methods, under short and distinct names."""

from pathlib import Path

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.runs.grouping import find_teacher, group_by_method, seed_draws_data
from rdl_cli.runs.run import Run


def make_run(path: Path, seed: int, teacher: str = "", **config) -> Run:
    path.mkdir(parents=True)
    run = Run(path)
    run.write_config({**config, "seed": seed})
    parents = [{"kind": "dataset", "path": "data", "fingerprint": "f"}]
    if teacher:
        parents.append({"kind": "store", "path": teacher, "fingerprint": "f"})
    run.write_provenance({"parents": parents})
    return run


def make_runs(root: Path, *folders: str, **config) -> list[Run]:
    """Write a run of one method in each folder, with the seeds 0, 1, ..."""
    config = {"network": folders[0].split("/")[0]} | config
    return [make_run(root / folder, seed, **config) for seed, folder in enumerate(folders)]


def test_group_by_method_keeps_a_number_that_all_seeds_share(tmp_path):
    names = ["resnet18", "resnet50", "rdl-100"]
    runs = [run for name in names for run in make_runs(tmp_path, f"{name}/seed0", f"{name}/seed1")]
    assert list(group_by_method(runs)) == names


@pytest.mark.parametrize(
    "folders", [("rdl0", "rdl1"), ("rdl-3", "rdl-4"), ("rdl_seed0", "rdl_seed1")]
)
def test_group_by_method_leaves_out_the_number_of_the_seed(folders, tmp_path):
    assert list(group_by_method(make_runs(tmp_path, *folders, network="nin"))) == ["rdl"]


def test_group_by_method_takes_one_seed_of_several_teachers_as_one_method(tmp_path):
    runs = [
        make_run(tmp_path / f"t{t}/seed{s}", s, teacher=f"store{t}.h5", label="rdl")
        for t in (1, 0)
        for s in (0, 1)
    ]
    (group,) = group_by_method(runs).values()
    assert [(run.seed, find_teacher(run)) for run in group] == [
        (0, "store0.h5"),
        (0, "store1.h5"),
        (1, "store0.h5"),
        (1, "store1.h5"),
    ]
    again = make_run(tmp_path / "again", 0, teacher="store0.h5", label="rdl")
    with pytest.raises(UserError, match=r"one method \(rdl\) and have one seed \(0\)"):
        group_by_method([*runs, again])


def test_find_teacher_is_none_without_one(tmp_path):
    assert find_teacher(make_run(tmp_path / "baseline", 0)) is None


def test_seed_draws_data_where_labels_or_stimuli_are_drawn(tmp_path):
    assert not seed_draws_data(make_run(tmp_path / "a", 0))
    assert seed_draws_data(make_run(tmp_path / "b", 0, train_size=100))
    assert seed_draws_data(make_run(tmp_path / "c", 0, stimuli_heldout="0.25"))
    assert seed_draws_data(make_run(tmp_path / "d", 0, stimuli_heldout="folds:4"))
    assert not seed_draws_data(make_run(tmp_path / "e", 0, stimuli_heldout="folds:4/0"))
