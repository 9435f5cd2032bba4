"""The student's first weights, and the preprocessing that they need."""

from pathlib import Path

from torch import nn

from rdl_cli.commands.console import log
from rdl_cli.commands.network_source import resolve_preprocessing
from rdl_cli.commands.settings import TrainingSettings
from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.networks import weights
from rdl_cli.networks.factory import InputShape, build_network
from rdl_cli.networks.pretrained import find_transform, find_weights


def build_student(
    settings: TrainingSettings, shape: InputShape, classes: int, seeds: Seeds
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network, and the tensors without initial values from --init or --weights.

    It has the seed's weights, then those of --init or --weights that fit.
    """
    seeds.seed_global("initialisation")
    student = build_network(settings.network, shape, classes)
    if settings.init and settings.weights:
        raise UserError(
            f"--init is {settings.init} and --weights is {settings.weights}",
            hint="pass one of them: --init for a run of rdl, --weights for other weights",
        )
    path = Path(settings.init)
    if settings.weights:
        path = find_weights(settings.network, settings.weights, settings.download).file
    if settings.init or settings.weights:
        tensors, unwrapped = weights.read_state_dict(path)
        copied, new = weights.load_matching(student, tensors)
        if not copied:
            raise UserError(
                f"no tensor of {path} fits the network `{settings.network}`",
                hint="names and shapes must be the same",
            )
        rest = f"; new: {', '.join(new)}" if new else ""
        log(
            f"{len(copied)} tensors start as in {path}"
            f"{f' ({unwrapped})' if unwrapped else ''}{rest}"
        )
        return student, tuple(new)
    if settings.epochs == 0:
        raise UserError(
            "--epochs 0 evaluates existing weights, but there are none",
            hint="pass --init RUN or --weights FILE",
        )
    return student, ()


def choose_preprocessing(settings: TrainingSettings) -> str:
    """Return the preprocessing of the settings; with --weights by default that of the weights.

    UserError if it is not that of the weights.
    """
    if not settings.weights:
        return settings.preprocessing
    transform = find_transform(settings.network, settings.weights)
    default = TrainingSettings().preprocessing
    if transform and settings.preprocessing == default:
        return transform.preprocessing
    return resolve_preprocessing(settings.preprocessing, settings.network, transform)
