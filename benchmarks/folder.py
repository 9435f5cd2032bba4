"""Start-up, memory and speed of a folder of JPEGs that does not fit in memory.

    python benchmarks/folder.py [--images 20000] [--side 64] [--folder FOLDER]

Images are made once: 64 different JPEGs, each written many times with another comment, so that all
files and digests differ. Each row is a process of its own, so that its peak memory is its own.
Memory is the peak of the proportional resident size of the process, without its workers.
"""

import argparse
import csv
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 20


def make_images(folder: Path, count: int, side: int) -> None:
    """Write `count` JPEGs in class folders, unless they are there."""
    if (folder / "done").exists() and (folder / "done").read_text() == f"{count} {side}":
        return
    rng, bases = np.random.default_rng(0), []
    for _ in range(64):
        coarse = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((side, side)).save(buffer, "jpeg", quality=85)
        bases.append(buffer.getvalue())
    for n in range(count):
        data, comment = bases[n % 64], f"{n:08d}".encode()
        place = folder / f"n{n % CLASSES:08d}" / f"n{n % CLASSES:08d}_{n}.JPEG"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data[:2] + b"\xff\xfe\x00\x0a" + comment + data[2:])
    (folder / "done").write_text(f"{count} {side}")


def measure(folder: Path, stage: str, size: int, workers: int | None) -> dict[str, float]:
    """Open the data set, and read an epoch for `stage` epoch, in this process."""
    from rdl_cli.core.seeds import Seeds
    from rdl_cli.datasets import image_files
    from rdl_cli.datasets.augmentation import VIEWS
    from rdl_cli.datasets.base import load_dataset
    from rdl_cli.datasets.digests import dataset_fingerprint
    from rdl_cli.datasets.loader import Batches
    from rdl_cli.datasets.preprocessing import PREPROCESSING

    image_files._free_memory = lambda: 0  # stream, however small the set is
    before = peak_memory()
    start = time.perf_counter()
    splits = load_dataset(f"folder:{folder}", folder, image_size=size)
    dataset_fingerprint(splits)
    opened = time.perf_counter() - start
    index = splits.train.files.source
    row = {
        "start_s": opened,
        "files_opened": index.opened,
        "index_bytes_per_image": index.path.stat().st_size / len(index),
        "startup_bytes_per_image": (peak_memory() - before) / len(index),
    }
    if stage == "epoch":
        unit = PREPROCESSING.make("unit", splits.train)
        batches = Batches(splits.train, None, 128, VIEWS.make("hflip"), unit, workers=workers)
        start, images = time.perf_counter(), 0
        for batch in batches.epoch(Seeds(0), 0):
            images += len(batch.ids)
        row["images_per_second"] = images / (time.perf_counter() - start)
    return row | {"peak_MB": peak_memory() / 1e6}


def peak_memory() -> int:
    """Return the peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stage", default="")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    if arguments.stage:
        row = measure(arguments.folder, arguments.stage, arguments.size, arguments.workers)
        print(json.dumps(row))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.folder or Path(scratch)) / "images"
        make_images(folder, arguments.images, arguments.side)
        folder.with_name(f".{folder.name}.rdl-index.npz").unlink(missing_ok=True)
        rows = []
        for stage, workers in (
            ("first", 0),
            ("again", 0),
            ("epoch", 0),
            ("epoch", 1),
            ("epoch", 2),
        ):
            command = [sys.executable, __file__, "--folder", str(folder), "--stage", stage]
            command += ["--size", str(arguments.size), "--workers", str(workers)]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            values = json.loads(result.stdout)
            rows.append({"images": arguments.images, "stage": stage, "workers": workers} | values)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(sys.stdout, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
