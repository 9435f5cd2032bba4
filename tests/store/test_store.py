"""A store returns what was written, and a file that is no intact store is refused."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from stores import IDENTITY, activation_layer, make_stimuli, rdm_layer, write_store

from rdl_cli.core.errors import UserError
from rdl_cli.core.hdf5 import write_attributes
from rdl_cli.store.layout import ActivationSpec, RdmSpec, store_size
from rdl_cli.store.store import Stimuli, Store, partial
from rdl_cli.store.writer import create_store, free_bytes

ROOT = Path(__file__).parents[2]
AWKWARD = ("features.0", ".", "..", "a/b", "100%", "%2E", "Schicht ä 层", "conv 1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teacher.h5"


def write_two_layers(path):
    """Write a store of activations and of RDMs with subjects."""
    rdms = RdmSpec("V1", 2, "float64", "mse", "V1", "", ("a", "b")), np.arange(42.0).reshape(2, 21)
    return write_store(path, None, [activation_layer(views=("identity", "hflip")), rdms])


@pytest.mark.parametrize(
    "only", [("digests",), ("digests", "names"), ("digests", "labels"), ("digests", "images")]
)
def test_store_returns_its_stimuli(path, only):
    stimuli = make_stimuli(only=only)
    opened = write_store(path, stimuli, [rdm_layer()]).stimuli
    for column, written in zip(opened[:4], stimuli[:4], strict=True):
        assert (column is None) == (written is None)
        if column is not None:
            np.testing.assert_array_equal(column, written)


def test_store_guards_resized_images_beside_native_digests(path):
    """Native digests match images of another size, so they cannot guard what is stored."""
    stimuli = make_stimuli(only=("digests", "images"))
    stimuli = stimuli._replace(
        digests=np.array([f"{i:064x}" for i in range(7)], "S64"),
        pixel_digests=np.array([f"{i:063x}f" for i in range(7)], "S64"),
        image_digests=stimuli.digests,
        digest_kind="file",
    )
    store = write_store(path, stimuli, [rdm_layer()])
    assert np.array_equal(store.images(), stimuli.images)
    assert store.stimuli.pixel_digests.tolist() == stimuli.pixel_digests.tolist()
    wrong = stimuli._replace(image_digests=stimuli.digests)
    with pytest.raises(UserError, match="7 of 7 images do not have their digests"):
        write_store(path.with_name("wrong.h5"), wrong, [rdm_layer()]).images()


def test_store_returns_how_stimuli_were_made(path):
    """Digests of files need those of pixels to guard the images."""
    stimuli = make_stimuli(only=("digests", "images"))
    stimuli = stimuli._replace(
        digests=np.array([f"{i:064x}" for i in range(7)], "S64"),
        pixel_digests=stimuli.digests,
        digest_kind="file",
        decode={"orientation": "exif", "background": "black"},
        preprocessing="scale",
    )
    store = write_store(path, stimuli, [rdm_layer()])
    assert store.stimuli.pixel_digests.tolist() == stimuli.pixel_digests.tolist()
    assert store.stimuli[5:8] == ("file", {"orientation": "exif", "background": "black"}, "scale")
    np.testing.assert_array_equal(store.images([3, 1]), stimuli.images[[3, 1]])


def test_store_takes_stimuli_known_by_name_only(path):
    stimuli = Stimuli(np.array([b""] * 3, "S64"), np.array(["a", "", "c"]))
    opened = write_store(path, stimuli, [rdm_layer(n=3)]).stimuli
    assert opened.digests.tolist() == [b""] * 3 and opened.names.tolist() == ["a", "", "c"]


def test_store_takes_one_stimulus(path):
    store = write_store(path, make_stimuli(1), [rdm_layer(n=1, count=2)])
    assert store.rdms("V1").values.shape == (2, 0)


def test_store_keeps_names_and_order_of_layers(path):
    layers = [
        (ActivationSpec(name, (), "float32", IDENTITY), np.full((1, 7), i, "float32"))
        for i, name in enumerate(AWKWARD)
    ]
    store = write_store(path, None, layers)
    assert store.layers == AWKWARD
    firsts = [store.layer(name).activations()[0, 0] for name in AWKWARD]
    assert firsts == list(range(len(AWKWARD)))


def test_store_takes_a_long_provenance(path):
    record = {"parents": ["x" * 300_000], "ü": "–"}
    assert write_store(path, None, [rdm_layer()], record).provenance == record


def test_store_size_is_an_upper_bound(path):
    stimuli = make_stimuli(300)
    layers = [
        (ActivationSpec("conv", (8, 4), "float16", ("id", "hflip")), np.zeros((2, 300, 8, 4))),
        rdm_layer(n=300, count=2),
    ]
    size = store_size(stimuli, [spec for spec, _ in layers])
    write_store(path, stimuli, layers)
    assert path.stat().st_size <= size < path.stat().st_size + 600_000
    assert 0 < free_bytes(path.parent / "not" / "yet" / "there.h5") < 1 << 60


def test_store_keeps_its_values_when_the_file_is_replaced(path):
    store = write_store(path, None, [activation_layer()])
    before = np.array(store.layer("fc").activations())
    other = activation_layer("other")
    write_store(path, make_stimuli(seed=1), [other], overwrite=True)
    assert Store.open(path).layers == ("other",)
    np.testing.assert_array_equal(store.layer("fc").activations(), before)
    np.testing.assert_array_equal(store.images(), make_stimuli().images)


def test_store_keeps_values_that_were_not_read_before_the_file_is_replaced(path):
    layer = activation_layer()
    store = write_store(path, None, [layer])
    write_store(path, None, [activation_layer(shape=(6,))], overwrite=True)
    np.testing.assert_array_equal(store.layer("fc").activations(), layer[1])


def test_fingerprint_follows_content_not_path(path, tmp_path):
    def fingerprint(name, stimuli=None, provenance=None, **options):
        layer = rdm_layer(**options)
        return write_store(tmp_path / name, stimuli, [layer], provenance).fingerprint()

    first = fingerprint("a")
    shutil.copy(tmp_path / "a", tmp_path / "copy")
    assert Store.open(tmp_path / "copy").fingerprint() == first
    assert fingerprint("b", provenance={"command": "another", "parents": ["other"]}) == first
    stimuli = make_stimuli()
    others = [
        fingerprint("c", stimuli._replace(digests=np.array([b"0"] * 7, "S64"))),
        fingerprint("d", stimuli._replace(labels=np.zeros(7))),
        fingerprint("e", stimuli._replace(labels=None)),
        fingerprint("f", dtype="float64"),
        fingerprint("g", distance="cosine"),
        fingerprint("h", value=2.0),
        fingerprint("i", subjects=("BE",)),
        fingerprint("j", stimuli._replace(digest_kind="file")),
        fingerprint("k", untrained=True),
    ]
    assert len({first, *others}) == 10


def test_fingerprint_of_some_layers_stays_when_others_change(path, tmp_path):
    """A student records that of the layers it follows."""

    def fingerprint(name, layers, chosen=(), stimuli=None):
        pairs = [rdm_layer(layer, value) for layer, value in layers]
        return write_store(tmp_path / name, stimuli, pairs).fingerprint(chosen)

    one = fingerprint("a", [("V1", 1)])
    assert one == fingerprint("b", [("V1", 1), ("IT", 2)], ["V1"])
    assert one == fingerprint("c", [("IT", 3), ("V1", 1)], ["V1"])
    both = fingerprint("f", [("V1", 1), ("IT", 2)])
    others = [
        fingerprint("d", [("V1", 2), ("IT", 2)], ["V1"]),
        fingerprint("e", [("V1", 1), ("IT", 2)], ["IT"]),
        fingerprint("g", [("V1", 1)], stimuli=make_stimuli()._replace(labels=np.zeros(7))),
    ]
    assert len({one, both, *others}) == 5
    store = Store.open(tmp_path / "f")
    assert store.fingerprint(["IT", "V1"]) == both == store.fingerprint(["V1", "IT"])
    with pytest.raises(UserError, match="no layer `V2`"):
        store.fingerprint(["V2"])


LAST_BITS = {
    "layers/fc/activations": (lambda store: store.layer("fc").activations(), "layer `fc` is not"),
    "layers/V1/rdm": (lambda store: store.rdms("V1"), "layer `V1` is not"),
    "layers/V1/subject": (lambda store: store.rdms("V1"), "layer `V1` is not"),
    "stimuli/images": (lambda store: store.images(), "1 of 7 images do not have their digests"),
    "stimuli/digest": (None, "its list of stimuli is not"),
    "stimuli/name": (None, "its list of stimuli is not"),
    "stimuli/label": (None, "its list of stimuli is not"),
    "provenance": (None, "its provenance is not"),
    "checksums": (None, "the list of checksums is not"),
}


@pytest.mark.parametrize("place", LAST_BITS)
def test_store_verifies_values_before_it_returns_them(path, place):
    read, fact = LAST_BITS[place]
    write_two_layers(path).verify()
    with h5py.File(path) as file:
        last = file[place].id.get_offset() + file[place].id.get_storage_size() - 1
    content = bytearray(path.read_bytes())
    content[last] ^= 1
    path.write_bytes(content)
    for check in (read, Store.verify) if read else (Store.open,):
        with pytest.raises(UserError, match=fact) as error:
            check(Store.open(path) if read else path)
        assert str(path) in str(error.value) and "make it again" in error.value.hint
    if read:
        readers = {"fc": lambda s: s.layer("fc").activations(), "V1": lambda s: s.rdms("V1")}
        others = [r for name, r in readers.items() if f"/{name}/" not in place]
        assert all(len(r(Store.open(path))) for r in others)


def edit(function):
    def change(path):
        with h5py.File(path, "r+") as file:
            function(file)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda file: write_attributes(file["layers/V1/rdm"], {"distance": "cosine"}),
        lambda file: write_attributes(file["layers/V1"], {"name": "V2"}),
        lambda file: write_attributes(file["layers/V1"], {"untrained": 1}),
        lambda file: write_attributes(file["layers/V1/rdm"], {"new": 1}),
        lambda file: write_attributes(file["stimuli"], {"digest_kind": "file"}),
        lambda file: file["layers"].__delitem__("V1"),
        lambda file: file["layers"].move("V1", "V2"),
        lambda file: file["stimuli"].move("images", "imagez"),
    ],
)
def test_store_refuses_other_attributes_and_arrays(path, change):
    write_two_layers(path)
    edit(change)(path)
    with pytest.raises(UserError, match=r"is damaged: its (list of layers|checksums|list of stim)"):
        Store.open(path)


FLIPS = """
import sys
from pathlib import Path
from rdl_cli.core.errors import UserError
from rdl_cli.store.store import Store

