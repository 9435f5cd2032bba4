"""Comparisons of runs and methods: golden p-values, alignment, refusals, seeds × images."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.compare.method_pairs import MethodPair, format_p
from rdl_cli.core.errors import UserError
from rdl_cli.runs.grouping import seed_draws_data
from rdl_cli.runs.prediction_table import PredictionTable, format_tables
from rdl_cli.runs.run import EPOCHS, Run
from rdl_cli.statistics.crossed import compare_methods

N = 400
DIGESTS = np.array([f"{i:064x}" for i in range(N)], dtype="S64")
LABELS = np.arange(N) % 10

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a finished run with errors on the given rows of DIGESTS."""

    def run(
        path: str,
        wrong: Any,
        order: np.ndarray | None = None,
        best: Any = None,
        digests=DIGESTS,
        labels=LABELS,
        teacher: str = "",
        **config: Any,
    ) -> Path:
        place = tmp_path / path
        place.mkdir(parents=True)
        order = np.arange(len(labels)) if order is None else order
        made = Run(place)
        made.write_config({"network": path.split("/")[0], "seed": 0} | config)
        parents = [{"kind": "store", "path": teacher, "fingerprint": "f"}] if teacher else []
        made.write_provenance({"parents": parents})
        logits = {
            "final": _logits(labels, wrong)[order],
            "best": _logits(labels, wrong if best is None else best)[order],
        }
        made.write_predictions(digests[order], labels[order], logits)
        return place

    return run


def _logits(labels: np.ndarray, wrong: Any) -> np.ndarray:
    predicted = labels.copy()
    predicted[np.asarray(wrong, dtype=int)] = (predicted[np.asarray(wrong, dtype=int)] + 1) % 10
    return np.eye(10)[predicted]


