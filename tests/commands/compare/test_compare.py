"""Which network is better, and how sure that is: golden p-values, alignment, refusals, and seeds that are not images."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference

from rdl_cli.commands.compare.compare import Comparison, compare, format_p
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run

N = 400
DIGESTS = np.array([f"{i:064x}" for i in range(N)], dtype="S64")
LABELS = np.arange(N) % 10

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a finished run that is wrong on the given images, counted in the order of DIGESTS."""

    def run(
        path: str,
        wrong: Any,
        order: np.ndarray | None = None,
        best: Any = None,
        digests=DIGESTS,
        labels=LABELS,
        **config: Any,
    ) -> Path:
        place = tmp_path / path
        place.mkdir(parents=True)
        order = np.arange(len(labels)) if order is None else order
        made = Run(place)
        made.write_config({"network": path.split("/")[0], "seed": 0} | config)
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
def test_golden_p_values_reach_the_table(
    make: Make, b: int, c: int, exact: float, mid_p: float
) -> None:
    one, other = disjoint(b, c)
    found = compare([make("one", one), make("other", other)])
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.b, pair.c) == ("one", "other", b, c)
    assert pair.exact == pytest.approx(exact, abs=5e-11)
    assert pair.mid_p == pytest.approx(mid_p, abs=5e-11)
    assert pair.holm == pair.exact  # one pair, nothing to correct for
    assert pair.difference == pytest.approx((b - c) / N)
    assert pair.low <= pair.difference <= pair.high
    assert pair.better == (None if exact >= 0.05 else "one" if b > c else "other")


def test_the_counts_agree_with_statsmodels(make: Make) -> None:
    rng = np.random.default_rng(0)
    wrong = {name: np.flatnonzero(rng.random(N) < 0.2) for name in ("a", "b", "c")}
    found = compare([make(name, rows) for name, rows in wrong.items()])
    for pair in found.pairs:
        first, second = (~np.isin(np.arange(N), wrong[name]) for name in (pair.first, pair.second))
        table = [
            [(first & second).sum(), (first & ~second).sum()],
            [(~first & second).sum(), (~first & ~second).sum()],
        ]
        assert pair.exact == pytest.approx(reference(table, exact=True).pvalue, abs=1e-12)
        assert [pair.b, pair.c] == [table[0][1], table[1][0]]
    assert [(run.errors, run.rate) for run in found.runs] == [
        (len(w), len(w) / N) for w in wrong.values()
    ]
    assert all(run.low < run.rate < run.high for run in found.runs)


def test_holm_is_over_the_table_and_arrows_say_whether_it_keeps_them(make: Make) -> None:
    """exact p: 0.0078 (8:0), 0.031 (6:0) and 0.5 (2:0); Holm makes 0.023, 0.0625 and 0.5 of them."""
    paths = [make("a", range(8)), make("b", ()), make("c", range(2))]
    found = {(pair.first, pair.second): pair for pair in compare(paths).pairs}
    assert [pair.exact for pair in found.values()] == pytest.approx([2 / 2**8, 2 / 2**6, 0.5])
    assert [pair.holm for pair in found.values()] == pytest.approx([6 / 2**8, 4 / 2**6, 0.5])
    assert [(pair.better, pair.kept) for pair in found.values()] == [
        ("b", True),
        ("c", False),
        (None, False),
    ]


def test_one_run_of_each_method_makes_both_tables_the_same(make: Make) -> None:
    found = compare([make("a", range(8)), make("b", (), seed=3), make("c", range(2))])
    assert found.one_run_each
    for pair, each in zip(found.pairs, found.method_pairs, strict=True):
        assert (each.first, each.second, each.pairs) == (pair.first, pair.second, (pair,))
        assert (each.p, each.holm, each.better, each.kept) == (
            pair.exact,
            pair.holm,
            pair.better,
            pair.kept,
        )
        assert (each.difference, each.low, each.high, each.p_seeds) == (
            pair.difference,
            pair.low,
            pair.high,
            None,
        )


