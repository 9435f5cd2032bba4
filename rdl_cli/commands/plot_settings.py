"""What a figure can be told. No torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rdl_cli.commands.settings import require_at_least


@dataclass(frozen=True, kw_only=True)
class DrawingSettings:
    """Which representations of which pictures."""

    layers: Annotated[
        list[str], "layers, globs allowed (rdl layers NETWORK); repeat or separate by commas"
    ] = field(default_factory=list)
    distance: Annotated[
        str, "distance between the representations of two pictures (rdl list distances)"
    ] = "euclidean"
    dataset: Annotated[
        str, "pictures that runs are shown [default: those they were trained on]"
    ] = ""
    data_root: Annotated[str, "where data sets lie [default: $RDL_DATA or data]"] = ""
    image_size: Annotated[
        int | None, "side in pixels to which folder:PATH resizes its pictures"
    ] = None
    split: Annotated[Literal["train", "validation", "test"], "which of the pictures"] = "test"
    seed: Annotated[int, "seed of the choice of pictures"] = 0
    device: Annotated[str, "auto, cpu, cuda"] = "auto"

    def check(self) -> None:
        """UserError for a value that no figure can have."""
        require_at_least(self, image_size=1)


@dataclass(frozen=True, kw_only=True)
class HeatmapSettings(DrawingSettings):
    """RDMs as pictures."""

    per_class: Annotated[
        int | None, "pictures of each class [default: 10; a store of up to 200 is drawn whole]"
    ] = None
    scale: Annotated[
        Literal["rank", "panel", "layer"],
        "shades: rank of each distance within its RDM; distance ÷ the largest of its RDM; ÷ the largest of its layer, over all networks",
    ] = "rank"

    def check(self) -> None:
        super().check()
        require_at_least(self, per_class=1)


@dataclass(frozen=True, kw_only=True)
class MdsSettings(DrawingSettings):
    """Representations as points."""

    rdm_distance: Annotated[
        str, "distance between RDMs: correlation (Fig. 4), normalised (Fig. 6) or standardised"
    ] = "correlation"
    samples: Annotated[
        int, "samples of pictures over which distances between RDMs are averaged"
    ] = 20
    sample_size: Annotated[int, "pictures in a sample"] = 100
    replace: Annotated[bool, "draw a sample with replacement: a picture can come twice"] = False

    def check(self) -> None:
        super().check()
        require_at_least(self, samples=1, sample_size=4)
