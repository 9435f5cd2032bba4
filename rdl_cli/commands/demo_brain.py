"""Run the verbs one after another with a brain as the teacher, on public images and RDMs."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.compare_rdms.results import RdmComparison
from rdl_cli.commands.console import brief, log
from rdl_cli.commands.drawing_settings import HeatmapSettings, MdsSettings
from rdl_cli.commands.export_rdms.brain_stimuli import export_over_stimuli
from rdl_cli.commands.image_data import data_root
from rdl_cli.commands.import_rdms import import_rdms
from rdl_cli.commands.plot.plot import plot_mds, plot_rdms
from rdl_cli.commands.settings import (
    CompareRdmsSettings,
    DataSettings,
    ExportSettings,
    ImportSettings,
    StudentSettings,
)
from rdl_cli.commands.train.train import train
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import download, file_digest, is_free, make_folder
from rdl_cli.runs.run import Run

IMAGES, SUBJECTS = "Kriegeskorte_Neuron2008_supplementalData.mat", "92_brainRDMs.mat"
ADDRESS = "https://raw.githubusercontent.com/rsagroup/rsatoolbox/{commit}/demos/92imageData/{name}"
FILES = {
    IMAGES: (
        "9ac4b5cdcb702c02481cabba33c551d187d50b6c",
        "06f21214399a5d43dc264eed19a7f4b8daf11c8622a59eec3e106064ce5e3504",
    ),
    SUBJECTS: (
        "a019e37ee631456aa99425efb33cb4e26e9ea181",
        "1743f90a15e895798a94318649e80e1123a7e5943a1703fa1dd7c31ea5780b7c",
    ),
}
"""Kriegeskorte et al. (2008): rsatoolbox's commit and the SHA-256 of each file."""

LAYERS = ["pool1", "pool2", "fc"]
STUDENT = StudentSettings(
    dataset="digits",
    epochs=15,
    batch_size=50,
    lr=0.1,
    match=["fc=hIT@mean"],
    stimuli_heldout="0.5",
    seeds="0..2",
)
METHODS = {
    # weight 0: the brain similarity is measured, and has no gradient
    "task-only": replace(STUDENT, label="task only", objective=["rsa:weight=0"]),
    "rsa": replace(
        STUDENT, label="rsa with human IT", objective=["rsa"], grad_fraction=["rsa=0.25"]
    ),
}
N_RESAMPLES = 200


class BrainDemo(NamedTuple):
    """The errors, the comparison of RDMs over all stimuli, and a text for the user."""

    comparison: Comparison
    rdm_comparison: RdmComparison
    ending: str


def demo_brain(out: Path, root: str = "") -> BrainDemo:
    """Train students on digits in `out`, some with a layer aligned to human IT over 46 images.

    The other 46 stimuli are held out. The files are read from `root`, or downloaded to it. Raise
    UserError if they differ from the published ones, or cannot be downloaded.
    """
    if not is_free(out):
        raise UserError(
            f"{out} exists already", hint="choose another folder: rdl demo --brain FOLDER"
        )
    images, subjects = (
        find_published(data_root(DataSettings(data_root=root)), name) for name in FILES
    )
    brain = out / "brain.h5"
    make_folder(out)
    log("1. 92 images, human IT of four subjects, monkey IT: rdl import-rdms")
    import_rdms(
        [subjects, images],
        brain,
        ImportSettings(
            stimuli=str(images), regions=["hIT,mIT=mIT_674neurons"], distance="correlation"
        ),
    )
    log(
        "\n2. students on digits, three seeds each, half of the stimuli held out: rdl train-student"
    )
    with brief():
        for name, settings in METHODS.items():
            train(out / name, replace(settings, targets=str(brain)))
    log("\n3. their layers over the brain's stimuli: rdl export-rdms --stimuli")
    stores = {name: out / f"{name}.h5" for name in METHODS}
    export_settings = ExportSettings(layers=LAYERS, distance="correlation")
    for name, store in stores.items():
        export_over_stimuli(out / name / "seed0", brain, store, export_settings)
    log("\n4. results: rdl plot rdm, rdl plot mds, rdl compare, rdl compare-rdms\n")
    plot_rdms(
        [brain, *stores.values()],
        [out / "rdms.svg"],
        HeatmapSettings(layers=["hIT", "mIT", *LAYERS], distance="correlation"),
    )
    methods = [out / name for name in METHODS]
    plot_mds(methods, [out / "map.svg"], MdsSettings(layers=LAYERS))
    comparison = compare(methods)
    rdm_comparison = compare_rdms(
        [brain, *stores.values()],
        CompareRdmsSettings(layers=["hIT", "mIT", "fc"], n_resamples=N_RESAMPLES),
    )
    ending = (
        "\nBrain similarity of the layer fc to human IT (Spearman, mean over subjects;"
        f" seeds {STUDENT.seeds}; noise ceiling of seed 0):\n"
        + "".join(map(_describe_similarity, methods))
        + "Training stimuli can be memorized: the held-out ones count. Digits of 8 × 8 pixels give"
        " little to generalize from;\nrdl reproduce brain-it is the experiment with natural"
        " images.\n"
        f"\nwritten: {', '.join(map(str, methods))} (runs), {brain}, "
        + ", ".join(map(str, stores.values()))
        + f" (stores), {out}/rdms.svg, {out}/map.svg\n"
        f"next:    rdl show {out}/rsa/seed0     or     "
        f"rdl train-student NEW --config {out}/rsa/seed0/config.toml --control shuffle"
    )
    return BrainDemo(comparison, rdm_comparison, ending)


def find_published(root: Path, name: str) -> Path:
    """Return the path of one of FILES below a folder; download it if it is missing.

    Raise UserError if it differs from the published file.
    """
    commit, digest = FILES[name]
    home = root / "krieg92"
    for path in (home / name, root / name):
        if path.is_file():
            if (actual := file_digest(path)) != digest:
                raise UserError(
                    f"{path} is not the published file: its SHA-256 is {actual}, not {digest}",
                    hint="remove it to download it again",
                )
            return path
    url = ADDRESS.format(commit=commit, name=name)
    log(f"downloading {url} to {home}")
    download(url, home / name, digest)
    return home / name


def _describe_similarity(method: Path) -> str:
    """Return two lines with a method's brain similarity: training and held-out stimuli."""
    runs = [Run(path).stimuli for path in sorted(method.glob("seed*"))]
    text = ""
    for split, words in (("train", "training"), ("heldout", "held-out")):
        entries = [
            next(entry for entry in run["brain_similarity"] if entry["stimuli"] == split)
            for run in runs
            if run
        ]
        values = ", ".join(f"{entry['mean_subject_spearman']:.3f}" for entry in entries)
        lower, upper = (entries[0][f"noise_ceiling_{end}"] for end in ("lower", "upper"))
        text += f"    {method.name:9} {words:9} {values}    ceiling {lower:.3f} to {upper:.3f}\n"
    return text
