"""The demo with a brain: the published files or none, and all that it promises to leave."""

from dataclasses import replace
from pathlib import Path

import pytest

from rdl_cli.commands import demo_brain as job
from rdl_cli.core.errors import UserError
from rdl_cli.store.store import Store

BRAIN = Path(__file__).resolve().parents[2] / "../shared/data/brain"
real = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)


def test_without_network_and_files_it_names_the_next_step_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "ADDRESS", (tmp_path / "nowhere").as_uri() + "/{commit}/{name}")
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        job.demo_brain(tmp_path / "out", str(tmp_path / "data"))
    assert "--data-root" in caught.value.hint and not any(tmp_path.iterdir())


@pytest.mark.parametrize("place", [".", "krieg92"])
def test_another_file_of_that_name_is_refused(place, tmp_path, monkeypatch):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / job.PICTURES).write_bytes(b"a page that says: log in")
    with pytest.raises(UserError, match="is not the published file"):
        job.demo_brain(tmp_path / "out", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_an_address_that_gives_another_file_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / job.PICTURES).write_bytes(b"a page that says: log in")
    monkeypatch.setattr(job, "ADDRESS", tmp_path.as_uri() + "/{name}#{commit}")
    with pytest.raises(UserError, match="gave another file: 24 bytes"):
        job.published(tmp_path / "data", job.PICTURES)
    assert not (tmp_path / "data").exists()


def test_a_place_that_is_taken_is_refused(tmp_path):
    (tmp_path / "mine").touch()
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(UserError, match="exists already"):
            job.demo_brain(place)


@real
def test_files_are_fetched_once_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "ADDRESS", (BRAIN / "krieg92").resolve().as_uri() + "/{name}#{commit}")
    for name in job.FILES:
        assert job.published(tmp_path, name).read_bytes() == (BRAIN / "krieg92" / name).read_bytes()
    monkeypatch.setattr(job, "ADDRESS", "nowhere:{name}{commit}")
    assert [job.published(tmp_path, name).parent for name in job.FILES] == [
        tmp_path / "krieg92"
    ] * 2


@real
def test_it_trains_evaluates_and_draws(tmp_path, monkeypatch, capfd):
    quick = {"epochs": 1, "seeds": "0..1", "network": "mnist-cnn:width=0.25", "device": "cpu"}
    monkeypatch.setattr(
        job, "METHODS", {name: replace(settings, **quick) for name, settings in job.METHODS.items()}
    )
    monkeypatch.setattr(job, "DRAWS", 20)
    out = tmp_path / "out"
    shown = job.demo_brain(out, str(BRAIN))
    left = {"brain.h5", "untaught.h5", "taught.h5", "untaught", "taught", "rdms.svg", "map.svg"}
    assert {path.name for path in out.iterdir()} == left and Store.open(
        out / "brain.h5"
    ).layers == ("hIT", "mIT")
    assert [len(method.runs) for method in shown.compared.methods] == [2, 2]
    (table,) = shown.alike.tables
    (ceiling,) = table.ceilings
    assert (ceiling.region, round(ceiling.lower, 3), round(ceiling.upper, 3)) == (
        "brain/hIT",
        0.372,
        0.666,
    )
    assert {side.name for side in shown.alike.sides} == {
        "brain/hIT",
        "brain/mIT",
        "untaught/fc",
        "train/fc",
    }
    for part in (
        "untaught  taught",
        "untaught  held-out",
        "taught    held-out",
        "ceiling 0.363 to 0.661",
    ):
        assert part in shown.ending
    said = capfd.readouterr().err
    assert (
        all(f"\n{step}. " in f"\n{said}" for step in range(1, 5))
        and "46 are taught, all in each step, 46 held out" in said
    )
