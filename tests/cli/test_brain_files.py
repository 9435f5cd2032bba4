"""The published brain RDMs: import, show, compare and export by the commands of the docs."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import rsatoolbox

from rdl_cli.cli import main as cli
from rdl_cli.io.read import read_rdms
from rdl_cli.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
BRAIN = ROOT / "../shared/data/brain"
PAGE = (ROOT / "docs/brain-files.md").read_text(encoding="utf-8")
IMPORTS, COMPARISON = (
    [line.strip() for line in PAGE.splitlines() if line.startswith(f"    rdl {verb}")]
    for verb in ("import", "compare")
)
MODELS = (
    "animacy",
    "FaceBodyManmadeNatobj",
    "monkeyIT",
    "EVA",
    "HMAX",
    "V1",
    "Silhouette",
    "RADON",
)
HELD = {
    "hit.h5": {"hIT": 8},
    "judged.h5": {"simJudge": 16},
    "models.h5": dict.fromkeys(MODELS, 1),
    "monkey.h5": {"mIT_674neurons": 1, "hITvisStim_316vx": 1},
    "cichy.h5": {"EVC": 15, "IT": 15},
}
pytestmark = pytest.mark.skipif(
    not BRAIN.exists(), reason="the measured data sets are not beside the project"
)


@pytest.fixture
def rdl(tmp_path, monkeypatch, capsys):
    """`rdl("a whole command")` in a folder that holds both sets: exit code, stdout, stderr."""
    for folder in ("krieg92", "cichy92"):
        (tmp_path / folder).symlink_to((BRAIN / folder).resolve())
    monkeypatch.chdir(tmp_path)

    def run(command):
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as end:
            cli.main()
        logged = capsys.readouterr()
        return end.value.code or 0, logged.out, logged.err

    return run


def test_import_rdms_the_page_has_a_command_for_every_file_of_rdms():
    there = {
        path.relative_to(BRAIN).as_posix()
        for path in BRAIN.glob("*/*")
        if path.is_file() and path.suffix != ".txt"
    }
    assert {shlex.split(command)[2] for command in IMPORTS} == there and len(IMPORTS) == len(HELD)


@pytest.mark.parametrize("command", IMPORTS, ids=lambda command: shlex.split(command)[3])
def test_import_rdms_a_file_is_one_command_and_goes_to_rsatoolbox_and_back_bit_for_bit(
    command, rdl, tmp_path
):
    file, out = shlex.split(command)[2:4]
    assert rdl(command)[0] == 0
    store = Store.open(Path(out))
    assert {region: len(store.rdms(region).values) for region in store.layers} == HELD[out]
    assert store.stimuli.images.shape == (92, 3, 175, 175) and len(set(store.stimuli.digests)) == 92
    assert len(set(store.stimuli.labels)) == 6
    assert rdl(f"rdl export-rdms {out} out.h5 --format rsatoolbox")[0] == 0
    opened = rsatoolbox.rdm.load_rdm("out.h5")
    assert np.array_equal(
        opened.dissimilarities, np.concatenate([entry.values for entry in read_rdms([Path(file)])])
    )
    for region, back in zip(store.layers, read_rdms([Path("out.h5")]), strict=True):
        stack = store.rdms(region)
        assert back.region == region and np.array_equal(back.values, stack.values)
        assert (back.subjects, back.sessions) == (stack.subjects, stack.sessions)


def test_import_rdms_the_same_images_on_other_grounds_are_compared_by_position_only(rdl):
    for command in IMPORTS:
        if any(out in command for out in ("hit.h5", "cichy.h5")):
            assert rdl(command)[0] == 0
    (command,) = COMPARISON
    command = command.replace("judged.h5 models.h5 ", "")
    code, out, err = rdl(command.replace(" --align position", ""))
    assert (code, out) == (2, "") and "none of them are in all" in err and "--align position" in err
    code, out, _ = rdl(f"{command} --n-resamples 0 --layers IT@mean,hIT@mean --json")
    imported = json.loads(out)
    assert (
        code == 0
        and imported["n_stimuli"] == 92
        and round(imported["tables"][0]["pairs"][0]["value"], 3) == 0.557
    )


def test_import_rdms_words_that_belong_elsewhere_are_refused(rdl, tmp_path):
    before = sorted(tmp_path.iterdir())
    for command, fact in (
        ("rdl demo --data-root krieg92", "--data-root krieg92 is for --brain"),
        (
            "rdl export-rdms krieg92/92_brainRDMs.mat out.h5 --stimuli other.h5",
            "--stimuli is for a run",
        ),
    ):
        code, out, err = rdl(command)
        assert (code, out) == (2, "") and fact in err and "hint: " in err
    assert sorted(tmp_path.iterdir()) == before
