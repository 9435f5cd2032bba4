"""All settings: each is written once, as flag, TOML key and entry of config.toml. No torch."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from rdl_cli.commands.network_settings import OptimizerSettings, SourceSettings
from rdl_cli.commands.options import parse_seeds, require_at_least, split_commas, to_flag
from rdl_cli.core.errors import UserError
from rdl_cli.core.heldout_stimuli import parse_heldout

FORMATS = {".h5": "rsatoolbox", ".hdf5": "rsatoolbox", ".mat": "mat", ".npz": "npz"}
"""Suffix of an RDM file for another program → its writer."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]
Align = Literal["digest", "name", "position"]
Device = Annotated[str, "auto, cpu, cuda"]
DataRoot = Annotated[str, "folder of the data sets [default: $RDL_DATA or data, or the run's]"]
ImageSize = Annotated[int | None, "resize the images of folder:PATH to this side, in pixels"]
Background = Annotated[str, "colour behind transparent pixels of image files [default: white]"]
NumWorkers = Annotated[int | None, "processes that read image files [default: one a core]"]
Trust = Annotated[bool, "import code (module:function) that files name"]
Layers = Annotated[
    list[str], "layers, globs allowed (rdl layers NETWORK); repeat or separate by commas"
]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data set and its augmentation."""

    dataset: Annotated[str, "digits, mnist, folder:PATH, ... (rdl list datasets)"] = "mnist"
    data_root: DataRoot = ""
    download: Annotated[bool, "download the data set if it is missing"] = False
    image_size: ImageSize = None
    background: Background = ""
    views: Annotated[str, "none, hflip, shift:1, hflip+shift:4, ... (rdl list views)"] = "none"
    num_workers: NumWorkers = None
    trust: Trust = False


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(DataSettings, OptimizerSettings):
    """Settings that teachers and students share."""

    augment: Annotated[
        list[str], "random transforms of torchvision's v2, ColorJitter:hue=0.1; repeat for more"
    ] = field(default_factory=list)
    image_memory: Annotated[
        float | None, "GB of images on the GPU at most [default: a quarter of what is free]"
    ] = None
    preprocessing: Annotated[str, "unit, standard, gcn (rdl list preprocessing)"] = "unit"
    network: Annotated[
        str, "mnist-cnn, nin, torchvision:NAME, module:factory, ... (rdl list networks)"
    ] = "mnist-cnn"
    epochs: Annotated[
        int, "passes over the larger of labelled and unlabelled images; 0 only evaluates --init"
    ] = 20
    max_steps: Annotated[int | None, "steps in all; replaces --epochs"] = None
    batch_size: Annotated[
        int, "labelled images a step, of all processes together; and as many with --use-unlabelled"
    ] = 100
    lr: Annotated[float, "learning rate"] = 0.02
    momentum: Annotated[float, "momentum of SGD"] = 0.9
    weight_decay: Annotated[float, "weight decay"] = 0.0
    schedule: Annotated[str, "cosine, constant, ... (rdl list schedules)"] = "cosine"
    train_size: Annotated[int | None, "labelled training images, drawn by class"] = None
    use_unlabelled: Annotated[bool, "train on the other images without labels"] = False
    init: Annotated[str, "initial weights, where they fit: a run, .safetensors or .pt"] = ""
    seed: Annotated[int, "random seed"] = 0
    seeds: Annotated[str, "several runs, OUT/seed0, OUT/seed1, ...: 0..4 or 0,2,5"] = ""
    device: Device = "auto"
    precision: Annotated[Precision, "arithmetic; weights are saved as float32"] = "32-true"
    label: Annotated[str, "name of the method in tables"] = ""

    def check(self) -> None:
        """Raise UserError if a value is out of range, or two contradict each other."""
        require_at_least(
            self, epochs=0, max_steps=1, batch_size=1, train_size=1, image_size=1, seed=0
        )
        require_at_least(self, num_workers=0, image_memory=0)
        for name in ("lr", "momentum", "weight_decay", "task_weight"):
            if not 0 <= (value := getattr(self, name, 0)) < float("inf"):
                fact = f"{to_flag(name)} is {value}; it cannot be negative or infinite"
                raise UserError(fact, hint=f"use {to_flag(name)} {getattr(type(self)(), name)}")
        self.check_optimizer()
        if self.momentum >= 1:
            raise UserError(f"--momentum is {self.momentum}; below 1 is needed", hint="use 0.9")
        if self.use_unlabelled and self.train_size is None:
            raise UserError(
                "--use-unlabelled has no effect: all training images are labelled",
                hint="pass --train-size N as well",
            )
        if self.seeds and self.seed:
            raise UserError(
                f"--seeds is {self.seeds} and --seed is {self.seed}",
                hint="pass one of them; --seed 0 overrides that of a --config",
            )
        self.seed_list()

    def seed_list(self) -> list[int]:
        """Return the seeds to run: those of `seeds`, or the one seed."""
        if not self.seeds:
            return [self.seed]
        return parse_seeds(self.seeds)


@dataclass(frozen=True, kw_only=True)
class StudentSettings(TrainingSettings):
    """A student's teacher, matched layers and objectives."""

    targets: Annotated[
        str, "a store of the teacher's activations or RDMs, or a run to use as a live teacher"
    ] = ""
    target_memory: Annotated[
        float | None,
        "GB of the store's layers on the GPU at most [default: a quarter of what is free]",
    ] = None
    match: Annotated[list[str], "STUDENT=TEACHER, pairs of layers; or repeat"] = field(
        default_factory=list
    )
    objective: Annotated[
        list[str],
        "rdl:weight=1,pairs=500, ...; repeat to add up (rdl list objectives)"
        " [default: with --targets rdl, for a brain's RDMs rsa]",
    ] = field(default_factory=list)
    grad_fraction: Annotated[
        list[str], "NAME=FRACTION: weight an objective to this part of the first gradient's norm"
    ] = field(default_factory=list)
    pairs_across: Annotated[
        bool | None, "under torchrun, compare the images of all processes, not those of each"
    ] = None
    task_weight: Annotated[float, "weight of the cross-entropy (kd's authors: 0.1)"] = 1.0
    align: Annotated[Align, "match images to the store by digest, name or position"] = "digest"
    stimuli_batch_size: Annotated[int | None, "the brain's stimuli in a step [default: all]"] = None
    stimuli_heldout: Annotated[
        str,
        "stimuli held out: a fraction below 1, a number, a text file of names, folds:4/0 (fold 0"
        " of 4), or folds:4 (fold SEED modulo 4)",
    ] = ""
    stimuli_eval_every: Annotated[
        int | None, "epochs between two brain similarities [default: a tenth]"
    ] = None
    control: Annotated[str, "control RDM: shuffle, random, ... (rdl list controls)"] = ""

    def grad_fractions(self) -> dict[str, float]:
        """Return --grad-fraction by objective. Raise UserError if it is invalid."""
        fractions: dict[str, float] = {}
        for item in split_commas(self.grad_fraction):
            name, _, number = item.partition("=")
            if not re.fullmatch(r"0?\.\d*[1-9]\d*", number):
                raise UserError(
                    f"`--grad-fraction {item}` is not an objective with a fraction below 1",
                    hint="write --grad-fraction rsa=0.1",
                )
            fractions[name] = float(number)
        if (total := sum(fractions.values())) >= 1:
            raise UserError(
                f"the fractions of --grad-fraction add up to {total:g}; below 1 is needed",
                hint="the rest is the task's: use smaller fractions",
            )
        return fractions

    def check(self) -> None:
        super().check()
        require_at_least(self, target_memory=0)
        self.grad_fractions()
        require_at_least(self, stimuli_batch_size=1, stimuli_eval_every=1)
        parse_heldout(self.stimuli_heldout)