def read(path):
    store = Store.open(path)
    store.verify()
    layers = [store.layer(name) for name in store.layers]
    return store.provenance, store.stimuli.names.tolist(), store.fingerprint(), store.layers

path = Path(sys.argv[1])
content, before, accepted = path.read_bytes(), read(path), 0
for place in range(len(content)):
    if content[place]:
        for bit in range(8) if sys.argv[2] == "all" else [2]:
            flipped = bytes([content[place] ^ 1 << bit])
            path.write_bytes(content[:place] + flipped + content[place + 1 :])
            try:
                assert read(path) == before, place
                accepted += 1
            except UserError:
                pass
print(accepted)
"""


def test_store_refuses_every_flipped_bit_that_changes_a_value(path):
    """And no flipped bit crashes HDF5. A bit that HDF5 does not use may flip."""
    names = Stimuli(np.array([b"0" * 64] * 2, "S64"), np.array(["a", "b"]))
    write_store(path, names, [rdm_layer(n=2, subjects=("BE",))])
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, str(path), "one"], timeout=100, cwd=ROOT, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")


def damage(path, change):
    """Change a store, and return the error of opening it."""
    write_store(path, None, [rdm_layer(subjects=("BE",))])
    change(path)
    with pytest.raises(UserError) as error:
        Store.open(path)
    assert error.value.hint and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["group", "type"])
def test_open_reports_what_hdf5_makes_of_a_flipped_bit(path, kind):
    """An array became a group or a named type: both came of single bits."""

    def change(file):
        del file["layers/V1/subject"]
        if kind == "group":
            file["layers/V1"].create_group("subject")
        else:
            file["layers/V1"]["subject"] = np.dtype("f4")

    assert "is damaged" in damage(path, edit(change))


def compress(file):
    del file["layers/V1/rdm"]
    file.create_dataset("layers/V1/rdm", data=np.ones((1, 21)), chunks=True, compression="gzip")


def link(file):
    del file["layers/V1/rdm"]
    file["layers/V1/rdm"] = h5py.ExternalLink("other.h5", "/secret")


def store_outside(file):
    del file["layers/V1/rdm"]
    outside = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("layers/V1/rdm", (1, 21), "f4", external=outside)


def shorten(file):
    digests = file["stimuli/digest"][:5]
    del file["stimuli/digest"]
    file["stimuli/digest"] = digests


def write_version_1(file):
    file.attrs.update(version=1, provenance=json.dumps({"command": "rdl export-rdms t s.h5"}))


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda path: path.unlink(), "there is no store at"),
        (lambda path: path.write_text("cell,1,2\n"), "is not an HDF5 file"),
        (lambda path: path.write_bytes(b""), "is not an HDF5 file"),
        (halve, "is truncated: it has"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is truncated: it has"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
        (edit(lambda file: file.attrs.__delitem__("format")), "is an HDF5 file but not a store"),
        (edit(lambda file: file.attrs.update(format="rdl-stork")), "but not a store"),
        (edit(lambda file: file.attrs.update(format=3)), "is an HDF5 file but not a store"),
        (edit(lambda file: file.attrs.update(version=3)), "is a store of version 3; this rdl"),
        (edit(write_version_1), "is a store of version 1; this rdl reads version 2"),
        (edit(lambda file: file.__delitem__("provenance")), "is damaged"),
        (edit(lambda file: file.__delitem__("checksums")), "is damaged"),
        (edit(lambda file: file.__delitem__("stimuli/digest")), "is damaged"),
        (edit(lambda file: file["layers/V1"].move("rdm", "mdr")), "is damaged"),
        (edit(lambda file: file["layers/V1"].attrs.__delitem__("name")), "is damaged"),
        (edit(compress), "is stored in chunks"),
        (edit(link), "is a link"),
        (edit(store_outside), "are in another file"),
        (edit(shorten), "(1, 21), which does not fit 5 stimuli"),
    ],
)
def test_open_refuses_what_is_no_intact_store(path, change, fact):
    assert fact in damage(path, change)


def test_open_names_the_command_that_makes_a_store_of_version_1_again(path):
    write_store(path, None, [rdm_layer()])
    edit(write_version_1)(path)
    with pytest.raises(UserError) as error:
        Store.open(path)
    assert error.value.hint == "make it again (it was made by: rdl export-rdms t s.h5)"


def test_open_reports_an_unfinished_store(path):
    with (
        pytest.raises(KeyboardInterrupt),
        create_store(path, make_stimuli(), {}, [rdm_layer()[0]], "f"),
    ):
        raise KeyboardInterrupt
    assert partial(path).exists()
    with pytest.raises(UserError, match="was never finished"):
        Store.open(path)


def test_layer_suggests_a_name(path):
    store = write_store(path, None, [activation_layer("pool1"), rdm_layer()])
    for read in (store.layer, store.rdms):
        with pytest.raises(UserError, match="no layer `pol1`; did you mean `pool1`") as error:
            read("pol1")
        assert "pool1, V1" in error.value.hint


def test_store_needs_no_torch():
    code = "import sys, rdl_cli.store.store, rdl_cli.store.writer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
