"""rdl: networks that take over the representational geometry of a teacher.

The public names are handed on lazily, so that `import rdl_cli` costs nothing and never brings torch along.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rdl_cli.core.errors import UserError as UserError
    from rdl_cli.runs.run import Run as Run
    from rdl_cli.store.store import Store as Store

_HOMES = {
    "DATASETS": "rdl_cli.datasets.base",
    "DISTANCES": "rdl_cli.rsa.distances",
    "NETWORKS": "rdl_cli.networks.factory",
    "OBJECTIVES": "rdl_cli.training.objective",
    "RDMs": "rdl_cli.rsa.rdms",
    "Run": "rdl_cli.runs.run",
    "Store": "rdl_cli.store.store",
    "UserError": "rdl_cli.core.errors",
    "compare": "rdl_cli.commands.compare.compare",
    "export_rdms": "rdl_cli.commands.export_rdms.export_rdms",
    "train": "rdl_cli.commands.train.train",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module `rdl_cli` has no attribute `{name}`")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
