"""rdl: train networks to take over the representational geometry of a teacher.

Public names are imported lazily: `import rdl_cli as rdl` costs nothing and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdl_cli.api import compare as compare
    from rdl_cli.api import compare_rdms as compare_rdms
    from rdl_cli.api import export_rdms as export_rdms
    from rdl_cli.api import import_rdms as import_rdms
    from rdl_cli.api import rdl_loss as rdl_loss
    from rdl_cli.api import train_student as train_student
    from rdl_cli.api import train_teacher as train_teacher
    from rdl_cli.core.errors import UserError as UserError
    from rdl_cli.rsa.rdms import RDMs as RDMs
    from rdl_cli.runs.run import Run as Run
    from rdl_cli.statistics.mcnemar import mcnemar as mcnemar
    from rdl_cli.store.store import Store as Store

_HOMES = {
    "CONTROLS": "rdl_cli.rsa.control_rdms",
    "DATASETS": "rdl_cli.datasets.base",
    "DISTANCES": "rdl_cli.rsa.distances",
    "MEASURES": "rdl_cli.rsa.measures",
    "NETWORKS": "rdl_cli.networks.factory",
    "OBJECTIVES": "rdl_cli.training.objective",
    "RDMs": "rdl_cli.rsa.rdms",
    "Run": "rdl_cli.runs.run",
    "Store": "rdl_cli.store.store",
    "UserError": "rdl_cli.core.errors",
    "compare": "rdl_cli.api",
    "compare_rdms": "rdl_cli.api",
    "export_rdms": "rdl_cli.api",
    "import_rdms": "rdl_cli.api",
    "mcnemar": "rdl_cli.statistics.mcnemar",
    "rdl_loss": "rdl_cli.api",
    "train_student": "rdl_cli.api",
    "train_teacher": "rdl_cli.api",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("rdl")
    if name not in _HOMES:
        raise AttributeError(f"module `rdl_cli` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
