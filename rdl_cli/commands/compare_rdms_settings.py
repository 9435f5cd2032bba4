"""What a comparison of representations can be told. No torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rdl_cli.commands.settings import require_at_least
from rdl_cli.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CompareRdmsSettings:
    """Which representations, over which stimuli, by which measures."""

    measure: Annotated[
        list[str],
        "spearman, pearson, cka, jsd:b=0.01, ... (rdl list measures); repeat for a table each",
    ] = field(default_factory=lambda: ["spearman"])
    layers: Annotated[
        list[str],
        "layers or regions, globs allowed; of several RDMs IT@mean, IT@subject3; pixels; repeat or separate by commas [default: all]",
    ] = field(default_factory=list)
    distance: Annotated[
        str,
        "distance of RDMs made from activations [default: the one noted in the store, else mse]",
    ] = ""
    align: Annotated[
        Literal["digest", "name", "position"],
        "how the same stimulus is found: by its pixels, its name, or its place",
    ] = "digest"
    max_stimuli: Annotated[
        int, "compare over so many of the stimuli at most, as many of each class"
    ] = 200
    n_resamples: Annotated[int, "draws for intervals, and again for p; 0: values alone"] = 1000
    seed: Annotated[int, "seed of the draws"] = 0
    split: Annotated[
        Literal["train", "validation", "test", "all"],
        "pictures that the networks of runs are shown",
    ] = "test"
    dataset: Annotated[str, "data set that the networks of runs are shown [default: their own]"] = (
        ""
    )
    data_root: Annotated[str, "where data sets lie [default: as the run has it]"] = ""
    self_check: Annotated[
        bool,
        "compare each representation with rotated, scaled and shifted copies of itself: what is, and what has to be",
    ] = False
    device: Annotated[str, "auto, cpu, cuda"] = "auto"

    def check(self) -> None:
        """UserError for a value that no comparison can have."""
        require_at_least(self, max_stimuli=4, n_resamples=0, seed=0)
        if 0 < self.n_resamples < 20:
            raise UserError(
                f"--n-resamples {self.n_resamples} says nothing about chance",
                hint="1000 are usual, 0 gives values alone",
            )
