"""A store of kernels: equal to activations where a kernel is enough, refused elsewhere."""

import json
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from rdl_cli.cli.render.show import to_rich
from rdl_cli.commands import show
from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.compare_rdms.self_check import self_check
from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.export_rdms import blockwise
from rdl_cli.commands.plot.plot_data import LayerSelection, read_store_rdms
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.measures import MEASURES
from rdl_cli.store.layout import KernelSpec
from rdl_cli.store.store import Stimuli, Store
from rdl_cli.store.writer import Writer, create_store

CPU = torch.device("cpu")
DEFAULTS = ["bayes", "cka", "sp", "rdl:pairs=500", "rsa", "cosine", "whitened"]
OTHERS = [
    "bayes:measure=skl,center=stimuli",
    "cka:estimator=debiased",
    "rdl:distance=cosine",
    "rsa:distance=euclidean",
]
"""Objectives for which a kernel is enough."""


@pytest.fixture(scope="module")
def kernels(tiny, teacher):
    return tiny.export(teacher, teacher.parent / "kernels.h5", as_="kernel")


def compute_kernel(path, layer, dtype=float):
    """Return the square kernel of a store's activations."""
    x = Store.open(path).layer(layer).activations()[0].astype(dtype)
    return x.reshape(len(x), -1) @ x.reshape(len(x), -1).T


class TestStored:
    def test_kernels_are_packed_inner_products(self, kernels, store):
        exported = Store.open(kernels)
        exported.verify()
        assert exported.layers == ("pool1", "pool2", "fc")
        for name in exported.layers:
            layer, expected = exported.layer(name), compute_kernel(store, name)
            values = layer.kernel()
            assert values.shape == (1000 * 1001 // 2,) and values.dtype == np.float32
            assert layer.units == Store.open(store).layer(name).activations()[0, 0].size
            assert layer.distance == "mse"
            np.testing.assert_allclose(
                values, expected[np.triu_indices(1000)], rtol=2e-6, atol=1e-6
            )
        layer = exported.layer("fc")
        assert not layer.has_rdms and not layer.has_activations
        assert not Store.open(store).layer("fc").has_kernel
        assert {path.name for path in kernels.parent.iterdir() if "kernels" in path.name} == {
            "kernels.h5"
        }, "scratch files are left"

    @pytest.mark.parametrize(
        ("size", "columns"), [(1 << 24, 4096), (37 * 5, 4096), (37, 10), (1, 1)]
    )
    def test_write_kernel_does_not_depend_on_blocks(self, size, columns, tmp_path, monkeypatch):
        monkeypatch.setattr(blockwise, "DISTANCES_PER_BLOCK", size)
        monkeypatch.setattr(blockwise, "COLUMNS_PER_BLOCK", columns)
        x = np.random.default_rng(0).normal(size=(37, 4, 3)).astype(np.float32)
        flat = x.reshape(37, -1).astype(float)
        np.testing.assert_allclose(
            self.written(tmp_path, x), (flat @ flat.T)[np.triu_indices(37)], rtol=1e-6, atol=1e-7
        )

    @pytest.mark.parametrize("spoil", [lambda x: 0 * x, lambda x: 50 + 0.01 * x, lambda x: x / 0])
    def test_write_kernel_refuses_patterns_that_float32_cannot_separate(self, spoil, tmp_path):
        x = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
        with (
            np.errstate(divide="ignore"),
            pytest.raises(
                UserError, match=r"too similar for a kernel in float32|not finite"
            ) as error,
        ):
            self.written(tmp_path, spoil(x))
        assert "--as rdm" in error.value.hint or "leave the layer out" in error.value.hint
        assert len(self.written(tmp_path, 5 + x)) == 210

    def written(self, folder, reps):
        path = folder / f"{len(list(folder.iterdir()))}.h5"
        stimuli = Stimuli(np.array([f"{i:064x}" for i in range(len(reps))], "S64"))
        with create_store(
            path, stimuli, {}, [KernelSpec("layer", "float32", "mse", reps[0].size)], "f"
        ) as writer:
            blockwise.write_kernel(writer, "layer", reps, CPU)
        return np.array(Store.open(path).layer("layer").kernel())

    def test_another_kernel_keeps_the_others(
        self, tiny, teacher, kernels, store, tmp_path, monkeypatch
    ):
        out = tiny.export(teacher, tmp_path / "store.h5", as_="kernel", layers=["pool1"])
        tiny.export(teacher, out, layers=["fc"])
        tiny.export(teacher, out, as_="kernel", layers=["pool2"])
        layers = Store.open(out)
        assert set(layers.layers) == {"pool1", "pool2", "fc"}
        assert layers.layer("fc").has_activations
        for name in ("pool1", "pool2"):
            assert np.array_equal(
                layers.layer(name).kernel(), Store.open(kernels).layer(name).kernel()
            )
        monkeypatch.setattr(Writer, "write_kernel", lambda *_: pytest.fail("it was there"))
        tiny.export(teacher, out, as_="kernel", layers=["pool1,pool2"])

    def test_an_interrupted_export_is_resumed(self, tiny, teacher, kernels, tmp_path, monkeypatch):
        out, write_kernel = tmp_path / "kernels.h5", Writer.write_kernel

        def stopping(self, layer, start, values):
            if layer == "pool2":
                raise KeyboardInterrupt
            write_kernel(self, layer, start, values)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Writer, "write_kernel", stopping)
            tiny.export(teacher, out, as_="kernel")
        with pytest.raises(UserError, match="never finished"):
            Store.open(out)
        tiny.export(teacher, out, as_="kernel")
        assert tiny.same_arrays(out, kernels) and [path.name for path in tmp_path.iterdir()] == [
            "kernels.h5"
        ]

    def test_export_refuses_impossible_kernels(self, tiny, teacher, tmp_path):
        for changes, fact in (
            (
                {"distance": "correlation"},
                "`correlation` distances cannot be computed from a kernel",
            ),
            ({"dtype": "float16"}, "float16 is too narrow for a kernel"),
            ({"views": "hflip"}, "--views hflip has 2"),
        ):
            with pytest.raises(UserError, match=fact):
                tiny.export(teacher, tmp_path / "store.h5", as_="kernel", **changes)
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_kernel_is_refused(self, kernels, tmp_path):
        path = tmp_path / "damaged.h5"
        content = bytearray(kernels.read_bytes())
        with h5py.File(kernels) as file:
            content[file["layers/fc/kernel"].id.get_offset() + 4000] ^= 1
        path.write_bytes(content)
        assert (
            len(Store.open(path).layer("pool1").kernel())
            and Store.open(path).fingerprint() == Store.open(kernels).fingerprint()
        )
        with pytest.raises(UserError, match="layer `fc` is not as it was written"):
            Store.open(path).layer("fc").kernel()
        path.write_bytes(kernels.read_bytes()[:-9000])
        with pytest.raises(UserError, match="truncated"):
            Store.open(path)

    @pytest.mark.parametrize("what", ["wrong length", "no values"])
    def test_a_layer_without_a_complete_kernel_is_refused(self, what, kernels, tmp_path):
        path = tmp_path / "other.h5"
        path.write_bytes(kernels.read_bytes())
        with h5py.File(path, "r+") as file:
            group = file["layers/fc"]
            del group["kernel"]
            if what == "wrong length":
                group.create_dataset("kernel", data=np.zeros(5, np.float32)).attrs["name"] = "fc"
        with pytest.raises(UserError, match="is damaged: "):
            Store.open(path)

    def test_a_layer_names_what_it_does_not_hold(self, kernels, store):
        layer = Store.open(kernels).layer("fc")
        for read, kind in ((layer.activations, "activations"), (layer.rdms, "rdm")):
            with pytest.raises(UserError, match=r"`fc` of .* holds a kernel, not") as error:
                read()
            assert f"--as {kind}" in error.value.hint
        with pytest.raises(UserError, match="holds activations, not a kernel"):
            Store.open(store).layer("fc").kernel()


