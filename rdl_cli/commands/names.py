"""Check every registered name in settings; names that files hold need trust to import code."""

from collections.abc import Container, Iterator
from typing import Any

from rdl_cli.commands.listing import find_registry
from rdl_cli.core.registry import NameSource

REGISTRY_KINDS = {
    "dataset": "datasets",
    "views": "views",
    "network": "networks",
    "schedule": "schedules",
    "optimizer": "optimizers",
    "preprocessing": "preprocessing",
    "objective": "objectives",
    "control": "controls",
    "distance": "distances",
    "measure": "measures",
    "rdm_distance": "RDM distances",
}
"""Setting → the kind of the registry that its names belong to."""


def iterate_names(settings: Any) -> Iterator[tuple[str, str, str]]:
    """Yield setting, kind of registry and name for every name in the settings."""
    for setting, kind in REGISTRY_KINDS.items():
        value = getattr(settings, setting, "")
        for name in [value] if isinstance(value, str) else value:
            if name:
                yield setting, kind, name


def check_names(settings: Any, source: NameSource, only: Container[str] | None = None) -> None:
    """Raise UserError for an unknown name, and for code of a file that is not trusted.

    `only` are the settings to look at, all if None. A trusted module is imported here, without the
    current folder; later look-ups take it from sys.modules.
    """
    for setting, kind, name in iterate_names(settings):
        if only is None or setting in only:
            find_registry(kind).find(name, source)
