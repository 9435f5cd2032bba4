"""Settings of `rdl plot rdm`, `stimuli` and `mds`. No torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rdl_cli.commands.options import require_at_least
from rdl_cli.commands.settings import DataRoot, Device, ImageSize, Layers, Trust
from rdl_cli.commands.style_settings import StyleSettings


@dataclass(frozen=True, kw_only=True)
class DrawingSettings(StyleSettings):
    """Layers to plot and their images."""

    layers: Layers = field(default_factory=list)
    distance: Annotated[str, "distance between images (rdl list distances)"] = "euclidean"
    dataset: Annotated[str, "data set for runs [default: their own]"] = ""
    data_root: DataRoot = ""
    image_size: ImageSize = None
    split: Annotated[Literal["train", "validation", "test"], "images"] = "test"
    seed: Annotated[int, "seed of the selection of images"] = 0
    device: Device = "auto"
    trust: Trust = False

    def check(self) -> None:
        """Raise UserError if a value is out of range."""
        require_at_least(self, image_size=1)


@dataclass(frozen=True, kw_only=True)
class HeatmapSettings(DrawingSettings):
    """RDMs as heatmaps."""

    per_class: Annotated[int | None, "images of each class [default: 10; all of up to 200]"] = None
    scale: Annotated[
        Literal["rank", "panel", "layer"],
        "colors: rank within the RDM; distance / largest of the RDM, or of the layer",
    ] = "rank"

    def check(self) -> None:
        super().check()
        require_at_least(self, per_class=1)


@dataclass(frozen=True, kw_only=True)
class MdsSettings(DrawingSettings):
    """RDMs as points of a map."""

    rdm_distance: Annotated[
        str, "distance between RDMs: correlation (Fig. 4), normalised (Fig. 6), standardised"
    ] = "correlation"
    samples: Annotated[int, "samples of images to average over"] = 20
    sample_size: Annotated[int, "images in a sample"] = 100
    replace: Annotated[bool, "draw samples with replacement"] = False

    def check(self) -> None:
        super().check()
        require_at_least(self, samples=1, sample_size=4)
