"""Settings of the look of figures. No torch, no matplotlib."""

from dataclasses import dataclass
from typing import Annotated

from rdl_cli.core.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StyleSettings:
    """The width, font and style of a figure."""

    width: Annotated[float | None, "width in mm, such as a journal's 89 or 183"] = None
    font: Annotated[str, "font family; it must be installed"] = ""
    style: Annotated[str, "matplotlibrc or .mplstyle file, which wins over rdl's style"] = ""

    def check_style(self) -> None:
        """Raise UserError if the width is out of range."""
        if self.width is not None and not 60 <= self.width <= 1000:
            raise UserError(
                f"--width is {self.width:g} mm; 60 to 1000 is needed", hint="use 89, or 183"
            )
