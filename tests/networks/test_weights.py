"""Weights on disk: our own with a description, foreign ones read and never executed."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rdl_cli.core.checksum import MANIFEST, file_digest, format_manifest
from rdl_cli.core.errors import UserError
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network

METADATA = weights.WeightsMetadata("mnist-cnn:width=0.1", "1x8x8", "10", "unit")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(METADATA.network, InputShape.parse(METADATA.input_shape), 10)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_load_network_returns_what_was_saved(network, tmp_path):
    weights.save_network(
        network.to(memory_format=torch.channels_last), tmp_path / "w.safetensors", METADATA
    )
    loaded, metadata = weights.load_network(tmp_path / "w.safetensors")
    assert metadata == METADATA and equal(loaded.state_dict(), network.state_dict())
    assert not loaded.training


def test_save_network_writes_equal_bytes_for_equal_weights(network, tmp_path):
    """The digest of this file identifies a run; safetensors orders metadata keys at random."""
    for k in range(10):
        weights.save_network(network, tmp_path / str(k), METADATA)
    assert len({weights.weights_digest(tmp_path / str(k)) for k in range(10)}) == 1


@pytest.mark.parametrize("form", ["run", "safetensors", "pt", "wrapped"])
def test_read_state_dict_reads_every_form(network, form, tmp_path):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    state = network.state_dict()
    if form == "run":
        weights.save_network(network, tmp_path / "model.safetensors", METADATA)
        path = tmp_path
    elif form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if form == "pt" else {"state_dict": state, "epoch": 3}, path)
    assert equal(weights.read_state_dict(path).tensors, state)


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda s: {"epoch": 240, "model": s, "best_acc": 99.1}, "its entry `model`"),
        (lambda s: {"net": s, "acc": 99.1, "epoch": 200}, "its entry `net`"),
        (lambda s: {"state_dict": s, "best_acc1": np.float64(99.1)}, "its entry `state_dict`"),
        (lambda s: {"model_state_dict": s, "optimizer_state_dict": {}}, "its entry `model_state"),
        (lambda s: {"ema": s, "step": np.int64(3)}, "its entry `ema`"),
        (lambda s: prefixed(s, "module."), "names without `module.`"),
        (lambda s: prefixed(s, "_orig_mod."), "names without `_orig_mod.`"),
        (
            lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3},
            "its entry `state_dict`, names without `model.`",
        ),
        (lambda s: {"model": prefixed(s, "module._orig_mod.")}, "without `module._orig_mod.`"),
    ],
)
def test_read_state_dict_unwraps_what_training_scripts_save(network, wrap, words, tmp_path):
    path, state = tmp_path / "w.ckpt", network.state_dict()
    torch.save(wrap(state), path)
    tensors, unwrapped = weights.read_state_dict(path)
    assert equal(tensors, state) and words in unwrapped


def test_read_state_dict_refuses_a_whole_module_without_codes_of_a_terminal(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(UserError, match=r"hold a pickled torch.nn.modules.linear.Linear") as raised:
        weights.read_state_dict(tmp_path / "whole.pth")
    assert "\x1b" not in str(raised.value)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_read_state_dict_unpickles_nothing_else(tmp_path, capsys):
    torch.save({"a": torch.zeros(1), "b": Evil()}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("zip.pt", "plain.pt", "module.pt"):
        with pytest.raises(UserError, match="cannot be read as a plain state dict"):
            weights.read_state_dict(tmp_path / name)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("missing.pt", None, "no weights at"),
        ("w.safetensors", b"nonsense", "cannot be read"),
        ("w.pt", b"nonsense", "cannot be read"),
        ("w.pt", b"", "cannot be read"),
    ],
)
def test_read_state_dict_refuses_damaged_files(name, content, fact, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=fact):
        weights.read_state_dict(tmp_path / name)


def test_read_state_dict_refuses_other_content(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    for name in ("list.pt", "numbers.pt"):
        with pytest.raises(UserError, match="holds no state dict"):
            weights.read_state_dict(tmp_path / name)


def test_load_network_needs_a_description(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="have no description of their network"):
        weights.load_network(path)
    weights.save_network(network, path, METADATA._replace(network="mnist-cnn:width=0.2"))
    with pytest.raises(UserError, match="do not fit the network"):
        weights.load_network(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="cannot be read"):
        weights.load_network(path)


def test_load_network_notices_a_flipped_bit(network, tmp_path):
    """In the values, which safetensors does not check, and in the header."""
    path = tmp_path / "model.safetensors"
    weights.save_network(network, path, METADATA)
    (tmp_path / MANIFEST).write_text(format_manifest({path.name: file_digest(path)}))
    content = path.read_bytes()
    for place in (len(content) - 1, len(content) // 2, content.find(b"unit")):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        for read in (
            lambda: weights.load_network(path),
            lambda: weights.read_state_dict(path),
            lambda: weights.read_state_dict(tmp_path),
        ):
            with pytest.raises(UserError, match=r"model\.safetensors is damaged") as error:
                read()
            assert "--resume" in error.value.hint


def test_load_matching_copies_whole_modules(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in before.items()} | {
        "readout.weight": torch.zeros(7, 20),
        "foreign": torch.zeros(1),
    }
    copied, skipped = weights.load_matching(network, other)
    assert skipped == ["readout.weight", "readout.bias"], "a bias alone would be half of a module"
    assert set(copied) == before.keys() - set(skipped)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] if name in skipped else before[name] + 1)


def test_load_matching_copies_batch_norm_without_a_count_of_batches():
    norm = nn.Sequential(nn.BatchNorm2d(3))
    old = {
        name: tensor + 1
        for name, tensor in norm.state_dict().items()
        if name != "0.num_batches_tracked"
    }
    assert weights.load_matching(norm, old) == (
        ["0.weight", "0.bias", "0.running_mean", "0.running_var"],
        ["0.num_batches_tracked"],
    )
    del old["0.running_var"]
    assert weights.load_matching(norm, old)[0] == []
