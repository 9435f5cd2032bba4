"""The representations to compare: layers of stores and of runs, over the stimuli that all have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rdl_cli.commands.activation_reader import ActivationReader, ReaderCache
from rdl_cli.commands.alignment import StimulusList, list_images, list_stimuli
from rdl_cli.commands.compare_rdms.representation import Representation
from rdl_cli.commands.compare_rdms.stimuli import align_sources, limit_stimuli
from rdl_cli.commands.console import log
from rdl_cli.commands.image_data import to_pixels
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import match_names
from rdl_cli.core.tensor_types import Images
from rdl_cli.networks.hooks import LOGITS
from rdl_cli.rsa.condensed import is_constant
from rdl_cli.rsa.distances import flatten_rows
from rdl_cli.runs.run import Run, find_runs
from rdl_cli.store.select import select, select_layer
from rdl_cli.store.store import Store

PIXELS = "pixels"
"""The images themselves, where they are known. They are compared only if they are named."""

Read = Callable[[Sequence[str], np.ndarray], list[Representation]]


@dataclass(frozen=True)
class Source:
    """A store or a run.

    Args:
        name: unique in a comparison.
        stimuli: to match with those of other sources.
        labels: the class of each stimulus, if known.
        layers: their names.
        read: returns some layers over some rows of the stimuli.
        read_default: returns the layers that are compared if none is named.
        explain: raises UserError for a module that is no layer, with the reason.
        classes: the names of the labels; empty if unknown.
        read_images: returns the images of some rows, None if they are unknown.
    """

    name: str
    stimuli: StimulusList
    labels: np.ndarray | None
    layers: tuple[str, ...]
    read: Read
    read_default: Callable[[np.ndarray], list[Representation]]
    explain: Callable[[str], None] = lambda name: None
    classes: tuple[str, ...] = ()
    read_images: Callable[[np.ndarray], np.ndarray | None] = lambda rows: None


def open_sources(paths: Sequence[Path], settings: CompareRdmsSettings) -> list[Source]:
    """Return a source for each store and each run at or below the paths, each path once."""
    opened: list[Store | Run] = []
    for path in {path.resolve(): path for path in paths}.values():
        opened += find_runs([path]) if path.is_dir() else [Store.open(path)]
    names = [item.name if isinstance(item, Run) else item.path.stem for item in opened]
    open_reader = ReaderCache(settings)
    sources = []
    for name, item in zip(names, opened, strict=True):
        unique = name if names.count(name) == 1 else str(item.path)
        if isinstance(item, Run):
            sources.append(_run_source(unique, open_reader(item)))
        else:
            sources.append(_store_source(unique, item))
    return sources


def select_stimuli(sources: Sequence[Source], settings: CompareRdmsSettings) -> list[np.ndarray]:
    """Return for each source the rows of the stimuli to compare.

    Raises:
        UserError: sources share fewer than four stimuli.
    """
    aligned = align_sources(sources, settings.align)
    return limit_stimuli(sources, aligned, settings.max_stimuli)


def read_layers(
    sources: Sequence[Source], rows: Sequence[np.ndarray], patterns: Sequence[str]
) -> list[Representation]:
    """Return the layers that the patterns match, of all sources; without patterns the default ones.

    Raises:
        UserError: a pattern matches no layer.
    """
    for pattern in patterns:
        if not any(match_parts(pattern, source.layers) for source in sources):
            for source in sources:
                source.explain(pattern)
            known = {layer for source in sources for layer in source.layers}
            raise unknown_name("layer", pattern.partition("@")[0], known)
    layers: list[Representation] = []
    for source, own_rows in zip(sources, rows, strict=True):
        texts = [text for pattern in patterns for text in match_parts(pattern, source.layers)]
        if patterns and not texts:
            continue
        read = (
            source.read(list(dict.fromkeys(texts)), own_rows)
            if patterns
            else source.read_default(own_rows)
        )
        new = [layer for layer in read if not _has_pixels(layers, layer)]
        if len(sources) > 1:
            new = [replace(layer, name=f"{source.name}/{layer.name}") for layer in new]
        layers += new
    return layers


def match_parts(pattern: str, layers: Sequence[str]) -> list[str]:
    """Return the layers that `GLOB@PART` matches, each with its parts.

    Pixels have no parts; `*@mean` does not match them.
    """
    if pattern in layers:
        return [pattern]
    glob, at, parts = pattern.partition("@")
    return [
        layer + at + parts
        for layer in match_names(glob, layers)
        if not (at and layer == PIXELS != glob)
    ]


def _store_source(name: str, store: Store) -> Source:
    has_pixels = store.stimuli.images is not None and PIXELS not in store.layers
    pixels = [PIXELS] if has_pixels else []

    def read(texts: Sequence[str], rows: np.ndarray) -> list[Representation]:
        return [
            _pixels(torch.from_numpy(store.images(rows)))
            if text in pixels
            else _read_stored(store, text, rows)
            for text in texts
        ]

    return Source(
        name,
        list_stimuli(store),
        store.stimuli.labels,
        (*store.layers, *pixels),
        read,
        lambda rows: read(store.layers, rows),
        classes=tuple(store.provenance.get("classes") or ()),
        read_images=lambda rows: None if store.stimuli.images is None else store.images(rows),
    )


def _read_stored(store: Store, text: str, rows: np.ndarray) -> Representation:
    layer = select_layer(store, text)
    if layer.untrained:
        log(f"note: {text} of {store.path} is untrained: it depends on random weights")
    if layer.selection is None and layer.kind != "RDMs":
        distance = layer.distance or "mse"
        if layer.has_activations:
            return Representation(text, text, distance, reps=layer.representations(rows))
        kernel = layer.inner_products(rows)
        return Representation(text, text, distance, kernel=kernel, units=layer.units or 0)
    rdms = select(store, text).subset(rows).mean_over_sessions()
    values = rdms.tensor()
    if is_constant(values, rdms.distance):
        raise UserError(
            f"the RDM `{text}` of {store.path} is {values.nanmean():.3g} everywhere: it is related"
            " to nothing"
        )
    path = str(store.path.resolve())
    subjects = tuple((path, subject) for subject in rdms.subjects) if len(values) > 1 else ()
    return Representation(text, rdms.notes[-1], rdms.distance, rdms=values, subjects=subjects)


def _run_source(name: str, reader: ActivationReader) -> Source:
    pixels = [] if PIXELS in reader.shapes else [PIXELS]

    def read(layers: Sequence[str], rows: np.ndarray) -> list[Representation]:
        at = torch.from_numpy(rows)
        own = [layer for layer in layers if layer not in pixels]
        reader.origin.list_untrained(own)
        reps = reader.read(own, at)
        return [
            _pixels(reader.split.read(at))
            if layer in pixels
            else Representation(layer, layer, "mse", reps=reps[layer])
            for layer in layers
        ]

    def read_default(rows: np.ndarray) -> list[Representation]:
        """Return blocks without their parts, and without those that pass on their input.

        The blocks of a resnet18 for 200 images take 2.4 GB, with their parts 5.8.
        """
        distinct: list[Representation] = []
        for layer in read([layer for layer in reader.shapes if "." not in layer], rows):
            twin = next((other for other in distinct if _are_equal(other, layer)), None)
            if twin is None:
                distinct.append(layer)
            elif layer.name != LOGITS:
                log(f"{name}: {layer.name} is left out, it equals {twin.name}")
        return distinct

    return Source(
        name,
        list_images(reader.split, reader.name),
        reader.split.labels.numpy(),
        (*reader.shapes, *pixels),
        read,
        read_default,
        reader.shapes.explain,
        tuple(reader.split.classes),
        lambda rows: reader.split.read(torch.from_numpy(rows)).numpy(),
    )


def _pixels(images: Images) -> Representation:
    return Representation(PIXELS, PIXELS, "mse", reps=to_pixels(images))


def _has_pixels(layers: list[Representation], layer: Representation) -> bool:
    """Return True if a layer is the pixels of an earlier source."""
    return layer.description == PIXELS and any(
        other.description == PIXELS and _are_equal(layer, other) for other in layers
    )


def _are_equal(one: Representation, other: Representation) -> bool:
    if one.reps is None or other.reps is None:  # a store may call an RDM `pixels`
        return False
    return one.reps[0].numel() == other.reps[0].numel() and torch.equal(
        flatten_rows(one.reps), flatten_rows(other.reps)
    )
