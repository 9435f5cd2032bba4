"""Real data for the tests, unpacked once a session; tests skip if it is absent."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (DATA / "mnist").is_dir():
        pytest.skip(f"no packed MNIST in {DATA}")
    root = tmp_path_factory.mktemp("mnist")
    subprocess.run(
        [sys.executable, DATA / "unpack.py", "official", root, "mnist"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return root


@pytest.fixture(scope="session")
def unpack() -> ModuleType:
    """Return the module that decodes the packed CIFAR mosaics."""
    pytest.importorskip("imagecodecs", reason="no JPEG XL decoder")
    if not (DATA / "cifar100").is_dir():
        pytest.skip(f"no packed CIFAR in {DATA}")
    spec = importlib.util.spec_from_file_location("unpack", DATA / "unpack.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
