"""The verbs of the command line as Python functions: `import rdl_cli as rdl`.

Options have the names and defaults of the command line, with `_` for `-`; see
rdl_cli/commands/settings.py. A mistake raises UserError before anything is written.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from rdl_cli.commands.compare.compare import Comparison
    from rdl_cli.commands.compare_rdms.results import RdmComparison
    from rdl_cli.commands.settings import TrainingSettings
    from rdl_cli.runs.run import Run
    from rdl_cli.store.store import Store

AnyPath = str | PathLike[str]
S = TypeVar("S")


def train_teacher(out: AnyPath, *, resume: bool = False, **options: Any) -> "Run | list[Run]":
    """Train a network to be a teacher or a baseline, as `rdl train-teacher`.

    Args:
        out: the run's folder; with `seeds`, the folder of the seeds' runs.
        resume: continue an interrupted run, skip finished ones.
        options: fields of TrainingSettings, such as `dataset="mnist", epochs=8`.

    Returns:
        The finished run; with `seeds`, a list of them.

    Raises:
        UserError: an option, a name or a file is wrong.
    """
    from rdl_cli.commands.settings import TrainingSettings

    return _train(out, _make_settings(TrainingSettings, options), resume)


def train_student(out: AnyPath, *, resume: bool = False, **options: Any) -> "Run | list[Run]":
    """Train a network whose layers follow a teacher's, as `rdl train-student`.

    Args:
        out: the run's folder; with `seeds`, the folder of the seeds' runs.
        resume: continue an interrupted run, skip finished ones.
        options: fields of StudentSettings, such as `targets="teacher.h5", match=["fc"]`.

    Returns:
        The finished run; with `seeds`, a list of them.

    Raises:
        UserError: an option, a name or a file is wrong.
    """
    from rdl_cli.commands.settings import StudentSettings

    return _train(out, _make_settings(StudentSettings, options), resume)


def export_rdms(
    source: AnyPath, out: AnyPath, *, stimuli: AnyPath | None = None, **options: Any
) -> "Store":
    """Store a teacher's activations, RDMs or kernels, as `rdl export-rdms`.

    Args:
        source: a finished run, or a network such as `torchvision:resnet18` with `weights=`.
        out: the store to make or to add layers to.
        stimuli: a brain's store or a folder of images, in place of a data set.
        options: fields of ExportSettings, such as `layers=["fc"], as_="rdm"`.

    Raises:
        UserError: an option, a layer or a file is wrong.
    """
    from rdl_cli.commands.export_rdms.brain_stimuli import export_over_stimuli
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms as export
    from rdl_cli.commands.settings import ExportSettings
    from rdl_cli.store.store import Store

    settings = _make_settings(ExportSettings, options)
    if stimuli is None:
        export(Path(source), Path(out), settings)
    else:
        export_over_stimuli(Path(source), Path(stimuli), Path(out), settings)
    return Store.open(Path(out))


def import_rdms(files: AnyPath | Sequence[AnyPath], store: AnyPath, **options: Any) -> "Store":
    """Make a store of measured RDMs, as `rdl import-rdms`.

    Args:
        files: one file or several, of any known format (`rdl list formats`).
        store: the store to make.
        options: fields of ImportSettings, such as `stimuli="92images", regions=["IT"]`.

    Raises:
        UserError: a file is damaged, ambiguous or of no known format.
    """
    from rdl_cli.commands.import_rdms import import_rdms as import_files
    from rdl_cli.commands.settings import ImportSettings
    from rdl_cli.store.store import Store

    paths = [files] if isinstance(files, str | PathLike) else files
    import_files(list(map(Path, paths)), Path(store), _make_settings(ImportSettings, options))
    return Store.open(Path(store))


def compare(
    *runs: AnyPath,
    epoch: str = "final",
    baseline: str | None = None,
    primary: tuple[str, str] | None = None,
) -> "Comparison":
    """Compare runs and methods by their errors on the same test images, as `rdl compare`.

    Args:
        runs: finished runs, folders of runs, or one predictions.npz.
        epoch: `final` or `best` (on validation images).
        baseline: compare with this method only.
        primary: the comparison declared before the runs; its p is not corrected.

    Raises:
        UserError: runs are unfinished or were tested on different images.
    """
    from rdl_cli.commands.compare.compare import compare as compare_runs

    return compare_runs(list(map(Path, runs)), epoch, baseline, primary)


def compare_rdms(*sources: AnyPath, **options: Any) -> "RdmComparison":
    """Compare representations of stores, brains and networks, as `rdl compare-rdms`.

    Args:
        sources: stores or finished runs.
        options: fields of CompareRdmsSettings, such as `measure=["spearman"]`.

    Raises:
        UserError: an option, a layer or a file is wrong.
    """
    from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms as compare_sources
    from rdl_cli.commands.settings import CompareRdmsSettings

    return compare_sources(list(map(Path, sources)), _make_settings(CompareRdmsSettings, options))


def rdl_loss(student: "Tensor", teacher: "Tensor", distance: str = "mse") -> "Tensor":
    """Return RDL's loss of one layer over all pairs (McClure & Kriegeskorte 2016, Eq. 2).

    Args:
        student: (n, ...) activations, with gradient.
        teacher: (n, ...) activations of the same images, or their (n, n) distances if it is a
            symmetric matrix with a zero diagonal.
        distance: a registered distance, `rdl list distances`.

    Returns:
        The mean squared difference of the distances, over the teacher's mean squared distance.

    Raises:
        UserError: the distance is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
        >>> rdl_loss(student, 2 * student.detach()).item()
        0.5625
    """
    import torch

    from rdl_cli.rsa.condensed import condensed_pairs
    from rdl_cli.rsa.distances import DISTANCES

    measure = DISTANCES.find(distance)
    n = len(student)
    i, j = condensed_pairs(n, student.device)
    with torch.autocast(student.device.type, enabled=False):
        is_rdm = teacher.shape == (n, n) and not teacher.diagonal().any()
        target = (teacher if is_rdm else measure(teacher, teacher))[i, j].detach().float()
        distances = measure(student, student)[i, j]
        return (distances - target).square().mean() / target.square().mean()


def _train(out: AnyPath, settings: "TrainingSettings", resume: bool) -> "Run | list[Run]":
    from rdl_cli.commands.train.train import train

    runs = train(Path(out), settings, resume)
    return runs if settings.seeds else runs[0]


def _make_settings(kind: type[S], options: dict[str, Any]) -> S:
    """Return settings; paths may be given as such. UserError for an unknown option."""
    from dataclasses import fields

    from rdl_cli.core.errors import unknown_name

    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    return kind(**{k: str(v) if isinstance(v, PathLike) else v for k, v in options.items()})
