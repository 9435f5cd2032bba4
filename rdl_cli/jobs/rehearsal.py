"""What can be known of a recipe before anything is trained: that its data and devices are there, and its layers are layers."""

from pathlib import Path

from rdl_cli.core.errors import UserError
from rdl_cli.core.seeds import Seeds
from rdl_cli.datasets.splits import Split
from rdl_cli.jobs.devices import device_of
from rdl_cli.jobs.export_rdms import check
from rdl_cli.jobs.pictures import load
from rdl_cli.jobs.plan import Plan
from rdl_cli.jobs.recipe import Recipe
from rdl_cli.jobs.representations import Wanted
from rdl_cli.jobs.settings import Data, Training
from rdl_cli.jobs.teachers import followed, read_matches
from rdl_cli.networks.networks import Pictures, build
from rdl_cli.networks.taps import choose, shapes
from rdl_cli.stores.run import Run


def rehearse(recipe: Recipe, out: Path) -> None:
    """UserError for a data set, file or device that is not there, more images than there are, and a layer that no network has.

    Nothing is written. Where every method is finished already, nothing is needed any more.
    """
    if all(_finished(out / name, settings) for name, settings in recipe.methods.items()):
        return
    if (out / "results").is_file():
        raise UserError(f"{out / 'results'} is a file; the tables and figures need a folder there", hint="choose another --out")
    splits: dict[tuple, Split] = {}

    def shown(data: Data) -> Split:
        which = data.dataset, data.data_root, data.image_size
        if which not in splits:
            splits[which] = load(data).train
        return splits[which]

    def layers(settings: Training) -> list[str]:
        split = shown(settings)
        device_of(settings.device)
        Plan.of(settings, split, Seeds(settings.seed))
        pictures = Pictures(*split.images.shape[1:])
        return list(shapes(build(settings.network, pictures, len(split.classes)), pictures))

    known = {name: layers(settings) for name, settings in recipe.methods.items()}
    known |= {"teacher": layers(recipe.teacher)} if recipe.teacher else {}
    stored = choose(recipe.store.layer_names(), known["teacher"]) if recipe.store else []
    if recipe.store:
        check(recipe.store)
        device_of(recipe.store.device)
        if recipe.store.dataset:
            shown(recipe.store)
    for name, settings in recipe.methods.items():
        for path in (settings.targets, settings.init):
            if path and Path(path) not in (out / "store.h5", out / "teacher") and not Path(path).exists():
                raise UserError(f"[methods.{name}]: there is no {path}", hint="the recipe's header may say how it is made")
        matches = read_matches(settings.match)
        choose([match.mine for match in matches], known[name])
        if settings.targets == str(out / "store.h5"):
            choose([match.theirs for match in followed(settings)], stored, "layer of the store")
    if recipe.figures.layers:
        drawn = Wanted(recipe.figures.layers)
        for name in recipe.figures.methods or known:
            drawn.of(known[name], out / name)
        drawn.check()


def _finished(out: Path, settings: Training) -> bool:
    return all(Run(out / f"seed{seed}" if settings.seeds else out).finished for seed in settings.seed_list())
