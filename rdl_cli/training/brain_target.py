"""A target with stimuli of its own, beside the task's images: a brain's RDMs."""

from collections.abc import Callable
from functools import cached_property

import torch

from rdl_cli.core.errors import UserError
from rdl_cli.core.tensor_types import UNLABELLED, Batch, Condensed, Distances, Ids, Images, Reps
from rdl_cli.rsa.condensed import to_square
from rdl_cli.rsa.kernels import Centering, Kernel
from rdl_cli.rsa.noise_ceiling import reliability
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.training.targets import TeacherDistances, fix_stored_distance

MIN_STIMULI = 4
"""Stimuli of an RDM that is compared: three have 3 distances, in equal order by chance 1 in 6."""
CALIBRATION_SIZE = 1000
"""Stimuli on which the size of the distances is measured, at most."""


class BrainTarget:
    """RDMs over stimuli of the target's own, `batch_size` of which are shown in each step.

    Args:
        images: the stimuli, uint8, in the size that the network takes.
        preprocess: from uint8 images to the network's input.
        rdms: by layer, the one RDM to follow.
        subjects: by layer, the RDM of each subject, if the one to follow is their mean.
        heldout_stimuli: rows of the stimuli that never enter training.
        batch_size: stimuli in a step; None shows all.
        control: makes a control RDM from the RDM of the training stimuli and their rows. Brain
            similarity is measured to the RDM without it.

    Raises:
        UserError: there are fewer stimuli than an RDM needs.
    """

    def __init__(
        self,
        images: Images,
        preprocess: Callable[[Images], Images],
        rdms: dict[str, RDMs],
        subjects: dict[str, RDMs],
        heldout_stimuli: Ids,
        batch_size: int | None = None,
        control: Callable[[Condensed, Ids], Condensed] | None = None,
    ):
        self.layers, self.rdms, self.subjects = tuple(rdms), rdms, subjects
        self.heldout_stimuli = heldout_stimuli
        self._images, self._preprocess = images, preprocess
        n = len(images)
        is_train = torch.ones(n, dtype=torch.bool)
        is_train[heldout_stimuli] = False
        self.train_stimuli = is_train.nonzero().flatten()
        n_train, n_heldout = len(self.train_stimuli), len(heldout_stimuli)
        if n_train < MIN_STIMULI or 0 < n_heldout < MIN_STIMULI:
            raise UserError(
                f"{n_train} stimuli are left for training and {n_heldout} are held out; an RDM"
                f" needs {MIN_STIMULI}",
                hint=f"there are {n}; pass another --stimuli-heldout",
            )
        self.batch_size = n_train if batch_size is None else batch_size
        if not MIN_STIMULI <= self.batch_size <= n_train:
            raise UserError(
                f"--stimuli-batch-size is {batch_size}; an RDM needs {MIN_STIMULI}, and {n_train}"
                " are left for training",
                hint="leave it out to show all of them in each step",
            )
        rows = self.train_stimuli.numpy()
        self._squares: dict[str, Distances] = {}
        for layer, rdm in rdms.items():
            values = rdm.subset(rows).tensor()[0]
            self._squares[layer] = self._to_square(
                control(values, self.train_stimuli) if control else values
            )
        self._weights = {
            layer: self._to_square(reliability(rdm.subset(rows).tensor()))
            for layer, rdm in subjects.items()
        }

    def comparison_batch(self, batch: Batch, rng: torch.Generator) -> Batch:
        if self.batch_size == len(self.train_stimuli):
            return self._all_stimuli
        order = torch.randperm(len(self.train_stimuli), generator=rng)
        return self.show(self.train_stimuli[order[: self.batch_size]])

    def show(self, rows: Ids) -> Batch:
        """Return some of the stimuli as network input."""
        rows = rows.to(self._images.device)
        return Batch(
            self._preprocess(self._images[rows]),
            torch.full_like(rows, UNLABELLED),
            rows,
            torch.zeros_like(rows),
        )

    @property
    def calibration(self) -> Batch:
        """The training stimuli on which the size of the distances is measured."""
        return self.show(self.train_stimuli[:CALIBRATION_SIZE])

    def fix_distance(self, layer: str, distance: str | None) -> TeacherDistances:
        stored = fix_stored_distance(layer, self.rdms[layer].distance, distance)
        square = self._squares[layer]
        return TeacherDistances(layer, stored, lambda b: square[b.ids[:, None], b.ids])

    def reliability_weights(self, layer: str, comparison_batch: Batch) -> Distances:
        """Return the weight of each pair by the agreement of subjects.

        UserError if the layer's RDM is not a mean of subjects.
        """
        if layer not in self._weights:
            raise UserError(
                f"`{layer}` is one RDM, from which the reliability of distances is not known",
                hint=f"follow the mean of subjects: {layer}@mean",
            )
        return self._weights[layer][comparison_batch.ids[:, None], comparison_batch.ids]

    def kernel(self, layer: str, comparison_batch: Batch, center: Centering) -> Kernel:
        raise self._needs_activations(layer)

    def representations(self, layer: str, comparison_batch: Batch) -> Reps:
        raise self._needs_activations(layer)

    def shape(self, layer: str) -> tuple[int, ...]:
        raise self._needs_activations(layer)

    def _needs_activations(self, layer: str) -> UserError:
        return UserError(
            f"of `{layer}` only an RDM is known; this objective needs activations",
            hint="use rsa, cosine, whitened or rdl:fit=scale",
        )

    @cached_property
    def _all_stimuli(self) -> Batch:
        return self.show(self.train_stimuli)

    def _to_square(self, values: Condensed) -> Distances:
        """Return a square over all stimuli, with NaN at those held out, so none can leak."""
        square = torch.full((len(self._images),) * 2, torch.nan)
        square[self.train_stimuli[:, None], self.train_stimuli] = to_square(values.float())
        return square.to(self._images.device)
