"""Weights on disk: ours say what they are of; foreign ones are read, never run."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rdl_cli.core.errors import UserError
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network

ABOUT = weights.WeightsMetadata("mnist-cnn:width=0.1", "1x8x8", "10", "unit")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(ABOUT.network, InputShape.read(ABOUT.pictures), 10)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_what_is_saved_is_loaded(network, tmp_path):
    weights.save_network(
        network.to(memory_format=torch.channels_last), tmp_path / "w.safetensors", ABOUT
    )
    found, about = weights.load_network(tmp_path / "w.safetensors")
    assert about == ABOUT and equal(found.state_dict(), network.state_dict()) and not found.training


def test_equal_weights_are_equal_bytes(network, tmp_path):
    """A run is known by the digest of this file; safetensors writes several metadata keys in random order."""
    for k in range(10):
        weights.save_network(network, tmp_path / str(k), ABOUT)
    assert len({weights.weights_digest(tmp_path / str(k)) for k in range(10)}) == 1


@pytest.mark.parametrize("form", ["run", "safetensors", "pt", "wrapped"])
def test_tensors_are_read_from_every_form(network, form, tmp_path):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    state = network.state_dict()
    if form == "run":
        weights.save_network(network, tmp_path / "model.safetensors", ABOUT)
        path = tmp_path
    elif form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if form == "pt" else {"state_dict": state, "epoch": 3}, path)
    assert equal(weights.read_state_dict(path), state)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_is_unpickled(tmp_path, capsys):
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
def test_damaged_files_are_refused(name, content, fact, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=fact):
        weights.read_state_dict(tmp_path / name)


def test_what_is_no_state_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    for name in ("list.pt", "numbers.pt"):
        with pytest.raises(UserError, match="holds no state dict"):
            weights.read_state_dict(tmp_path / name)


def test_load_needs_to_be_told_the_network(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="do not say which network"):
        weights.load_network(path)
    weights.save_network(network, path, ABOUT._replace(network="mnist-cnn:width=0.2"))
    with pytest.raises(UserError, match="do not fit the network"):
        weights.load_network(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="is damaged"):
        weights.load_network(path)


def test_a_flipped_bit_is_noticed(network, tmp_path):
    """In the numbers, which safetensors would hand on, and in the header."""
    path = tmp_path / "model.safetensors"
    weights.save_network(network, path, ABOUT)
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


def test_copy_fitting_copies_by_name_and_shape(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in before.items()} | {
        "readout.weight": torch.zeros(7, 20),
        "foreign": torch.zeros(1),
    }
    copied, left = weights.load_matching(network, other)
    assert left == ["readout.weight", "readout.bias"], "a bias alone would be half of a module"
    assert set(copied) == before.keys() - set(left)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name] if name in left else before[name] + 1)


def test_batch_norm_from_before_batches_were_counted_is_copied():
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
