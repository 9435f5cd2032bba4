"""The index of a folder: only files that are new or changed are opened and hashed again."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rdl_cli.core.files import file_digest
from rdl_cli.datasets import file_index
from rdl_cli.datasets.base import load_dataset
from rdl_cli.datasets.decoding import read_header
from rdl_cli.datasets.file_index import FileIndex, FileNames, FilePaths
from rdl_cli.datasets.folder_walk import LeftOut, list_images


def put(file: Path, seed: int, side: int = 4) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_index, "INDEX_FROM", 1)
    for n in range(12):
        put(tmp_path / "images" / ("cat", "dog")[n % 2] / f"ä {n}.png", n)
    return tmp_path / "images"


def open_index(home: Path, background: str = "white") -> FileIndex:
    return FileIndex(home, list_images(home, "", LeftOut()), background)


def all_rows(index: FileIndex) -> np.ndarray:
    return np.arange(len(index))


def expected(index: FileIndex) -> list[bytes]:
    return [file_digest(file).encode() for file in FilePaths(index, all_rows(index))]


def test_index_opens_and_hashes_every_file_once(home: Path, monkeypatch: pytest.MonkeyPatch):
    first = open_index(home)
    digests = first.digests(all_rows(first))
    assert first.opened == 12 and digests.tolist() == expected(first)
    monkeypatch.setattr(file_index, "hash_files", lambda files: pytest.fail(f"hashed {files}"))
    second = open_index(home)
    assert second.opened == 0
    assert np.array_equal(second.digests(all_rows(second)), digests)
    for name in ("width", "height", "grey", "peak"):
        assert np.array_equal(first.columns[name], second.columns[name])


@pytest.mark.parametrize("change", ["new", "removed", "rewritten", "touched", "renamed"])
def test_index_follows_changes_of_the_folder(change: str, home: Path):
    index = open_index(home)
    index.digests(all_rows(index))
    file = home / "cat" / "ä 2.png"
    if change == "new":
        put(home / "cat" / "0.png", 99, 5)
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(file.with_name("z.png"))
    elif change == "rewritten":
        put(file, 99, 5)
    else:
        os.utime(file, ns=(0, 0))
    changed = open_index(home)
    assert changed.opened == (0 if change == "removed" else 1)
    assert changed.digests(all_rows(changed)).tolist() == expected(changed)
    sides = [read_header(file).width for file in FilePaths(changed, all_rows(changed))]
    assert changed.columns["width"].tolist() == sides


@pytest.mark.parametrize("harm", ["truncated", "other file", "empty", "other version"])
def test_index_that_is_damaged_is_made_again(harm: str, home: Path, monkeypatch):
    path = open_index(home).path
    assert path == home.parent / ".images.rdl-index.npz"
    if harm == "other version":
        monkeypatch.setattr(file_index, "VERSION", 99)
    else:
        data = path.read_bytes()
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b""}.get(harm, b"text"))
    assert open_index(home).opened == 12
    assert open_index(home).opened == 0


def test_index_of_another_background_is_not_used(home: Path):
    open_index(home)
    assert open_index(home, "red").opened == 12


def test_index_is_written_for_large_folders_where_that_is_allowed(home: Path, monkeypatch):
    monkeypatch.setattr(file_index, "INDEX_FROM", 13)
    assert not open_index(home).path.exists()
    monkeypatch.setattr(file_index, "INDEX_FROM", 12)
    monkeypatch.setattr(file_index.os, "access", lambda *_: False)
    index = open_index(home)
    assert not index.path.exists() and index.digests(all_rows(index)).tolist() == expected(index)
    monkeypatch.undo()


def test_names_and_paths_are_sequences_in_the_order_of_their_rows(home: Path):
    index = open_index(home)
    rows = np.array([3, 0, 11])
    names, files = FileNames(index, rows), FilePaths(index, rows)
    assert list(names) == [index.name(row) for row in rows] and len(names) == 3
    assert [home / name for name in names] == list(files)
    assert names[1:] == names.take(np.array([1, 2])) == tuple(names)[1:]
    assert names.join([names.take(np.array([0]))]) == [*names, names[0]]
    assert np.array_equal(files.digests(), index.digests(rows))


def test_folder_is_equal_with_and_without_an_index(home: Path):
    without, with_index = (load_dataset(f"folder:{home}", home) for _ in range(2))
    for first, second in zip(without, with_index, strict=True):
        assert first.names == second.names and np.array_equal(first.digests, second.digests)
        assert (first.images == second.images).all() and (first.labels == second.labels).all()
