"""Plot the stimuli of RDMs as points in the plane."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial.distance import squareform

from rdl_cli.commands.activation_reader import ReaderCache
from rdl_cli.commands.console import log
from rdl_cli.commands.drawing_settings import HeatmapSettings
from rdl_cli.commands.plot.output import check_output, read_style, save_figure
from rdl_cli.commands.plot.plot import HIGH_STRESS
from rdl_cli.commands.plot.plot_data import (
    LayerSelection,
    SourceRdms,
    read_run_rdms,
    read_store_rdms,
)
from rdl_cli.core.errors import UserError
from rdl_cli.figures.stimulus_map import StimulusMap, draw_stimulus_maps
from rdl_cli.rsa.mds import mds
from rdl_cli.runs.grouping import group_by_method
from rdl_cli.runs.run import find_runs

MAX_STRESS_WORDS = f"above {HIGH_STRESS} a map distorts distances"


def plot_stimuli(sources: Sequence[Path], out: Sequence[Path], settings: HeatmapSettings) -> Figure:
    """Plot the stimuli of each layer, as far apart as its RDM's distances.

    Of a method with several seeds the first is drawn.

    Args:
        sources: runs, folders of runs, stores.
        out: the files to write.
        settings: layers and images.

    Raises:
        UserError: for bad input, or if a distance was not measured.
    """
    check_output(out, settings)
    style = read_style(settings)
    selection, open_reader = LayerSelection(settings.layers), ReaderCache(settings)
    rdms = [read_store_rdms(path, settings, selection) for path in sources if path.is_file()]
    folders = [path for path in sources if not path.is_file()]
    for name, runs in (group_by_method(find_runs(folders)) if folders else {}).items():
        rdms.append(read_run_rdms(name, open_reader(runs[0]), settings, selection))
    selection.check()
    maps, stresses = [], []
    for source in rdms:
        for layer in source.layers:
            if np.isnan(layer.values).any():
                raise UserError(
                    f"{int(np.isnan(layer.values).sum()):,} distances of `{layer.name}` were not"
                    " measured; a map needs all",
                    hint="leave the layer out, or average subjects (REGION@mean)",
                )
            points, stress = mds(torch.from_numpy(squareform(layer.values)))
            stresses.append(stress)
            name = f"{source.name}, {layer.name}" if len(rdms) > 1 else layer.name
            title = f"{name} (stress {stress:.2f})"
            maps.append(StimulusMap(title, points.numpy(), source.classes, _images(source)))
    n = " or ".join(str(n) for n in dict.fromkeys(len(m.points) for m in maps))
    caption = f"{n} stimuli, metric MDS of the RDM's distances. Stress-1 up to {max(stresses):.2f}"
    if max(stresses) > HIGH_STRESS:
        caption += f" ({MAX_STRESS_WORDS})"
        log(f"note: stress-1 is up to {max(stresses):.2f}; {MAX_STRESS_WORDS}")
    return save_figure(draw_stimulus_maps(maps, caption, style=style), out)


def _images(source: SourceRdms) -> np.ndarray | None:
    """Return the images as (n, h, w, 3), at most 64 pixels wide."""
    if source.images is None:
        return None
    images = source.images.numpy()
    step = max(1, max(images.shape[2:]) // 64)
    images = np.moveaxis(images[:, :, ::step, ::step], 1, -1)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
