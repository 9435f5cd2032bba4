"""The verbs one after another with a brain as the teacher, on pictures and measurements that are public."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.compare_rdms.compare_rdms import RdmComparison, compare_rdms
from rdl_cli.commands.console import log
from rdl_cli.commands.export_rdms.brain_stimuli import export_over_brain_stimuli
from rdl_cli.commands.image_data import data_root
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.plot.plot import plot_mds, plot_rdms
from rdl_cli.commands.settings import (
    CompareRdmsSettings,
    DataSettings,
    ExportSettings,
    HeatmapSettings,
    ImportSettings,
    MdsSettings,
    StudentSettings,
)
from rdl_cli.commands.train.train import train
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import download, file_digest, is_free, make_folder
from rdl_cli.runs.run import Run

PICTURES, SUBJECTS = "Kriegeskorte_Neuron2008_supplementalData.mat", "92_brainRDMs.mat"
ADDRESS = "https://raw.githubusercontent.com/rsagroup/rsatoolbox/{commit}/demos/92imageData/{name}"
FILES = {
    PICTURES: (
        "9ac4b5cdcb702c02481cabba33c551d187d50b6c",
        "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
    ),
    SUBJECTS: (
        "a019e37ee631456aa99425efb33cb4e26e9ea181",
        "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
    ),
}
"""Kriegeskorte et al. (2008): the commit of rsatoolbox at which a file is fetched, and its SHA-256."""

LAYERS = ["pool1", "pool2", "fc"]
STUDENT = StudentSettings(
    dataset="digits",
    epochs=15,
    batch_size=50,
    lr=0.1,
    match=["fc=hIT@mean"],
    stimuli_heldout=0.5,
    seeds="0..2",
)
METHODS = {
    "untaught": replace(
        STUDENT, label="untaught", objective=["rsa:weight=0"]
    ),  # follows nobody, and its brain_similarity is measured all the same
    "taught": replace(STUDENT, label="taught by IT", objective=["rsa"], grad_fraction=["rsa=0.25"]),
}
DRAWS = 200


class BrainDemo(NamedTuple):
    """What the demo comes to: errors, brain_similarities over all stimuli, and what a new user may want to do next."""

    compared: Comparison
    alike: RdmComparison
    ending: str


def demo_brain(out: Path, root: str = "") -> BrainDemo:
    """Networks that learn digits, alone and while a layer follows human IT over 46 pictures; the other 46 are held out.

    The files are those of `root`, or are fetched to it. UserError where they are others, or can't be fetched.
    """
    if not is_free(out):
        raise UserError(f"{out} exists already", hint="say another folder: rdl demo --brain FOLDER")
    pictures, subjects = (
        published(data_root(DataSettings(data_root=root)), name) for name in FILES
    )
    brain = out / "brain.h5"
    make_folder(out)
    log("1. 92 pictures, human IT of four subjects, monkey IT: rdl import-rdms")
    import_rdms(
        [subjects, pictures],
        brain,
        ImportSettings(
            stimuli=str(pictures), regions=["hIT,mIT=mIT_674neurons"], distance="correlation"
        ),
    )
    log(
        "\n2. networks that learn digits, three seeds each, half of the brain's pictures held out: rdl train-student"
    )
    for name, settings in METHODS.items():
        train(out / name, replace(settings, targets=str(brain)))
    log("\n3. their layers over the brain's pictures: rdl export-rdms --stimuli")
    layers = {name: out / f"{name}.h5" for name in METHODS}
    for name, store in layers.items():
        export_over_brain_stimuli(
            out / name / "seed0",
            brain,
            store,
            ExportSettings(layers=LAYERS, distance="correlation"),
        )
    log("\n4. what was learned: rdl plot rdm, rdl plot mds, rdl compare, rdl compare-rdms\n")
    plot_rdms(
        [brain, *layers.values()],
        [out / "rdms.svg"],
        HeatmapSettings(layers=["hIT", "mIT", *LAYERS], distance="correlation"),
    )
    plot_mds([out / name for name in METHODS], [out / "map.svg"], MdsSettings(layers=LAYERS))
    compared = compare([out / name for name in METHODS])
    wanted = CompareRdmsSettings(layers=["hIT", "mIT", "fc"], n_resamples=DRAWS)
    alike = compare_rdms([brain, *layers.values()], wanted)
    ending = (
        f"\nHow like each subject's IT is the layer fc (mean Spearman over subjects; seeds {STUDENT.seeds}; noise ceiling of seed 0):\n"
        + "".join(map(_likeness, (out / name for name in METHODS)))
        + "Taught pictures can be learned by heart. What counts is held out, and digits of 8 × 8 pixels are poor soil for it:\n"
        "rdl reproduce brain-it is the experiment with natural images.\n"
        f"\nwritten: {out}/untaught, {out}/taught (runs), {brain}, {out}/untaught.h5, {out}/taught.h5 (stores), {out}/rdms.svg, map.svg\n"
        f"next:    rdl show {out}/train/seed0     or     rdl train-student NEW --config {out}/train/seed0/config.toml --control shuffle"
    )
    return BrainDemo(compared, alike, ending)


def published(root: Path, name: str) -> Path:
    """Where one of FILES lies below the root, fetched where it does not. UserError where what lies there is another file."""
    commit, digest = FILES[name]
    home = root / "krieg92"
    for path in (home / name, root / name):
        if path.is_file():
            if (found := file_digest(path)) != digest:
                raise UserError(
                    f"{path} is not the published file: its SHA-256 is {found}, not {digest}",
                    hint="remove it, to fetch it again",
                )
            return path
    url = ADDRESS.format(commit=commit, name=name)
    log(f"fetching {url} to {home}")
    download(url, home / name, digest)
    return home / name


def _likeness(method: Path) -> str:
    """Two lines: over taught and over held-out stimuli."""
    runs = [Run(path).stimuli for path in sorted(method.glob("seed*"))]
    text = ""
    for kind in ("taught", "held-out"):
        each = [
            next(like for like in run["brain_similarity"] if like["stimuli"] == kind)
            for run in runs
            if run
        ]
        values = ", ".join(f"{like['mean_subject_spearman']:.3f}" for like in each)
        text += f"    {method.name:9} {kind:9} {values}    ceiling {each[0]['noise_ceiling_lower']:.3f} to {each[0]['noise_ceiling_upper']:.3f}\n"
    return text