@dataclass(frozen=True, kw_only=True)
class ExportSettings(DataSettings, SourceSettings):
    """Layers of a teacher, the images that it is run on, and the form in which they are stored."""

    dataset: Annotated[str, "data set [default: the teacher's own]"] = ""
    split: Annotated[Literal["train", "validation", "test", "all"], "images"] = "train"
    layers: Layers = field(default_factory=list)
    as_: Annotated[
        Literal["activations", "rdm", "kernel"],
        "activations, whole RDMs (n(n-1)/2 distances a layer) or kernels (n(n+1)/2 products)",
    ] = "activations"
    distance: Annotated[
        str, "distance of RDMs; recorded for activations and kernels [default: mse, or the store's]"
    ] = ""
    dtype: Annotated[Literal["float16", "float32"], "stored numbers"] = "float32"
    batch_size: Annotated[int, "images in a forward pass"] = 500
    device: Device = "auto"

    def check(self) -> None:
        """Raise UserError if a value is out of range."""
        require_at_least(self, batch_size=1, image_size=1)
        self.check_source()

    def layer_names(self) -> list[str]:
        """Return the names and globs of --layers."""
        return split_commas(self.layers)

    @property
    def stored_distance(self) -> str:
        """The distance that a new store records."""
        return self.distance or "mse"


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """The stimuli of foreign RDM files, and properties that the files lack."""

    stimuli: Annotated[str, "images: a folder, or one of folders by category; or .mat"] = ""
    names: Annotated[str, "text file of stimulus names, a line each, in the order of the RDMs"] = ""
    labels: Annotated[str, "categories: .csv of name,category; text, a line each; .mat"] = ""
    image_size: Annotated[int | None, "scale and crop the images to this side"] = None
    background: Background = ""
    distance: Annotated[str, "distance if the file has none: correlation, crossnobis, ..."] = ""
    regions: Annotated[list[str], "regions: IT, V*; NEW=OLD renames; or repeat"] = field(
        default_factory=list
    )
    axes: Annotated[str, "an ambiguous array's axes in order: subject,time,i,j"] = ""
    repair: Annotated[list[str], "repair RDMs; an error names the repair"] = field(
        default_factory=list
    )
    format: Annotated[str, "require this format (rdl list formats)"] = ""
    responses: Annotated[str, "compute RDMs of responses: correlation, mahalanobis, crossnobis"] = (
        ""
    )

    def check(self) -> None:
        """Raise UserError if a value is out of range."""
        require_at_least(self, image_size=1)


