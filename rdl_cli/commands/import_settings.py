"""What an import can be told. No torch."""

from dataclasses import dataclass, field
from typing import Annotated

from rdl_cli.commands.settings import require_at_least


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What the files' stimuli are, and what the files themselves don't say."""

    stimuli: Annotated[
        str, "the pictures: a folder (or one of folders, its categories), or a .mat that holds them"
    ] = ""
    names: Annotated[
        str, "a text file with the stimuli's names, a line for each, in the order of the RDMs' rows"
    ] = ""
    labels: Annotated[
        str,
        "the stimuli's categories: .csv of name,category; a text file, a line for each; a .mat of pictures",
    ] = ""
    image_size: Annotated[
        int | None, "side in pixels to which pictures of different sizes are scaled and cut"
    ] = None
    distance: Annotated[
        str,
        "the RDMs' distance where the file doesn't say it: correlation, crossnobis, arrangement, ...",
    ] = ""
    regions: Annotated[
        list[str],
        "regions to take, NEW=OLD renames: IT, V*, IT=IT_RDMs; repeat or separate by commas",
    ] = field(default_factory=list)
    axes: Annotated[
        str, "an array's axes in order where its shape is not enough: subject,time,i,j"
    ] = ""
    repair: Annotated[
        list[str], "repair by name what is wrong with an RDM; each error names its repair"
    ] = field(default_factory=list)
    format: Annotated[str, "insist on one format (rdl list formats)"] = ""
    responses: Annotated[
        str, "the files hold responses: their RDMs by correlation, mahalanobis or crossnobis"
    ] = ""

    def check(self) -> None:
        """UserError for a value that no import can have."""
        require_at_least(self, image_size=1)
