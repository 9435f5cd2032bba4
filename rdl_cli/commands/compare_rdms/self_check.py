"""What measures of similarity do on a user's own data, where theory says what they have to: copies turned, scaled and shifted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rdl_cli.commands.compare_rdms.compare_rdms import (
    common_distance,
    prepare_input,
    read_representation,
)
from rdl_cli.commands.compare_rdms.sources import SourceLayer
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.tensor_types import Condensed, Reps
from rdl_cli.rsa.distances import flatten_rows
from rdl_cli.rsa.measures import MEASURES, Measure, measure_traits
from rdl_cli.rsa.normalization import ranks

SCHEMA = "rdl-self-check/1"
TOLERANCE = 1e-6
REFLECTIONS = 8
ROTATABLE = {"mse", "sqeuclidean", "euclidean", "cosine"}
SHIFTABLE = {"mse", "sqeuclidean", "euclidean"}
BLIND_TO_AN_OFFSET_OF_DISTANCES = {"pearson", "spearman", "rho-a", "tau-a", "whitened-correlation"}


@dataclass(frozen=True)
class Check:
    """A representation against a copy of itself. `expected` is None where theory names no value: the measure sees the change."""

    layer: str
    measure: str
    copy: str
    found: float
    expected: float | None

    @property
    def deviation(self) -> float | None:
        return None if self.expected is None else abs(self.found - self.expected)

    @property
    def passed(self) -> bool | None:
        return None if self.deviation is None else self.deviation < TOLERANCE


@dataclass(frozen=True)
class SelfCheck:
    stimuli: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed is not False for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        checks = [
            asdict(check) | {"deviation": check.deviation, "passed": check.passed}
            for check in self.checks
        ]
        return {
            "schema": SCHEMA,
            "stimuli": self.stimuli,
            "tolerance": TOLERANCE,
            "passed": self.passed,
            "checks": checks,
        }


def self_check(sources: Sequence[Path], settings: CompareRdmsSettings) -> SelfCheck:
    """Each layer by each measure against copies: of activations identical, rotated, scaled and shifted; of a kernel or RDM all but rotated.

    Several RDMs of a layer (subjects) are checked by the first.
    """
    measures = {spec: MEASURES.find(spec) for spec in dict.fromkeys(settings.measure)}
    layers = read_representation(sources, settings)
    found = []
    for layer in layers:
        for spec, measure in measures.items():
            mine = prepare_input(measure, layer, settings)[0]
            for name, copied in transformed_copies(layer).items():
                theirs = prepare_input(measure, copied, settings)[0]
                blind = name == "identical" or name in measure_invariances(
                    spec.partition(":")[0], measure, layer, common_distance(layer, settings)
                )
                found.append(
                    Check(
                        layer.name,
                        spec,
                        name,
                        float(measure(mine, theirs)),
                        compare_with_copy(spec, measure, mine) if blind else None,
                    )
                )
    return SelfCheck(layers[0].n, tuple(found))


def transformed_copies(layer: SourceLayer) -> dict[str, SourceLayer]:
    """The layer as it is, turned by a random rotation, 7 times as large, and with the same vector added to every stimulus."""
    if layer.rdms is not None:
        rdms = layer.rdms[:1]
        offset = rdms.nan_to_num(0).abs().mean()
        changed = {"identical": rdms.clone(), "scaled": 7 * rdms, "offset": rdms + offset}
        return {
            name: SourceLayer(layer.name, layer.said, layer.distance, rdms=values)
            for name, values in changed.items()
        }
    generator = torch.Generator().manual_seed(0)
    if layer.kernel is not None:
        k = layer.kernel
        added = (
            torch.eye(layer.n, dtype=k.dtype)
            + torch.randn(layer.n, generator=generator, dtype=k.dtype) / layer.n**0.5
        )
        kernels = {
            "identical": k.clone(),
            "scaled": 49 * k,
            "offset": added @ k @ added.T,
        }  # the vector is a mixture of the patterns
        return {name: replace(layer, kernel=each) for name, each in kernels.items()}
    assert layer.reps is not None, "a layer has activations, RDMs or a kernel"
    reps = flatten_rows(layer.reps).double()
    offset = (
        torch.randn(reps.shape[1], generator=generator, dtype=reps.dtype)
        * reps.square().mean().sqrt()
    )
    turned = {
        "identical": reps.clone(),
        "rotated": rotate(reps, generator),
        "scaled": 7 * reps,
        "offset": reps + offset,
    }
    return {
        name: SourceLayer(layer.name, layer.said, layer.distance, reps=values)
        for name, values in turned.items()
    }


def rotate(reps: Reps, generator: torch.Generator) -> Reps:
    """The representations after an orthogonal map: an even number of random reflections, for a whole matrix of 24,576² is too large."""
    for _ in range(REFLECTIONS):
        mirror = torch.randn(reps.shape[1], generator=generator, dtype=reps.dtype)
        mirror = mirror / mirror.norm()
        reps = reps - 2 * (reps @ mirror)[:, None] * mirror
    return reps


def measure_invariances(name: str, measure: Measure, layer: SourceLayer, distance: str) -> set[str]:
    """The changes to which the measure is blind; of a user's own measure nothing is claimed."""
    known = measure_traits(measure)
    if name not in MEASURES.names():
        return set()
    if known.input == "kernel":
        blind = {"scaled"}
        blind |= {"rotated"} if known.centering != "features" else set()
        return blind | ({"offset"} if known.centering == "stimuli" and layer.rdms is None else set())
    if layer.rdms is not None:
        return {"scaled"} | ({"offset"} if name in BLIND_TO_AN_OFFSET_OF_DISTANCES else set())
    return (
        {"scaled"}
        | ({"rotated"} if distance in ROTATABLE else set())
        | ({"offset"} if distance in SHIFTABLE else set())
    )


def compare_with_copy(spec: str, measure: Measure, values: Condensed) -> float:
    """What identical representations get: 1, or 0 for a distance; less than 1 of ρ_a and τ_a where there are ties among the distances.

    With t tied distances among m in each group, ρ_a is 1 - Σ(t³-t)/(m³-m) and τ_a is 1 - Σt(t-1)/(m(m-1)).
    """
    power = {"rho-a": 3, "tau-a": 2}.get(spec.partition(":")[0])
    if power is None:
        return measure_traits(measure).identity_value
    measured = values[~values.isnan()]
    t, m = ranks(measured).unique(return_counts=True)[1].double(), float(len(measured))
    return 1 - float((t**power - t).sum()) / (m**power - m)
