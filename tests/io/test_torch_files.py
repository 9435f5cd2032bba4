"""Tensors of .pt files equal torch.load's, and nothing pickled beside them is run."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from rdl_cli.core.errors import UserError
from rdl_cli.io.child import read_file
from rdl_cli.io.torch_files import STORAGES, read_tensors


@pytest.mark.parametrize("storage", STORAGES)
def test_read_tensors_equals_torch_load(storage, tmp_path):
    dtype = torch.from_numpy(np.empty(0, STORAGES[storage])).dtype
    whole = torch.arange(24).reshape(2, 3, 4).to(dtype)
    tensors = {"whole": whole, "part": whole[1:, ::2].mT, "scalar": whole[0, 0, 1], "n": [1, "a"]}
    torch.save(tensors | {"empty": whole[:0]}, tmp_path / "x.pt")
    content = read_tensors(tmp_path / "x.pt")
    for name, tensor in torch.load(tmp_path / "x.pt", weights_only=True).items():
        if isinstance(tensor, torch.Tensor):
            assert content[name].dtype == tensor.numpy().dtype
            np.testing.assert_array_equal(content[name], tensor.numpy())
    assert content["n"] == [1, "a"]


class Marker:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_read_tensors_runs_nothing(tmp_path):
    torch.save({"rdm": Marker(tmp_path / "ran")}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="without running what is pickled in it"):
        read_tensors(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()
    assert pickle.loads(pickle.dumps(Marker(tmp_path / "ran"))) is None  # the marker works
    assert (tmp_path / "ran").exists()


def test_read_tensors_notices_a_flipped_bit(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"rdm": torch.full((300,), 0.123), "layer_name": "fc"}, path)
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(0.123).tobytes() * 9) + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="Bad CRC-32"):
        read_file("rdms", path)
