"""Records as a pandas table; pandas is imported only here, because few need it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rdl_cli.core.errors import UserError, unknown_name

if TYPE_CHECKING:
    from pandas import DataFrame


def make_frame(tables: Mapping[str, Sequence[Any]], name: str) -> "DataFrame":
    """Return the dataclasses of one of the tables, a row each.

    Raises:
        UserError: there is no such table, or pandas is not installed.
    """
    if name not in tables:
        raise unknown_name("table", name, tables)
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError("pandas is not installed", hint="pip install pandas") from error
    return pd.DataFrame([vars(record) for record in tables[name]])
