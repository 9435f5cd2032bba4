"""Where representations to be compared come from: layers of stores and of runs, over the stimuli that all of them have."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.console import log
from rdl_cli.commands.export_rdms.export_rdms import ActivationReader
from rdl_cli.commands.image_data import to_pixels
from rdl_cli.commands.options import split_commas
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.patterns import match_names
from rdl_cli.core.tensor_types import Images, Reps
from rdl_cli.datasets.loader import number_occurrences
from rdl_cli.networks.hooks import LOGITS
from rdl_cli.rsa.rdms import n_from_pairs
from rdl_cli.rsa.distances import flatten_rows
from rdl_cli.rsa.kernels import Kernel, subset
from rdl_cli.runs.run import Run, find_runs
from rdl_cli.store.select import select
from rdl_cli.store.store import Stimuli, Store

PIXELS = "pixels"
"""What is compared under this name is the pictures themselves, where they are known; only when it is named, for it is no layer."""
LEAST = 4
"""Stimuli: three have three distances, whose ranks agree by chance in one of six."""


@dataclass(frozen=True, eq=False)
class SourceLayer:
    """One representation of the n stimuli: activations `n ...`, RDMs `s p` in condensed order, one for each subject, or a kernel `n n`.

    `distance` is that of the RDMs, or the one noted for making some of the activations or of the kernel, which is over so many
    `units`; `people` tells subjects apart.
    """

    name: str
    said: str
    distance: str
    reps: Reps | None = None
    rdms: torch.Tensor | None = None
    kernel: Kernel | None = None
    units: int = 0
    people: tuple[tuple[str, str], ...] = ()

    @property
    def n(self) -> int:
        if self.rdms is not None:
            return n_from_pairs(self.rdms.shape[1])
        known = self.reps if self.kernel is None else self.kernel
        assert known is not None, "a layer has activations, RDMs or a kernel"
        return len(known)

    @property
    def of(self) -> str:
        """What is known of it, in a word."""
        return (
            "RDM" if self.rdms is not None else "activations" if self.kernel is None else "kernel"
        )


@dataclass(frozen=True)
class Source:
    """A store or a run: its stimuli, its layers, and `read(layers, rows)`, which gives some of them over some stimuli."""

    name: str
    path: Path
    stimuli: Stimuli
    layers: tuple[str, ...]
    read: Callable[[Sequence[str], np.ndarray], list[SourceLayer]]
    usual: Callable[[np.ndarray], list[SourceLayer]]
    """Those that are compared where none is named, over some stimuli."""


def open_sources(paths: Sequence[Path], settings: CompareRdmsSettings) -> list[Source]:
    """A source for each path, and for each run in a folder of runs; a path that is named twice is one."""
    places = list({path.resolve(): path for path in paths}.values())
    found: list[Store | Run] = []
    for path in places:
        found += find_runs([path]) if path.is_dir() else [Store.open(path)]
    names = [each.name if isinstance(each, Run) else each.path.stem for each in found]
    called = [
        name if names.count(name) == 1 else str(each.path)
        for name, each in zip(names, found, strict=True)
    ]
    opened = ReaderCache(settings)
    return [
        _run(name, opened(each)) if isinstance(each, Run) else _store(name, each)
        for name, each in zip(called, found, strict=True)
    ]


def select_layers(sources: Sequence[Source], settings: CompareRdmsSettings) -> list[SourceLayer]:
    """The layers that the settings name, of all sources, over one choice of stimuli.

    UserError where sources share fewer than four stimuli, or a pattern fits no layer of any.
    """
    rows = choose_stimuli(sources, align_sources(sources, settings.align), settings.max_stimuli)
    patterns = split_commas(settings.layers)
    for pattern in patterns:
        if not any(select_matching(source.layers, pattern) for source in sources):
            raise unknown_name(
                "layer",
                pattern.partition("@")[0],
                {layer for source in sources for layer in source.layers},
            )
    out: list[SourceLayer] = []
    for source, mine in zip(sources, rows, strict=True):
        wanted = list(
            dict.fromkeys(
                text for pattern in patterns for text in select_matching(source.layers, pattern)
            )
        )
        if wanted or not patterns:
            read = source.read(wanted, mine) if patterns else source.usual(mine)
            named = [layer for layer in read if not _known(layer, out)]
            out += (
                named
                if len(sources) == 1
                else [replace(layer, name=f"{source.name}/{layer.name}") for layer in named]
            )
    return out


def select_matching(layers: Sequence[str], pattern: str) -> list[str]:
    """The layers that `GLOB@PART` stands for, each with its parts; pixels have none, and `*@mean` does not mean them."""
    if pattern in layers:
        return [pattern]
    glob, at, parts = pattern.partition("@")
    return [
        layer + at + parts
        for layer in match_names(glob, layers)
        if not (at and layer == PIXELS != glob)
    ]


def align_sources(sources: Sequence[Source], how: str) -> list[np.ndarray]:
    """For each source the rows of the stimuli that all have, in the order of the first. UserError where they are fewer than four."""
    first = sources[0]
    keys: list[Sequence[Hashable]]
    if how == "position" or len(sources) == 1:
        keys = [range(len(source.stimuli.digests)) for source in sources]
        for source, each in zip(sources, keys, strict=True):
            if len(each) != len(keys[0]):
                raise UserError(
                    f"{_held(first)}, {_held(source)}; their order matches nothing",
                    hint="say --align digest, or --align name",
                )
    else:
        keys = [_digests(source) if how == "digest" else _names(source) for source in sources]
    places = [{key: row for row, key in enumerate(each)} for each in keys]
    common = [key for key in keys[0] if all(key in place for place in places)]
    if len(common) < LEAST:
        hints = {
            "digest": "a run is shown its test images: --split train for a store of those; "
            "the same pictures encoded anew, or on another ground: --align position, or name",
            "name": "where the order is the same: --align position",
        }
        shared = (
            f"; {len(common) or 'none'} of them {'is' if len(common) < 2 else 'are'} in all"
            if len(sources) > 1
            else ""
        )
        fact = f"{', '.join(map(_held, sources))}{shared}; a comparison takes {LEAST}"
        raise UserError(fact, hint=hints.get(how) if len(sources) > 1 else None)
    if any(len(common) < len(each) for each in keys):
        log(
            f"compared over the {len(common):,} stimuli that all have ({', '.join(map(_held, sources))})"
        )
    return [np.array([place[key] for key in common]) for place in places]


def choose_stimuli(
    sources: Sequence[Source], rows: list[np.ndarray], images: int
) -> list[np.ndarray]:
    """At most so many of the rows: the first, or the first of each class where classes are known."""
    n = len(rows[0])
    if n <= images:
        return rows
    labels = next(
        (
            source.stimuli.labels[mine]
            for source, mine in zip(sources, rows, strict=True)
            if source.stimuli.labels is not None
        ),
        None,
    )
    order = (
        np.arange(n) if labels is None else np.argsort(number_occurrences(labels), kind="stable")
    )
    keep = np.sort(order[:images])
    of_each = "" if labels is None else f", {images / len(np.unique(labels)):.3g} of each class"
    log(f"the first {images:,} of {n:,} stimuli{of_each} (--images)")
    return [mine[keep] for mine in rows]


def _store(name: str, store: Store) -> Source:
    shown = [PIXELS] if store.stimuli.images is not None and PIXELS not in store.layers else []

    def read(texts: Sequence[str], rows: np.ndarray) -> list[SourceLayer]:
        return [
            _pixels(torch.from_numpy(store.pictures(rows)))
            if text in shown
            else _stored(store, text, rows)
            for text in texts
        ]

    return Source(
        name,
        store.path,
        store.stimuli,
        (*store.layers, *shown),
        read,
        lambda rows: read(store.layers, rows),
    )


def _stored(store: Store, text: str, rows: np.ndarray) -> SourceLayer:
    if text in store.layers and store.has_activations(text):
        noted = str(store.attrs(text).get("distance") or "mse")
        return SourceLayer(
            text, text, noted, reps=torch.from_numpy(store.activations(text)[0][rows])
        )
    if text in store.layers and store.has_kernel(text):
        stored = store.kernel(text)
        return SourceLayer(
            text,
            text,
            stored.distance,
            kernel=subset(stored.values, torch.from_numpy(rows)).double(),
            units=stored.units,
        )
    rdms = select(store, text).subset(rows).mean_over_sessions()
    values = torch.from_numpy(rdms.values)
    if (values.nan_to_num(0) == values[:, :1]).all():
        raise UserError(
            f"the RDM `{text}` of {store.path} is {values[0, 0]:.3g} everywhere: nothing is related to it"
        )
    people = (
        tuple((str(store.path.resolve()), subject) for subject in rdms.subjects)
        if len(values) > 1
        else ()
    )
    return SourceLayer(text, rdms.notes[-1], rdms.distance, rdms=values, people=people)


def _run(name: str, teacher: ActivationReader) -> Source:
    shown = [] if PIXELS in teacher.shapes else [PIXELS]

    def read(layers: Sequence[str], rows: np.ndarray) -> list[SourceLayer]:
        at = torch.from_numpy(rows)
        reps = teacher.read([layer for layer in layers if layer not in shown], at)
        return [
            _pixels(teacher.split.read(at))
            if layer in shown
            else SourceLayer(layer, layer, "mse", reps=reps[layer])
            for layer in layers
        ]

    def usual(rows: np.ndarray) -> list[SourceLayer]:
        """Blocks rather than their parts (a resnet18 for 200 pictures: 2.4 GB, not 5.8), without those that pass on what they got."""
        kept: list[SourceLayer] = []
        for layer in read([each for each in teacher.shapes if "." not in each], rows):
            twin = next((one for one in kept if _equal(one, layer)), None)
            if twin is None:
                kept.append(layer)
            elif layer.name != LOGITS:
                log(f"{name}: {layer.name} gives what {twin.name} gives, left out")
        return kept

    return Source(name, teacher.run.path, teacher.stimuli(), (*teacher.shapes, *shown), read, usual)


def _pixels(images: Images) -> SourceLayer:
    return SourceLayer(PIXELS, PIXELS, "mse", reps=to_pixels(images))


def _known(layer: SourceLayer, others: list[SourceLayer]) -> bool:
    """Whether these are the pixels of a source before."""
    return layer.said == PIXELS and any(
        other.said == PIXELS and _equal(layer, other) for other in others
    )


def _equal(one: SourceLayer, other: SourceLayer) -> bool:
    if one.reps is None or other.reps is None:  # a store may call an RDM `pixels`
        return False
    return one.reps[0].numel() == other.reps[0].numel() and torch.equal(
        flatten_rows(one.reps), flatten_rows(other.reps)
    )


def _digests(source: Source) -> list[tuple[bytes, int]]:
    digests = source.stimuli.digests
    if not (digests != b"").all():
        raise UserError(
            f"{source.path} knows no pixels of its stimuli",
            hint="say --align name, or --align position",
        )
    return list(zip(digests.tolist(), number_occurrences(digests).tolist(), strict=True))


def _names(source: Source) -> list[str]:
    if source.stimuli.names is None:
        raise UserError(
            f"{source.path} has no names of its stimuli",
            hint="say --align digest, or --align position",
        )
    names = source.stimuli.names.tolist()
    if len(set(names)) < len(names):
        raise UserError(
            f"{source.path} has stimuli of one name", hint="say --align digest, or --align position"
        )
    return names


def _held(source: Source) -> str:
    return f"{source.path} holds {len(source.stimuli.digests):,} stimuli"
