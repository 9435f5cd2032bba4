"""The images of a run are opened from any folder."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rdl_cli.commands.image_data import join_splits, load_splits, locate_dataset
from rdl_cli.commands.settings import DataSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets import image_files


def put_images(home: Path, number: int = 6) -> Path:
    for kind in ("a", "b"):
        (home / kind).mkdir(parents=True)
        for k in range(number):
            pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(home / kind / f"{k}.png")
    return home


def run_on(dataset: str, recorded: Path | str = "", **config) -> SimpleNamespace:
    parents = [{"kind": "dataset", "path": str(recorded)}] if recorded else []
    config = {"dataset": dataset, **config}
    return SimpleNamespace(path="A/runs/r", config=config, provenance={"parents": parents})


def test_locate_dataset_finds_a_relative_folder_from_another_one(tmp_path, monkeypatch):
    home = put_images(tmp_path / "A" / "images")
    run = run_on("folder:images", home)
    for here in (tmp_path, tmp_path / "A"):
        monkeypatch.chdir(here)
        assert locate_dataset(run) == (f"folder:{home}", "")
    (tmp_path / "images").mkdir()  # another folder of the same name
    monkeypatch.chdir(tmp_path)
    assert locate_dataset(run) == (f"folder:{home}", "")


def test_locate_dataset_finds_a_folder_that_moved_with_the_run(tmp_path, monkeypatch):
    put_images(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    run = run_on("folder:images", tmp_path / "old" / "images")
    assert locate_dataset(run) == ("folder:images", "")


def test_locate_dataset_names_the_folder_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no folder .*gone/images") as error:
        locate_dataset(run_on("folder:images", tmp_path / "gone" / "images"))
    assert "--dataset folder:PATH" in str(error.value.hint)


def test_locate_dataset_finds_a_relative_data_root(tmp_path, monkeypatch):
    (tmp_path / "A" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RDL_DATA", raising=False)
    run = run_on("mnist", tmp_path / "A" / "data")
    assert locate_dataset(run) == ("mnist", str(tmp_path / "A" / "data"))
    (tmp_path / "data").mkdir()
    assert locate_dataset(run) == ("mnist", "")
    assert locate_dataset(run, "elsewhere")[1] == str(tmp_path / "A" / "data")


@pytest.mark.parametrize("streamed", [False, True])
def test_join_splits_has_the_images_of_all(streamed: bool, tmp_path, monkeypatch):
    home = put_images(tmp_path / "images")
    if streamed:
        monkeypatch.setattr(image_files, "_free_memory", lambda: 0)
    splits = load_splits(DataSettings(dataset=f"folder:{home}"))
    whole = join_splits(splits)
    assert list(whole.names) == [name for split in splits for name in split.names]
    assert torch.equal(whole.ids, torch.cat([split.ids for split in splits]))
    expected = torch.cat([split.read(slice(None)) for split in splits])
    assert torch.equal(whole.read(slice(None)), expected)
    assert whole.decode == splits.train.decode
    assert np.array_equal(whole.digests, np.concatenate([split.digests for split in splits]))


def test_load_splits_logs_what_was_left_out(tmp_path, capfd):
    home = put_images(tmp_path / "images")
    (home / "__MACOSX").mkdir()
    load_splits(DataSettings(dataset=f"folder:{home}"))
    assert f"{home}: left out: 1 folders __MACOSX" in capfd.readouterr().err
