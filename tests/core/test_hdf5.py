"""Our HDF5 files: equal content is equal bytes, and texts have a fixed length."""

import h5py
import numpy as np
import pytest

from rdl_cli.core.hdf5 import (
    create_array,
    create_file,
    create_group,
    create_image,
    encode_texts,
    iterate_members,
    read_attributes,
    write_attributes,
)

ATTRIBUTES = {
    "empty": "",
    "text": "Kö – 層",
    "number": 3,
    "texts": ("a", "", "ü"),
    "none": "x" * 60_000,
}


def write_example(file):
    write_attributes(file, ATTRIBUTES)
    create_array(file, "b/a/values", (2, 3), np.dtype("f4"))[...] = 1
    create_array(file, "b/empty", (0,), np.dtype("S4"))


def test_attributes_come_back(tmp_path):
    with create_file(str(tmp_path / "file.h5")) as file:
        write_example(file)
        for name in ("text", "texts"):
            assert h5py.check_string_dtype(file.attrs.get_id(name).dtype).length is not None
    with h5py.File(tmp_path / "file.h5") as file:
        assert read_attributes(file) == ATTRIBUTES
    assert b"GCOL" not in (tmp_path / "file.h5").read_bytes()  # the heap without checksums


def test_create_image_is_equal_bytes_and_a_whole_file(tmp_path):
    images = []
    for _ in range(2):
        with create_image() as (file, read_image):
            write_example(file)
            images.append(read_image())
    assert images[0] == images[1]
    (tmp_path / "file.h5").write_bytes(images[0])
    with h5py.File(tmp_path / "file.h5") as file:
        assert file["b/a/values"][()].tolist() == [[1] * 3] * 2


def test_create_group_keeps_the_order_of_members(tmp_path):
    with create_file(str(tmp_path / "file.h5")) as file:
        for name in ("z", "a", "m"):
            create_group(file, f"layers/{name}")
        assert list(file["layers"]) == ["z", "a", "m"]
        assert create_group(file, "layers/z") == file["layers/z"]


def test_create_array_is_contiguous_and_on_a_page(tmp_path):
    with create_file(str(tmp_path / "file.h5")) as file:
        array = create_array(file, "values", (10,), np.dtype("f8"))
        assert array.chunks is None and array.id.get_offset() % 4096 == 0


def test_encode_texts_pads_to_the_longest():
    array = encode_texts(["a", "ü", ""])
    assert array.dtype.itemsize == 2 and array.tolist() == [b"a", "ü".encode(), b""]
    assert h5py.check_string_dtype(array.dtype).encoding == "utf-8"


@pytest.mark.parametrize("link", [h5py.SoftLink("/b"), h5py.ExternalLink("other.h5", "/b")])
def test_iterate_members_refuses_links(tmp_path, link):
    with create_file(str(tmp_path / "file.h5")) as file:
        write_example(file)
        assert [name for name, _ in iterate_members(file)] == ["b"]
        file["c"] = link
        with pytest.raises(ValueError, match="/c is a link"):
            list(iterate_members(file))
