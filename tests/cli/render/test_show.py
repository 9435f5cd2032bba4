"""What a run and a store look like on a terminal."""

import io
import re
from dataclasses import replace

from rich.console import Console

from rdl_cli.cli.render import show as cards
from rdl_cli.commands.show import (
    ErrorRates,
    LayerSummary,
    ProvenanceLink,
    ProvenanceSummary,
    RunSummary,
    StoreSummary,
)

MADE = ProvenanceSummary(
    "rdl train-student [bold] --seed 7", "2026-01-01", "abc123", "cpu", {"torch": "2.6"}
)
CHAIN = (
    ProvenanceLink(
        "store",
        "t.h5",
        "a",
        "unchanged",
        parents=(
            ProvenanceLink(
                "run", "teacher", "b", "changed", "its fingerprint was bbb, now it is ccc"
            ),
        ),
    ),
    ProvenanceLink("dataset", "data", "c", "not checked", "mnist"),
)


def text(card: RunSummary | StoreSummary, width: int = 10_000) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(cards.to_rich(card))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run(finished: bool = True) -> RunSummary:
    best = (
        ErrorRates("best", 2, 0.0125, 2, 100, 0.02, 0.0055, 0.0700)
        if finished
        else ErrorRates("best", None, None)
    )
    final = (
        ErrorRates("final", 3, 0.0175, 4, 100, 0.04, 0.0157, 0.0984)
        if finished
        else ErrorRates("final", None, None)
    )
    return RunSummary(
        "runs/x", "ours", 7, finished, 3, {"lr": 0.02}, (final, best), None, MADE, CHAIN
    )


def test_a_run_names_both_of_its_errors() -> None:
    printed = text(run())
    assert re.search(r"final epoch +3 +1\.75 +4\.00 \(4 of 100\) +\[1\.57, 9\.84\]", printed)
    assert re.search(r"best on validation +2 +1\.25 +2\.00 \(2 of 100\)", printed)
    assert "finished, 3 epochs" in printed
    assert "lr = 0.02" in printed
    assert "[bold]" in printed  # what the user typed is no markup


def test_the_chain_is_a_tree() -> None:
    lines = text(run()).splitlines()
    start = next(i for i, line in enumerate(lines) if "runs/x was made from" in line)
    assert [line.rstrip() for line in lines[start + 1 :]] == [
        "├── store t.h5: unchanged",
        "│   └── run teacher: changed (its fingerprint was bbb, now it is ccc)",
        "└── dataset data: not checked (mnist)",
    ]


def test_an_unfinished_run_shows_dashes() -> None:
    printed = text(run(finished=False))
    assert "not finished" in printed
    assert re.search(r"final epoch +– +– +– +–", printed)


def test_a_student_of_a_brain_shows_how_like_it_is() -> None:
    row = {
        "layer": "fc",
        "region": "IT@mean",
        "distance": "correlation",
        "stimuli": "held-out",
        "number": 46,
        "apart": 0.25,
    }
    row |= {
        "spearman": 0.3223,
        "pearson": 0.2608,
        "subjects": 0.1797,
        "lower": 0.4733,
        "upper": 0.5574,
    }
    alone = row | {"stimuli": "taught", "subjects": None, "lower": None, "upper": None}
    printed = text(replace(run(), brain_similarity=(row, alone)))
    assert re.search(
        r"fc +IT@mean +46 held-out +0\.322 +0\.261 +0\.180 +0\.473 – 0\.557 +0\.250", printed
    )
    assert re.search(r"fc +IT@mean +46 taught +0\.322 +0\.261 +– +– +0\.250", printed)
    assert "Brain similarity" not in text(run())


def test_a_store_shows_its_layers() -> None:
    layers = (
        LayerSummary("pool1", (32, 10, 10), ("identity", "hflip"), 0, "float16", "mse", {}),
        LayerSummary("fc", None, (), 0, "float32", "mse", {}, units=1024),
        LayerSummary("V1", None, (), 12, "float32", "correlation", {"region": "V1"}),
    )
    printed = text(
        StoreSummary("t.h5", 4096, 50_000, (1, 28, 28), False, True, layers, 0.0056, "f", MADE, ())
    )
    assert "50,000, pictures 1 × 28 × 28 uint8, with labels" in printed
    assert "error 0.56 % on these stimuli" in printed
    assert re.search(r"pool1 +32 × 10 × 10 +identity, hflip +– +– +float16 +mse", printed)
    assert re.search(r"fc +– +– +of 1,024 units +– +float32 +mse", printed)
    assert re.search(r"V1 +– +– +– +12 +float32 +correlation +region V1", printed)
    assert "t.h5 names nothing that it was made from" in printed


def test_a_store_of_several_exports_shows_the_command_of_each() -> None:
    exports = tuple(
        {"layers": [layer], "command": f"rdl export-rdms --layers {layer}", "made": "today"}
        for layer in ("pool1", "fc")
    )
    card = StoreSummary("t.h5", 4096, 50_000, None, False, True, (), None, "f", MADE, ())
    assert MADE.command in text(replace(card, exports=exports[:1]))
    printed = text(replace(card, exports=exports))
    assert MADE.command not in printed
    assert all(
        re.search(rf"export +{layer}: rdl export-rdms --layers {layer} \(today\)", printed)
        for layer in ("pool1", "fc")
    )


def test_a_narrow_terminal_loses_nothing() -> None:
    narrow = text(run(), width=50)
    assert max(map(len, narrow.splitlines())) <= 50
    assert "…" not in narrow
