"""How alike representations are: layer by layer, network by network, network by brain, and how sure that is.

A region of several subjects is compared subject by subject: the value is the mean over subjects (over all pairs of them
where both sides have several), which is what its noise ceiling bounds. `IT@mean` is one RDM and has no subjects.
Intervals are about other stimuli and, where there are subjects, other subjects; p is that of unrelated stimuli.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdl_cli.commands.compare_rdms.resampling import (
    ResampledMeasure,
    SubjectBlock,
    bootstrap_intervals,
    permutation_p_values,
)
from rdl_cli.commands.compare_rdms.sources import SourceLayer, open_sources, select_layers
from rdl_cli.commands.console import log
from rdl_cli.commands.device import configure_backend, resolve_device
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.bayes import describe_settings
from rdl_cli.rsa.condensed import condensed_pairs
from rdl_cli.rsa.distances import DISTANCES
from rdl_cli.rsa.kernels import apply_centering, kernel_distances, kernel_from_rdm
from rdl_cli.rsa.measures import MEASURES, Measure, measure_input, measure_traits
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.statistics.multiplicity import holm

SCHEMA = "rdl-compare-rdms/1"
SQUARED = {"sqeuclidean": 1, "mse": 1, "mahalanobis": 1, "euclidean": 2}
"""Distances that are squared Euclidean when raised to this power: from them there is a kernel."""
PATIENCE = 60
"""Seconds from which on it is said beforehand how long the draws will take."""


@dataclass(frozen=True)
class ComparedRepresentation:
    """A representation as it was compared. `distance` is that of its RDM (measures of kernels use none); `said` tells what was averaged."""

    name: str
    said: str
    of: str
    distance: str
    subjects: int


@dataclass(frozen=True)
class LayerPair:
    """Two representations. `low` to `high` is the 95 % interval, `p` the one-sided permutation test of relatedness (None without draws).

    `subjects` is how many there are on the side that has fewer, of the sides that have several: the interval is over them as well.
    """

    first: str
    second: str
    value: float
    subjects: int = 1
    low: float | None = None
    high: float | None = None
    p: float | None = None
    holm: float | None = None


@dataclass(frozen=True)
class Ceiling:
    """Between `lower` and `upper` lies the value that the true model of the region would have (Nili et al. 2014)."""

    region: str
    subjects: int
    lower: float
    upper: float


@dataclass(frozen=True)
class MeasureTable:
    """One measure of every two representations, `values` in the order of the sides; its settings are the same for all of them.

    `same` is what identical representations get, and stands on the diagonal.
    """

    measure: str
    settings: dict[str, Any]
    same: float
    values: tuple[tuple[float, ...], ...]
    pairs: tuple[LayerPair, ...]
    ceilings: tuple[Ceiling, ...]


@dataclass(frozen=True)
class RdmComparison:
    """All that was compared, over the same stimuli."""

    stimuli: int
    align: str
    draws: int
    seed: int
    sides: tuple[ComparedRepresentation, ...]
    tables: tuple[MeasureTable, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA} | asdict(self)


def compare_rdms(sources: Sequence[Path], settings: CompareRdmsSettings) -> RdmComparison:
    """Every two layers of the stores and runs by every measure. UserError for bad input, and where stimuli are not the same."""
    measures = {spec: MEASURES.find(spec) for spec in dict.fromkeys(settings.measure)}
    configure_backend(resolve_device(settings.device))
    layers = read_representation(sources, settings)
    if len(layers) < 2 and not any(len(layer.people) > 1 for layer in layers):
        raise UserError(
            f"there is nothing to compare `{layers[0].name}` with",
            hint="name a second store or run, or more --layers",
        )
    sides = tuple(
        ComparedRepresentation(
            each.name, each.said, each.of, common_distance(each, settings), max(1, len(each.people))
        )
        for each in layers
    )
    tables = tuple(_table(spec, measure, layers, settings) for spec, measure in measures.items())
    return RdmComparison(
        layers[0].n, settings.align, settings.n_resamples, settings.seed, sides, tables
    )


def read_representation(
    sources: Sequence[Path], settings: CompareRdmsSettings
) -> list[SourceLayer]:
    """The layers that are to be compared."""
    settings.check()
    if settings.distance:
        DISTANCES.find(settings.distance)
    if not sources:
        raise UserError("no store and no run is named", hint="rdl compare-rdms STORE|RUN...")
    return select_layers(open_sources(sources, settings), settings)


def prepare_input(
    measure: Measure, layer: SourceLayer, settings: CompareRdmsSettings
) -> torch.Tensor:
    """What the measure compares of the layer, `s p` RDMs or `s n n` kernels, in float64.

    UserError where an RDM has no kernel, or a kernel does not tell the RDM.
    """
    known = measure_traits(measure)
    if layer.reps is not None:
        return measure_input(
            measure, layer.reps.double(), DISTANCES.find(common_distance(layer, settings))
        )[None]
    if layer.kernel is not None:
        if known.input == "kernel":
            return apply_centering(layer.kernel, known.centering)[None]
        return kernel_distances(layer.kernel, common_distance(layer, settings), layer.units)[
            condensed_pairs(layer.n)
        ][None]
    assert layer.rdms is not None, "a layer has activations, RDMs or a kernel"
    if known.input == "rdm":
        return layer.rdms
    power = SQUARED.get(layer.distance)
    if power is None or layer.rdms.isnan().any():
        why = (
            f"in `{layer.distance or 'an unknown distance'}`"
            if power is None
            else "not measured everywhere"
        )
        raise UserError(
            f"only the RDM of `{layer.name}` is known, {why}; kernels come from squared Euclidean distances",
            hint="--measure whitened-cosine is CKA of RDMs in any distance; or store activations",
        )
    if known.centering != "stimuli":
        fact = f"the kernel of the RDM `{layer.name}` is one around the mean stimulus; the measure is to centre `{known.centering}`"
        raise UserError(fact, hint="add the option center=stimuli to the measure")
    kernels = kernel_from_rdm(layer.rdms**power)
    if known.bayesian:
        lowest, *_, highest = torch.linalg.eigvalsh(kernels).flatten().sort().values
        if lowest < -1e-6 * highest:
            fact = f"the RDM of `{layer.name}` is called `{layer.distance}`, but no patterns have such distances"
            raise UserError(
                f"{fact}: its kernel has the eigenvalue {lowest:.3g} beside {highest:.3g}",
                hint="compare it by whitened-cosine",
            )
    return kernels


def describe_measure(measure: Measure, n: int) -> dict[str, Any]:
    """What a value depends on beside the representations; of the Bayesian measures all that makes two values comparable."""
    return (
        describe_settings(measure, n)
        if measure_traits(measure).bayesian
        else {"n": n, **getattr(measure, "keywords", {})}
    )


def common_distance(layer: SourceLayer, settings: CompareRdmsSettings) -> str:
    """The distance of the layer's RDM: as asked for where it is made here."""
    return (settings.distance or layer.distance) if layer.rdms is None else layer.distance


