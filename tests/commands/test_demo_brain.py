"""The demo with a brain: only the published files, and all of its results."""

from dataclasses import replace
from pathlib import Path

import pytest

from rdl_cli.commands import demo_brain as command
from rdl_cli.core.errors import UserError
from rdl_cli.store.store import Store

BRAIN = Path(__file__).resolve().parents[2] / "../shared/data/brain"
real = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)


def test_demo_brain_without_network_and_files_names_the_next_step(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "ADDRESS", (tmp_path / "nowhere").as_uri() + "/{commit}/{name}")
    with pytest.raises(UserError, match="could not be downloaded") as error:
        command.demo_brain(tmp_path / "out", str(tmp_path / "data"))
    assert "--data-root" in error.value.hint and not any(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "krieg92"])
def test_demo_brain_refuses_another_file_of_that_name(place, tmp_path, monkeypatch):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / command.IMAGES).write_bytes(b"a page that says: log in")
    with pytest.raises(UserError, match="is not the published file"):
        command.demo_brain(tmp_path / "out", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_find_published_refuses_another_download(tmp_path, monkeypatch):
    (tmp_path / command.IMAGES).write_bytes(b"a page that says: log in")
    monkeypatch.setattr(command, "ADDRESS", tmp_path.as_uri() + "/{name}#{commit}")
    with pytest.raises(UserError, match="returned another file: 24 bytes"):
        command.find_published(tmp_path / "data", command.IMAGES)
    assert not (tmp_path / "data").exists()


def test_demo_brain_refuses_a_path_in_use(tmp_path):
    (tmp_path / "notes").touch()
    for place in (tmp_path, tmp_path / "notes"):
        with pytest.raises(UserError, match="exists already"):
            command.demo_brain(place)


@real
def test_find_published_downloads_once(tmp_path, monkeypatch):
    monkeypatch.setattr(
        command, "ADDRESS", (BRAIN / "krieg92").resolve().as_uri() + "/{name}#{commit}"
    )
    for name in command.FILES:
        assert (
            command.find_published(tmp_path, name).read_bytes()
            == (BRAIN / "krieg92" / name).read_bytes()
        )
    monkeypatch.setattr(command, "ADDRESS", "nowhere:{name}{commit}")
    assert [command.find_published(tmp_path, name).parent for name in command.FILES] == [
        tmp_path / "krieg92"
    ] * 2


@real
def test_demo_brain_trains_compares_and_plots(tmp_path, monkeypatch, capfd):
    quick = {"epochs": 1, "seeds": "0..1", "network": "mnist-cnn:width=0.25", "device": "cpu"}
    monkeypatch.setattr(
        command,
        "METHODS",
        {name: replace(settings, **quick) for name, settings in command.METHODS.items()},
    )
    monkeypatch.setattr(command, "N_RESAMPLES", 20)
    out = tmp_path / "out"
    results = command.demo_brain(out, str(BRAIN))
    names = {"brain.h5", "task-only.h5", "rsa.h5", "task-only", "rsa", "rdms.svg", "map.svg"}
    assert {path.name for path in out.iterdir()} == names and Store.open(
        out / "brain.h5"
    ).layers == ("hIT", "mIT")
    assert [len(method.runs) for method in results.comparison.methods] == [2, 2]
    (table,) = results.rdm_comparison.tables
    (ceiling,) = table.ceilings
    assert (ceiling.region, round(ceiling.lower, 3), round(ceiling.upper, 3)) == (
        "brain/hIT",
        0.372,
        0.666,
    )
    assert {side.name for side in results.rdm_comparison.representations} == {
        "brain/hIT",
        "brain/mIT",
        "task-only/fc",
        "rsa/fc",
    }
    for part in (
        "task-only training",
        "task-only held-out",
        "rsa       held-out",
        "ceiling 0.363 to 0.661",
    ):
        assert part in results.ending
    log = capfd.readouterr().err
    assert all(f"\n{step}. " in f"\n{log}" for step in range(1, 5)) and "stimuli held out" in log
