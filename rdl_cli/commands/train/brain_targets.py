"""A brain as a teacher: its stimuli brought to the network's input, some of them held out, and how like it the student became."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rdl_cli.commands.console import log
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.core.tensor_types import Condensed, Ids, Images
from rdl_cli.datasets.base import Split
from rdl_cli.datasets.loader import image_digests
from rdl_cli.datasets.preprocessing import Preprocess
from rdl_cli.networks.factory import InputShape
from rdl_cli.rsa.control_rdms import CONTROLS
from rdl_cli.rsa.rdms import MEAN
from rdl_cli.runs.run import Run
from rdl_cli.store.select import select, select_one, split_layer
from rdl_cli.store.store import Store
from rdl_cli.training.brain_similarity import BrainSimilarity, BrainSimilarityEvaluator
from rdl_cli.training.brain_target import BrainTarget, Region
from rdl_cli.training.loop import StudentModule
from rdl_cli.training.objective import Objective

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
"""What red, green and blue count in a grey picture (ITU-R BT.601, as in Pillow)."""


def has_own_stimuli(store: Store, shown: Split) -> bool:
    """Whether the store brings pictures of its own, and training shows others than those."""
    if store.stimuli.images is None:
        return False
    return not set(image_digests(shown.images).tolist()) <= set(store.stimuli.digests.tolist())


def open_brain_target(
    store: Store,
    texts: Sequence[str],
    settings: StudentSettings,
    pictures: InputShape,
    preprocess: Preprocess,
    device: torch.device,
    seeds: Seeds,
) -> BrainTarget:
    """The store's RDMs over its own pictures, ready for the network. UserError for what cannot be taught."""
    images, done = resize_to_network(torch.from_numpy(store.pictures()), pictures)
    held_out = split_stimuli(len(images), settings.stimuli_heldout, seeds)
    regions = {text: _region(store, text) for text in dict.fromkeys(texts)}
    labels = (
        None if store.stimuli.labels is None else torch.from_numpy(np.array(store.stimuli.labels))
    )
    control = CONTROLS.find(settings.control) if settings.control else None

    def destroyed(values: Condensed, rows: Ids) -> Condensed:
        assert control is not None
        return control(values, None if labels is None else labels[rows], seeds("control"))

    target = BrainTarget(
        images.to(device),
        preprocess,
        regions,
        held_out,
        settings.stimuli_batch_size,
        destroyed if control is not None else None,
    )
    shown = "all" if target.per_step == len(target.taught) else str(target.per_step)
    where = f"{len(target.taught)} are taught, {shown} in each step" + (
        f", {len(held_out)} held out" if len(held_out) else ""
    )
    log(
        f"teacher {store.path}: {len(images)} stimuli of its own beside the task's images, {done}; {where}"
    )
    if control is not None:
        log(
            f"control `{settings.control}`: what is taught is no brain's; brain_similarity is measured to the brain all the same"
        )
    return target


def resize_to_network(images: Images, pictures: InputShape) -> tuple[Images, str]:
    """uint8 pictures in the channels and size that a network takes, and what was done to them."""
    channels, height, width = images.shape[1:]
    done = []
    if channels != pictures.channels:
        if (channels, pictures.channels) not in ((1, 3), (3, 1)):
            raise UserError(
                f"the stimuli have {channels} channels, the network takes {pictures.channels}"
            )
        images = (
            images.expand(-1, 3, -1, -1)
            if channels == 1
            else _rounded((images.float() * LUMA).sum(1, keepdim=True))
        )
        done.append("grey as RGB" if channels == 1 else "RGB made grey")
    size = (pictures.height, pictures.width)
    if (height, width) != size:
        scaled = [
            F.interpolate(block.float(), size, mode="bilinear", antialias=True, align_corners=False)
            for block in images.split(100)
        ]
        images = _rounded(torch.cat(scaled))
        shape = "" if height * size[1] == width * size[0] else ", their proportions changed"
        done.append(f"{height} × {width} pixels scaled to {size[0]} × {size[1]}{shape}")
    return images.contiguous(), ", ".join(done) or "as they are"


