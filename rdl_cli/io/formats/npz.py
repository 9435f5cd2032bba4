"""NumPy's .npy and .npz: matrices, upper triangles, and stacks of either."""

from pathlib import Path

import numpy as np

from rdl_cli.io.file_types import Container, read_npz
from rdl_cli.io.raw_array import READERS, RawArray

LABELS = ("subject", "session", "time", "distance")


@READERS.register("numpy")
def read_numpy(path: Path, container: Container) -> list[RawArray] | None:
    """Read a .npy, or the arrays of a .npz; a list of n strings in it names the stimuli.

    `IT.subject`, `IT.session`, `IT.time` and `IT.distance` beside an array `IT` label its first
    axis, as our own export writes them. A lone `arr_0` gets the name of the file.
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
    labels = {f"{key}.{label}" for key in arrays for label in LABELS}
    numeric = {
        key: a for key, a in arrays.items() if a.dtype.kind not in "US" and key not in labels
    }
    raw: list[RawArray] = []
    for key, array in numeric.items():
        region = path.stem if key.startswith("arr_") and len(numeric) == 1 else key
        if f"{key}.subject" in arrays:
            raw += _read_labelled(region, key, arrays, texts)
        else:
            is_rdm = len(numeric) == 1
            raw.append(RawArray(region, array, texts=texts, is_rdm=is_rdm, notes=notes))
    return raw


def _read_labelled(
    region: str, key: str, arrays: dict[str, np.ndarray], texts: dict[str, tuple[str, ...]]
) -> list[RawArray]:
    distance = str(arrays[f"{key}.distance"]) if f"{key}.distance" in arrays else ""
    stimuli = {name: texts[name] for name in ("stimuli",) if name in texts}
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
