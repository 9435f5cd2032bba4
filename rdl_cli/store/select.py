"""Select RDMs of a stored layer by a text: `IT@BE` is one subject's, `IT@session1@mean` a mean.

The parts after `@` narrow in turn. `@mean` averages the RDMs that the others leave, wherever it
stands. `RDMs.select` lists the parts. A layer whose own name has an `@` is named in full.
"""

from dataclasses import replace

from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.rsa.rdms import MEAN, RDMs
from rdl_cli.store.layers import StoredLayer
from rdl_cli.store.store import Store


def split_layer(store: Store, text: str) -> tuple[str, list[str]]:
    """Return the layer and the parts that a text names. UserError if there is no such layer."""
    if text in store.layers:
        return text, []
    layers = [layer for layer in store.layers if text.startswith(f"{layer}@")]
    if not layers:
        raise unknown_name(
            "layer",
            text.partition("@")[0],
            store.layers,
            hint=f"{store.path} holds: {', '.join(store.layers)}",
        )
    layer = max(layers, key=len)
    return layer, text.removeprefix(f"{layer}@").split("@")


def select(store: Store, text: str) -> RDMs:
    """Return the RDMs that a text names, at least one; the last note describes the selection.

    UserError if a part is unknown; the hint lists the parts there are.
    """
    layer, parts = split_layer(store, text)
    rdms = replace(store.rdms(layer), region=layer)
    for part in parts:
        rdms = rdms.select(part) if part != MEAN else rdms
    description = ", ".join([layer, *(part for part in parts if part != MEAN)])
    if MEAN in parts:
        description += f": mean of {rdms.describe()}"
        rdms = rdms.mean()
    return replace(rdms, notes=(*rdms.notes, description))


def select_one(store: Store, text: str) -> RDMs:
    """Return the one RDM that a text names. UserError if there are several; the hint names some."""
    rdms = select(store, text)
    if len(rdms) > 1:
        some = ", ".join(f"{text}@{part}" for part in (MEAN, *rdms.parts[:3]))
        raise UserError(
            f"`{text}` of {store.path} is {rdms.describe()}; one RDM is needed",
            hint=f"choose one: {some}",
        )
    return rdms


def select_layer(store: Store, text: str) -> StoredLayer:
    """Return the stored layer that a text names, with the RDMs that the text selects."""
    layer, parts = split_layer(store, text)
    stored = store.layer(layer)
    return stored.with_selection(select(store, text)) if parts else stored