@dataclass(frozen=True, kw_only=True)
class CompareRdmsSettings:
    """Layers to compare, their stimuli and the measures."""

    measure: Annotated[
        list[str], "spearman, pearson, cka, jsd:b=0.01, ... (rdl list measures); a table each"
    ] = field(default_factory=lambda: ["spearman"])
    layers: Annotated[
        list[str],
        "layers or regions, globs allowed; one of several RDMs: IT@mean, IT@subject3; pixels;"
        " repeat or separate by commas [default: all]",
    ] = field(default_factory=list)
    distance: Annotated[str, "distance between activations [default: the store's, else mse]"] = ""
    reference: Annotated[list[str], "test differences of the similarities to these layers"] = field(
        default_factory=list
    )
    against: Annotated[
        list[str], "compare the other layers with these only, and with one another for each: IT,EVC"
    ] = field(default_factory=list)
    control_for: Annotated[
        list[str], "partial out these RDMs (pearson, spearman): EVC@mean, pixels"
    ] = field(default_factory=list)
    align: Annotated[Align, "match stimuli by digest, name or position"] = "digest"
    max_stimuli: Annotated[int, "use at most this many stimuli, as many of each class"] = 200
    n_resamples: Annotated[int, "orders of the stimuli for p; 0: no intervals and no p"] = 1000
    seed: Annotated[int, "seed of the orders"] = 0
    split: Annotated[Literal["train", "validation", "test", "all"], "images for runs"] = "test"
    dataset: Annotated[str, "data set for runs [default: their own]"] = ""
    data_root: DataRoot = ""
    self_check: Annotated[bool, "compare layers with rotated, scaled and shifted copies"] = False
    device: Device = "auto"
    trust: Trust = False

    def check(self) -> None:
        """Raise UserError if a value is out of range."""
        require_at_least(self, max_stimuli=4, n_resamples=0, seed=0)
        if self.against and self.reference:
            raise UserError(
                f"--against is {','.join(self.against)} and --reference is"
                f" {','.join(self.reference)}",
                hint="leave out --reference: --against tests those differences too",
            )
        if 0 < self.n_resamples < 20:
            raise UserError(
                f"--n-resamples is {self.n_resamples}; 0, or at least 20, is needed",
                hint="use 1000, or 0 for values alone",
            )
