"""Run the four verbs one after another on images that need no download."""

from dataclasses import replace
from pathlib import Path

from rdl_cli.commands.compare.compare import Comparison, compare
from rdl_cli.commands.console import brief, log
from rdl_cli.commands.export_rdms.export_rdms import export_rdms
from rdl_cli.commands.settings import ExportSettings, StudentSettings, TrainingSettings
from rdl_cli.commands.train.train import train
from rdl_cli.core.errors import UserError
from rdl_cli.core.files import is_free

LAYERS = ["pool1", "pool2", "fc"]
TEACHER = TrainingSettings(dataset="digits", epochs=30, batch_size=50, lr=0.1, label="teacher")
BASELINE = StudentSettings(
    dataset="digits",
    epochs=30,
    batch_size=50,
    lr=0.1,
    train_size=50,
    use_unlabelled=True,
    seeds="0..2",
    label="baseline, 50 labels",
)


def demo(out: Path) -> tuple[Comparison, str]:
    """Train a teacher and students in `out`; return their comparison and a text for the user.

    The teacher has 1,000 labelled digits. The students have 50 labelled and 950 unlabelled ones:
    the baseline without a teacher, the others with the teacher's geometry over all of them.
    """
    if not is_free(out):
        raise UserError(f"{out} exists already", hint="choose another folder: rdl demo FOLDER")
    store = out / "teacher.h5"
    rdl = replace(
        BASELINE, targets=str(store), match=LAYERS, objective=["rdl"], label="rdl, 50 labels"
    )
    log("1. a teacher with all labels: rdl train-teacher")
    with brief():
        train(out / "teacher", TEACHER)
    log("\n2. its activations over the training images, stored once: rdl export-rdms")
    with brief():
        export_rdms(out / "teacher", store, ExportSettings(layers=LAYERS))
    log("\n3. students with 50 labels, three seeds each: rdl train-student")
    with brief():
        train(out / "baseline", BASELINE)
        train(out / "rdl", rdl)
    log("\n4. errors on the test images: rdl compare\n")
    comparison = compare([out / name for name in ("teacher", "baseline", "rdl")])
    ending = (
        f"\nwritten: {out}/teacher, {out}/baseline/seed0..2, {out}/rdl/seed0..2 (runs)"
        f" and {store} (the teacher's store)\n"
        "note:    the teacher has the labels of all training images, the students 50 of them.\n"
        f"next:    rdl show {out}/rdl/seed0"
        f"     or     rdl plot curves {out}/baseline {out}/rdl --out curves.svg"
    )
    return comparison, ending
