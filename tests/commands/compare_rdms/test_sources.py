"""What is compared of a run or a store: no more is read than that, and a layer's own name wins."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist
from torch import nn

from rdl_cli.commands import activation_reader as opened
from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.compare_rdms import sources
from rdl_cli.commands.compare_rdms.sources import open_sources, select_layers
from rdl_cli.commands.export_rdms.export_rdms import ActivationReader
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.datasets.base import load_dataset
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

SETTINGS = CompareRdmsSettings(device="cpu", max_stimuli=40)


def test_a_layer_called_pixels_is_not_replaced_by_the_pictures(teacher):
    found = ReaderCache(SETTINGS)(Run(teacher))
    network = nn.Sequential(
        OrderedDict(pixels=nn.Conv2d(1, 2, 3), flat=nn.Flatten(), out=nn.Linear(72, 10))
    ).eval()
    (made,) = open_sources([teacher], SETTINGS)
    source = sources._run(
        "run",
        replace(found, network=network, shapes=dict.fromkeys(["pixels", "flat", "out"], (1,))),
    )
    (layer,) = source.read(["pixels"], np.arange(4))
    assert source.layers.count("pixels") == made.layers.count("pixels") == 1
    assert (
        layer.reps.shape == (4, 2, 6, 6)
        and made.read(["pixels"], np.arange(4))[0].reps[0].numel() == 64
    )
    assert "pixels" in [each.name for each in source.usual(np.arange(4))]


def test_only_what_is_compared_is_read(teacher, monkeypatch):
    (source,) = open_sources([teacher], SETTINGS)
    asked: list[str] = []
    read = ActivationReader.read
    monkeypatch.setattr(
        ActivationReader,
        "read",
        lambda self, layers, rows: asked.extend(layers) or read(self, layers, rows),
    )
    kept = [layer.name for layer in select_layers([source], SETTINGS)]
    assert {"pool1", "fc"} <= set(kept) <= set(asked) and asked == [
        layer for layer in source.layers if "." not in layer and layer != "pixels"
    ]
    assert any("." in layer for layer in source.layers)


def test_a_data_set_is_read_once_for_all_runs(teacher, student, monkeypatch):
    read = []
    monkeypatch.setattr(
        opened,
        "load_splits",
        lambda asked: read.append(asked.dataset) or load_dataset("digits", Path("data")),
    )
    assert len(open_sources([teacher, student], SETTINGS)) == 2 and read == ["digits"]


def test_an_rdm_called_pixels_is_a_layer_beside_the_pictures_of_others(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 1, 4, 4), dtype=np.uint8)
    paths = []
    for name, seen in (("brain", None), ("task", images)):
        paths.append(tmp_path / f"{name}.h5")
        layer = "pixels" if seen is None else "IT"
        with create_store(
            paths[-1],
            Stimuli(pixel_digests(images), images=seen),
            {},
            [RdmSpec(layer, 1, "float64", "mse")],
            "f",
        ) as writer:
            writer.write_rdm(layer, 0, 0, pdist(rng.normal(size=(12, 3))))
    settings = replace(SETTINGS, layers=["pixels"])
    assert [layer.name for layer in select_layers(open_sources(paths, settings), settings)] == [
        "brain/pixels",
        "task/pixels",
    ]
