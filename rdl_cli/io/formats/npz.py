"""NumPy's .npy and .npz: matrices, upper triangles, and stacks of either (Net2Brain's brain folders among them)."""

from pathlib import Path

import numpy as np

from rdl_cli.io.file_types import Container, read_npz
from rdl_cli.io.read import READERS, RawArray

LABELS = ("subject", "session", "time", "distance")


@READERS.register("numpy")
def numpy_file(path: Path, container: Container) -> list[RawArray] | None:
    """A .npy, or the arrays of a .npz; a list of n strings in it names the stimuli.

    `IT.subject`, `IT.session`, `IT.time` and `IT.distance` beside an array `IT` label its first axis, as our own export writes them.
    An array without a name of its own (`arr_0`) is called as the file is.
    """
    if container not in ("npy", "npz"):
        return None
    arrays, objects = read_npz(path, container)
    if "rdm" in arrays and {"stimuli_name", "layer_name"} & arrays.keys():
        return None  # Net2Brain's
    notes = (f"pickled objects, skipped: {', '.join(objects)}",) if objects else ()
    texts = {
        key: tuple(map(str, a)) for key, a in arrays.items() if a.dtype.kind in "US" and a.ndim == 1
    }
    own = {f"{key}.{label}" for key in arrays for label in LABELS}
    numbers = {key: a for key, a in arrays.items() if a.dtype.kind not in "US" and key not in own}
    out: list[RawArray] = []
    for key, array in numbers.items():
        region = path.stem if key.startswith("arr_") and len(numbers) == 1 else key
        if f"{key}.subject" in arrays:
            out += _labelled(region, key, arrays, texts)
        else:
            out.append(RawArray(region, array, texts=texts, certain=len(numbers) == 1, notes=notes))
    return out


def _labelled(
    region: str, key: str, arrays: dict[str, np.ndarray], texts: dict[str, tuple[str, ...]]
) -> list[RawArray]:
    distance = str(arrays[f"{key}.distance"]) if f"{key}.distance" in arrays else ""
    stimuli = {k: names for k, names in texts.items() if k == "stimuli"}
    labels = [
        arrays.get(f"{key}.{label}", np.full(len(arrays[key]), blank))
        for label, blank in (("subject", ""), ("session", ""), ("time", np.nan))
    ]
    return [
        RawArray(
            region,
            row,
            ("pair",),
            (str(subject),),
            (str(session),),
            (float(time),),
            distance,
            texts=stimuli,
        )
        for row, subject, session, time in zip(arrays[key], *labels, strict=True)
    ]