class TestTraining:
    @pytest.mark.parametrize("objectives", [DEFAULTS, OTHERS])
    def test_losses_equal_those_of_activations(self, objectives, tiny, kernels, follow, tmp_path):
        runs = [
            tiny.train(
                tmp_path / name,
                objective=objectives,
                lr=0.0,
                max_steps=3,
                **follow | {"targets": targets},
            )
            for name, targets in (("activations", follow["targets"]), ("kernel", str(kernels)))
        ]
        expected, losses = (tiny.metrics(run)[0] for run in runs)
        terms = [name for name in expected if name.startswith("train/") and name.count("/") == 2]
        assert len(terms) == 3 * len(objectives) and all(expected[name] > 1e-6 for name in terms)
        assert {name: losses[name] for name in terms} == pytest.approx(
            {name: expected[name] for name in terms}, rel=1e-4
        )

    @pytest.mark.parametrize("objective", ["bayes", "cka"])
    def test_a_student_trains_on_a_kernel(self, objective, tiny, kernels, follow, tmp_path):
        run = tiny.train(
            tmp_path / "run",
            objective=[objective],
            epochs=3,
            lr=0.05,
            **follow | {"targets": str(kernels)},
        )
        first, *_, last = tiny.metrics(run)
        assert all(
            last[f"train/{objective}/{layer}"] < first[f"train/{objective}/{layer}"]
            for layer in tiny.LAYERS.split(",")
        )

    @pytest.mark.parametrize(
        ("changes", "message", "hint"),
        [
            *(
                ({"objective": [name]}, "holds a kernel, not activations", "--as activations")
                for name in ("hints", "at", "pkt", "rkd")
            ),
            (
                {"objective": ["rsa:distance=correlation"]},
                "`correlation` distances cannot be computed from a kernel",
                "--as activations",
            ),
            (
                {"objective": ["rdl:scale=none,distance=correlation"]},
                "`correlation` distances cannot be computed from a kernel",
                "--as activations",
            ),
            (
                {"objective": ["bayes:center=features"]},
                "cannot be centered over their features",
                "center=stimuli",
            ),
            ({"views": "hflip"}, "holds a kernel of `pool1`, without views", "--views"),
            ({"objective": ["kd"]}, "holds only kernels, and no `logits`", "cka"),
            ({"match": ["pool1=pool1@mean"]}, "holds a kernel, not RDMs", "--as rdm"),
        ],
    )
    def test_train_refuses_objectives_that_need_more_than_a_kernel(
        self, changes, message, hint, tiny, kernels, follow, tmp_path
    ):
        with pytest.raises(UserError, match=message) as error:
            tiny.train(
                tmp_path / "run",
                **follow | {"targets": str(kernels), "match": ["pool1=pool1"]} | changes,
            )
        assert hint in error.value.hint and list(tmp_path.iterdir()) == []

    def test_train_refuses_an_rdm_for_kernel_objectives(self, tiny, teacher, follow, tmp_path):
        rdms = tiny.export(teacher, tmp_path / "rdms.h5", as_="rdm", layers=["fc"])
        with pytest.raises(UserError, match="holds RDMs, not a kernel") as error:
            tiny.train(
                tmp_path / "run",
                objective=["cka"],
                **follow | {"targets": str(rdms), "match": ["fc"]},
            )
        assert "--as kernel" in error.value.hint


