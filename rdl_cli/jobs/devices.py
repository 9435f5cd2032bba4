"""Which device a person means."""

import torch

from rdl_cli.core.errors import UserError, unknown


def device_of(asked: str) -> str:
    """`cpu`, `cuda` or `mps`; `auto` is the fastest there is. UserError for one that this machine does not have."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if asked not in there:
        raise unknown("device", asked, ["auto", *there])
    if not there[asked]:
        raise UserError(f"this machine has no device `{asked}` that torch {torch.__version__} can use", hint="say --device cpu")
    return asked
