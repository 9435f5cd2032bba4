"""Layers of runs and stores: only the compared ones are read, and a layer's own name wins."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist
from torch import nn

from rdl_cli.commands import activation_reader as opened
from rdl_cli.commands.activation_reader import ActivationReader, ReaderCache
from rdl_cli.commands.compare_rdms import sources
from rdl_cli.commands.compare_rdms.sources import open_sources, read_layers, select_stimuli
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.datasets.base import load_dataset
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli
from rdl_cli.store.writer import create_store

SETTINGS = CompareRdmsSettings(device="cpu", max_stimuli=40)


def test_sources_keep_a_layer_called_pixels(teacher):
    reader = ReaderCache(SETTINGS)(Run(teacher))
    network = nn.Sequential(
        OrderedDict(pixels=nn.Conv2d(1, 2, 3), flat=nn.Flatten(), out=nn.Linear(72, 10))
    ).eval()
    (opened_source,) = open_sources([teacher], SETTINGS)
    shapes = type(reader.shapes)()
    shapes |= dict.fromkeys(["pixels", "flat", "out"], (1,))
    source = sources._run_source("run", replace(reader, network=network, shapes=shapes))
    (layer,) = source.read(["pixels"], np.arange(4))
    assert source.layers.count("pixels") == opened_source.layers.count("pixels") == 1
    assert (
        layer.reps.shape == (4, 2, 6, 6)
        and opened_source.read(["pixels"], np.arange(4))[0].reps[0].numel() == 64
    )
    assert "pixels" in [one.name for one in source.read_default(np.arange(4))]


def test_read_layers_reads_only_what_is_compared(teacher, monkeypatch):
    (source,) = open_sources([teacher], SETTINGS)
    asked: list[str] = []
    read = ActivationReader.read
    monkeypatch.setattr(
        ActivationReader,
        "read",
        lambda self, layers, rows: asked.extend(layers) or read(self, layers, rows),
    )
    names = [layer.name for layer in read_layers([source], select_stimuli([source], SETTINGS), [])]
    assert {"pool1", "fc"} <= set(names) <= set(asked) and asked == [
        layer for layer in source.layers if "." not in layer and layer != "pixels"
    ]
    assert any("." in layer for layer in source.layers)


def test_open_sources_reads_a_data_set_once_for_all_runs(teacher, student, monkeypatch):
    read = []
    monkeypatch.setattr(
        opened,
        "load_splits",
        lambda asked: read.append(asked.dataset) or load_dataset("digits", Path("data")),
    )
    assert len(open_sources([teacher, student], SETTINGS)) == 2 and read == ["digits"]


def test_read_layers_keeps_an_rdm_called_pixels_beside_other_pixels(tmp_path):
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
    opened_sources = open_sources(paths, settings)
    rows = select_stimuli(opened_sources, settings)
    assert [layer.name for layer in read_layers(opened_sources, rows, ["pixels"])] == [
        "brain/pixels",
        "task/pixels",
    ]
