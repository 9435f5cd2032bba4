"""A store follows docs/store-format.md. This reader uses h5py and that page, and no code of rdl."""

import hashlib
import json
import re
from pathlib import Path
from urllib.parse import quote

import h5py
import numpy as np
import pytest
from stores import activation_layer, make_stimuli, rdm_layer, write_store

from rdl_cli.store.layout import KernelSpec, RdmSpec
from rdl_cli.store.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "store-format.md"


@pytest.fixture
def path(tmp_path):
    """A store with every group, array and attribute of the page."""
    stimuli = make_stimuli()
    stimuli = stimuli._replace(
        digests=np.array([f"{i:064x}" for i in range(7)], "S64"),
        pixel_digests=stimuli.digests,
        digest_kind="file",
        decode={"orientation": "exif"},
        preprocessing="scale",
    )
    labels = ("BE", "Kö"), ("1", ""), (50.0, np.nan)
    rdms = RdmSpec("hIT", 2, "float64", "correlation", "IT", "1 - r", *labels)
    x = np.random.default_rng(0).normal(size=(7, 9))
    layers = [
        activation_layer("features.0", (3, 2), ("identity", "hflip"), "float16", untrained=True),
        (rdms, np.random.default_rng(1).random((2, 21))),
        (KernelSpec("fc/1", "float32", "mse", 9), (x @ x.T)[np.triu_indices(7)]),
        rdm_layer("ä 層"),
    ]
    provenance = {"command": "rdl export-rdms – ü", "parents": []}
    write_store(tmp_path / "store.h5", stimuli, layers, provenance)
    return tmp_path / "store.h5"


def to_python(value):
    if isinstance(value, np.ndarray):
        return [to_python(item) for item in value.tolist()]
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8") if isinstance(value, bytes) else value


def attributes(item):
    return {name: to_python(value) for name, value in item.attrs.items()}


def to_json(value):
    return json.dumps(value, sort_keys=True).encode()


def header(array):
    return [list(array.shape), array.dtype.str, attributes(array)]


def group_digest(group):
    digest = hashlib.sha256(to_json(attributes(group)))
    for name in sorted(set(group) - {"images"}):
        digest.update(to_json([name, *header(group[name])]))
        digest.update(group[name][()].tobytes())
    return digest.hexdigest()


def read_texts(array):
    return [text.decode("utf-8") for text in array[()].tolist()]


def test_checksums_are_those_of_the_page(path):
    with h5py.File(path) as file:
        first, lines = read_texts(file["checksums"])[0].split("\n", 1)
        assert first == f"# rdl-checksums {hashlib.sha256(lines.encode()).hexdigest()}"
        groups = {"stimuli": file["stimuli"]}
        groups |= {f"layers/{name}": file["layers"][name] for name in file["layers"]}
        index = {
            name: [attributes(group), {array: header(group[array]) for array in group}]
            for name, group in groups.items()
        }
        expected = {
            "provenance": hashlib.sha256(file["provenance"][()].tobytes()).hexdigest(),
            "index": hashlib.sha256(to_json(index)).hexdigest(),
        } | {name: group_digest(group) for name, group in groups.items()}
    assert lines == "".join(f"{digest}  {name}\n" for name, digest in expected.items())


def test_fingerprint_is_that_of_the_page(path):
    with h5py.File(path) as file:
        layers = sorted(
            [attributes(group)["name"], group_digest(group)] for group in file["layers"].values()
        )
        content = to_json([2, group_digest(file["stimuli"]), layers])
    assert Store.open(path).fingerprint() == hashlib.sha256(content).hexdigest()


def test_values_are_those_that_rdl_reads(path):
    store = Store.open(path)
    with h5py.File(path) as file:
        assert attributes(file) == {"format": "rdl-store", "version": 2}
        assert json.loads(read_texts(file["provenance"])[0]) == store.provenance
        assert read_texts(file["stimuli/name"]) == store.stimuli.names.tolist()
        np.testing.assert_array_equal(file["stimuli/images"], store.stimuli.images)
        assert [attributes(group)["name"] for group in file["layers"].values()] == list(
            store.layers
        )
        for group in file["layers"].values():
            layer = store.layer(attributes(group)["name"])
            assert group.name == "/layers/" + quote(layer.name, safe="").replace(".", "%2E")
            if "activations" in group:
                np.testing.assert_array_equal(group["activations"], layer.activations())
            elif "kernel" in group:
                np.testing.assert_array_equal(group["kernel"], layer.kernel())
            else:
                np.testing.assert_array_equal(group["rdm"], layer.rdms().values)
        rdms = store.rdms("hIT")
        assert read_texts(file["layers/hIT/subject"]) == list(rdms.subjects)


def test_pairs_are_where_the_page_puts_them(path):
    store, n = Store.open(path), 7
    square, kernel = store.rdms("hIT").to_square()[0], store.layer("fc/1").inner_products()
    with h5py.File(path) as file:
        rdm, packed = file["layers/hIT/rdm"][0], file["layers/fc%2F1/kernel"][()]
    for i in range(n):
        for j in range(i, n):
            assert packed[i * (2 * n - i + 1) // 2 + j - i] == kernel[i, j]
            if i < j:
                assert rdm[i * (2 * n - i - 1) // 2 + j - i - 1] == square[i, j]


def test_images_have_the_digests_of_the_page(path):
    with h5py.File(path) as file:
        for image, digest in zip(file["stimuli/images"], file["stimuli/pixel_digest"], strict=True):
            shape = ",".join(map(str, image.shape))
            expected = hashlib.sha256(f"{shape};".encode() + image.tobytes()).hexdigest()
            assert digest.decode() == expected


def test_arrays_are_contiguous_little_endian_and_of_fixed_length(path):
    with h5py.File(path) as file:
        items = []
        file.visititems(lambda _, item: items.append(item))
        for item in [file, *items]:
            for name in item.attrs:
                text = h5py.check_string_dtype(item.attrs.get_id(name).dtype)
                assert text is None or text.length is not None
            if isinstance(item, h5py.Dataset):
                assert item.chunks is None and item.id.get_offset() % 4096 == 0
                assert item.dtype.str[0] in "<|"


def test_page_describes_every_array_and_attribute(path):
    page = PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \*?`(/[^`]*)`.*?\| (.*) \|$", page, flags=re.M))
    with h5py.File(path) as file:
        items = {"/": file}
        file.visititems(lambda name, item: items.update({f"/{name}": item}))
        del items["/layers"]
        for name, item in items.items():
            place = re.sub(r"^/layers/[^/]*", "/layers/NAME", name)
            row = rows.get(place) or rows[place.replace("session", "subject")]
            for attribute in item.attrs:
                assert f"`{attribute}`" in row, (place, attribute)
