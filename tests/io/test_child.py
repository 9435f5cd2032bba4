"""The reading process: its limits, its death and its results end in arrays or in one UserError."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.io import child
from rdl_cli.io.child import ReadingProcess, _decode, _encode, read_file
from rdl_cli.io.raw_array import RawArray

SQUARE = np.array([[0, 1.0, 2], [1, 0, 3], [2, 3, 0]])


@pytest.fixture
def rdm(tmp_path: Path) -> Path:
    np.save(tmp_path / "it.npy", SQUARE)
    return tmp_path / "it.npy"


@pytest.fixture
def process():
    process = ReadingProcess()
    yield process
    process.stop()


def test_read_file_returns_the_arrays_and_reuses_its_process(rdm):
    (raw,) = read_file("rdms", rdm, format=None)
    pid = child._process()._process.pid
    assert np.array_equal(raw.array, SQUARE) and raw.region == "it"
    read_file("rdms", rdm)
    assert child._process()._process.pid == pid


def test_read_file_follows_the_current_folder(rdm, monkeypatch):
    monkeypatch.chdir(rdm.parent)
    assert read_file("rdms", Path("it.npy"))[0].region == "it"


def test_read_file_the_process_imports_no_torch_and_nothing_of_the_current_folder(rdm):
    (rdm.parent / "numpy.py").write_text("raise SystemExit('imported from the current folder')")
    code = (
        "import sys, rdl_cli.io.child as c; c.readers(); list(c.find_arrays.__globals__['READERS'])"
    )
    subprocess.run(
        [sys.executable, "-P", "-c", f"{code}; assert 'torch' not in sys.modules"],
        cwd=rdm.parent,
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(child.__file__).parents[2])},
    )
    code = f"from rdl_cli.io.child import *; read_file('rdms', Path({str(rdm)!r}))"
    subprocess.run([sys.executable, "-P", "-c", code], cwd=rdm.parent, check=True)


def test_read_file_too_much_memory_is_one_error(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bomb.npz", IT=np.zeros((2500, 2500)))  # 50 MB in 49 kB
    monkeypatch.setattr(child, "MEMORY", 20_000_000)
    with pytest.raises(UserError, match=r"bomb.npz needs more than 0.0 GB"):
        read_file("rdms", tmp_path / "bomb.npz")
    monkeypatch.undo()
    assert read_file("rdms", tmp_path / "bomb.npz")[0].array.shape == (2500, 2500)


def test_read_file_too_much_time_is_one_error(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "long.npz", IT=np.zeros((2500, 2500)))
    monkeypatch.setattr(child, "CPU_SECONDS", 0.005)
    with pytest.raises(UserError, match=r"long.npz took more time or memory") as caught:
        read_file("rdms", tmp_path / "long.npz")
    assert "damaged" in caught.value.hint


@pytest.mark.parametrize(
    ("number", "fact"),
    [(signal.SIGSEGV, r"crashed its parser \(SIGSEGV\)"), (signal.SIGKILL, "more time or memory")],
)
def test_read_file_a_crash_is_one_error_and_the_next_file_is_read(number, fact, rdm):
    read_file("rdms", rdm)
    process = child._process()
    process._process.send_signal(number)
    with pytest.raises(UserError, match=fact):
        process.read("rdms", rdm, {})
    assert not process._folder.exists()
    assert read_file("rdms", rdm)[0].region == "it"


def test_read_file_the_process_ends_with_its_parent_and_removes_its_files(rdm, tmp_path):
    code = f"""
import os
from pathlib import Path
from rdl_cli.io import child
child.read_file("rdms", Path({str(rdm)!r}))
process = child._process()
print(process._process.pid, process._folder, flush=True)
os._exit(9)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    folder = Path(out.split()[1])
    for _ in range(50):
        if not folder.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"{folder} is still there")


def test_encode_and_decode_return_equal_arrays(tmp_path):
    names = {"names": ("a", "b", "c")}
    raw = [
        RawArray("IT", SQUARE, ("i", "j"), ("s1",), ("1",), (50.0,), "mse", ("a", "b", "c"), names),
        RawArray("V1", np.zeros((0, 2), np.float32), texts=names, is_rdm=False, notes=("x",)),
    ]
    (tmp_path / "answer.json").write_text(json.dumps(_encode(raw, tmp_path)))
    back = _decode(tmp_path, 1000)
    for before, after in zip(raw, back, strict=True):
        assert np.array_equal(before.array, after.array) and before.array.dtype == after.array.dtype
        fields = [{k: v for k, v in vars(r).items() if k != "array"} for r in (before, after)]
        assert fields[0] == fields[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [{"dtype": "<f4"}, {"shape": [3, 4]}, {"texts": 7}, {"times": ["soon"]}, {"axes": None}],
    ids=str,
)
def test_decode_refuses_arrays_that_differ_from_their_description(change, tmp_path):
    content = _encode([RawArray("IT", SQUARE)], tmp_path)
    content["arrays"][0] |= change
    (tmp_path / "answer.json").write_text(json.dumps(content))
    with pytest.raises((ValueError, KeyError, TypeError, IndexError)):
        _decode(tmp_path, 1000)


def test_decode_refuses_more_values_than_the_budget(tmp_path):
    (tmp_path / "answer.json").write_text(json.dumps(_encode([RawArray("IT", SQUARE)], tmp_path)))
    with pytest.raises(ValueError, match="too many values"):
        _decode(tmp_path, 10)


def test_decode_refuses_pickled_arrays(tmp_path):
    content = _encode([RawArray("IT", SQUARE)], tmp_path)
    np.save(tmp_path / "0.npy", np.array([{}], dtype=object))
    (tmp_path / "answer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Python objects"):
        _decode(tmp_path, 1000)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_read_file_devices_and_folders_is_refused(kind, tmp_path):
    path = tmp_path / "x.mat"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UserError, match=r"No such file|is a folder|is a device or pipe"):
        read_file("rdms", path)
