"""Settings of `rdl plot rsa`. No torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.commands.style_settings import StyleSettings


@dataclass(frozen=True, kw_only=True)
class RsaSettings(CompareRdmsSettings, StyleSettings):
    """Layers and regions to compare, and the kind of figure."""

    kind: Annotated[Literal["bars", "lines"], "bars, or lines through a network's layers"] = "bars"

    def check(self) -> None:
        super().check()
        self.check_style()
