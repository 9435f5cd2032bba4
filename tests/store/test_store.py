"""A store gives back what was put in, any HDF5 reader can read it, and what isn't a whole store is refused with a next step."""

import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.checksum import pixel_digests
from rdl_cli.store.layout import ActivationSpec, RdmSpec, store_size
from rdl_cli.store.store import Stimuli, Store, partial, store_fingerprint
from rdl_cli.store.writer import create_store, free_bytes

AWKWARD = ("features.0", ".", "..", "a/b", "100%", "%2E", "Schicht ä 层", "conv 1")


def made(n=7, seed=0, **only):
    rng = np.random.default_rng(seed)
    full = {
        "digests": np.array([f"{i:064x}" for i in range(n)], "S64"),
        "names": np.array([f"bild {i} – ü.png" for i in range(n)]),
        "labels": rng.integers(-1, 10, n),
        "images": rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8),
    }
    return Stimuli(**{key: value for key, value in full.items() if key in only or not only})


def write(path, stimuli, activations=(), rdms=(), provenance=None, **options):
    """A store of {ActivationSpec: values} and {RdmSpec: values}."""
    specs = [spec for spec, _ in (*activations, *rdms)]
    with create_store(
        path, stimuli, provenance or {"command": "test"}, specs, "f", **options
    ) as writer:
        for spec, values in activations:
            for view in range(len(spec.views)):
                for start in range(0, values.shape[1], 3):
                    writer.write(spec.name, start, values[view, start : start + 3], view)
        for spec, values in rdms:
            for index in range(spec.count):
                for start in range(0, values.shape[1], 5):
                    writer.write_rdm(spec.name, index, start, values[index, start : start + 5])
    return Store.open(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "teacher.h5"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_activations_come_back(path, dtype):
    values = np.random.default_rng(1).normal(size=(2, 7, 3, 2)).astype(dtype)
    values[0, 0, 0] = np.nan
    stimuli = made()
    spec = ActivationSpec("pool1", (3, 2), dtype, ("identity", "hflip"), "mse")
    store = write(
        path,
        stimuli,
        [(spec, values)],
        provenance={"command": "rdl x", "parents": [{"kind": "run", "fingerprint": "a"}]},
    )
    np.testing.assert_array_equal(store.activations("pool1"), values)
    assert store.activations("pool1").dtype == dtype
    assert isinstance(store.activations("pool1"), np.memmap) and isinstance(
        store.stimuli.images, np.memmap
    )
    assert store.views("pool1") == ("identity", "hflip")
    assert store.attrs("pool1") == {
        "name": "pool1",
        "views": ("identity", "hflip"),
        "distance": "mse",
    }
    assert store.provenance == {
        "command": "rdl x",
        "parents": [{"kind": "run", "fingerprint": "a"}],
    }
    for mine, theirs in zip(store.stimuli, stimuli, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert store.has_activations("pool1") and not store.has_rdm("pool1")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rdms_come_back_in_the_width_of_their_source(path, dtype):
    values = np.random.default_rng(2).random((2, 21)).astype(dtype)
    values[1, 3] = np.nan
    spec = RdmSpec(
        "hIT", 2, dtype, "correlation", "IT", "1 - r", ("BE", "Kö"), ("1", "2"), (0.05, 0.1)
    )
    found = write(path, made(), rdms=[(spec, values)]).rdms("hIT")
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == dtype
    assert (found.distance, found.region, found.unit) == ("correlation", "IT", "1 - r")
    assert (found.subjects, found.sessions) == (("BE", "Kö"), ("1", "2"))
    assert found.times == (0.05, 0.1)


def test_what_a_source_does_not_say_has_a_length_all_the_same(path):
    found = write(
        path, made(), rdms=[(RdmSpec("hIT", 3, "float32", "mse"), np.ones((3, 21)))]
    ).rdms("hIT")
    assert found.subjects == found.sessions == ("",) * 3
    assert len(found.times) == 3 and np.isnan(found.times).all()


def test_a_layer_may_hold_both(path):
    values, rdm = np.ones((1, 7, 4), "float32"), np.ones((1, 21), "float64")
    both = ActivationSpec("fc", (4,), "float32", ("identity",)), RdmSpec("fc", 1, "float64", "mse")
    store = write(path, made(), [(both[0], values)], [(both[1], rdm)])
    assert store.layers == ("fc",) and store.has_activations("fc") and store.has_rdm("fc")


@pytest.mark.parametrize(
    "only", [("digests",), ("digests", "names"), ("digests", "labels"), ("digests", "images")]
)
def test_only_digests_are_needed(path, only):
    stimuli = made(**dict.fromkeys(only))
    found = write(
        path, stimuli, rdms=[(RdmSpec("V1", 1, "float32", "mse"), np.ones((1, 21)))]
    ).stimuli
    assert [value is not None for value in found] == [value is not None for value in stimuli]


def test_pictures_known_by_name_only_have_an_empty_digest(path):
    stimuli = Stimuli(np.array([b""] * 3, "S64"), np.array(["a", "", "c"]))
    found = write(
        path, stimuli, rdms=[(RdmSpec("V1", 1, "float32", "mse"), np.ones((1, 3)))]
    ).stimuli
    assert found.digests.tolist() == [b""] * 3 and found.names.tolist() == ["a", "", "c"]


def test_one_stimulus_has_an_empty_rdm(path):
    store = write(path, made(1), rdms=[(RdmSpec("V1", 2, "float32", "mse"), np.empty((2, 0)))])
    assert store.rdms("V1").values.shape == (2, 0)


def test_layers_keep_their_true_names_and_order(path):
    layers = [
        (ActivationSpec(name, (), "float32", ("identity",)), np.full((1, 7), i, "float32"))
        for i, name in enumerate(AWKWARD)
    ]
    store = write(path, made(), layers)
    assert store.layers == AWKWARD
    assert [store.activations(name)[0, 0] for name in AWKWARD] == list(range(len(AWKWARD)))


def test_any_hdf5_reader_reads_it(path):
    values, rdm = (
        np.random.default_rng(3).normal(size=(1, 7, 5)).astype("float16"),
        np.arange(21.0)[None],
    )
    stimuli = made()
    specs = (
        ActivationSpec("a.b", (5,), "float16", ("identity",)),
        RdmSpec("V1", 1, "float64", "mse", subjects=("ü",)),
    )
    write(path, stimuli, [(specs[0], values)], [(specs[1], rdm)])
    with h5py.File(path) as file:
        assert file.attrs["format"] == "rdl-store" and file.attrs["version"] == 1
        np.testing.assert_array_equal(file["layers/a%2Eb/activations"], values)
        np.testing.assert_array_equal(file["layers/V1/rdm"], rdm)
        np.testing.assert_array_equal(file["stimuli/images"], stimuli.images)
        np.testing.assert_array_equal(file["stimuli/label"], stimuli.labels)
        assert file["stimuli/digest"][()].tolist() == stimuli.digests.tolist()
        assert file["stimuli/name"].asstr()[()].tolist() == stimuli.names.tolist()
        assert h5py.check_string_dtype(file["stimuli/name"].dtype).encoding == "utf-8"
        assert file["layers/V1/subject"].asstr()[0] == "ü"
        found = []
        file.visititems(
            lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None
        )
        assert len(found) == 11
        assert all(item.chunks is None and item.id.get_offset() % 4096 == 0 for item in found)


def test_what_is_written_to_a_map_stays_out_of_the_file(path):
    spec = ActivationSpec("fc", (4,), "float32", ("identity",))
    store = write(path, made(), [(spec, np.ones((1, 7, 4), "float32"))])
    store.activations("fc")[:] = 5
    np.testing.assert_array_equal(Store.open(path).activations("fc"), 1)


def test_the_size_is_known_before(path):
    stimuli = made(300)
    specs = (
        ActivationSpec("conv", (8, 4), "float16", ("identity", "hflip")),
        RdmSpec("V1", 2, "float32", "mse"),
    )
    announced = store_size(stimuli, specs)
    write(path, stimuli, [(specs[0], np.zeros((2, 300, 8, 4)))], [(specs[1], np.zeros((2, 44850)))])
    assert path.stat().st_size <= announced < path.stat().st_size + 600_000
    assert 0 < free_bytes(path.parent / "not" / "yet" / "there.h5") < 1 << 60


def test_a_long_chain_of_provenance_fits(path):
    long = {"parents": ["x" * 300_000]}
    assert (
        write(
            path,
            made(),
            rdms=[(RdmSpec("V1", 1, "float32", "mse"), np.ones((1, 21)))],
            provenance=long,
        ).provenance
        == long
    )


def test_the_fingerprint_follows_the_content_and_not_the_path(path, tmp_path):
    def of(name, stimuli, width="float32", distance="mse", provenance=None, value=1.0, subject=()):
        rdm = RdmSpec("V1", 1, width, distance, subjects=subject), np.full((1, 21), value)
        return store_fingerprint(write(tmp_path / name, stimuli, rdms=[rdm], provenance=provenance))

    first = of("a", made())
    shutil.copy(tmp_path / "a", tmp_path / "copy")
    assert store_fingerprint(Store.open(tmp_path / "copy")) == first
    assert of("b", made(), provenance={"command": "another", "parents": ["other"]}) == first
    others = [
        of("c", made()._replace(digests=np.array([b"0"] * 7, "S64"))),
        of("d", made()._replace(labels=np.zeros(7))),
        of("e", made()._replace(labels=None)),
        of("f", made(), width="float64"),
        of("g", made(), distance="cosine"),
        of("h", made(), value=2.0),
        of("i", made(), subject=("BE",)),
    ]
    assert len({first, *others}) == 8


def test_the_fingerprint_of_some_layers_stays_when_others_come_or_change(path, tmp_path):
    """A student remembers that of the layers that it follows."""

    def of(name, specs, layers=(), pictures=None):
        return store_fingerprint(
            write(
                tmp_path / name,
                pictures or made(),
                rdms=[(s, np.full((1, 21), v)) for s, v in specs],
            ),
            layers,
        )

    v1, it = RdmSpec("V1", 1, "float32", "mse"), RdmSpec("IT", 1, "float32", "mse")
    alone = of("a", [(v1, 1)])
    assert alone == of("b", [(v1, 1), (it, 2)], ["V1"]) == of("c", [(it, 3), (v1, 1)], ["V1"])
    others = [
        of("d", [(v1, 2), (it, 2)], ["V1"]),
        of("e", [(v1, 1), (it, 2)], ["IT"]),
        of("f", [(v1, 1), (it, 2)]),
    ]
    others += [of("g", [(v1, 1)], pictures=made()._replace(labels=np.zeros(7)))]
    assert len({alone, *others}) == 5
    assert (
        store_fingerprint(Store.open(tmp_path / "f"), ["IT", "V1"])
        == others[2]
        == store_fingerprint(Store.open(tmp_path / "f"), ["V1", "IT"])
    )
    with pytest.raises(UserError, match="no layer `V2`"):
        store_fingerprint(Store.open(tmp_path / "a"), ["V2"])


def both(path):
    """A store of activations and of RDMs with subjects, whose pictures are those of their digests."""
    stimuli = made()._replace(digests=pixel_digests(made().images))
    values = np.random.default_rng(4).normal(size=(2, 7, 5)).astype("float32")
    specs = (
        ActivationSpec("fc", (5,), "float32", ("identity", "hflip"), "mse"),
        RdmSpec("V1", 2, "float64", "mse", "V1", "", ("a", "b")),
    )
    return write(path, stimuli, [(specs[0], values)], [(specs[1], np.arange(42.0).reshape(2, 21))])


PLACES = {
    "layers/fc/activations": (
        lambda store: store.activations("fc"),
        "layer `fc` is not what was written",
    ),
    "layers/V1/rdm": (lambda store: store.rdms("V1"), "layer `V1` is not what was written"),
    "layers/V1/subject": (lambda store: store.rdms("V1"), "layer `V1` is not what was written"),
    "layers/V1/sha256": (lambda store: store.rdms("V1"), "layer `V1` is not what was written"),
    "stimuli/images": (
        lambda store: store.pictures(),
        "1 of 7 pictures are not those of their digests",
    ),
    "stimuli/digest": (None, "the list of its stimuli"),
    "stimuli/name": (None, "the list of its stimuli"),
    "stimuli/label": (None, "the list of its stimuli"),
    "stimuli/sha256": (None, "the list of its stimuli"),
    "sha256": (None, "its provenance, or what it says of its layers"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_flipped_bit_is_noticed_before_a_number_is_handed_out(path, place):
    read, said = PLACES[place]
    whole = both(path)
    assert whole.verify() == ()
    with h5py.File(path) as file:
        at = file[place].id.get_offset() + file[place].id.get_storage_size() - 1
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    for reading in (read, Store.verify) if read else (Store.open,):
        with pytest.raises(UserError, match=said) as error:
            reading(Store.open(path) if read else path)
        assert str(path) in str(error.value) and "make it again" in error.value.hint
    if read:
        others = {"fc": Store.activations, "V1": Store.rdms}
        assert [
            others[layer](Store.open(path), layer) is not None
            for layer in others
            if f"/{layer}/" not in place
        ]


def edit(function):
    def change(path):
        with h5py.File(path, "r+") as file:
            function(file)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["layers/V1/rdm"].attrs.update(distance="cosine"),
        lambda file: file["layers/V1/rdm"].attrs.update(name="V2"),
        lambda file: file["layers/V1"].move("sha256", "sha257"),
        lambda file: file["layers"].__delitem__("V1"),
        lambda file: file["stimuli"].move("images", "imagez"),
        lambda file: file.attrs.update(provenance=file.attrs["provenance"].replace("test", "tess")),
    ],
)
def test_a_store_that_says_something_else_of_itself_is_refused(path, change):
    both(path)
    edit(change)(path)
    with pytest.raises(
        UserError,
        match=r"damaged: its provenance, or what it says of its layers, is not|the list of its stimuli is not",
    ):
        Store.open(path)


@pytest.mark.parametrize("kind", ["group", "type"])
def test_what_hdf5_makes_of_a_flipped_bit_is_no_traceback(path, kind):
    """An array that has become a group or a named type: both came of single bits."""

    def change(file):
        del file["layers/V1/subject"]
        file["layers/V1"].create_group("subject") if kind == "group" else file[
            "layers/V1"
        ].__setitem__("subject", np.dtype("f4"))

    assert "is damaged" in damaged(path, edit(change))


def test_a_store_from_before_there_were_digests_is_read_and_has_the_same_fingerprint(path):
    known = store_fingerprint(both(path))
    with h5py.File(path, "r+") as file:
        for group in (file, file["stimuli"], *file["layers"].values()):
            del group["sha256"]
    store = Store.open(path)
    assert store.verify() == ("the provenance", "fc", "V1") and store_fingerprint(store) == known
    np.testing.assert_array_equal(store.rdms("V1").values, np.arange(42.0).reshape(2, 21))


FLIPS = """
import sys
from pathlib import Path
from rdl_cli.core.errors import UserError
from rdl_cli.store.store import Store
path = Path(sys.argv[1])
content, texts = path.read_bytes(), path.read_bytes().find(b"GCOL")  # where HDF5 keeps texts, without a checksum
for place in range(len(content)):
    if content[place] and not texts <= place < texts + 4096:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            Store.open(path).verify()
        except UserError:
            pass
"""


def test_no_flipped_bit_brings_hdf5_down(path):
    rdm = RdmSpec("V1", 1, "float32", "mse", subjects=("BE",)), np.ones((1, 1))
    write(path, Stimuli(np.array([b"0" * 64] * 2, "S64")), rdms=[rdm])
    assert subprocess.run([sys.executable, "-c", FLIPS, str(path)], timeout=60).returncode == 0


def test_what_a_layer_is_like_is_told_without_reading_it(path):
    both(path)
    with h5py.File(path, "r+") as file:
        file["layers/fc/activations"][0, 0, 0] += 1
    store = Store.open(path)
    assert (
        store.extent("fc").shape == (2, 7, 5)
        and store.extent("V1").dtype == np.float64
        and (store.n_rdms("fc"), store.n_rdms("V1")) == (0, 2)
    )


def damaged(path, change):
    write(
        path,
        made(),
        rdms=[(RdmSpec("V1", 1, "float32", "mse", subjects=("BE",)), np.ones((1, 21)))],
    )
    change(path)
    with pytest.raises(UserError) as error:
        Store.open(path)
    assert error.value.hint and str(path) in str(error.value)
    return str(error.value)


def rechunked(file):
    del file["layers/V1/rdm"]
    file.create_dataset(
        "layers/V1/rdm", data=np.ones((1, 21)), chunks=True, compression="gzip"
    ).attrs["name"] = "V1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.unlink(), "there is no store at"),
        (lambda path: path.write_text("cell,1,2\n"), "is not an HDF5 file"),
        (lambda path: path.write_bytes(b""), "is not an HDF5 file"),
        (
            lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
            "is truncated: it has",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is truncated: it has"),
        (lambda path: path.write_bytes(path.read_bytes()[:30]), "is damaged"),
        (lambda path: (path.unlink(), path.mkdir()), "could not be read: Is a directory"),
        (edit(lambda file: file.attrs.__delitem__("format")), "is an HDF5 file but not a store"),
        (
            edit(lambda file: file.attrs.update(format="rdl-stork")),
            "is an HDF5 file but not a store",
        ),
        (edit(lambda file: file.attrs.update(format=3)), "is an HDF5 file but not a store"),
        (
            edit(lambda file: file.attrs.update(version=2)),
            "is a store of version 2; this rdl reads version 1",
        ),
        (edit(lambda file: file.attrs.update(provenance="{")), "is damaged"),
        (edit(lambda file: file.__delitem__("stimuli/digest")), "is damaged"),
        (edit(lambda file: file["layers/V1"].move("rdm", "mdr")), "is damaged"),
        (edit(lambda file: file["layers/V1/rdm"].attrs.__delitem__("name")), "is damaged"),
        (edit(rechunked), "is stored in chunks"),
    ],
)
def test_what_is_no_whole_store_is_refused(path, change, said):
    assert said in damaged(path, change)


def test_a_store_of_other_stimuli_than_its_layers_is_refused(path):
    def shorten(file):
        digests = file["stimuli/digest"][:5]
        del file["stimuli/digest"]
        file["stimuli/digest"] = digests

    assert "(1, 21), which does not fit 5 stimuli" in damaged(path, edit(shorten))


def test_a_wrong_layer_teaches(path):
    specs = (
        ActivationSpec("pool1", (4,), "float32", ("identity",)),
        RdmSpec("V1", 1, "float32", "mse"),
    )
    store = write(path, made(), [(specs[0], np.ones((1, 7, 4)))], [(specs[1], np.ones((1, 21)))])
    for wrong in (
        store.activations,
        store.rdms,
        store.views,
        store.attrs,
        store.has_rdm,
        store.has_activations,
    ):
        with pytest.raises(UserError, match="no layer `pol1`; did you mean `pool1`") as error:
            wrong("pol1")
        assert "pool1, V1" in error.value.hint
    with pytest.raises(UserError, match="holds RDMs, no activations") as error:
        store.activations("V1")
    assert "--as activations" in error.value.hint
    with pytest.raises(UserError, match="no RDM"):
        store.rdms("pool1")


def test_an_unfinished_store_says_so(path):
    with (
        pytest.raises(KeyboardInterrupt),
        create_store(path, made(), {}, [RdmSpec("V1", 1, "float32", "mse")], "f"),
    ):
        raise KeyboardInterrupt
    assert partial(path).exists()
    with pytest.raises(UserError, match="was never finished"):
        Store.open(path)


def test_stores_are_read_and_written_without_torch():
    code = "import sys, rdl_cli.store.store, rdl_cli.store.writer; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    )
