"""A small store and a small run, and readers of each of their files."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rdl_cli.core.checksum import pixel_digests
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.weights import (
    WeightsMetadata,
    load_network,
    read_state_dict,
    save_network,
)
from rdl_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from rdl_cli.runs.prediction_table import PredictionTable, format_tables, read_tables
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import ActivationSpec, KernelSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

NETWORK, SHAPE = "mnist-cnn:width=0.02", "1x28x28"


def write_run(folder: Path) -> Run:
    """Write a finished run with every file that a run can have."""
    folder.mkdir(parents=True)
    run = Run(folder)
    parent = {"kind": "dataset", "path": "/data/mnist", "fingerprint": "0" * 64}
    run.write_provenance({"command": "rdl train-student r", "parents": [parent]})
    run.write_config({"network": NETWORK, "seed": 3, "lr": 0.1, "match": ["fc=IT"]})
    run.write_metrics(
        [{"epoch": e, "loss": 1.5, "validation_error": 0.5 / e, "seconds": 1.0} for e in (1, 2)]
    )
    names = ("spearman", "pearson", "spearman_stimulus_bn", "mean_subject_spearman")
    numbers = dict.fromkeys((*names, "noise_ceiling_lower", "noise_ceiling_upper"), 0.25)
    similarity = {"layer": "fc", "region": "IT", "stimuli": "heldout", "n_stimuli": 2} | numbers
    run.write_stimuli({"stimuli": {"heldout": ["a", "b"]}, "brain_similarity": [similarity]})
    state = {"epoch": 1, "weights": {"fc": torch.arange(6.0)}, "best": 0.25}
    save_checkpoint(run, state, world_size=1)
    torch.manual_seed(0)
    network = build_network(NETWORK, InputShape.parse(SHAPE), 3)
    save_network(network, run.weights, WeightsMetadata(NETWORK, SHAPE, "3", "none"))
    logits = np.random.default_rng(0).normal(size=(4, 3))
    digests = np.array([f"{i:064x}" for i in range(4)], "S64")
    run.write_predictions(digests, np.arange(4) % 3, {"final": logits, "best": logits[::-1]})
    return Run(folder)


def write_store(path: Path) -> Store:
    """Write a store of activations, an RDM, and a kernel, with names, labels and images."""
    rng, n = np.random.default_rng(0), 4
    images = rng.integers(0, 256, (n, 1, 2, 2), dtype=np.uint8)
    names, labels = np.array(["a", "b", "c", "ü"]), np.arange(n)
    stimuli = Stimuli(pixel_digests(images), names, labels, images)
    specs = [
        ActivationSpec("conv", (3,), "float32", ("identity",), "mse"),
        RdmSpec("IT", 2, "float64", "correlation", subjects=("s1", "s2"), times=(50.0, 100.0)),
        KernelSpec("fc", "float32", "mse", 5),
    ]
    with create_store(path, stimuli, {"command": "c", "parents": []}, specs, "f") as writer:
        writer.write("conv", 0, rng.normal(size=(n, 3)).astype("f4"), 0)
        for k in range(2):
            writer.write_rdm("IT", k, 0, rng.random(n * (n - 1) // 2))
        writer.write_kernel("fc", 0, rng.random(n * (n + 1) // 2).astype("f4"))
    return Store.open(path)


def write_tables(path: Path) -> None:
    """Write the published predictions of two runs."""
    table = PredictionTable(
        digests=np.array([f"{i:064x}" for i in range(5)], "S64"),
        labels=np.arange(5),
        methods=("a", "b"),
        seeds=(0, 1),
        teachers=("", "t"),
        draws_data=(False, True),
        processors=("p", ""),
        predicted={epoch: np.arange(10).reshape(2, 5) % 5 for epoch in ("final", "best")},
    )
    path.write_bytes(format_tables([table]))


def read_store(path: Path) -> Any:
    """Return everything that a store holds, as plain values."""
    store = Store.open(path)
    layers = []
    for name in store.layers:
        layer = store.layer(name)
        layer.verify()
        layers.append((name, layer.shape, layer.views, layer.checksum))
    stimuli = [None if v is None else np.array(v).tolist() for v in store.stimuli]
    rdms = store.rdms("IT")
    values = rdms.values.tolist(), rdms.subjects, rdms.times, rdms.distance, store.images().tolist()
    return store.provenance, stimuli, layers, values, store.fingerprint()


def _plain(state: Any) -> Any:
    """Return tensors within dictionaries as bytes."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    if isinstance(state, torch.Tensor):
        buffer = io.BytesIO()
        np.save(buffer, state.numpy())
        return buffer.getvalue()
    return state


def _read_weights(path: Path) -> Any:
    network, metadata = load_network(path)
    assert isinstance(network, nn.Module)
    return _plain(dict(network.state_dict())), metadata


def read_tables_plainly(path: Path) -> Any:
    return [
        json.dumps([str(v) for v in vars(table).values()], default=str)
        for table in read_tables(path)
    ]


def read_whole_run(folder: Path) -> Any:
    """Return what all readers of a run return."""
    return [read(folder / name) for name, read in RUN_READERS.items()]


def read_foreign_weights(path: Path) -> Any:
    return _plain(dict(read_state_dict(path).tensors))


RUN_READERS: dict[str, Callable[[Path], Any]] = {
    "config.toml": lambda path: (Run.open(path.parent).config, Run(path.parent).key()),
    "provenance.json": lambda path: Run.open(path.parent).provenance,
    "metrics.csv": lambda path: Run.open(path.parent).metrics(),
    "timings.csv": lambda path: Run.open(path.parent).timings(),
    "stimuli.json": lambda path: Run.open(path.parent).stimuli,
    "checkpoint.pt": lambda path: _plain(load_checkpoint(Run.open(path.parent), 1)),
    "model.safetensors": lambda path: (Run(path.parent).fingerprint(), _read_weights(path)),
    "predictions.h5": lambda path: [
        [array.tolist() for array in Run.open_finished(path.parent).predictions(epoch)]
        for epoch in ("final", "best")
    ],
    "checksums.txt": lambda path: Run.open_finished(path.parent).metrics(),
}
"""The reader of each file of a run: the values that commands use, without `show --verify`."""
