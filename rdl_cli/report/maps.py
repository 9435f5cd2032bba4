"""Maps of points, in which only distances have a meaning."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rdl_cli.report.charts import LETTER, WIDTH, Chart, Label, Line, Mark, series_class


@dataclass(frozen=True, eq=False)
class Path:
    """Points (k, 2) in order, such as the layers of a network, and a name for each."""

    names: Sequence[str]
    points: np.ndarray
    series: int
    tips: Sequence[str]
    stimuli: Sequence[int] = ()


def draw_map(
    title: str, paths: Sequence[Path], stimuli: object = None, connect: bool = True
) -> Chart:
    """Return a map of points without axes, because only distances have a meaning.

    Names that would cover one another are left to the tips. With `stimuli`, points are thumbnails.
    """
    points = np.concatenate([path.points for path in paths])
    center = (points.min(0) + points.max(0)) / 2
    extent = max(float(np.ptp(points, axis=0).max()), 1e-12)
    height = min(max(WIDTH * float(np.ptp(points[:, 1])) / extent + 48, 160.0), WIDTH)
    scale = (WIDTH - 48) / extent
    if np.ptp(points[:, 1]) * scale > height - 48:
        scale = (height - 48) / float(np.ptp(points[:, 1]))
    placed = []
    for path in paths:
        offset = (path.points - center) * scale
        placed.append(np.stack([WIDTH / 2 + offset[:, 0], height / 2 - offset[:, 1]], 1))
    lines, marks, labels = [], [], []
    side = 22.0 if len(points) <= 50 else 16.0
    boxes = [(x - 5, y - 5, x + 5, y + 5) for at in placed for x, y in at.tolist()]
    for path, at in zip(paths, placed, strict=True):
        style = series_class(path.series)
        if connect and len(at) > 1:
            lines.append(Line([(x, y) for x, y in at.tolist()], f"curve {style}"))
        for k, (x, y) in enumerate(at.tolist()):
            if path.stimuli:
                at_stimulus = {"width": side, "height": side, "stimulus": path.stimuli[k]}
                marks.append(Mark("thumb", x, y, path.tips[k], style, **at_stimulus))  # type: ignore[arg-type]
                continue
            marks.append(Mark("dot", x, y, path.tips[k], style, 4))
            if not path.names:
                continue
            name = path.names[k]
            label_width = LETTER * len(name)
            start = x + 7 if x + 7 + label_width < WIDTH else x - 7 - label_width
            box = (start, y - 7, start + label_width, y + 6)
            if not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                labels.append(Label(start, y + 4, name, f"name {style}"))
    return Chart(title, height, lines, marks, labels, stimuli)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