def disjoint(b: int, c: int, both: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Wrong images of two runs, of which the first alone gets b right, the second alone c."""
    return np.r_[b : b + c, N - both : N], np.r_[0:b, N - both : N]


@pytest.mark.parametrize(
    ("b", "c", "exact", "mid_p"),
    [
        (0, 0, 1, 1),
        (0, 1, 1, 0.5),
        (0, 6, 0.03125, 0.015625),
        (1, 9, 0.021484375, 0.01171875),
        (5, 5, 1, 1),
        (6, 5, 1, 0.7744140625),
        (6, 16, 0.0524787903, 0.0346896648),
        (7, 2, 0.1796875, 0.109375),
        (25, 40, 0.0816815339, 0.0640175041),
        (86, 150, 0.0000371594, 0.0000289339),
    ],
)
def test_compare_gives_golden_p_values(
    make: Make, b: int, c: int, exact: float, mid_p: float
) -> None:
    one, other = disjoint(b, c)
    comparison = compare([make("one", one), make("other", other)])
    (pair,) = comparison.pairs
    assert (pair.first, pair.second, pair.b, pair.c) == ("one", "other", b, c)
    assert pair.p_exact == pytest.approx(exact, abs=5e-11)
    assert pair.p_mid == pytest.approx(mid_p, abs=5e-11)
    assert pair.p_holm == pair.p_exact  # one pair, nothing to correct for
    assert pair.difference == pytest.approx((b - c) / N)
    assert pair.low <= pair.difference <= pair.high
    assert pair.winner == (None if exact >= 0.05 else "one" if b > c else "other")


def test_compare_agrees_with_statsmodels(make: Make) -> None:
    rng = np.random.default_rng(0)
    wrong = {name: np.flatnonzero(rng.random(N) < 0.2) for name in ("a", "b", "c")}
    comparison = compare([make(name, rows) for name, rows in wrong.items()])
    for pair in comparison.pairs:
        first, second = (~np.isin(np.arange(N), wrong[name]) for name in (pair.first, pair.second))
        table = [
            [(first & second).sum(), (first & ~second).sum()],
            [(~first & second).sum(), (~first & ~second).sum()],
        ]
        assert pair.p_exact == pytest.approx(reference(table, exact=True).pvalue, abs=1e-12)
        assert [pair.b, pair.c] == [table[0][1], table[1][0]]
    assert [(run.errors, run.rate) for run in comparison.runs] == [
        (len(w), len(w) / N) for w in wrong.values()
    ]
    assert all(run.low < run.rate < run.high for run in comparison.runs)


def test_compare_corrects_run_pairs_by_holm(make: Make) -> None:
    """Exact p 0.0078 (8:0), 0.031 (6:0), 0.5 (2:0) become 0.023, 0.0625, 0.5."""
    paths = [make("a", range(8)), make("b", ()), make("c", range(2))]
    comparison = {(pair.first, pair.second): pair for pair in compare(paths).pairs}
    assert [pair.p_exact for pair in comparison.values()] == pytest.approx(
        [2 / 2**8, 2 / 2**6, 0.5]
    )
    assert [pair.p_holm for pair in comparison.values()] == pytest.approx([6 / 2**8, 4 / 2**6, 0.5])
    assert [(pair.winner, pair.significant_after_holm) for pair in comparison.values()] == [
        ("b", True),
        ("c", False),
        (None, False),
    ]


def test_compare_one_run_of_each_method_makes_both_tables_the_same(make: Make) -> None:
    comparison = compare([make("a", range(8)), make("b", (), seed=3), make("c", range(2))])
    assert comparison.one_run_each
    for runs, methods in zip(comparison.pairs, comparison.method_pairs, strict=True):
        for name in ("first", "second", "b", "c", "p_exact", "p_mid", "p_holm", "winner",
                     "significant_after_holm", "difference", "low", "high"):  # fmt: skip
            assert getattr(runs, name) == getattr(methods, name), name
        assert methods.p == runs.p_exact


def test_compare_ignores_the_order_of_images(make: Make) -> None:
    one, other = disjoint(7, 2)
    shuffled = np.random.default_rng(1).permutation(N)
    plain = compare([make("one", one), make("other", other)]).pairs[0]
    moved = compare(
        [
            make("moved/one", one, network="one"),
            make("moved/other", other, shuffled, network="other"),
        ]
    ).pairs[0]
    assert (moved.b, moved.c, moved.p_exact) == (plain.b, plain.c, plain.p_exact)


def test_compare_keeps_labels_of_equal_images(make: Make) -> None:
    """CIFAR-100 has images with two labels: one answer to both is right once."""
    digests, labels = DIGESTS.copy(), LABELS.copy()
    digests[1] = digests[0]  # labels 0 and 1
    swapped = np.arange(N)
    swapped[[0, 1]] = [1, 0]
    paths = [
        make("a", [0], digests=digests, labels=labels),
        make("b", [1], swapped, digests=digests, labels=labels),
    ]
    (pair,) = compare(paths).pairs
    assert (pair.b, pair.c) == (1, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"digests": np.array([f"{i + 100:064x}" for i in range(N)], dtype="S64")},
            "on 400 images and .* on 400; 300 of them are the same",
        ),
        (
            {"digests": DIGESTS[:50], "labels": LABELS[:50]},
            "on 400 images and .* on 50; 50 of them are the same",
        ),
        ({"labels": np.where(np.arange(N) < 7, 9, LABELS)}, "7 of 400 test images have one label"),
        ({"digests": DIGESTS[:0], "labels": LABELS[:0]}, "on no image"),
    ],
)
def test_compare_refuses_other_images_or_labels(
    make: Make, change: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        compare([make("a", ()), make("b", (), **change)])
    assert "b" in str(caught.value)


def test_compare_counts_duplicates(make: Make) -> None:
    twice = DIGESTS.copy()
    twice[:10] = DIGESTS[10]
    with pytest.raises(UserError, match="; 390 of them are the same"):
        compare([make("a", ()), make("b", (), digests=twice, labels=LABELS)])


def test_compare_refuses_unfinished_and_missing_runs(make: Make, tmp_path: Path) -> None:
    path = make("a", ())
    (path / "predictions.h5").unlink()
    with pytest.raises(UserError, match="never finished"):
        compare([path])
    with pytest.raises(UserError, match="no run at or below"):
        compare([tmp_path / "nowhere"])


def test_compare_counts_a_run_named_twice_once(make: Make, tmp_path: Path) -> None:
    path = make("a", [1])
    comparison = compare([path, tmp_path / "a", tmp_path / "a" / ".." / "a"])
    assert (len(comparison.runs), comparison.pairs, comparison.method_pairs) == (1, (), ())


def test_compare_reads_both_epochs(make: Make) -> None:
    path = make("a", range(8), best=range(3))
    assert [compare([path], epoch).runs[0].errors for epoch in ("final", "best")] == [8, 3]
    assert compare([path], "best").epoch == "best"


def over_seeds(make: Make, *wrong: tuple[Any, Any], **config: Any) -> list[Path]:
    """Write two methods a and b with errors on the given images in each seed."""
    return [
        make(f"{name}/seed{seed}", rows[i], seed=seed, network=name, **config)
        for i, name in enumerate("ab")
        for seed, rows in enumerate(wrong)
    ]


def three_seeds(make: Make, **config: Any) -> Comparison:
    """Compare b with a, which makes 6, 5 and 7 errors more, and with c, which has one run."""
    errors = (range(8), (1, 2)), (range(5), ()), (range(20, 27), ())
    return compare([make("c", range(40)), *over_seeds(make, *errors, **config)])


def pairs_by_name(comparison: Comparison) -> dict[tuple[str, str], MethodPair]:
    return {(pair.first, pair.second): pair for pair in comparison.method_pairs}


def test_compare_methods_are_those_of_statistics(make: Make) -> None:
    pair = pairs_by_name(three_seeds(make))["a", "b"]
    wrong = {name: np.zeros((3, N)) for name in "ab"}
    for seed, (a, b) in enumerate([(range(8), (1, 2)), (range(5), ()), (range(20, 27), ())]):
        wrong["a"][seed, list(a)] = wrong["b"][seed, list(b)] = 1
    reference = compare_methods(wrong["a"], wrong["b"])
    assert pair.difference == pytest.approx(-6 / N)
    assert (pair.low, pair.high, pair.p) == (reference.low, reference.high, reference.p)
    assert (pair.runs_first, pair.runs_second, pair.paired, pair.p_exact) == (3, 3, None, None)
    assert pair.smallest_detectable == reference.smallest_detectable
    assert "b − a: -1.50 points [" in pair.statement and "3 against 3 runs" in pair.statement
    assert "80 % power at" in pair.statement


def test_compare_pairs_by_seed_where_the_seed_draws_the_labels(make: Make) -> None:
    comparison = three_seeds(make, train_size=100)
    pair = pairs_by_name(comparison)["a", "b"]
    assert pair.paired == "seeds" and "paired by seeds" in pair.statement
    alone = pairs_by_name(comparison)["c", "a"]  # c draws no labels
    assert alone.paired is None and alone.runs_second == 3


def test_compare_names_seeds_that_one_method_lacks(make: Make) -> None:
    paths = [
        make(f"{name}/seed{seed}", [seed], seed=seed, network=name, train_size=100)
        for name, seeds in (("a", (0, 1, 2)), ("b", (1, 2, 3)))
        for seed in seeds
    ]
    (pair,) = compare(paths).method_pairs
    assert pair.dropped == ("a seed 0", "b seed 3") and pair.runs_first == 2
    (pair,) = compare(
        [path for path in paths if path.parent.name == "a" or path.name == "seed3"]
    ).method_pairs
    assert pair.p is None and pair.winner is None
    assert "no seed in common" in pair.statement


def test_compare_methods_have_mean_and_spread_over_their_seeds(make: Make) -> None:
    methods = {method.name: method for method in three_seeds(make).methods}
    assert methods["a"].mean == pytest.approx(np.mean([8, 5, 7]) / N)
    assert methods["a"].sd == pytest.approx(np.std([8, 5, 7], ddof=1) / N)
    assert methods["a"].runs == ("a seed 0", "a seed 1", "a seed 2")
    assert (methods["c"].sd, methods["c"].runs) == (None, ("c",))


def test_compare_a_single_run_with_every_run(make: Make) -> None:
    """A teacher of one seed meets all students, not only the one of its own seed."""
    pair = pairs_by_name(three_seeds(make))["c", "a"]
    assert (pair.runs_first, pair.runs_second) == (1, 3)
    assert pair.difference == pytest.approx(np.mean([8, 5, 7]) / N - 40 / N)
    assert pair.conditional_on == ("one network of c",)


def test_compare_names_the_one_teacher_that_methods_share(make: Make, tmp_path: Path) -> None:
    errors = ([0], [1]), ([1], [2]), ([2], [3])
    (pair,) = compare(over_seeds(make, *errors, teacher="out/store.h5")).method_pairs
    assert pair.conditional_on == ("one teacher (store.h5)",)
    fewer = [path for path in sorted(tmp_path.rglob("seed*")) if path.parts[-2:] != ("b", "seed2")]
    (pair,) = compare(fewer).method_pairs
    assert pair.conditional_on == ("one teacher (store.h5)",) and pair.runs_second == 2


def test_compare_takes_several_teachers_as_a_factor(make: Make) -> None:
    paths = [
        make(f"{t}/{name}/seed{s}", [t, i, 5 + s], seed=s, label=name, teacher=f"store{t}.h5")
        for t in range(3)
        for i, name in enumerate("ab")
        for s in range(2)
    ]
    comparison = compare(paths)
    (pair,) = comparison.method_pairs
    assert (pair.runs_first, pair.paired, pair.conditional_on) == (6, "teachers", ())
    assert comparison.runs[0].name == "a seed 0 (store0.h5)"


def test_compare_corrects_exploratory_pairs_but_not_the_primary_one(make: Make) -> None:
    comparison = three_seeds(make)
    pairs = comparison.method_pairs
    ordered = sorted(pairs, key=lambda pair: pair.p or 0)
    assert ordered[0].p_holm == pytest.approx(3 * (ordered[0].p or 0))
    paths = [Path(run.path) for run in comparison.runs]
    declared = compare(paths, primary=("b", "a"))
    by_name = pairs_by_name(declared)
    assert by_name["a", "b"].primary and by_name["a", "b"].p_holm is None
    others = sorted(pair.p for pair in declared.method_pairs if not pair.primary)
    assert min(pair.p_holm or 9 for pair in declared.method_pairs) == pytest.approx(2 * others[0])
    with pytest.raises(UserError, match="no method `bb`"):
        compare(paths, primary=("bb", "a"))


def test_compare_two_seeds_have_no_interval_of_width_0(make: Make) -> None:
    (pair,) = compare(over_seeds(make, ([0], []), ([1], []))).method_pairs
    assert pair.low is not None and pair.high is not None and pair.high - pair.low > 1 / N
    assert pair.winner is None


def test_compare_seeds_that_agree_do_not_make_one_image_significant(make: Make) -> None:
    (pair,) = compare(over_seeds(make, ([0], []), ([1], []), ([2], []))).method_pairs
    assert pair.p is not None and pair.p > 0.05 and pair.winner is None


def test_compare_reads_a_file_of_predictions(make: Make, tmp_path: Path) -> None:
    comparison = three_seeds(make, train_size=50)
    runs = [Run(Path(run.path)) for run in comparison.runs]
    predictions = [run.predictions() for run in runs]
    table = PredictionTable(
        digests=predictions[0].digests,
        labels=predictions[0].labels,
        methods=tuple(run.method for run in comparison.runs),
        seeds=tuple(run.seed for run in comparison.runs),
        teachers=("",) * len(runs),
        draws_data=tuple(map(seed_draws_data, runs)),
        processors=("",) * len(runs),
        predicted={epoch: np.stack([p.predicted for p in predictions]) for epoch in EPOCHS},
    )
    (tmp_path / "predictions.npz").write_bytes(format_tables([table]))
    from_file = compare([tmp_path / "predictions.npz"])
    assert from_file.method_pairs == comparison.method_pairs
    assert from_file.pairs == comparison.pairs
    with pytest.raises(UserError, match="one of them a file of predictions"):
        compare([tmp_path / "predictions.npz", tmp_path / "a"])
    (tmp_path / "predictions.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match="is not a file of predictions"):
        compare([tmp_path / "predictions.npz"])


def test_compare_takes_a_label_as_the_method(make: Make) -> None:
    paths = [
        make("x", [1], seed=0, label="ours"),
        make("y", [2], seed=1, label="ours"),
        make("z", [3], label="other"),
    ]
    assert [(method.name, len(method.runs)) for method in compare(paths).methods] == [
        ("ours", 2),
        ("other", 1),
    ]


def test_compare_names_a_method_without_its_seed(make: Make) -> None:
    paths = [make(f"mnist5-s-{seed}", [seed], seed=seed, network="cnn") for seed in (10, 11)]
    assert [method.name for method in compare(paths).methods] == ["mnist5-s"]


def test_compare_names_methods_by_path_where_names_clash(make: Make, tmp_path: Path) -> None:
    paths = [make("v1/base", [1], lr=0.1), make("v2/base", [2], lr=0.2)]
    assert [method.name for method in compare(paths).methods] == [
        str(tmp_path / "v1/base"),
        str(tmp_path / "v2/base"),
    ]


def test_compare_takes_a_method_trained_again_as_another(make: Make) -> None:
    paths = [
        make(f"{folder}/seed{seed}", [seed], seed=seed, network="cnn")
        for folder in ("old", "new")
        for seed in (0, 1)
    ]
    comparison = compare(paths)
    assert [(method.name, len(method.runs)) for method in comparison.methods] == [
        ("old", 2),
        ("new", 2),
    ]
    assert comparison.method_pairs[0].runs_second == 2


def test_compare_refuses_a_seed_twice_in_a_label(make: Make) -> None:
    with pytest.raises(UserError, match=r"are one method \(ours\) and have one seed \(0\)"):
        compare([make("x", [1], label="ours"), make("y", [2], label="ours")])


def test_compare_with_a_baseline_has_only_its_pairs(make: Make) -> None:
    paths = [make("a", range(8)), make("b", ()), make("c", range(2))]
    comparison = compare(paths, baseline="b")
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("b", "a"), ("b", "c")]
    assert [(pair.first, pair.second) for pair in comparison.method_pairs] == [
        ("b", "a"),
        ("b", "c"),
    ]
    assert comparison.pairs[0].p_holm == pytest.approx(2 * comparison.pairs[0].p_exact)
    assert (comparison.pairs[0].b, comparison.pairs[0].winner) == (8, "b")
    with pytest.raises(UserError, match="no method `bb`; did you mean `b`"):
        compare(paths, baseline="bb")


def test_compare_result_is_plain_data(make: Make) -> None:
    record = json.loads(json.dumps(three_seeds(make).as_dict(), allow_nan=False))
    assert record["schema"] == "rdl-compare/2"
    assert (record["epoch"], record["images"], record["baseline"]) == ("final", N, None)
    assert (len(record["runs"]), len(record["pairs"]), len(record["method_pairs"])) == (7, 21, 3)
    assert record["method_pairs"][0]["statement"]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1, "1.00"),
        (0.38, "0.38"),
        (0.0499, "0.050"),
        (0.0042, "0.0042"),
        (0.00099, "<0.001"),
        (0, "<0.001"),
    ],
)
def test_format_p_keeps_two_digits(p: float, text: str) -> None:
    assert format_p(p) == text


def test_compare_loads_no_torch(make: Make) -> None:
    make("a", [1])
    make("b", [2])
    root = make("c", [3]).parent
    program = f"""
import sys
from pathlib import Path
from rdl_cli.cli.compare import compare
assert not {{"torch", "numpy", "h5py", "scipy"}} & set(sys.modules), "heavy import"
compare([Path({str(root)!r}) / name for name in "abc"])
assert not {{"torch", "scipy.stats", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "McNemar" in done.stdout
    assert done.stderr == ""


def test_compare_keeps_a_number_at_the_end_of_a_label(make: Make) -> None:
    runs = [
        make(f"{label}/seed{seed}", [seed], seed=seed, label=label)
        for label in ("rdl-100", "rdl-300")
        for seed in (0, 1)
    ]
    assert [method.name for method in compare(runs).methods] == ["rdl-100", "rdl-300"]


def test_compare_refuses_no_run():
    with pytest.raises(UserError, match="no run is named"):
        compare([])


def test_method_pair_gives_no_limit_below_one_image():
    pair = MethodPair("a", "b", False, 3, 3, smallest_detectable_limit=0.0, n_images=10_000)
    assert pair.format_limit() == "< 0.01, one image"
    assert replace(pair, smallest_detectable_limit=0.0023).format_limit() == "0.23"
