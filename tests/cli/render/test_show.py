"""The summaries of a run and a store on a terminal."""

import io
import re
from dataclasses import replace

from rich.console import Console

from rdl_cli.cli.render.show import to_rich
from rdl_cli.commands.show import (
    ErrorRates,
    LayerSummary,
    ProvenanceLink,
    ProvenanceSummary,
    RunSummary,
    StoreSummary,
)

PROVENANCE = ProvenanceSummary(
    "rdl train-student [bold] --seed 7", "2026-01-01", "abc123", "cpu", {"torch": "2.6"}
)
TEACHER = ProvenanceLink("run", "teacher", "b", "changed", "its fingerprint was bbb, now it is ccc")
PARENTS = (
    ProvenanceLink("store", "t.h5", "a", "unchanged", parents=(TEACHER,)),
    ProvenanceLink("dataset", "data", "c", "not checked", "mnist"),
)
STORE = StoreSummary(
    path="t.h5",
    bytes=4096,
    n_stimuli=50_000,
    images=(1, 28, 28),
    has_names=False,
    has_labels=True,
    digest_kind="pixels",
    decode={},
    layers=(),
    teacher_error=0.0056,
    fingerprint="f",
    provenance=PROVENANCE,
    parents=(),
)


def print_summary(summary: RunSummary | StoreSummary, width: int = 10_000) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(to_rich(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def make_run(finished: bool = True) -> RunSummary:
    errors = (ErrorRates("final", None, None), ErrorRates("best", None, None))
    if finished:
        errors = (
            ErrorRates("final", 3, 0.0175, 4, 100, 0.04, 0.0157, 0.0984),
            ErrorRates("best", 2, 0.0125, 2, 100, 0.02, 0.0055, 0.0700),
        )
    return RunSummary(
        "runs/x", "ours", 7, finished, 3, {"lr": 0.02}, errors, None, PROVENANCE, PARENTS
    )


def test_to_rich_names_both_errors_of_a_run() -> None:
    printed = print_summary(make_run())
    assert re.search(r"final epoch +3 +1\.75 +4\.00 \(4 of 100\) +\[1\.57, 9\.84\]", printed)
    assert re.search(r"best on validation +2 +1\.25 +2\.00 \(2 of 100\)", printed)
    assert "finished, 3 epochs" in printed
    assert "lr = 0.02" in printed
    assert "[bold]" in printed  # a user's text is no markup


def test_to_rich_shows_parents_as_a_tree() -> None:
    lines = print_summary(make_run()).splitlines()
    start = next(i for i, line in enumerate(lines) if "runs/x was made from" in line)
    assert [line.rstrip() for line in lines[start + 1 :]] == [
        "├── store t.h5: unchanged",
        "│   └── run teacher: changed (its fingerprint was bbb, now it is ccc)",
        "└── dataset data: not checked (mnist)",
    ]


def test_to_rich_shows_dashes_for_an_unfinished_run() -> None:
    printed = print_summary(make_run(finished=False))
    assert "not finished" in printed
    assert re.search(r"final epoch +– +– +– +–", printed)


def test_to_rich_shows_the_brain_similarity_of_a_student() -> None:
    row = {
        "layer": "fc",
        "region": "IT@mean",
        "distance": "correlation",
        "stimuli": "held-out",
        "n_stimuli": 46,
        "spearman": 0.3223,
        "pearson": 0.2608,
        "spearman_stimulus_bn": 0.25,
        "mean_subject_spearman": 0.1797,
        "noise_ceiling_lower": 0.4733,
        "noise_ceiling_upper": 0.5574,
    }
    one_rdm = row | {"stimuli": "training", "mean_subject_spearman": None}
    one_rdm |= {"noise_ceiling_lower": None, "noise_ceiling_upper": None}
    printed = print_summary(replace(make_run(), brain_similarity=(row, one_rdm)))
    assert re.search(
        r"fc +IT@mean +46 held-out +0\.322 +0\.261 +0\.180 +0\.473 – 0\.557 +0\.250", printed
    )
    assert re.search(r"fc +IT@mean +46 training +0\.322 +0\.261 +– +– +0\.250", printed)
    assert "Brain similarity" not in print_summary(make_run())


def test_to_rich_lists_the_heldout_stimuli() -> None:
    row = {"layer": "fc", "region": "IT", "stimuli": "heldout", "n_stimuli": 2, "spearman": 0.1}
    row |= {"pearson": 0.1, "spearman_stimulus_bn": 0.1, "mean_subject_spearman": None}
    row |= {"noise_ceiling_lower": None, "noise_ceiling_upper": None}
    heldout = ("face [1]", "house")
    printed = print_summary(replace(make_run(), brain_similarity=(row,), heldout_stimuli=heldout))
    assert re.search(r"held out \(2\) +face \[1\], house", printed)
    assert "held out" not in print_summary(make_run())


def test_to_rich_shows_the_layers_of_a_store() -> None:
    layers = (
        LayerSummary("pool1", (32, 10, 10), ("identity", "hflip"), 0, "float16", "mse", {}),
        LayerSummary("fc", None, (), 0, "float32", "mse", {}, units=1024, untrained=True),
        LayerSummary("V1", None, (), 12, "float32", "correlation", {"region": "V1"}),
    )
    printed = print_summary(replace(STORE, layers=layers, decode={"grey": "luma"}))
    assert "50,000, images 1 × 28 × 28 uint8, with labels" in printed
    assert "error 0.56 % on these stimuli" in printed
    assert re.search(r"decoding +grey luma", printed)
    assert re.search(r"pool1 +32 × 10 × 10 +identity, hflip +– +– +float16 +mse", printed)
    assert re.search(r"fc +– +– +of 1,024 units +– +float32 +mse +untrained", printed)
    assert re.search(r"V1 +– +– +– +12 +float32 +correlation +region V1", printed)
    assert "t.h5 records no inputs" in printed


def test_to_rich_shows_the_command_of_each_export() -> None:
    exports = tuple(
        {"layers": [layer], "command": f"rdl export-rdms --layers {layer}", "made": "today"}
        for layer in ("pool1", "fc")
    )
    assert PROVENANCE.command in print_summary(replace(STORE, exports=exports[:1]))
    printed = print_summary(replace(STORE, exports=exports))
    assert PROVENANCE.command not in printed
    for layer in ("pool1", "fc"):
        assert re.search(rf"export +{layer}: rdl export-rdms --layers {layer} \(today\)", printed)


def test_to_rich_loses_nothing_on_a_narrow_terminal() -> None:
    narrow = print_summary(make_run(), width=50)
    assert max(map(len, narrow.splitlines())) <= 50
    assert "…" not in narrow