def _table(
    spec: str, measure: Measure, layers: list[SourceLayer], settings: CompareRdmsSettings
) -> MeasureTable:
    known, n = measure_traits(measure), layers[0].n
    inputs = [
        prepare_input(measure, layer, settings).to(resolve_device(settings.device))
        for layer in layers
    ]
    everything = ResampledMeasure(measure, torch.cat(inputs), known.input == "rdm")
    of = np.repeat(np.arange(len(layers)), [len(each) for each in inputs])
    between = list(combinations(range(len(layers)), 2))
    blocks = [
        SubjectBlock(
            np.flatnonzero(of == i), np.flatnonzero(of == j), layers[i].people == layers[j].people
        )
        for i, j in between
    ]
    pairs = [
        LayerPair(layers[i].name, layers[j].name, b.value(everything.all), b.fewer)
        for (i, j), b in zip(between, blocks, strict=True)
    ]
    if settings.n_resamples and pairs:
        _warn_if_slow(spec, everything.seconds(settings.n_resamples), settings.n_resamples)
        found = bootstrap_intervals(blocks, everything, n, settings.n_resamples, settings.seed)
        p = permutation_p_values(
            blocks, everything, n, settings.n_resamples, settings.seed, -1 if known.identity_value == 0 else 1
        )
        tested = zip(pairs, found, p, holm(p).tolist(), strict=True)
        pairs = [
            replace(pair, low=i.low, high=i.high, p=own, holm=corrected)
            for pair, i, own, corrected in tested
        ]
    values = np.full((len(layers), len(layers)), known.identity_value)
    for (i, j), pair in zip(between, pairs, strict=True):
        values[i, j] = values[j, i] = pair.value
    ceilings = []
    for layer, each in zip(layers, inputs, strict=True):
        if len(each) > 1 and known.input == "rdm":
            lower, upper = map(float, noise_ceiling(measure, each))
            ceilings.append(Ceiling(layer.name, len(each), lower, upper))
    return MeasureTable(
        spec,
        describe_measure(measure, n),
        known.identity_value,
        tuple(map(tuple, values.tolist())),
        tuple(pairs),
        tuple(ceilings),
    )


def _warn_if_slow(spec: str, seconds: float, draws: int) -> None:
    if seconds > PATIENCE:
        log(
            f"{spec}: {draws:,} draws take about {seconds / 60:,.0f} minutes (--n-resamples 0: values alone; fewer --images or --layers)"
        )