def test_the_order_of_images_does_not_matter(make: Make) -> None:
    one, other = disjoint(7, 2)
    shuffled = np.random.default_rng(1).permutation(N)
    plain = compare([make("one", one), make("other", other)]).pairs[0]
    moved = compare(
        [
            make("moved/one", one, network="one"),
            make("moved/other", other, shuffled, network="other"),
        ]
    ).pairs[0]
    assert (moved.b, moved.c, moved.exact) == (plain.b, plain.c, plain.exact)


def test_equal_pictures_keep_their_own_labels(make: Make) -> None:
    """CIFAR-100 shows some pictures twice, with two labels: one answer to both is right once, in whatever order they come."""
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
def test_other_images_or_labels_are_refused_with_counts(
    make: Make, change: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        compare([make("a", ()), make("b", (), **change)])
    assert "b" in str(caught.value)


def test_duplicates_count_as_often_as_they_occur(make: Make) -> None:
    twice = DIGESTS.copy()
    twice[:10] = DIGESTS[10]
    with pytest.raises(UserError, match="; 390 of them are the same"):
        compare([make("a", ()), make("b", (), digests=twice, labels=LABELS)])


def test_an_unfinished_run_and_a_missing_one_are_refused(make: Make, tmp_path: Path) -> None:
    path = make("a", ())
    (path / "predictions.h5").unlink()
    with pytest.raises(UserError, match="never finished"):
        compare([path])
    with pytest.raises(UserError, match="no run at or below"):
        compare([tmp_path / "nowhere"])


def test_the_same_run_twice_counts_once(make: Make, tmp_path: Path) -> None:
    path = make("a", [1])
    found = compare([path, tmp_path / "a", tmp_path / "a" / ".." / "a"])
    assert (len(found.runs), found.pairs, found.method_pairs) == (1, (), ())


def test_both_epochs_can_be_asked_for(make: Make) -> None:
    path = make("a", range(8), best=range(3))
    assert [compare([path], epoch).runs[0].errors for epoch in ("final", "best")] == [8, 3]
    assert compare([path], "best").epoch == "best"


def over_seeds(make: Make, *wrong: tuple[Any, Any]) -> list[Path]:
    """Two methods a and b, wrong on the given images in each seed."""
    return [
        make(f"{name}/seed{seed}", rows[i], seed=seed)
        for i, name in enumerate("ab")
        for seed, rows in enumerate(wrong)
    ]


def three_seeds(make: Make) -> Comparison:
    """b is better by 6, 5 and 7 images; in seeds 0 and 2 McNemar's p is below 0.05. c was trained once."""
    return compare(
        [
            make("c", range(40)),
            *over_seeds(make, (range(8), (1, 2)), (range(5), ()), (range(20, 27), ())),
        ]
    )


def test_seeds_are_not_images(make: Make) -> None:
    found = three_seeds(make)
    assert not found.one_run_each
    by_name = {(pair.first, pair.second): pair for pair in found.method_pairs}
    each = by_name["a", "b"]
    assert [(pair.b, pair.c) for pair in each.pairs] == [
        (0, 6),
        (0, 5),
        (0, 7),
    ]  # one table a seed, nothing summed
    assert [pair.first for pair in each.pairs] == ["a seed 0", "a seed 1", "a seed 2"]
    differences = [-6 / N, -5 / N, -7 / N]
    independent = stats.ttest_1samp(differences, 0)
    assert each.p_seeds == pytest.approx(independent.pvalue)
    assert (each.low, each.high) == pytest.approx(tuple(independent.confidence_interval(0.95)))
    assert each.difference == pytest.approx(-6 / N)
    assert each.p_images == 2 / 2**6  # the middle one of the three seeds
    assert each.p == max(each.p_seeds or 0, each.p_images)
    assert each.better == "b"
    assert (each.second_better, each.ties) == (3, 0)
    assert (
        "b better than a in 3 of 3 seeds; mean difference -1.50 percentage points" in each.statement
    )
    assert "McNemar p by seed 0.031 (0:6), 0.062 (0:5), 0.016 (0:7)" in each.statement


def test_methods_have_mean_and_spread_over_their_seeds(make: Make) -> None:
    methods = {method.name: method for method in three_seeds(make).methods}
    assert methods["a"].mean == pytest.approx(np.mean([8, 5, 7]) / N)
    assert methods["a"].sd == pytest.approx(np.std([8, 5, 7], ddof=1) / N)
    assert methods["a"].runs == ("a seed 0", "a seed 1", "a seed 2")
    assert (methods["c"].sd, methods["c"].runs) == (None, ("c",))


def test_a_single_run_meets_only_its_own_seed(make: Make) -> None:
    each = {(pair.first, pair.second): pair for pair in three_seeds(make).method_pairs}["c", "a"]
    assert [(pair.first, pair.second) for pair in each.pairs] == [("c", "a seed 0")]
    assert each.p_seeds is None
    assert each.statement.startswith("a against c, one run each: -8.00 percentage points")


def test_holm_over_methods_counts_pairs_of_methods(make: Make) -> None:
    pairs = three_seeds(make).method_pairs
    assert len(pairs) == 3
    ordered = sorted(pairs, key=lambda pair: pair.p or 0)
    assert ordered[0].holm == pytest.approx(3 * (ordered[0].p or 0))
    assert ordered[2].holm == pytest.approx(
        max(3 * (ordered[0].p or 0), 2 * (ordered[1].p or 0), ordered[2].p or 0)
    )


def test_seeds_that_agree_do_not_make_one_image_significant(make: Make) -> None:
    """Three seeds with exactly one image between the methods: t is infinite, and says nothing about other images."""
    (each,) = compare(over_seeds(make, ([0], []), ([1], []), ([2], []))).method_pairs
    assert (each.p_seeds, each.p_images, each.p, each.better) == (0, 1, 1, None)


def test_one_lucky_seed_does_not_make_a_method_better(make: Make) -> None:
    (each,) = compare(over_seeds(make, (range(30), [0]), ((), [0]), (range(30), [0]))).method_pairs
    assert (each.p_images or 1) < 0.05 < (each.p_seeds or 0)
    assert (each.better, each.second_better) == (None, 2)


def test_without_a_common_seed_nothing_is_claimed(make: Make) -> None:
    paths = [
        make(f"{name}/seed{seed}", [1], seed=seed)
        for name, seed in (("a", 0), ("a", 1), ("b", 5), ("b", 6))
    ]
    found = compare(paths)
    (each,) = found.method_pairs
    assert (each.pairs, each.p, each.holm, each.better) == ((), None, None, None)
    assert "no seed in common" in each.statement
    assert len(found.pairs) == 6  # the runs themselves can still be compared


def test_a_label_makes_one_method_of_runs(make: Make) -> None:
    paths = [
        make("x", [1], seed=0, label="ours"),
        make("y", [2], seed=1, label="ours"),
        make("z", [3], label="theirs"),
    ]
    assert [(method.name, len(method.runs)) for method in compare(paths).methods] == [
        ("ours", 2),
        ("theirs", 1),
    ]


def test_folders_named_by_their_seed_share_a_name(make: Make) -> None:
    paths = [make(f"mnist5-s-{seed}", [seed], seed=seed, network="cnn") for seed in (10, 11)]
    assert [method.name for method in compare(paths).methods] == ["mnist5-s"]


def test_names_that_clash_become_paths(make: Make, tmp_path: Path) -> None:
    paths = [make("v1/base", [1], lr=0.1), make("v2/base", [2], lr=0.2)]
    assert [method.name for method in compare(paths).methods] == [
        str(tmp_path / "v1/base"),
        str(tmp_path / "v2/base"),
    ]


def test_a_method_trained_again_is_compared_with_itself(make: Make) -> None:
    paths = [
        make(f"{folder}/seed{seed}", [seed], seed=seed, network="cnn")
        for folder in ("old", "new")
        for seed in (0, 1)
    ]
    found = compare(paths)
    assert [(method.name, len(method.runs)) for method in found.methods] == [("old", 2), ("new", 2)]
    assert len(found.method_pairs[0].pairs) == 2


def test_one_label_with_one_seed_twice_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match=r"are one method \(ours\) and have one seed \(0\)"):
        compare([make("x", [1], label="ours"), make("y", [2], label="ours")])


