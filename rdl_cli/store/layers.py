"""One layer of a store: activations, else a kernel, else RDMs, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import NameSource
from rdl_cli.rsa.rdms import RDMs
from rdl_cli.store.format import KINDS, RECOPY_HINT, Group, group_digest

if TYPE_CHECKING:
    import torch

    from rdl_cli.rsa.kernels import Centering

    Rows = Sequence[int] | np.ndarray | torch.Tensor | None
    Views = int | np.ndarray


@dataclass(frozen=True, eq=False)
class StoredLayer:
    """A layer or brain region of a store. Its values are verified when they are first read.

    Args:
        path: the store.
        group: its arrays and attributes.
        checksum: the digest that was written.
        n_stimuli: how many stimuli the store has.
        stimuli: their names, None where unknown.
        selection: some of its RDMs, in place of all.
    """

    path: Path
    group: Group
    checksum: str
    n_stimuli: int
    stimuli: tuple[str, ...] | None = None
    selection: RDMs | None = None

    @property
    def name(self) -> str:
        return self.group.attributes["name"]

    @property
    def has_activations(self) -> bool:
        return "activations" in self.group.arrays

    @property
    def has_kernel(self) -> bool:
        return "kernel" in self.group.arrays

    @property
    def has_rdms(self) -> bool:
        return "rdm" in self.group.arrays

    @property
    def kind(self) -> str:
        """`activations`, `a kernel` or `RDMs`: the first of these that the layer has."""
        return next(words for kind, words in KINDS.items() if kind in self.group.arrays)

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes: views, distance, region, unit, units, untrained, ..."""
        attributes = dict(self.group.attributes)
        for kind in reversed(KINDS):
            if kind in self.group.arrays:
                attributes |= self.group.arrays[kind].attributes
        return attributes

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of one image's activations; None if there are none."""
        return self.group.arrays["activations"].shape[2:] if self.has_activations else None

    @property
    def dtype(self) -> np.dtype:
        return self.group.primary.dtype

    @property
    def views(self) -> tuple[str, ...]:
        """The views of each image, in the order of the activations' first axis."""
        return self.attributes.get("views", ())

    @property
    def distance(self) -> str:
        """The distance that the layer's RDM is in, or is to be measured by; "" if unknown."""
        return self.group.primary.attributes.get("distance", "")

    def default_distance(self) -> str:
        """Return the distance in which to measure activations or a kernel: the file's, else mse.

        UserError if the file names code: only what is typed is imported.
        """
        from rdl_cli.rsa.distances import DISTANCES

        if self.distance:
            DISTANCES.find(self.distance, NameSource(str(self.path)))
        return self.distance or "mse"

    @property
    def units(self) -> int | None:
        """The number of units that the kernel sums over; None if there is no kernel."""
        return self.group.arrays["kernel"].attributes["units"] if self.has_kernel else None

    @property
    def n_rdms(self) -> int:
        return self.group.arrays["rdm"].shape[0] if self.has_rdms else 0

    @property
    def untrained(self) -> bool:
        """Whether the layer's weights are random, as those of a readout for other classes are."""
        return bool(self.group.attributes.get("untrained", False))

    def activations(self) -> np.ndarray:
        """Return the activations (views, n, ...), a memory map. UserError if there are none."""
        return self._read("activations")

    def kernel(self) -> np.ndarray:
        """Return the packed inner products (n(n+1)/2,). UserError if there are none."""
        return self._read("kernel")

    def rdms(self) -> RDMs:
        """Return the RDMs, or the selection of them. UserError if there are none."""
        return self._rdms if self.selection is None else self.selection

    def distances(
        self,
        distance: str = "",
        rows: "Rows" = None,
        views: "Views" = 0,
        dtype: "torch.dtype | None" = None,
        device: "torch.device | str" = "cpu",
    ) -> "torch.Tensor":
        """Return the distances between some stimuli (m, m); NaN where they were not measured.

        Computed from the activations, else from the kernel, else read from the one RDM.

        Args:
            distance: a member of DISTANCES; that of the layer if "".
            rows: the stimuli, all if None.
            views: the view of each stimulus, or of all of them.
            dtype: float32 if None.
            device: that of the result. Activations are compared there.

        Raises:
            UserError: the kernel cannot give this distance, or the RDM is in another one.
        """
        import torch

        from rdl_cli.rsa.condensed import pair_index
        from rdl_cli.rsa.distances import DISTANCES
        from rdl_cli.rsa.kernels import kernel_distances

        # the distance of a brain's RDM may be unknown
        if not distance:
            distance = self.distance if self.kind == "RDMs" else self.default_distance()
        dtype = dtype or torch.float32
        if self.has_activations:
            reps = self.representations(rows, views, dtype, device)
            return DISTANCES.find(distance)(reps, reps)
        if self.has_kernel:
            assert self.units is not None, "a kernel has units"
            kernel = self.inner_products(rows, dtype=None)
            return kernel_distances(kernel, distance, self.units).to(device, dtype)
        at = self._to_indices(rows)
        rdm = self.one_rdm()
        if rdm.distance != distance:
            raise UserError(
                f"the RDM of `{self.name}` in {self.path} is in `{rdm.distance}`, not `{distance}`",
                hint=f"use distance={rdm.distance}, or export the layer as activations",
            )
        same = at[:, None] == at
        pairs = pair_index(at[:, None], at, self.n_stimuli).masked_fill_(same, 0).numpy()
        values = torch.from_numpy(rdm.values[0][pairs])
        return values.to(dtype).masked_fill_(same, 0).to(device)

    def inner_products(
        self,
        rows: "Rows" = None,
        views: "Views" = 0,
        center: "Centering" = "none",
        dtype: "torch.dtype | None" = None,
        device: "torch.device | str" = "cpu",
    ) -> "torch.Tensor":
        """Return the centred inner products between some stimuli (m, m).

        Computed from the activations, in float32, else read from the kernel and centred in float64.

        Raises:
            UserError: the layer has RDMs only, or a kernel cannot be centred like that.
        """
        from rdl_cli.rsa.kernels import apply_centering, inner_products, subset

        if self.has_activations:
            reps = self.representations(rows, views, device=device)
            return inner_products(reps, center).to(dtype)
        kernel = subset(self.kernel(), self._to_indices(rows)).double()
        return apply_centering(kernel, center).to(device, dtype)

    def representations(
        self,
        rows: "Rows" = None,
        views: "Views" = 0,
        dtype: "torch.dtype | None" = None,
        device: "torch.device | str" = "cpu",
    ) -> "torch.Tensor":
        """Return the activations of some stimuli (m, ...). UserError if the layer has none."""
        import torch

        at = slice(None) if rows is None else np.asarray(rows)
        return torch.from_numpy(self.activations()[views, at]).to(device, dtype or torch.float32)

    def one_rdm(self) -> RDMs:
        """Return the RDMs if there is exactly one. UserError otherwise, naming ways to choose."""
        rdms = self.rdms()
        if len(rdms) > 1:
            some = ", ".join(f"{self.name}@{part}" for part in ("mean", *rdms.parts[:3]))
            raise UserError(
                f"`{self.name}` of {self.path} is {rdms.describe()}; one RDM is needed",
                hint=f"choose one: {some}",
            )
        return rdms

    def with_selection(self, rdms: RDMs) -> "StoredLayer":
        """Return the layer with some of its RDMs, or a mean of them, in place of all."""
        return replace(self, selection=rdms)

    def verify(self) -> None:
        """Read all values. UserError if they are not as they were written."""
        assert self._intact

    def _to_indices(self, rows: "Rows") -> "torch.Tensor":
        import torch

        return torch.as_tensor(np.arange(self.n_stimuli) if rows is None else np.asarray(rows))

    @cached_property
    def _rdms(self) -> RDMs:
        values, arrays = self._read("rdm"), self.group.arrays
        attributes = arrays["rdm"].attributes
        subjects, sessions = (
            arrays[name].texts() if name in arrays else () for name in ("subject", "session")
        )
        return RDMs(
            values,
            attributes.get("distance", ""),
            attributes.get("region", ""),
            attributes.get("unit", ""),
            self.stimuli,
            subjects,
            sessions,
            tuple(arrays["time"].read().tolist()) if "time" in arrays else (),
        )

    def _read(self, kind: str) -> np.ndarray:
        if kind not in self.group.arrays:
            raise UserError(
                f"layer `{self.name}` of {self.path} holds {self.kind}, not {KINDS[kind]}",
                hint=f"export it again with --as {kind}",
            )
        self.verify()
        return self._maps[kind]

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        return {name: extent.read() for name, extent in self.group.arrays.items()}

    @cached_property
    def _intact(self) -> bool:
        """True; UserError if a value is not as it was written. Reading 1 GB takes 0.7 s."""
        if group_digest(self.group) != self.checksum:
            raise UserError(
                f"{self.path} is damaged: layer `{self.name}` is not as it was written",
                hint=RECOPY_HINT,
            )
        return True
