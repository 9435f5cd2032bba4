"""Read a recipe: a whole experiment in one TOML file. No torch is imported.

title = "..."            its name in the results; the file's header says the rest
[teacher]                options of rdl train-teacher
[teachers.NAME]          one more teacher; methods name it as "teachers.NAME"
[store]                  options of rdl export-rdms
[stores.NAME]            one more store, "stores.NAME" in methods; teacher = "teachers.NAME"
                         [default: the teacher of the same name, else "teacher"]
[students]               options of rdl train-student that all methods share
[methods.NAME]           options of one method; targets and init may name a section, such as "store"
                         like = "OTHER" begins with the options of a method above, and with the
                         setting that was chosen for it
[methods.NAME.tune]      option = [values]: every combination is trained with the settings of
                         [tuning]; the one with the lowest validation error is chosen
[methods.NAME.sweep]     option = [values]: every combination is a method, NAME-VALUE
[tuning]                 settings of the tuning runs, in place of the students'
[comparison]             primary = "A - B": the one comparison that is declared beforehand
[figures]                layers to draw [default: the store's], methods [default: all],
                         per_class: images of each class in heatmaps
[quick]                  the same sections for --quick, merged over the others; without
                         [quick.tuning] nothing is tuned and the first of the values is taken
[paper]                  NAME = published error in %
"""

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from rdl_cli.commands.settings import ExportSettings, StudentSettings, TrainingSettings
from rdl_cli.core.errors import UserError, unknown_name


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """Options of the figures: layers (globs allowed), methods, images of each class in a heatmap.

    `methods` may include teachers.
    """

    layers: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    per_class: int = 10


@dataclass(frozen=True)
class StoreRecipe:
    """A store of a recipe: its settings, and the section of the teacher that it is made from."""

    settings: ExportSettings
    teacher: str


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An experiment. `tune` has the trials of each method, or the method whose choice it takes.

    Teachers and stores are named by their sections: `teacher`, `teachers.NAME`, `store`,
    `stores.NAME`. `primary` are the two methods of the comparison declared beforehand.
    """

    name: str
    title: str = ""
    teachers: dict[str, TrainingSettings] = field(default_factory=dict)
    stores: dict[str, StoreRecipe] = field(default_factory=dict)
    methods: dict[str, StudentSettings]
    tune: dict[str, list[dict[str, Any]] | str] = field(default_factory=dict)
    tuning: dict[str, Any] = field(default_factory=dict)
    primary: tuple[str, str] | None = None
    figures: FigureSettings = field(default_factory=FigureSettings)
    paper: dict[str, float] = field(default_factory=dict)

    def tuned_method(self, method: str) -> str:
        """Return the method whose trials decide the settings of `method`: itself, or its `like`."""
        trials = self.tune[method]
        return trials if isinstance(trials, str) else method

    def trials(self, method: str) -> list[dict[str, Any]]:
        """Return the settings to try for a method, those of its `like` where it has one."""
        trials = self.tune[self.tuned_method(method)]
        assert isinstance(trials, list), f"{method} takes the choice of a method without trials"
        return trials


def teacher_path(section: str, out: Path) -> Path:
    """Return the run folder of the teacher of a section: OUT/teacher or OUT/teachers/NAME."""
    return out.joinpath(*section.split(".", 1))


def store_path(section: str, out: Path) -> Path:
    """Return the store of a section: OUT/store.h5 or OUT/stores/NAME.h5."""
    path = out.joinpath(*section.split(".", 1))
    return path.with_name(path.name + ".h5")


def list_recipes() -> list[str]:
    """Return the names of the recipes that are part of rdl."""
    return sorted(
        file.name.removesuffix(".toml")
        for file in resources.files("rdl_cli.recipes").iterdir()
        if file.name.endswith(".toml")
    )


def read_recipe(
    name: str, out: Path, quick: bool = False, flags: dict[str, Any] | None = None
) -> Recipe:
    """Return the recipe, full or as `--quick` runs it, for the folder `out`.

    `flags` are data options that win over the recipe's. Both sizes are checked whichever is
    wanted. UserError for an unknown section, option, method, data set, network or objective, and
    for a wrong value.
    """
    from rdl_cli.commands.reproduce.recipe_reader import RecipeReader

    try:
        sections = tomllib.loads(recipe_text(name))
    except (ValueError, RecursionError) as error:
        raise UserError(f"the recipe {name} is not TOML: {error}") from error
    smaller = sections.pop("quick", {})
    if quick and not smaller:
        raise UserError(f"the recipe {name} has no [quick] section", hint="run it without --quick")
    reader = RecipeReader(name, out, flags or {})
    full = reader.recipe(sections)
    if not smaller:
        return full
    reader.require_type("quick", smaller, dict)
    quick_reader = RecipeReader(
        name, out, flags or {}, within="quick.", has_tuning="tuning" in smaller
    )
    quick_reader.require_known(
        quick_reader.table(smaller, "methods"),
        quick_reader.table(sections, "methods"),
        "method in [quick.methods]",
    )
    quick_recipe = quick_reader.recipe(quick_reader.merge(sections, smaller))
    return quick_recipe if quick else full


def recipe_text(name: str) -> str:
    """Return the text of a recipe of rdl, or of a .toml file. UserError where it can't be read."""
    path = Path(name)
    try:
        if path.suffix == ".toml":
            return path.read_text(encoding="utf-8")
        if name in list_recipes():
            return (resources.files("rdl_cli.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the recipe {name} could not be read: {error}") from error
    raise unknown_name("recipe", name, list_recipes())
