"""Check the tables of a recipe. Every error names the recipe and the section."""

from collections.abc import Iterable
from typing import Any, get_type_hints

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.toml_types import has_type, type_name

RESERVED_NAMES = ("teacher", "teachers", "store.h5", "stores", "tuning", "results", "slurm")
"""Names of other files and folders beside the methods' folders."""
MAX_NAME_BYTES = 100
"""Bytes of a method's name; file systems allow 255, and temporary files have longer names."""


class TableReader:
    """Reads tables of the recipe `name`. `within` is `quick.` for the sections of --quick."""

    def __init__(self, name: str, within: str = ""):
        self.name, self.within = name, within

    def table(self, tables: dict[str, Any], key: str, section: str = "") -> dict[str, Any]:
        """Return a section, empty where it is absent. UserError where it is no table."""
        table = tables.get(key, {})
        if not isinstance(table, dict):
            raise self.error(section or key, f"it is {table!r}; a table is needed")
        return table

    def options(self, kind: type, table: dict[str, Any], section: str) -> dict[str, Any]:
        """Return a section's options by field. UserError for an unknown one or a wrong type."""
        hints = get_type_hints(kind)
        fields = {name.rstrip("_"): name for name in hints if name not in ("label", "trust")}
        written = {key.replace("-", "_"): value for key, value in table.items()}
        self.require_known(written, fields, f"option in [{self.within}{section}]")
        for key, value in written.items():
            self.require_type(key, value, hints[fields[key]], section)
        return {fields[key]: value for key, value in written.items()}

    def merge(
        self, table: dict[str, Any], smaller: dict[str, Any], section: str = ""
    ) -> dict[str, Any]:
        """Return one nested table merged over another."""
        merged = dict(table)
        for key, value in smaller.items():
            inner = f"{section}.{key}".lstrip(".")
            merged[key] = (
                self.merge(self.table(table, key, inner), value, inner)
                if isinstance(value, dict)
                else value
            )
        return merged

    def check_name(self, name: str, section: str) -> None:
        """Raise UserError if a name can't be a folder's, or is the name of another file."""
        valid = (
            name.isprintable()
            and 0 < len(name.encode()) <= MAX_NAME_BYTES
            and not name.startswith(".")
            and not set(name) & set("/\\")
        )
        if name in RESERVED_NAMES or not valid:
            hint = (
                f"use at most {MAX_NAME_BYTES} letters, no / and no dot at the beginning; "
                f"reserved: {', '.join(RESERVED_NAMES)}"
            )
            raise self.error(section, f"{name!r} can't be the name of a folder", hint)

    def require_known(self, names: Iterable[str], known: Iterable[str], what: str) -> None:
        """Raise UserError for a name that is not among the known ones."""
        for name in names:
            if name not in known:
                raise unknown_name(what, name, known)

    def require_type(self, key: str, value: Any, kind: Any, section: str = "") -> None:
        """Raise UserError if a value is not of the annotated type."""
        if not has_type(value, kind):
            fact = f"`{key}` is {value!r}; {type_name(kind)} is needed"
            if section:
                raise self.error(section, fact)
            raise UserError(f"the recipe {self.name}: {fact}")

    def error(self, section: str, fact: str, hint: str | None = None) -> UserError:
        return UserError(f"[{self.within}{section}] of the recipe {self.name}: {fact}", hint)
