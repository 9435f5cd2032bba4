"""Claims: one process for a run, and none for ever after its process has ended."""

import json
import multiprocessing
import os
import time

import pytest

from rdl_cli.commands.reproduce import claims
from rdl_cli.commands.reproduce.claims import ClaimedError, claim, find_claim, remove_stale_claims

HOLD = """
from pathlib import Path
import os, time
from rdl_cli.commands.reproduce.claims import claim
with claim(Path(path)):
    Path(ready).touch()
    time.sleep(60)
"""


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_claim_is_exclusive_and_leaves_nothing(tmp_path):
    run = tmp_path / "run"
    with claim(run):
        assert find_claim(run).pid == os.getpid()
        with (
            pytest.raises(ClaimedError, match=rf"is being written by process {os.getpid()} on"),
            claim(run),
        ):
            pass
        with claim(tmp_path / "other"):
            pass
    assert find_claim(run) is None and not hidden(tmp_path)


def test_claim_of_a_killed_process_is_taken_over_at_once(tmp_path, elsewhere):
    run, ready = tmp_path / "run", tmp_path / "ready"
    process = elsewhere(HOLD, wait=False, path=str(run), ready=str(ready))
    while not ready.exists():
        time.sleep(0.05)
    with pytest.raises(ClaimedError), claim(run):
        pass
    process.kill()
    process.join()
    assert hidden(tmp_path) and find_claim(run) is None
    with claim(run):
        assert find_claim(run).pid == os.getpid()
    assert not hidden(tmp_path)


def test_claim_of_another_machine_is_stale_only_without_renewal(tmp_path):
    run, foreign = tmp_path / "run", tmp_path / ".run.claim-1"
    foreign.write_text(json.dumps({"host": "elsewhere/boot/1", "pid": 1}))
    with pytest.raises(ClaimedError, match="process 1 on elsewhere"), claim(run):
        pass
    old = time.time() - claims.STALE_SECONDS - 60
    os.utime(foreign, (old, old))
    assert find_claim(run) is None
    with claim(run):
        assert not foreign.exists(), "the stale claim is removed"
        assert hidden(tmp_path) == [".run.claim-2"]


def test_claim_renews_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RENEW_SECONDS", 0.05)
    with claim(tmp_path / "run"):
        path = tmp_path / ".run.claim-1"
        os.utime(path, (0, 0))
        time.sleep(0.5)
        assert time.time() - path.stat().st_mtime < 10


def test_remove_stale_claims_keeps_live_ones(tmp_path):
    run = tmp_path / "run"
    with claim(run):
        remove_stale_claims(run)
        assert hidden(tmp_path) == [".run.claim-1"]
    (tmp_path / ".run.claim-7").write_text("half a rec")
    remove_stale_claims(run)
    assert hidden(tmp_path) == [".run.claim-7"], "a file without content may be of any machine"
    os.utime(tmp_path / ".run.claim-7", (0, 0))
    remove_stale_claims(run)
    assert not hidden(tmp_path)


RACE = """
from pathlib import Path
import os, time, random
from rdl_cli.commands.reproduce.claims import ClaimedError, claim
for _ in range(100):
    try:
        with claim(Path(path)):
            handle = os.open(owned, os.O_CREAT | os.O_EXCL)
            os.close(handle)
            os.unlink(owned)
    except ClaimedError:
        time.sleep(random.random() / 1000)
"""


def test_claim_is_held_by_one_of_four_processes(tmp_path, elsewhere):
    names = {"path": str(tmp_path / "run"), "owned": str(tmp_path / "owned")}
    processes: list[multiprocessing.Process] = [
        elsewhere(RACE, wait=False, **names) for _ in range(4)
    ]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4, "two held it at once"
    assert not hidden(tmp_path)