class TestComparison:
    def test_every_measure_equals_that_of_activations(self, store, kernels):
        measures = [
            f"{name}:samples=500" if name in ("tv", "jsd", "js-distance") else name
            for name in MEASURES.names()
        ]
        expected, actual = (
            compare_rdms(
                [path],
                CompareRdmsSettings(
                    measure=measures,
                    max_stimuli=80,
                    n_resamples=0,
                    device="cpu",
                    layers=["pool1,fc", "pool2"],
                ),
            )
            for path in (store, kernels)
        )
        assert [one.kind for one in actual.representations] == ["kernel"] * 3
        assert actual.n_stimuli == expected.n_stimuli == 80
        for one, two in zip(expected.tables, actual.tables, strict=True):
            np.testing.assert_allclose(
                two.values, one.values, rtol=1e-5, atol=1e-5, err_msg=one.measure
            )

    @pytest.mark.parametrize("measure", ["cka", "spearman"])
    def test_kernel_and_activations_are_equal_with_intervals(self, measure, store, kernels):
        settings = CompareRdmsSettings(
            measure=[measure],
            max_stimuli=40,
            n_resamples=20,
            device="cpu",
            layers=["fc"],
            distance="euclidean",
        )
        (pair,) = compare_rdms([store, kernels], settings).tables[0].pairs
        assert (
            pair.value == pytest.approx(1, abs=1e-5)
            and pair.low is not None
            and pair.p == pytest.approx(1 / 21)
        )

    def test_compare_rdms_refuses_other_distances_and_centering(self, kernels):
        compare = partial(CompareRdmsSettings, n_resamples=0, max_stimuli=20, device="cpu")
        with pytest.raises(
            UserError, match="`correlation` distances cannot be computed from a kernel"
        ):
            compare_rdms([kernels], compare(distance="correlation"))
        with pytest.raises(UserError, match="cannot be centered over their features"):
            compare_rdms([kernels], compare(measure=["skl:center=features"]))

    def test_self_check_of_kernels_passes(self, kernels):
        measures = [
            f"{name}:samples=200" if name in ("tv", "jsd", "js-distance") else name
            for name in MEASURES.names()
        ]
        checked = self_check(
            [kernels],
            CompareRdmsSettings(
                measure=measures, max_stimuli=30, device="cpu", layers=["pool1", "fc"]
            ),
        )
        assert checked.passed and {check.copy for check in checked.checks} == {
            "identical",
            "scaled",
            "offset",
        }
        by_copy = {(check.measure, check.copy): check for check in checked.checks}
        assert by_copy["cka", "offset"].passed and by_copy["spearman", "offset"].passed, (
            "blind to a vector that is added to every pattern"
        )
        assert by_copy["skl", "offset"].expected is None and by_copy["skl", "offset"].value > 0.1, (
            "and this one sees it"
        )


def test_plot_of_a_kernel_equals_that_of_activations(store, kernels):
    sources = [
        read_store_rdms(
            path,
            HeatmapSettings(layers=["fc"], per_class=3, distance="cosine"),
            LayerSelection(["fc"]),
        )
        for path in (store, kernels)
    ]
    expected, actual = (source.layers[0] for source in sources)
    assert actual.distance == "cosine"
    np.testing.assert_allclose(actual.values, expected.values, rtol=1e-4, atol=1e-5)


def test_show_lists_the_units_of_kernels(kernels, store, capsys):
    from rich.console import Console

    card = show.show(kernels)
    assert [layer.units for layer in card.layers] == [
        Store.open(store).layer(layer.name).activations()[0, 0].size for layer in card.layers
    ]
    assert all(
        layer.shape is None and layer.n_rdms == 0 and layer.notes == {} and layer.dtype == "float32"
        for layer in card.layers
    )
    assert json.loads(json.dumps(show.as_dict(card)))["layers"][2]["units"] == card.layers[2].units
    Console(width=200).print(to_rich(card))
    assert f"of {card.layers[2].units:,} units" in capsys.readouterr().out
    assert all(layer.units is None for layer in show.show(store).layers)
