"""What an experiment can be told: each setting once, as flag, as TOML key and as what config.toml records. No torch."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from rdl_cli.core.errors import UserError

FORMATS = {".h5": "rsatoolbox", ".hdf5": "rsatoolbox", ".mat": "mat", ".npz": "npz"}
"""Suffix of a file of RDMs for another program → the writer that it stands for."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which pictures."""

    dataset: Annotated[
        str, "data set: digits, mnist, cifar10, folder:PATH, ... (rdl list datasets)"
    ] = "mnist"
    data_root: Annotated[
        str, "where data sets lie or are downloaded to [default: $RDL_DATA or data]"
    ] = ""
    download: Annotated[bool, "fetch the data set where it is missing"] = False
    image_size: Annotated[
        int | None, "side in pixels to which folder:PATH resizes its pictures"
    ] = None
    views: Annotated[
        str, "augmentation as numbered views: none, hflip, shift:1 (rdl list views)"
    ] = "none"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(DataSettings):
    """What teachers and students have in common."""

    preprocessing: Annotated[str, "unit (pixel / 255), standard, gcn (rdl list preprocessing)"] = (
        "unit"
    )
    network: Annotated[
        str, "mnist-cnn, nin, torchvision:NAME, module:factory, ... (rdl list networks)"
    ] = "mnist-cnn"
    epochs: Annotated[
        int,
        "passes over the larger of the labelled and unlabelled images; 0 evaluates --init as it is",
    ] = 20
    max_steps: Annotated[int | None, "train for so many steps in all, in place of --epochs"] = None
    batch_size: Annotated[
        int, "labelled images a step (and as many unlabelled ones, with --use-unlabelled)"
    ] = 100
    lr: Annotated[float, "learning rate"] = 0.02
    momentum: Annotated[float, "momentum of SGD"] = 0.9
    weight_decay: Annotated[float, "weight decay"] = 0.0
    schedule: Annotated[
        str,
        "learning rate over time: cosine, constant, linear, halve:every=25 (rdl list schedules)",
    ] = "cosine"
    train_size: Annotated[
        int | None, "train on so many labelled images, drawn by class with the seed"
    ] = None
    use_unlabelled: Annotated[
        bool, "the rest of the training images join each step without their labels"
    ] = False
    init: Annotated[
        str,
        "begin with the weights of a run, or of a .safetensors or .pt file, wherever names and shapes fit",
    ] = ""
    seed: Annotated[int, "seed of everything random"] = 0
    seeds: Annotated[str, "several runs, OUT/seed0, OUT/seed1, ...: 0..4 or 0,2,5"] = ""
    device: Annotated[str, "auto, cpu, cuda"] = "auto"
    precision: Annotated[
        Precision, "arithmetic of the forward and backward pass; weights are kept as float32"
    ] = "32-true"
    label: Annotated[str, "name of the method in tables"] = ""

    def check(self) -> None:
        """UserError for a value that no experiment can have."""
        require_at_least(
            self, epochs=0, max_steps=1, batch_size=1, train_size=1, image_size=1, seed=0
        )
        for name in ("lr", "momentum", "weight_decay", "task_weight"):
            if not 0 <= getattr(self, name, 0) < float("inf"):
                raise UserError(
                    f"{to_flag(name)} is {getattr(self, name)}; it cannot be negative or infinite"
                )
        if self.momentum >= 1:
            raise UserError(
                f"--momentum is {self.momentum}; from 1 on, steps grow without end",
                hint="0.9 is usual",
            )
        if self.use_unlabelled and self.train_size is None:
            raise UserError(
                "--use-unlabelled says that the rest of the images have no labels, but all have",
                hint="say --train-size N as well",
            )
        if self.seeds and self.seed:
            raise UserError(
                f"--seeds is {self.seeds} and --seed is {self.seed}",
                hint="say one of them; --seed 0 takes back that of a --config",
            )
        self.seed_list()

    def seed_list(self) -> list[int]:
        """The seeds to run: those of `seeds`, or the one."""
        if not self.seeds:
            return [self.seed]
        found: list[int] = []
        for part in self.seeds.split(","):
            match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
            if not match or (match[2] and int(match[2]) < int(match[1])):
                raise UserError(
                    f"`{self.seeds}` is not a list of seeds", hint="write 0..4, or 0,2,5"
                )
            found += range(int(match[1]), int(match[2] or match[1]) + 1)
        if twice := [seed for seed in found if found.count(seed) > 1]:
            raise UserError(
                f"`{self.seeds}` names the seed {twice[0]} more than once, and the same seed is the same run"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class StudentSettings(TrainingSettings):
    """A student's: whom it follows, where and how."""

    targets: Annotated[
        str,
        "a store of the teacher's activations or RDMs, or a run whose network is to be run live",
    ] = ""
    match: Annotated[
        list[str],
        "MINE=THEIRS: a layer of the student and the teacher's it follows; repeat or separate by commas",
    ] = field(default_factory=list)
    objective: Annotated[
        list[str],
        "rdl:weight=1,pairs=500, ...; repeat to add up (rdl list objectives) [default: with --targets rdl; where they are a brain's, rsa]",
    ] = field(default_factory=list)
    grad_fraction: Annotated[
        list[str],
        "NAME=SHARE: weigh an objective so that this part of the first step's gradient norm is its own",
    ] = field(default_factory=list)
    task_weight: Annotated[
        float,
        "what the cross-entropy with the labels counts beside the objectives (kd's authors: 0.1)",
    ] = 1.0
    align: Annotated[
        Literal["digest", "name", "position"],
        "how images are found in the store: by their pixels, file names or order",
    ] = "digest"
    stimuli_batch_size: Annotated[
        int | None,
        "stimuli of the brain's own that each step shows, all their pairs [default: all]",
    ] = None
    stimuli_heldout: Annotated[
        float | None, "hold stimuli out of training: a share below 1, or a number of them"
    ] = None
    stimuli_eval_every: Annotated[
        int | None,
        "epochs between two measurements of brain_similarity to the brain [default: a tenth of all]",
    ] = None
    control: Annotated[
        str,
        "destroy the brain's RDM in a known way: shuffle, random, spectrum, category (rdl list controls)",
    ] = ""

    def grad_fractions(self) -> dict[str, float]:
        """What --grad-fraction says, by objective. UserError for what is no share, and for more than there is."""
        found: dict[str, float] = {}
        for item in split_commas(self.grad_fraction):
            name, _, number = item.partition("=")
            if not re.fullmatch(r"0?\.\d*[1-9]\d*", number):
                raise UserError(
                    f"`--grad-fraction {item}` is not an objective with its share",
                    hint="write --grad-fraction rsa=0.1",
                )
            found[name] = float(number)
        if sum(found.values()) >= 1:
            raise UserError(
                f"--grad-fraction gives away {sum(found.values()):g} of the gradient; something has to be left for the task"
            )
        return found

    def check(self) -> None:
        super().check()
        self.grad_fractions()
        require_at_least(self, stimuli_batch_size=1, stimuli_eval_every=1)
        if (held := self.stimuli_heldout) is not None and (
            not 0 <= held < float("inf") or (held > 1 and held != int(held))
        ):
            raise UserError(
                f"--stimuli-heldout is {held}; it is a share below 1, or a whole number of stimuli",
                hint="0.5, or 40",
            )


@dataclass(frozen=True, kw_only=True)
class ExportSettings(DataSettings):
    """What is kept of a teacher."""

    dataset: Annotated[str, "data set [default: the one the teacher was trained on]"] = ""
    split: Annotated[Literal["train", "validation", "test", "all"], "which pictures"] = "train"
    layers: Annotated[
        list[str], "layers, globs allowed (rdl layers NETWORK); repeat or separate by commas"
    ] = field(default_factory=list)
    as_: Annotated[
        Literal["activations", "rdm", "kernel"],
        "activations, whole RDMs (n(n-1)/2 distances a layer), or kernels (as many inner products)",
    ] = "activations"
    distance: Annotated[
        str,
        "distance of the RDMs, and default for those who train on activations or kernels (rdl list distances)",
    ] = "mse"
    dtype: Annotated[Literal["float16", "float32"], "width of stored numbers"] = "float32"
    batch_size: Annotated[int, "images in a forward pass"] = 500
    device: Annotated[str, "auto, cpu, cuda"] = "auto"

    def check(self) -> None:
        """UserError for a value that no export can have."""
        require_at_least(self, batch_size=1, image_size=1)

    def layer_names(self) -> list[str]:
        return split_commas(self.layers)


def split_commas(texts: Iterable[str]) -> list[str]:
    """The words of an option that is repeated or separated by commas, without the blanks around them; an empty one is none."""
    return [word for text in texts for word in map(str.strip, text.split(",")) if word]


def require_at_least(settings: Any, **least: int) -> None:
    """UserError for a setting that is smaller than it can be."""
    for name, smallest in least.items():
        if (value := getattr(settings, name)) is not None and value < smallest:
            raise UserError(f"{to_flag(name)} is {value}; at least {smallest} is needed")


def reject_options(settings: Any, names: Iterable[str], why: str, hint: str) -> None:
    """UserError for a setting that is not its default, where it would have no effect."""
    usual = type(settings)()
    for name in names:
        if (value := getattr(settings, name)) != getattr(usual, name):
            raise UserError(
                f"{to_flag(name)}{'' if value is True else f' {value}'} {why}", hint=hint
            )


def to_flag(name: str) -> str:
    """What a setting is called on the command line."""
    return "--" + name.rstrip("_").replace("_", "-")


def to_config(settings: Any) -> dict[str, Any]:
    """The settings as config.toml keeps them: without those that were not given."""
    return {
        name: value
        for name, value in asdict(settings).items()
        if value is not None and value != "" and value != []
    }