def test_against_a_baseline_only_its_pairs_count(make: Make) -> None:
    paths = [make("a", range(8)), make("b", ()), make("c", range(2))]
    found = compare(paths, baseline="b")
    assert [(pair.first, pair.second) for pair in found.pairs] == [("b", "a"), ("b", "c")]
    assert [(pair.first, pair.second) for pair in found.method_pairs] == [("b", "a"), ("b", "c")]
    assert found.pairs[0].holm == pytest.approx(2 * found.pairs[0].exact)
    assert (found.pairs[0].b, found.pairs[0].better) == (8, "b")
    with pytest.raises(UserError, match="no method `bb`; did you mean `b`"):
        compare(paths, baseline="bb")


def test_the_result_is_plain_data(make: Make) -> None:
    found = three_seeds(make)
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["schema"] == "rdl-compare/1"
    assert set(plain) == {
        "schema",
        "alpha",
        "epoch",
        "images",
        "baseline",
        "runs",
        "pairs",
        "methods",
        "method_pairs",
        "brain_similarities",
    }
    assert (
        plain["epoch"],
        plain["images"],
        plain["baseline"],
        len(plain["runs"]),
        len(plain["pairs"]),
    ) == ("final", N, None, 7, 21)
    assert set(plain["runs"][0]) == {
        "name",
        "path",
        "method",
        "seed",
        "errors",
        "rate",
        "low",
        "high",
    }
    pair = {
        "first",
        "second",
        "b",
        "c",
        "exact",
        "mid_p",
        "difference",
        "low",
        "high",
        "holm",
        "better",
        "kept",
    }
    assert set(plain["pairs"][0]) == pair
    assert set(plain["methods"][0]) == {"name", "runs", "mean", "sd"}
    more = {"pairs", "p_seeds", "p_images", "p", "second_better", "ties", "statement"}
    assert set(plain["method_pairs"][0]) == pair - {"b", "c", "exact", "mid_p"} | more


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
def test_a_p_value_keeps_two_digits(p: float, text: str) -> None:
    assert format_p(p) == text


def test_comparing_and_showing_the_result_loads_no_torch(make: Make) -> None:
    make("a", [1])
    make("b", [2])
    root = make("c", [3]).parent
    program = f"""
import sys
from pathlib import Path
from rdl_cli.cli.compare import compare
assert not {{"torch", "numpy", "h5py", "scipy"}} & set(sys.modules), "importing the command is not cheap"
compare([Path({str(root)!r}) / name for name in "abc"])
assert not {{"torch", "scipy.stats", "matplotlib"}} & set(sys.modules), "comparing loads what it does not need"
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


def test_a_number_at_the_end_of_a_label_is_no_seed(make: Make) -> None:
    runs = [
        make(f"{label}/seed{seed}", [seed], seed=seed, label=label)
        for label in ("rdl-100", "rdl-300")
        for seed in (0, 1)
    ]
    assert [method.name for method in compare(runs).methods] == ["rdl-100", "rdl-300"]


def test_nothing_to_compare_is_said():
    with pytest.raises(UserError, match="no run is named"):
        compare([])
