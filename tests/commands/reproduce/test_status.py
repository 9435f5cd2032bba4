"""The states that `rdl show OUT` lists: done, running, failed, waiting."""

import shutil
from collections import Counter

import pytest

from rdl_cli.cli.render.show import to_rich
from rdl_cli.commands.reproduce.claims import claim
from rdl_cli.commands.reproduce.outcomes import Failure, write_failure
from rdl_cli.commands.reproduce.status import list_job_states
from rdl_cli.commands.show import as_dict, show
from rdl_cli.core.errors import UserError


def test_list_job_states_reads_every_state_from_the_folder(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole / "out", out)
    (out / "rdl/seed3/predictions.h5").unlink()
    shutil.rmtree(out / "rdl/seed4")
    (out / "baseline/predictions.h5").unlink()
    write_failure(out / "baseline", Failure("the disk is full", diverged=False, config={}))
    with claim(out / "rdl/seed3"):
        states = {state.name: state for state in list_job_states(out)}
    assert Counter(state.state for state in states.values()) == {
        "done": 4,
        "running": 1,
        "failed": 1,
        "waiting": 1,
    }
    assert states["baseline"].note == "the disk is full"
    assert states["rdl/seed3"].note.startswith("process ")
    assert states["rdl/seed4"].epochs == 0 and states["teacher"].epochs == 3
    interrupted = {state.name: state for state in list_job_states(out)}["rdl/seed3"]
    assert (interrupted.state, interrupted.note) == ("waiting", "interrupted")


def test_show_lists_the_runs_of_an_experiment(whole):
    summary = show(whole / "out")
    assert as_dict(summary)["kind"] == "experiment"
    assert len(as_dict(summary)["jobs"]) == 7
    assert "7 done" in str(to_rich(summary).title)


def test_list_job_states_refuses_other_folders_and_damage(tmp_path):
    with pytest.raises(UserError, match=r"holds no experiment: it has no jobs\.json"):
        list_job_states(tmp_path)
    (tmp_path / "jobs.json").write_text('[{"name": 3}]')
    with pytest.raises(UserError, match=r"jobs\.json is damaged"):
        list_job_states(tmp_path)
