"""Figures of real runs and stores show their RDMs and errors; a rerun writes equal bytes."""

import base64
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from rdl_cli.commands import activation_reader as opened
from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.plot.plot import plot_curves, plot_labels, plot_mds, plot_rdms
from rdl_cli.commands.plot.plot_data import LayerSelection, choose_exemplars
from rdl_cli.core.checksum import MANIFEST
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.base import load_dataset
from rdl_cli.figures.rdm_heatmap import to_shades
from rdl_cli.networks.hooks import forward_with_layers
from rdl_cli.networks.weights import load_network as load_weights
from rdl_cli.rsa.condensed import condensed_pairs, pair_index
from rdl_cli.runs.run import Run
from rdl_cli.store.layout import RdmSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import create_store

SMALL = {"samples": 3, "sample_size": 20, "layers": ["pool1,fc"], "device": "cpu"}


def copy_run(source: Path, out: Path) -> None:
    """Copy a run without its checksums, so that the test may change its files."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(MANIFEST))


def drawn(figure) -> dict[str, np.ndarray]:
    """The shades of each panel that has a title."""
    return {
        axes.get_title(): np.ma.filled(axes.images[0].get_array(), np.nan)
        for axes in figure.axes
        if axes.images and axes.get_title()
    }


def words(figure) -> str:
    return "\n".join(
        text.get_text() for axes in figure.axes for text in (*axes.texts, axes.xaxis.label)
    ) + "\n".join(text.get_text() for text in figure.texts)


@pytest.fixture(scope="module")
def brain(tmp_path_factory) -> Path:
    """Two subjects' RDMs of nine stimuli in three classes, with missing pairs, without images."""
    path = tmp_path_factory.mktemp("brain") / "brain.h5"
    labels = np.array([2, 0, 1] * 3)
    stimuli = Stimuli(np.full(9, b"", "S64"), np.array([f"object {k}" for k in range(9)]), labels)
    values = np.stack(
        [pdist(np.random.default_rng(seed).normal(size=(9, 4)), "correlation") for seed in (0, 1)]
    )
    values[0, 4] = values[:, 7] = np.nan
    with create_store(
        path, stimuli, {}, [RdmSpec("IT", 2, "float64", "correlation", "IT")], "f"
    ) as writer:
        for index in (0, 1):
            writer.write_rdm("IT", index, 0, values[index])
    return path


def test_choose_exemplars_takes_so_many_of_each_class_in_order():
    labels = torch.randint(4, (200,), generator=torch.Generator().manual_seed(0))
    labels[labels == 3] = 1
    labels[7] = 3
    rows = choose_exemplars(labels, 5, torch.Generator().manual_seed(1))
    assert labels[rows].tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] and len(rows.unique()) == len(
        rows
    )
    assert torch.equal(rows, choose_exemplars(labels, 5, torch.Generator().manual_seed(1)))
    assert not torch.equal(rows, choose_exemplars(labels, 5, torch.Generator().manual_seed(2)))


def test_plot_rdms_shows_a_networks_rdms_of_test_images(teacher, tmp_path):
    panels = drawn(
        plot_rdms(
            [teacher],
            [tmp_path / "rdm.svg"],
            HeatmapSettings(layers=["pool2,logits"], per_class=4, seed=3, device="cpu"),
        )
    )
    test = load_dataset("digits", Path("data")).test
    rows = choose_exemplars(test.labels, 4, Seeds(3)("exemplars"))
    network, _ = load_weights(Run(teacher).weights)
    with torch.no_grad():
        logits, taps = forward_with_layers(network, test.images[rows].float() / 255, ["pool2"])
    assert list(panels) == ["pixels", "pool2", "logits", "labels"]
    for name, reps in (
        ("pixels", test.images[rows].double() / 255),
        ("pool2", taps["pool2"]),
        ("logits", logits),
    ):
        assert panels[name] == pytest.approx(
            squareform(to_shades(pdist(reps.flatten(1).numpy()))), abs=0.01
        )
    same = np.equal.outer(test.labels[rows].numpy(), test.labels[rows].numpy())
    assert np.array_equal(panels["labels"], np.where(same, 0, 1))