def _rounded(pixels: Tensor) -> Images:
    return pixels.round().clamp(0, 255).to(torch.uint8)


def split_stimuli(n: int, split: float | None, seeds: Seeds) -> Ids:
    """The rows that are held out, in order; the seed's."""
    count = 0 if not split else round(split * n) if split < 1 else int(split)
    if count >= n:
        raise UserError(
            f"--stimuli-heldout holds out {count} of {n} stimuli; none is left to teach with"
        )
    return torch.randperm(n, generator=seeds("stimuli"))[:count].sort().values


def _region(store: Store, text: str) -> Region:
    """The one RDM that the text names, with each subject's where it is their mean."""
    chosen = select_one(store, text)
    log(f"follows {chosen.notes[-1]}")
    layer, parts = split_layer(store, text)
    subjects = None
    if MEAN in parts:
        several = select(store, "@".join([layer, *(part for part in parts if part != MEAN)]))
        if len(several.time_points) < 2 and len(set(several.subjects)) > 1:
            subjects = several.mean_over_sessions().tensor()
    return Region(torch.from_numpy(np.array(chosen.values[0])), chosen.distance, subjects)


class BrainSimilarityLogger:
    """How like the brain the student is, every few epochs as columns of metrics.csv and at the end as stimuli.json."""

    def __init__(
        self,
        target: BrainTarget,
        objectives: Sequence[Objective],
        settings: StudentSettings,
        epochs: int,
    ):
        self.judge, self.settings, self.epochs = (
            BrainSimilarityEvaluator(target, objectives),
            settings,
            epochs,
        )
        self.every = settings.stimuli_eval_every or max(1, epochs // 10)

    @classmethod
    def of(
        cls, objectives: Sequence[Objective], settings: StudentSettings, epochs: int
    ) -> "BrainSimilarityLogger | None":
        """None where no objective follows a teacher with stimuli of its own."""
        targets = [o.target for o in objectives if isinstance(o.target, BrainTarget)]
        return cls(targets[0], objectives, settings, epochs) if targets else None

    def row(self, module: StudentModule, epoch: int) -> dict[str, float]:
        """The columns of this epoch, `heldout/LAYER/spearman` and so on; none in most epochs."""
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return {}
        found = self.judge(module)
        for (kind, match), each in found.items():
            log(f"  {kind} stimuli, {match.student} ~ {match.teacher}: {_describe(each)}")
        return {
            f"{kind}/{match.student}/{name}": value
            for (kind, match), each in found.items()
            for name, value in each._asdict().items()
            if value is not None
        }

    def write(self, run: Run, module: StudentModule) -> None:
        """stimuli.json, with the weights that the module has now."""
        names = Store.open(Path(self.settings.targets)).stimuli.names
        rows = {kind: rows.tolist() for kind, rows in self.judge.rows.items()}
        brain_similarity = [
            {
                "layer": match.student,
                "region": match.teacher,
                "distance": self.judge.distances[match],
                "stimuli": kind,
                "n_stimuli": len(rows[kind]),
            }
            | each._asdict()
            for (kind, match), each in self.judge(module).items()
        ]
        stimuli = {
            kind: [int(row) if names is None else str(names[row]) for row in each]
            for kind, each in rows.items()
        }
        run.write_stimuli(
            {
                "control": self.settings.control or None,
                "brain_similarity": brain_similarity,
                "stimuli": stimuli,
            }
        )


def _describe(each: BrainSimilarity) -> str:
    text = f"Spearman {each.spearman:.3f}, Pearson {each.pearson:.3f}"
    if each.mean_subject_spearman is not None:
        text += f"; with each subject {each.mean_subject_spearman:.3f}, noise ceiling {each.noise_ceiling_lower:.3f}–{each.noise_ceiling_upper:.3f}"
    return text + (
        f"; with the stimuli's batch-norm statistics {each.spearman_stimulus_bn:.3f}"
        if abs(each.spearman_stimulus_bn - each.spearman) > 5e-4
        else ""
    )
