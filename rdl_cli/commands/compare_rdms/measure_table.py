"""Compare representations by one measure: values, intervals, tests, noise ceilings."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch

from rdl_cli.commands.compare_rdms.representation import Representation
from rdl_cli.commands.compare_rdms.resampling import (
    JackknifedBlocks,
    ResampledMeasure,
    SubjectBlock,
    permutation_p_values,
)
from rdl_cli.commands.compare_rdms.results import (
    Ceiling,
    ExplainedVariance,
    LayerPair,
    MeasureTable,
    SimilarityDifference,
)
from rdl_cli.commands.console import log
from rdl_cli.commands.device import resolve_device
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError
from rdl_cli.rsa.bayes import describe_settings
from rdl_cli.rsa.measures import Measure, measure_traits, pearson, spearman
from rdl_cli.rsa.noise_ceiling import noise_ceiling
from rdl_cli.rsa.partial import MAX_PREDICTORS, partition_variance
from rdl_cli.statistics.multiplicity import holm

SLOW_SECONDS = 60
"""A comparison that takes longer is announced."""
MIN_PAIRS = 6
"""Measured pairs of stimuli that a similarity needs: those of four stimuli."""


def compute_table(
    spec: str,
    measure: Measure,
    layers: list[Representation],
    controls: Sequence[Representation],
    references: Sequence[int],
    settings: CompareRdmsSettings,
    against: Sequence[int] = (),
) -> MeasureTable:
    """Return all similarities by one measure.

    Args:
        spec: the measure as it was typed.
        measure: its function, options bound.
        layers: to compare.
        controls: to partial out.
        references: positions of layers, to whose similarities differences are tested.
        settings: distance, resamples, seed, device.
        against: positions of layers; all others are compared with these only, and the differences
            of their similarities to each of these are tested.

    Raises:
        UserError: two RDMs share a handful of measured pairs, or do not suit the measure.
    """
    traits, n = measure_traits(measure), layers[0].n_stimuli
    rows = [i for i in range(len(layers)) if i not in against]
    references = against or references
    device = resolve_device(settings.device)
    inputs, control_inputs = (
        [layer.to_measure_input(measure, settings.distance).to(device) for layer in group]
        for group in (layers, controls)
    )
    resampled = ResampledMeasure(
        measure,
        torch.cat(inputs),
        traits.input == "rdm",
        torch.cat(control_inputs) if controls else None,
    )
    owner = np.repeat(np.arange(len(layers)), [len(values) for values in inputs])
    blocks = {
        (i, j): SubjectBlock(
            np.flatnonzero(owner == i),
            np.flatnonzero(owner == j),
            layers[i].subjects == layers[j].subjects,
            layers[j].subjects,
        )
        for i, j in permutations(range(len(layers)), 2)
        if i in references or (j in against if against else i < j)
    }
    between = [(i, j) for j in against for i in rows] or list(combinations(rows, 2))
    _check_pairs(resampled, layers, {pair: blocks[pair] for pair in between})
    jackknifed = None
    if settings.n_resamples and between:
        _warn_if_slow(spec, resampled, settings.n_resamples)
        jackknifed = JackknifedBlocks(blocks, resampled, settings.seed)
    pairs = _pairs(layers, resampled, {pair: blocks[pair] for pair in between})
    if jackknifed:
        pairs = _test_pairs(pairs, between, blocks, resampled, jackknifed, settings)
    values: list[list[float | None]] = [[None] * len(layers) for _ in layers]
    for i in range(len(layers)):
        values[i][i] = traits.identity_value
    for (i, j), pair in zip(between, pairs, strict=True):
        values[i][j] = values[j][i] = pair.value
    described = describe_measure(measure, n)
    if controls:
        described["controls"] = ", ".join(control.name for control in controls)
    return MeasureTable(
        spec,
        described,
        traits.identity_value,
        tuple(map(tuple, values)),
        tuple(pairs),
        tuple(_differences(layers, references, rows, resampled, blocks, jackknifed)),
        tuple([] if controls else _ceilings(measure, layers, inputs)),
        tuple([] if controls else _explain(measure, layers, references, rows, inputs)),
        tuple(layers[i].name for i in against),
    )


def _check_pairs(
    resampled: ResampledMeasure,
    layers: list[Representation],
    blocks: dict[tuple[int, int], SubjectBlock],
) -> None:
    """Raise UserError if two RDMs share a handful of measured pairs."""
    counts = resampled.count_pairs()
    for (i, j), block in blocks.items():
        if (fewest := block.minimum(counts)) < MIN_PAIRS:
            raise UserError(
                f"`{layers[i].name}` and `{layers[j].name}` share {fewest} measured pairs of"
                f" stimuli; at least {MIN_PAIRS} are needed",
                hint="leave one of them out, or average subjects (REGION@mean)",
            )


def _pairs(
    layers: list[Representation],
    resampled: ResampledMeasure,
    blocks: dict[tuple[int, int], SubjectBlock],
) -> list[LayerPair]:
    counts = resampled.count_pairs()
    return [
        LayerPair(
            layers[i].name,
            layers[j].name,
            block.mean(resampled.matrix),
            block.minimum(counts),
            block.n_subjects,
        )
        for (i, j), block in blocks.items()
    ]


def _test_pairs(
    pairs: list[LayerPair],
    between: list[tuple[int, int]],
    blocks: dict[tuple[int, int], SubjectBlock],
    resampled: ResampledMeasure,
    jackknifed: JackknifedBlocks,
    settings: CompareRdmsSettings,
) -> list[LayerPair]:
    """Return the pairs with their intervals and p."""
    traits = measure_traits(resampled.measure)
    p = permutation_p_values(
        [blocks[pair] for pair in between],
        resampled,
        settings.n_resamples,
        settings.seed,
        -1 if traits.identity_value == 0 else 1,
    )
    tested = []
    for pair, key, own, corrected in zip(pairs, between, p, holm(p).tolist(), strict=True):
        interval = jackknifed.interval(key)
        tested.append(replace(pair, low=interval.low, high=interval.high, p=own, p_holm=corrected))
    return tested


def _differences(
    layers: list[Representation],
    references: Sequence[int],
    rows: Sequence[int],
    resampled: ResampledMeasure,
    blocks: dict[tuple[int, int], SubjectBlock],
    jackknifed: JackknifedBlocks | None,
) -> list[SimilarityDifference]:
    """Return the differences of similarities to each reference, of all pairs of other layers."""
    differences = []
    for r in references:
        others = [i for i in rows if i != r]
        for i, j in combinations(others, 2):
            first, second = blocks[r, i], blocks[r, j]
            value = first.mean(resampled.matrix) - second.mean(resampled.matrix)
            names = layers[r].name, layers[i].name, layers[j].name
            difference = SimilarityDifference(*names, value)
            if jackknifed:
                test = jackknifed.test_difference((r, i), (r, j))
                difference = SimilarityDifference(
                    *names, value, test.subjects, test.low, test.high, test.p
                )
            differences.append(difference)
    if jackknifed and differences:
        p = holm([difference.p or 0.0 for difference in differences]).tolist()
        differences = [
            replace(difference, p_holm=corrected)
            for difference, corrected in zip(differences, p, strict=True)
        ]
    return differences


def _ceilings(
    measure: Measure, layers: list[Representation], inputs: list[torch.Tensor]
) -> list[Ceiling]:
    ceilings = []
    for layer, rdms in zip(layers, inputs, strict=True):
        if len(rdms) > 1 and measure_traits(measure).input == "rdm":
            lower, upper = map(float, noise_ceiling(measure, rdms))
            ceilings.append(Ceiling(layer.name, len(rdms), lower, upper))
    return ceilings


def _explain(
    measure: Measure,
    layers: list[Representation],
    references: Sequence[int],
    rows: Sequence[int],
    inputs: list[torch.Tensor],
) -> list[ExplainedVariance]:
    """Return the variance of each reference that all other rows of one RDM explain."""
    if measure not in (pearson, spearman):
        return []
    explained = []
    for r in references:
        others = [i for i in rows if i != r and len(inputs[i]) == 1]
        used = [inputs[i] for i in others] + [inputs[r]]
        if not 2 <= len(others) <= MAX_PREDICTORS or torch.cat(used).isnan().any():
            continue
        predictors = torch.cat([inputs[i] for i in others])
        parts = [partition_variance(measure, target, predictors) for target in inputs[r]]
        explained.append(
            ExplainedVariance(
                layers[r].name,
                float(np.mean([part.total for part in parts])),
                tuple(layers[i].name for i in others),
                tuple(np.mean([part.unique for part in parts], 0).tolist()),
            )
        )
    return explained


def _warn_if_slow(spec: str, resampled: ResampledMeasure, n_resamples: int) -> None:
    if (seconds := resampled.estimate_seconds(n_resamples)) > SLOW_SECONDS:
        log(
            f"{spec}: {n_resamples:,} resamples take about {seconds / 60:,.0f} minutes"
            " (--n-resamples 0: values alone; lower --max-stimuli; fewer --layers)"
        )


def describe_measure(measure: Measure, n: int) -> dict[str, Any]:
    """Return all that a value depends on besides the representations."""
    if measure_traits(measure).bayesian:
        return describe_settings(measure, n)
    return {"n": n, **getattr(measure, "keywords", {})}