def test_plot_rdms_shows_the_same_for_a_store_of_the_same_images(tiny, teacher, tmp_path):
    store = tiny.export(teacher, tmp_path / "test.h5", split="test")
    assert len(Store.open(store).layers) == 3
    figure = plot_rdms(
        [store, teacher],
        [tmp_path / "rdm.png"],
        HeatmapSettings(layers=["pool1,pool2,fc"], per_class=2, device="cpu"),
    )
    titled = list(drawn(figure))
    panels = [np.ma.filled(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert (
        titled == ["pixels", "pool1", "pool2", "fc", "labels"] and len(panels) == 1 + 3 + 3 + 1 + 1
    )
    for of_store, of_run in zip(panels[1:4], panels[4:7], strict=True):
        assert of_store == pytest.approx(of_run, abs=0.01)


def test_plot_rdms_shows_the_mean_over_subjects_by_class(brain, tmp_path):
    figure = plot_rdms([brain], [tmp_path / "rdm.svg"], HeatmapSettings(scale="panel"))
    panels = drawn(figure)
    stack = Store.open(brain).rdms("IT").values
    rows = torch.tensor([1, 4, 7, 2, 5, 8, 0, 3, 6])
    i, j = condensed_pairs(9)
    values = stack[:, pair_index(rows[i], rows[j], 9).numpy()]
    mean = np.ma.masked_invalid(values).mean(0).filled(np.nan)
    assert list(panels) == ["IT, mean of 2", "labels"]
    expected = squareform(mean / np.nanmax(mean), checks=False)
    np.testing.assert_allclose(panels["IT, mean of 2"], expected)
    assert np.isnan(expected).sum() == 2
    assert "correlation distance (1 − r) ÷ the largest of its RDM; grey: not measured" in words(
        figure
    ).replace("\n", " ")


def test_plot_rdms_leaves_out_pixels_for_different_images(brain, teacher, tmp_path):
    panels = drawn(
        plot_rdms(
            [teacher, brain],
            [tmp_path / "rdm.svg"],
            HeatmapSettings(layers=["fc", "IT"], device="cpu", per_class=2),
        )
    )
    assert list(panels) == ["IT, mean of 2", "fc"]


def test_layer_selection_requires_every_layer_in_some_source():
    selection = LayerSelection(["fc,IT", "pool*"])
    assert selection.select(["pool1", "pool2", "fc"], Path("run")) == ("fc", "pool1", "pool2")
    with pytest.raises(UserError, match="no layer `IT`"):
        selection.check()
    assert selection.select(["EVC", "IT"], Path("store")) == ("IT",)
    selection.check()
    with pytest.raises(UserError, match="no layer `fc`"):
        selection.select(["conv"], Path("other"))


def test_plot_mds_shows_every_layer_of_every_run(teacher, student, tmp_path):
    figure = plot_mds([teacher, student], [tmp_path / "map.svg"], MdsSettings(**SMALL))
    (axes,) = figure.axes
    numbers = [text.get_text() for text in axes.texts]
    assert numbers == ["pixels", "labels", "1", "2", "1", "2"]
    positions = {
        name: np.array(text.xy) for name, text in zip(numbers[:2], axes.texts[:2], strict=True)
    }
    assert positions["pixels"][0] < positions["labels"][0] and positions["pixels"][
        1
    ] == pytest.approx(positions["labels"][1], abs=0.01)
    assert np.mean([text.xy[1] for text in axes.texts[2:]]) > positions["pixels"][1]
    assert (
        "1 − Pearson r between RDMs (Euclidean distance), 3 samples of 20 test images. Stress-1 0."
        in words(figure).replace("\n", " ")
    )


def test_plot_mds_puts_equal_networks_at_one_point(teacher, tmp_path):
    again = tmp_path / "again"
    copy_run(teacher, again)
    (again / "config.toml").write_text((again / "config.toml").read_text() + 'label = "again"\n')
    for between in ("correlation", "normalised", "standardised"):
        figure = plot_mds(
            [teacher, again], [tmp_path / "map.png"], MdsSettings(**SMALL, rdm_distance=between)
        )
        points = np.array([text.xy for text in figure.axes[0].texts[2:]])
        assert points[:2] == pytest.approx(points[2:], abs=1e-3)


def test_plot_curves_shows_metrics(tiny, teacher, tmp_path):
    figure = plot_curves([teacher], [tmp_path / "curves.svg"])
    for axes, column in zip(figure.axes, ("train_error", "validation_error"), strict=True):
        assert axes.lines[0].get_ydata() == pytest.approx(
            [100 * row[column] for row in tiny.metrics(teacher)]
        )


def test_plot_curves_joins_seeds_of_one_method(tiny, teacher, tmp_path):
    for seed in (0, 1):
        copy_run(teacher, tmp_path / f"baseline/seed{seed}")
        config = tmp_path / f"baseline/seed{seed}/config.toml"
        config.write_text(config.read_text().replace("seed = 5", f"seed = {seed}"))
    assert "baseline  " in words(
        plot_curves([tmp_path / "baseline", teacher], [tmp_path / "curves.svg"])
    )
    (tmp_path / "baseline/seed1/metrics.csv").write_text(
        "epoch,train_error,validation_error\n0,1,1\n"
    )
    with pytest.raises(
        UserError, match=r"has 15 epochs and .*seed1 has 1, but both are called baseline"
    ):
        plot_curves([tmp_path / "baseline"], [tmp_path / "x.svg"])
    for seed in (0, 1):
        (tmp_path / f"baseline/seed{seed}/metrics.csv").write_text("epoch,train_error\n0,1\n")
    with pytest.raises(UserError, match="is damaged: 'validation_error'"):
        plot_curves([tmp_path / "baseline"], [tmp_path / "x.svg"])
    for seed in (0, 1):
        (tmp_path / f"baseline/seed{seed}/metrics.csv").unlink()
    with pytest.raises(UserError, match="has no epochs"):
        plot_curves([tmp_path / "baseline"], [tmp_path / "x.svg"])
    assert not (tmp_path / "x.svg").exists()


def test_save_figure_gives_svg_images_a_palette_and_their_shades(teacher, tmp_path):
    figure = plot_rdms(
        [teacher], [tmp_path / "rdm.svg"], HeatmapSettings(layers=["fc"], per_class=2, device="cpu")
    )
    embedded = re.findall(r'data:image/png;base64,\s*([^"]+)"', (tmp_path / "rdm.svg").read_text())
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in embedded]
    panels = [axes.images[0] for axes in figure.axes if axes.images]
    assert {picture.mode for picture in pictures} == {"P"} and len(pictures) == len(panels) == 4
    for picture, panel in zip(pictures[:3], panels[:3], strict=True):
        assert np.array_equal(
            np.asarray(picture.convert("RGB")),
            panel.to_rgba(panel.get_array(), bytes=True)[..., :3],
        )


def test_plot_mds_and_rdms_read_a_data_set_once_for_all_runs(
    teacher, student, tmp_path, monkeypatch
):
    read = []
    monkeypatch.setattr(
        opened,
        "load_splits",
        lambda asked: read.append(asked.dataset) or load_dataset("digits", Path("data")),
    )
    plot_mds([teacher, student], [tmp_path / "map.svg"], MdsSettings(**SMALL))
    plot_rdms(
        [teacher, student],
        [tmp_path / "rdm.svg"],
        HeatmapSettings(layers=["fc"], per_class=2, device="cpu"),
    )
    assert read == ["digits"] * 2


def test_plot_rdms_and_mds_name_the_seed(tiny, teacher, tmp_path):
    several = [tmp_path / f"baseline/seed{seed}" for seed in (5, 6)]
    for path, seed in zip(several, (5, 6), strict=True):
        copy_run(teacher, path)
        (path / "config.toml").write_text(
            (path / "config.toml").read_text().replace("seed = 5", f"seed = {seed}")
        )
    heatmaps = HeatmapSettings(layers=["fc"], per_class=2, device="cpu")
    assert "within each RDM. 20 stimuli. Seed 5" in words(
        plot_rdms([several[0].parent], [tmp_path / "x.svg"], heatmaps)
    ).replace("\n", " ")
    assert "Seed 6" in words(plot_mds(several[1:], [tmp_path / "x.svg"], MdsSettings(**SMALL)))
    assert "Seed " not in words(plot_mds(several, [tmp_path / "x.svg"], MdsSettings(**SMALL)))


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_save_figure_writes_equal_bytes_again(suffix, teacher, tmp_path):
    out = [tmp_path / f"{k}{suffix}" for k in range(2)]
    for path in out:
        plot_rdms([teacher], [path], HeatmapSettings(layers=["fc"], per_class=2, device="cpu"))
    assert out[0].read_bytes() == out[1].read_bytes()
    plot_curves([teacher], out[:1])
    plot_curves([teacher], out[1:])
    assert out[0].read_bytes() == out[1].read_bytes() and out[0].stat().st_size > 1000


@pytest.mark.parametrize(
    ("settings", "out", "says"),
    [
        (HeatmapSettings(), "x.svg", "no layers are named"),
        (HeatmapSettings(layers=["fd"]), "x.svg", "no layer `fd`; did you mean `fc`"),
        (HeatmapSettings(layers=["fc"]), "x.gif", "no figure format `.gif`"),
        (HeatmapSettings(layers=["fc"]), "nowhere/x.svg", "no folder"),
        (
            HeatmapSettings(layers=["fc"], distance="corelation"),
            "x.svg",
            "did you mean `correlation`",
        ),
        (HeatmapSettings(layers=["fc"], per_class=0), "x.svg", "--per-class is 0"),
        (MdsSettings(layers=["fc"], sample_size=3), "x.svg", "--sample-size is 3"),
        (MdsSettings(layers=["fc"], samples=0), "x.svg", "--samples is 0; at least 1 is needed"),
        (HeatmapSettings(layers=["fc"], image_size=0), "x.svg", "--image-size is 0"),
        (
            MdsSettings(layers=["fc"], sample_size=1000),
            "x.svg",
            "takes 1,000 stimuli; there are 500",
        ),
        (
            MdsSettings(layers=["fc"], rdm_distance="pearson"),
            "x.svg",
            "no distance between RDMs `pearson`",
        ),
    ],
)
def test_plot_rdms_and_mds_refuse_mistakes_and_write_nothing(
    settings, out, says, teacher, tmp_path
):
    job = plot_rdms if isinstance(settings, HeatmapSettings) else plot_mds
    with pytest.raises(UserError, match=says):
        job([teacher], [tmp_path / out], settings)
    assert not list(tmp_path.iterdir())


def test_plot_mds_needs_one_data_set_for_runs_on_different_images(tiny, teacher, tmp_path):
    other = tmp_path / "other"
    copy_run(teacher, other)
    config = (other / "config.toml").read_text()
    (other / "config.toml").write_text(config.replace('dataset = "digits"', 'dataset = "nowhere"'))
    with pytest.raises(UserError, match="no dataset `nowhere`"):
        plot_mds([teacher, other], [tmp_path / "x.svg"], MdsSettings(**SMALL))
    plot_mds([teacher, other], [tmp_path / "x.svg"], MdsSettings(**SMALL, dataset="digits"))


def test_plot_rdms_needs_labels_for_a_large_store(tmp_path):
    n = 300
    stimuli = Stimuli(np.array([f"{k:064x}" for k in range(n)], "S64"))
    with create_store(
        tmp_path / "s.h5", stimuli, {}, [RdmSpec("IT", 1, "float32", "mse")], "f"
    ) as writer:
        writer.write_rdm("IT", 0, 0, np.ones(n * (n - 1) // 2))
    with pytest.raises(UserError, match=r"the 300 stimuli of .* have no labels"):
        plot_rdms([tmp_path / "s.h5"], [tmp_path / "x.svg"], HeatmapSettings())


def test_plot_help_imports_neither_torch_nor_matplotlib():
    program = (
        "import sys; import rdl_cli.cli.plot;"
        " sys.exit(bool({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False
        ).returncode
        == 0
    )


def test_plot_labels_shows_errors_of_the_predictions(teacher, tmp_path):
    for name, count in (("rdl-200", 200), ("rdl-50", 50)):
        copy_run(teacher, tmp_path / name)
        config = re.sub(
            r"(?m)^(label|train_size) = .*\n", "", (tmp_path / name / "config.toml").read_text()
        )
        (tmp_path / name / "config.toml").write_text(
            f'label = "{name}"\ntrain_size = {count}\n{config}'
        )
    figure = plot_labels([tmp_path / "rdl-200", tmp_path / "rdl-50"], [tmp_path / "labels.svg"])
    predictions = Run(teacher).predictions()
    error = 100 * float((predictions.predicted != predictions.labels).mean())
    assert figure.axes[0].lines[-1].get_xdata() == pytest.approx([50, 200]), "one line, ascending"
    assert figure.axes[0].lines[-1].get_ydata() == pytest.approx([error, error])
    (tmp_path / "rdl-50" / "config.toml").write_text(
        (tmp_path / "rdl-50" / "config.toml").read_text().replace("train_size = 50\n", "")
    )
    with pytest.raises(
        UserError, match="rdl-50 has no --train-size, so its number of labels is not known"
    ):
        plot_labels([tmp_path / "rdl-50"], [tmp_path / "x.svg"])


def test_plot_labels_strips_only_the_number_of_labels_from_names(teacher, tmp_path):
    counts = {
        "small": 50,
        "resnet18": 100,
        "resnet50": 100,
        "rdl-2": 100,
        "kd-100": 100,
        "kd-all": 1000,
    }
    for name, count in counts.items():
        copy_run(teacher, tmp_path / name)
        config = re.sub(
            r"(?m)^(label|train_size) = .*\n", "", (tmp_path / name / "config.toml").read_text()
        )
        (tmp_path / name / "config.toml").write_text(
            f'label = "{name}"\ntrain_size = {count}\n{config}'
        )
    figure = plot_labels([tmp_path / name for name in counts], [tmp_path / "labels.svg"])
    text = words(figure)
    assert (
        all(name in text for name in ("small", "resnet18", "resnet50", "rdl-2", "kd"))
        and "kd-" not in text
    )
