"""Names that files hold run no code without --trust, whatever registry they belong to."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms, read_representations
from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.export_rdms.export_rdms import export_rdms
from rdl_cli.commands.listing import KINDS, find_registry, list_layers
from rdl_cli.commands.names import REGISTRY_KINDS, check_names, iterate_names
from rdl_cli.commands.plot.plot import plot_mds, plot_rdms
from rdl_cli.commands.reproduce.recipe import read_recipe
from rdl_cli.commands.settings import (
    CompareRdmsSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import NameSource
from rdl_cli.store.layout import ActivationSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store
from rdl_cli.training.targets import StoreTarget

EXTERNAL = [kind for kind in KINDS if find_registry(kind).external]


@pytest.fixture
def foreign_code(tmp_path, monkeypatch):
    """Return a module in the current folder that makes a file when it is imported."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "evilcode.py").write_text(
        "from pathlib import Path\n"
        "from rdl_cli.networks.paper import mnist_cnn as net\n"
        "Path(__file__).with_name('imported').touch()\n"
    )
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield folder
    sys.modules.pop("evilcode", None)


@pytest.fixture
def foreign_run(foreign_code, teacher):
    """Return a finished run whose weights name the module."""
    run = foreign_code / "run"
    shutil.copytree(teacher, run)
    weights = run / "model.safetensors"
    with safe_open(weights, "pt") as file:
        description = json.loads(file.metadata()["rdl"])
    tensors = load_file(weights)
    description["network"] = "evilcode:net:width=0.25"
    save_file(tensors, weights, {"rdl": json.dumps(description)})
    (run / "checksums.txt").unlink()
    return run


@pytest.mark.parametrize("kind", EXTERNAL)
def test_find_imports_no_name_of_a_file_without_trust(kind, foreign_code):
    with pytest.raises(UserError, match=r"x\.toml names the .* `evilcode:net`") as error:
        find_registry(kind).find("evilcode:net", NameSource("x.toml"))
    assert "--trust" in error.value.hint and "evilcode" in error.value.hint
    assert not (foreign_code / "imported").exists()


@pytest.mark.parametrize("kind", EXTERNAL)
def test_find_never_looks_in_the_current_folder_for_a_name_of_a_file(kind, foreign_code):
    with pytest.raises(UserError, match="no module of that name"):
        find_registry(kind).find("evilcode:net", NameSource("x.toml", trust=True))
    assert not (foreign_code / "imported").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_find_needs_no_trust_for_registered_names(kind):
    registry = find_registry(kind)
    for name in registry:
        rest = f":{'x'}" if name in registry._rest else ""
        assert registry.find(name + rest, NameSource("x.toml"))


def test_find_imports_a_trusted_module_that_python_finds_elsewhere(foreign_code, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(foreign_code))
    monkeypatch.setattr(sys, "path", [str(foreign_code), *sys.path])
    assert find_registry("networks").find("evilcode:net", NameSource("x.toml", trust=True))
    assert (foreign_code / "imported").exists()


def test_find_imports_what_is_typed_from_the_current_folder(foreign_code):
    assert find_registry("networks").find("evilcode:net")
    assert (foreign_code / "imported").exists()


@pytest.mark.parametrize(
    "settings",
    [
        TrainingSettings,
        StudentSettings,
        ExportSettings,
        CompareRdmsSettings,
        HeatmapSettings,
        MdsSettings,
    ],
)
def test_check_names_looks_at_every_setting_with_a_registry(settings, foreign_code):
    defaults = settings()
    names = [name for name in REGISTRY_KINDS if hasattr(defaults, name)]
    assert names
    for name in names:
        if not find_registry(REGISTRY_KINDS[name]).external:
            continue
        is_list = isinstance(getattr(defaults, name), list)
        changed = replace(defaults, **{name: ["evilcode:net"] if is_list else "evilcode:net"})
        assert (name, REGISTRY_KINDS[name], "evilcode:net") in [*iterate_names(changed)]
        with pytest.raises(UserError, match="evilcode:net"):
            check_names(changed, NameSource("x.toml"))
    assert not (foreign_code / "imported").exists()


def test_no_command_imports_the_network_that_a_run_names(foreign_run, foreign_code, store, tiny):
    out = foreign_code / "out"
    png = [foreign_code / "out.png"]
    calls = {
        "export-rdms": lambda: export_rdms(foreign_run, out, ExportSettings(layers=["fc"])),
        "compare-rdms": lambda: compare_rdms([foreign_run], CompareRdmsSettings(layers=["fc"])),
        "plot rdm": lambda: plot_rdms([foreign_run], png, HeatmapSettings(layers=["fc"])),
        "plot mds": lambda: plot_mds([foreign_run], png, MdsSettings(layers=["fc"])),
        "layers": lambda: list_layers(str(foreign_run)),
        "train-student": lambda: tiny.train(out, targets=str(foreign_run), match=["fc"]),
    }
    for command, call in calls.items():
        with pytest.raises(UserError, match="evilcode:net") as error:
            call()
        assert "--trust" in error.value.hint, command
    assert not (foreign_code / "imported").exists() and not out.exists()


def test_export_builds_a_trusted_network(foreign_run, foreign_code, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(foreign_code))
    monkeypatch.setattr(sys, "path", [str(foreign_code), *sys.path])
    settings = ExportSettings(layers=["fc"], trust=True, device="cpu", split="test")
    store = export_rdms(foreign_run, tmp_path / "s.h5", settings)
    assert list(store.layers) == ["fc"]
    assert "trust" not in store.provenance["config"]


@pytest.mark.parametrize("option", ["dataset", "network", "preprocessing", "objective"])
def test_recipe_imports_no_code_without_trust(option, foreign_code):
    value = '["evilcode:net"]' if option == "objective" else '"evilcode:net"'
    (foreign_code / "r.toml").write_text(
        f'[students]\ndataset = "digits"\n[methods.one]\n{option} = {value}\n'
    )
    with pytest.raises(UserError, match="evilcode:net"):
        read_recipe("r.toml", foreign_code)
    assert not (foreign_code / "imported").exists()


def test_recipe_cannot_trust_itself(foreign_code):
    (foreign_code / "r.toml").write_text(
        '[methods.one]\ndataset = "digits"\ntrust = true\nnetwork = "evilcode:net"\n'
    )
    with pytest.raises(UserError, match="`trust`"):
        read_recipe("r.toml", foreign_code)


def test_store_distance_of_a_file_is_not_imported(foreign_code, tmp_path):
    path = tmp_path / "s.h5"
    spec = ActivationSpec("fc", (2,), "float32", ("identity",), "evilcode:net")
    images = torch.arange(24, dtype=torch.uint8).reshape(6, 1, 2, 2)
    with create_store(path, Stimuli(pixel_digests(images.numpy())), {}, [spec], "t") as writer:
        writer.write("fc", 0, torch.eye(6)[:, :2].numpy(), 0)
    layer = Store.open(path).layer("fc")
    target = StoreTarget(Store.open(path), ["fc"], torch.arange(6), ("identity",), "cpu")
    for measure in (
        layer.default_distance,
        layer.distances,
        lambda: target.fix_distance("fc", None),
        lambda: read_representations([path], CompareRdmsSettings())[0].choose_distance(""),
    ):
        with pytest.raises(UserError, match="evilcode:net"):
            measure()
    assert not (foreign_code / "imported").exists()
    assert layer.distances("mse", [0, 1]).shape == (2, 2)
