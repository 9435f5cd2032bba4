from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rdl_cli.commands import activation_reader
from rdl_cli.commands.activation_reader import ReaderCache, complete_settings, open_reader
from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.settings import CompareRdmsSettings, ExportSettings
from rdl_cli.core.errors import UserError
from rdl_cli.datasets.base import load_dataset
from rdl_cli.runs.run import Run

DIGITS = ExportSettings(dataset="digits", device="cpu", batch_size=7, split="test")


def test_reader_returns_the_networks_activations(teacher):
    reader = open_reader(teacher, DIGITS)
    rows = torch.tensor([3, 1, 499])
    reps = reader.read(["fc", "logits"], rows)
    images = load_dataset("digits", teacher).test.images[rows].float() / 255
    with torch.no_grad():
        expected = reader.network(images)
    torch.testing.assert_close(reps["logits"], expected)
    assert reps["fc"].shape == (3, *reader.shapes["fc"]) and reader.read([], rows) == {}


def test_reader_continues_its_batches_from_a_row(teacher):
    reader = open_reader(teacher, DIGITS)
    ids = [
        torch.cat([b.ids for b in reader.batches_of(torch.arange(row, 500)).in_order(0, 7)])
        for row in (0, 493)
    ]
    assert len(ids[0]) == 500 and torch.equal(ids[1], ids[0][493:])


def test_reader_lists_its_images_as_stimuli(teacher):
    reader = open_reader(teacher, DIGITS)
    stimuli = reader.stimuli()
    assert np.array_equal(stimuli.digests, reader.split.digests) and stimuli.images is None
    assert (stimuli.digest_kind, stimuli.decode, stimuli.preprocessing) == ("pixels", {}, "unit")


def test_open_reader_refuses_images_of_another_shape(teacher, monkeypatch):
    splits = load_dataset("digits", teacher)
    wide = [split.at(torch.arange(4)) for split in splits]
    wide = [type(s)(s.images.repeat(1, 1, 1, 2), s.labels, s.ids, s.classes) for s in wide]
    with pytest.raises(UserError, match="takes 1x8x8 images, those of `digits` are 1x8x16"):
        open_reader(teacher, DIGITS, type(splits)(*wide))


def test_complete_settings_takes_the_data_set_of_the_run_and_its_size():
    config = {"dataset": "folder:a", "data_root": "there", "image_size": 32}
    run = SimpleNamespace(path="r", config=config, provenance={})
    settings = complete_settings(run, ExportSettings())
    assert (settings.dataset, settings.data_root, settings.image_size) == ("folder:a", "there", 32)
    assert complete_settings(run, ExportSettings(image_size=16)).image_size == 16
    assert complete_settings(run, ExportSettings(dataset="folder:b")).image_size == 32
    assert complete_settings(run, ExportSettings(dataset="digits")).image_size is None


@pytest.mark.parametrize("settings", [HeatmapSettings(), CompareRdmsSettings()])
def test_reader_cache_loads_a_data_set_once(settings, teacher, student, monkeypatch):
    loads = []

    def load_splits(settings):
        loads.append(settings.dataset)
        return load_dataset(settings.dataset, teacher)

    monkeypatch.setattr(activation_reader, "load_splits", load_splits)
    readers = ReaderCache(settings)
    one, two = (readers(Run.open_finished(path)) for path in (teacher, student))
    assert loads == ["digits"] and one.splits is two.splits and one.split_name == "test"
