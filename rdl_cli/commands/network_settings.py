"""Settings of a network's foreign weights, and of the reduction of its layers. No torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rdl_cli.core.errors import UserError

Pool = Literal["none", "avg", "avg-channels-first", "avg-channels-last", "cls"]
"""`avg` finds out which axis of a feature map holds the channels, and refuses where it cannot."""


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """The weights and the input of a network that is no run, and the reduction of its layers."""

    weights: Annotated[
        str, "weights of a network that is no run: IMAGENET1K_V1, DEFAULT or a file"
    ] = ""
    classes: Annotated[int | None, "classes of its readout [default: those of the weights]"] = None
    preprocessing: Annotated[
        str, "its preprocessing: weights, imagenet, unit, ... [default: that of the weights]"
    ] = ""
    pool: Annotated[Pool, "average over positions or tokens, or take the first token"] = "none"
    project: Annotated[
        int | None, "random projection of larger layers to so many units; distortion is recorded"
    ] = None
    like: Annotated[str, "list the stimuli in the order of this store, by name"] = ""

    def check_source(self) -> None:
        """Raise UserError if a value is out of range."""
        for name in ("classes", "project"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"--{name} is {value}; at least 1 is needed")


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings:
    """The initial weights of published networks, the optimizer, and the frozen layers."""

    weights: Annotated[
        str, "initial weights of torchvision:NAME or timm:NAME: DEFAULT, IMAGENET1K_V1 or a file"
    ] = ""
    optimizer: Annotated[
        str, "sgd, adamw:betas=0.9/0.95, ... (rdl list optimizers) [default: sgd]"
    ] = ""
    freeze: Annotated[list[str], "layers that keep their weights: conv1,layer1*; or repeat"] = (
        field(default_factory=list)
    )
    clip_grad_norm: Annotated[float | None, "largest norm of the gradient in a step"] = None

    def check_optimizer(self) -> None:
        """Raise UserError if a value is out of range."""
        if self.clip_grad_norm is not None and not 0 < self.clip_grad_norm < float("inf"):
            raise UserError(
                f"--clip-grad-norm is {self.clip_grad_norm}; a number above 0 is needed",
                hint="use 1.0, or leave it out",
            )
