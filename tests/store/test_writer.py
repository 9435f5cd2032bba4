"""A store is whole or not there: after a kill, on a full disk, beside another writer."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.store.layout import ActivationSpec, RdmSpec
from rdl_cli.store.store import Stimuli, Store, partial
from rdl_cli.store.writer import create_store

ROOT = Path(__file__).parents[2]


def export(path, kill_at=None, kill_within="write", fingerprint="f", size=50, log=None):
    """Write 20 stimuli, a layer in two views and an RDM, with a checkpoint every 5 rows."""
    n, rng = 20, np.random.default_rng(0)
    digests = np.array([f"{i:064x}" for i in range(n)], "S64")
    stimuli = Stimuli(
        digests,
        np.array([f"p{i}" for i in range(n)]),
        np.arange(n),
        rng.integers(0, 256, (n, 1, 8, 8), dtype=np.uint8),
    )
    values, rdm = rng.normal(size=(2, n, size)).astype("float32"), rng.random((n, n))
    specs = [
        ActivationSpec("fc", (size,), "float32", ("identity", "hflip")),
        RdmSpec("V1", 1, "float64", "mse"),
    ]
    with create_store(Path(path), stimuli, {"command": "t"}, specs, fingerprint) as writer:
        if log is not None:
            log.append(writer.rows)
        for start in range(writer.rows, n, 5):
            for view in range(2):
                writer.write("fc", start, values[view, start : start + 5], view)
                if start == kill_at and kill_within == "write":
                    writer._file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
            if start == kill_at and kill_within == "checkpoint":
                writer._record = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
            for i in range(start, start + 5):
                writer.write_rdm("V1", 0, i * n - i * (i + 1) // 2, rdm[i, i + 1 :])
            writer.checkpoint(start + 5)


def in_a_process(code, **options):
    folder = str(Path(__file__).parent)
    start = f"import sys; sys.path.insert(0, {folder!r})\nfrom test_writer import *\n"
    code = start + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, **options
    )


def list_names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("within", ["write", "checkpoint"])
@pytest.mark.parametrize(("kill_at", "rows"), [(0, 0), (10, 10), (15, 15)])
def test_create_store_resumes_after_a_kill_and_ends_in_the_same_bytes(
    tmp_path, kill_at, rows, within
):
    path, whole = tmp_path / "killed.h5", tmp_path / "whole.h5"
    assert (
        in_a_process(f"export({str(path)!r}, {kill_at}, {within!r})").returncode == -signal.SIGKILL
    )
    assert list_names(tmp_path) == [".killed.h5.rdl-partial", ".killed.h5.rdl-partial.json"]
    export(path, log=(log := []))
    export(whole)
    assert log == [rows]
    assert path.read_bytes() == whole.read_bytes()
    assert list_names(tmp_path) == ["killed.h5", "whole.h5"]


def test_create_store_begins_anew_after_a_kill_while_laying_out(tmp_path):
    """Even if a sidecar records rows of an earlier partial file."""
    path, whole = tmp_path / "t.h5", tmp_path / "whole.h5"
    in_a_process(f"export({str(path)!r}, 10)")
    os.truncate(partial(path), 5000)
    code = f"""
        import rdl_cli.store.writer as w
        write_empty = w.write_empty
        w.write_empty = lambda *a: (write_empty(*a), os.kill(os.getpid(), signal.SIGKILL))
        export({str(path)!r})"""
    assert in_a_process(code).returncode == -signal.SIGKILL
    assert not path.exists()
    export(path, log=(log := []))
    export(whole)
    assert log == [0] and path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("other", [{"fingerprint": "g"}, {"size": 51}])
def test_create_store_replaces_the_partial_file_of_another_export(tmp_path, other):
    path, whole = tmp_path / "t.h5", tmp_path / "whole.h5"
    in_a_process(f"export({str(path)!r}, 10)")
    export(path, log=(log := []), **other)
    export(whole, **other)
    assert log == [0] and path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda p, s: s.write_text("{"),
        lambda p, s: s.unlink(),
        lambda p, s: p.unlink(),
        lambda p, s: os.truncate(p, 5000),
    ],
)
def test_create_store_replaces_a_damaged_partial_file(tmp_path, damage):
    path, whole = tmp_path / "t.h5", tmp_path / "whole.h5"
    in_a_process(f"export({str(path)!r}, 10)")
    damage(partial(path), tmp_path / ".t.h5.rdl-partial.json")
    export(path, log=(log := []))
    export(whole)
    assert log == [0] and path.read_bytes() == whole.read_bytes()


def test_create_store_writes_equal_bytes_for_equal_stores(tmp_path):
    export(tmp_path / "a")
    assert (
        in_a_process(f"import time; time.sleep(1.1); export({str(tmp_path / 'b')!r})").returncode
        == 0
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_create_store_refuses_an_existing_path_unless_it_may_overwrite(tmp_path):
    path = tmp_path / "t.h5"
    path.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        export(path)
    assert path.read_text() == "precious" and list_names(tmp_path) == ["t.h5"]
    stimuli, specs = Stimuli(np.array([b"1", b"2"], "S64")), [RdmSpec("V1", 1, "float32", "mse")]
    with create_store(path, stimuli, {}, specs, "f", overwrite=True) as writer:
        writer.write_rdm("V1", 0, 0, np.ones(1))
        assert path.read_text() == "precious"
    assert Store.open(path).layers == ("V1",)
    with (
        pytest.raises(UserError, match="exists already"),
        create_store(tmp_path, stimuli, {}, specs, "f", overwrite=True),
    ):
        pass


def test_create_store_makes_missing_folders(tmp_path):
    export(tmp_path / "new" / "er" / "t.h5")
    assert list_names(tmp_path / "new" / "er") == ["t.h5"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file could not be written: File exists"):
        export(tmp_path / "file" / "t.h5")


def test_create_store_refuses_a_second_writer(tmp_path):
    path = tmp_path / "t.h5"
    stimuli, specs = Stimuli(np.array([b"1", b"2"], "S64")), [RdmSpec("V1", 1, "float32", "mse")]
    refused = f"""
        try:
            export({str(path)!r})
        except UserError as error:
            sys.exit(str(error))"""
    with create_store(path, stimuli, {}, specs, "f") as writer:
        assert "is being written by another process" in in_a_process(refused).stderr
        with pytest.raises(UserError, match="is being written by another process"):
            export(path)
        writer.write_rdm("V1", 0, 0, np.ones(1))
    assert Store.open(path).rdms("V1").values.item() == 1


def test_create_store_unlocks_although_a_child_lives_on(tmp_path):
    path, stimuli = tmp_path / "t.h5", Stimuli(np.array([b"1", b"2"], "S64"))
    child = None
    with (
        pytest.raises(ZeroDivisionError),
        create_store(path, stimuli, {}, [RdmSpec("V1", 1, "float32", "mse")], "f"),
    ):
        child = os.fork()
        if child == 0:
            signal.pause()
        raise ZeroDivisionError
    try:
        export(path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("limit", [0, 3000, 100_000])
def test_create_store_reports_a_limit_on_file_size(tmp_path, limit):
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            export({str(tmp_path / "t.h5")!r}, size=5000)
        except UserError as error:
            print(error, error.hint)"""
    done = in_a_process(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "t.h5" in done.stdout and "File too large" in done.stdout
    assert list_names(tmp_path) == []


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("reserving", [True, False])
def test_create_store_reports_a_full_disk_before_it_writes(small_disk, reserving):
    code = f"""
        if not {reserving}:
            del os.posix_fallocate
        try:
            export({str(small_disk / "t.h5")!r}, size=50_000)
        except UserError as error:
            print(error, error.hint)"""
    done = in_a_process(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "t.h5 needs 8," in done.stdout
        and "; 1,048,576 are free (No space left on device)" in done.stdout
        and "free space" in done.stdout
    )
    assert list_names(small_disk) == []


def test_create_store_leaves_nothing_on_a_disk_that_fills_up(small_disk):
    code = f"""
        del os.posix_fallocate
        import rdl_cli.store.writer as w
        folder = Path({str(small_disk)!r})
        write_empty = w.write_empty
        def meanwhile(*plan):
            write_empty(*plan)
            (folder / "other").write_bytes(bytes(w.free_bytes(folder / "t.h5") - 40_000))
            w.free_bytes = lambda path: 1 << 20
        w.write_empty = meanwhile
        try:
            export(folder / "t.h5", size=1000)
        except UserError as error:
            print(error)"""
    done = in_a_process(code)
    (small_disk / "other").unlink()
    assert (done.returncode, done.stderr) == (0, "")
    assert "No space left on device" in done.stdout
    assert list_names(small_disk) == []


def test_create_store_leaves_nothing_on_a_disk_that_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(UserError, match="could not be written: Input/output error"):
        export(tmp_path / "t.h5")
    assert list_names(tmp_path) == []


def test_create_store_needs_no_reserving_and_no_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    export(tmp_path / "a.h5")
    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    monkeypatch.setattr("fcntl.flock", unsupported)
    export(tmp_path / "b.h5")
    monkeypatch.setattr("rdl_cli.core.files.fcntl", None)
    export(tmp_path / "c.h5")
    assert (
        (tmp_path / "a.h5").read_bytes()
        == (tmp_path / "b.h5").read_bytes()
        == (tmp_path / "c.h5").read_bytes()
    )


def test_write_refuses_a_value_too_large_for_float16(tmp_path):
    stimuli, specs = (
        Stimuli(np.array([b"1", b"2"], "S64")),
        [ActivationSpec("fc", (2,), "float16", ("identity",))],
    )
    with (
        pytest.raises(
            UserError, match="`fc` holds a value of 70000, and float16 ends at 65504"
        ) as error,
        create_store(tmp_path / "t", stimuli, {}, specs, "f") as w,
    ):
        w.write("fc", 0, np.array([[np.nan, np.inf], [1, -70000]], "float32"))
    assert "float32" in error.value.hint and list_names(tmp_path) == []
    with create_store(tmp_path / "t", stimuli, {}, specs, "f") as w:
        w.write("fc", 0, np.array([[np.nan, np.inf], [1, -65504]], "float32"))
    np.testing.assert_array_equal(
        Store.open(tmp_path / "t").layer("fc").activations()[0], [[np.nan, np.inf], [1, -65504]]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: None, "were never written"),
        (lambda w: w.write("fc", 0, np.ones((2, 3))), "was announced as"),
        (lambda w: w.write("fc", 1, np.ones((2, 2))), "are outside"),
        (lambda w: w.write("fc", 0, np.ones((2, 2)), view=1), "are outside"),
        (lambda w: w.write_rdm("V1", 1, 0, np.ones(1)), "there is no 1"),
        (lambda w: w.write_rdm("V1", 0, 1, np.ones(1)), "is outside"),
    ],
)
def test_writer_catches_broken_promises(tmp_path, change, message):
    stimuli = Stimuli(np.array([b"1", b"2"], "S64"))
    specs = [
        ActivationSpec("fc", (2,), "float32", ("identity",)),
        RdmSpec("V1", 1, "float32", "mse"),
    ]
    with (
        pytest.raises(AssertionError, match=message),
        create_store(tmp_path / "t", stimuli, {}, specs, "f") as writer,
    ):
        change(writer)
    assert not (tmp_path / "t").exists()


def test_create_store_catches_a_layer_announced_twice(tmp_path):
    twice = [RdmSpec("V1", 1, "float32", "mse")] * 2
    with (
        pytest.raises(AssertionError, match="announced twice"),
        create_store(tmp_path / "t", Stimuli(np.array([b"1"], "S64")), {}, twice, "f"),
    ):
        pass


def test_create_store_needs_little_memory(tmp_path):
    """200 MB of activations and 40 MB of images, written in blocks of 2 MB."""
    n, block = 10_000, np.ones((100, 5000), "float32")
    images = np.broadcast_to(np.uint8(7), (n, 1, 64, 64))
    stimuli, specs = (
        Stimuli(np.array([b"1"] * n, "S64"), images=images),
        [ActivationSpec("fc", (5000,), "float32", ("identity",))],
    )
    tracemalloc.start()
    try:
        with create_store(tmp_path / "t", stimuli, {}, specs, "f") as writer:
            for start in range(0, n, 100):
                writer.write("fc", start, block)
        store = Store.open(tmp_path / "t")
        assert store.layer("fc").activations()[0, ::999].sum() == 11 * 5000
        assert store.stimuli.images[-1].min() == 7
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6, f"{peak / 1e6:.0f} MB"
