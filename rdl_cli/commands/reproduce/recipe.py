"""A recipe: a whole experiment in one TOML file, read and checked to its last name before anything is trained. No torch of its own.

title = "..."                       what it reproduces; the file's header says the rest
[teacher]                           options of rdl train-teacher
[store]                             options of rdl export-rdms
[students]                          options of rdl train-student that all methods share
[methods.NAME]                      those of one method; targets and init may say "store" and "teacher"; like = "OTHER" begins
                                    with the options of a method above, and with what was chosen for it
[methods.NAME.tune]                 option = [values]: tried with the settings of [tuning], the best on validation is kept
[tuning]                            settings of the tuning runs, in place of the students'
[figures]                           layers that are drawn [default: the store's], methods [default: all], per_class images of heatmaps
[quick]                             the same sections, for --quick: what is smaller there; without [quick.tuning] nothing is tuned,
                                    and the first of the values is taken
[paper]                             NAME = error in % that was published
"""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from rdl_cli.commands.listing import find_registry
from rdl_cli.commands.settings import (
    DataSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.registry import Registry
from rdl_cli.core.toml_types import has_type, type_name

T = TypeVar("T")

SECTIONS = ("title", "teacher", "store", "students", "methods", "tuning", "figures", "paper")
RESERVED_NAMES = ("teacher", "store.h5", "tuning", "results")
"""What lies beside the methods' folders."""
MAX_NAME_BYTES = 100
"""Bytes of a method's name; file systems end at 255, and files are written beside their place under longer names."""


@dataclass(frozen=True, kw_only=True)
class FigureSettings:
    """What is drawn of it: layers (globs allowed), methods (`teacher` among them), and pictures of each class in a heatmap."""

    layers: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    per_class: int = 10


@dataclass(frozen=True)
class Recipe:
    """What is to be run. `tune` lists, for each method, the settings that are to be tried before, or the method whose choice it takes."""

    name: str
    title: str
    teacher: TrainingSettings | None
    store: ExportSettings | None
    methods: dict[str, StudentSettings]
    tune: dict[str, list[dict[str, Any]] | str]
    tuning: dict[str, Any]
    figures: FigureSettings
    paper: dict[str, float]


def list_recipes() -> list[str]:
    """The recipes that come with rdl."""
    return sorted(
        file.name.removesuffix(".toml")
        for file in resources.files("rdl_cli.recipes").iterdir()
        if file.name.endswith(".toml")
    )


def read_recipe(
    name: str, out: Path, quick: bool = False, flags: dict[str, Any] | None = None
) -> Recipe:
    """The recipe, in full or as `--quick` runs it, for a folder `out`; `flags` are options of data that win over the recipe's.

    Both sizes are checked whichever is wanted. UserError for a section, option, value, method, data set, network or objective
    that there is not.
    """
    try:
        given = tomllib.loads(_text(name))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the recipe {name} is not TOML: {error}") from error
    smaller = given.pop("quick", {})
    if quick and not smaller:
        raise UserError(f"the recipe {name} has no [quick] section", hint="run it without --quick")
    full = _Reader(name, "").recipe(given, out, flags or {})
    if not smaller:
        return full
    _Reader(name, "").refuse_type("quick", smaller, dict)
    reader = _Reader(name, "quick.", tunes="tuning" in smaller)
    reader.refuse_unknown(
        reader.table(smaller, "methods"), full.methods, "method in [quick.methods]"
    )
    small = reader.recipe(reader.merged(given, smaller), out, flags or {})
    return small if quick else full


def _text(name: str) -> str:
    path = Path(name)
    try:
        if path.suffix == ".toml":
            return path.read_text(encoding="utf-8")
        if name in list_recipes():
            return (resources.files("rdl_cli.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the recipe {name} could not be read: {error}") from error
    raise unknown_name("recipe", name, list_recipes())


class _Reader:
    """From tables to settings; what is wrong is said with the recipe's name and the section, which for --quick begins with `quick.`."""

    def __init__(self, name: str, within: str, tunes: bool = True):
        self.name, self.within, self.tunes = name, within, tunes

    def recipe(self, given: dict[str, Any], out: Path, flags: dict[str, Any]) -> Recipe:
        self.refuse_unknown(
            given,
            SECTIONS,
            f"section in {'[quick] of ' if self.within else ''}the recipe {self.name}",
        )
        self.refuse_type("title", given.get("title", ""), str)
        data = {name: value for name, value in flags.items() if value}
        teacher = self.settings(TrainingSettings, given, "teacher", data | {"label": "teacher"})
        store = self.settings(ExportSettings, given, "store", data)
        if store and not teacher:
            raise self.error(
                "store", "it is made of the teacher's layers, and there is no [teacher]"
            )
        if store and not store.layers:
            raise self.error(
                "store",
                "no layers are named",
                'write layers = ["NAME", ...]; rdl layers NETWORK lists them',
            )
        shared = self.options(StudentSettings, self.table(given, "students"), "students")
        tuning = self.options(StudentSettings, self.table(given, "tuning"), "tuning")
        places = ({"store": str(out / "store.h5")} if store else {}) | (
            {"teacher": str(out / "teacher")} if teacher else {}
        )
        methods, tune = self.methods(self.table(given, "methods"), shared, data, tuning, places)
        if not methods:
            raise UserError(
                f"the recipe {self.name} has no methods",
                hint="a recipe has a section [methods.NAME] for each",
            )
        drawn = self.made(
            FigureSettings,
            self.options(FigureSettings, self.table(given, "figures"), "figures"),
            "figures",
        )
        models = [*methods, *(["teacher"] if teacher else [])]
        self.refuse_unknown(drawn.methods, models, f"method in [{self.within}figures]")
        if drawn.per_class < 1:
            raise self.error("figures", f"per_class is {drawn.per_class}; at least 1 is needed")
        paper = self.table(given, "paper")
        self.refuse_unknown(paper, models, f"method in [{self.within}paper]")
        for model, published in paper.items():
            self.refuse_type(model, published, float, "paper")
        return Recipe(
            Path(self.name).stem,
            given.get("title", ""),
            teacher,
            store,
            methods,
            tune,
            tuning,
            drawn,
            paper,
        )

    def methods(
        self,
        given: dict[str, Any],
        shared: dict[str, Any],
        data: dict[str, Any],
        tuning: dict[str, Any],
        places: dict[str, str],
    ) -> tuple[dict[str, StudentSettings], dict[str, list[dict[str, Any]] | str]]:
        """The settings of every method, and what is to be tried for it: `Recipe.methods` and `Recipe.tune`."""
        methods: dict[str, StudentSettings] = {}
        tune: dict[str, list[dict[str, Any]] | str] = {}
        all_options: dict[str, dict[str, Any]] = {}
        for method in given:
            section = f"methods.{method}"
            self.refuse_name(method, section)
            own = dict(self.table(given, method, section))
            like, grid = own.pop("like", None), self.table(own, "tune", f"{section}.tune")
            own.pop("tune", None)
            options = self.options(StudentSettings, own, section)
            if like is not None:
                self.refuse_type("like", like, str, section)
                if like not in methods:
                    raise unknown_name(
                        f"method above [{self.within}{section}] in the recipe {self.name}",
                        like,
                        methods,
                    )
                if grid:
                    raise self.error(
                        section,
                        f"it takes what was chosen for {like}, and has a grid of its own",
                        "leave out one of the two",
                    )
                options = all_options[like] | options
                tune[method] = like if isinstance(tune[like], list) else tune[like]
            else:
                trials = self.grid(grid, f"{section}.tune")
                tune[method] = trials if self.tunes else trials[:1]
            all_options[method] = options
            made = self.made(StudentSettings, shared | options | data | {"label": method}, section)
            methods[method] = self.placed(made, places, section)
            for trial in tune[method] if isinstance(tune[method], list) else ():
                assert isinstance(trial, dict), "a grid is of trials"
                self.made(
                    StudentSettings,
                    shared | options | {"seeds": ""} | tuning | trial | {"label": method},
                    f"{section}.tune",
                )
        return methods, tune

    def table(self, given: dict[str, Any], key: str, section: str = "") -> dict[str, Any]:
        """A section, empty where there is none."""
        found = given.get(key, {})
        if not isinstance(found, dict):
            raise self.error(section or key, f"it is {found!r}; a table is needed")
        return found

    def settings(
        self, kind: type[T], given: dict[str, Any], section: str, more: dict[str, Any]
    ) -> T | None:
        if section not in given:
            return None
        return self.made(
            kind, self.options(kind, self.table(given, section), section) | more, section
        )

    def options(self, kind: type, given: dict[str, Any], section: str) -> dict[str, Any]:
        """The section's options under the names of the settings' fields. UserError for one that there is not, and for a wrong type."""
        hints = get_type_hints(kind)
        known = {
            name.rstrip("_"): name for name in hints if name != "label"
        }  # the label is the method's name
        written = {key.replace("-", "_"): value for key, value in given.items()}
        self.refuse_unknown(written, known, f"option in [{self.within}{section}]")
        for key, value in written.items():
            self.refuse_type(key, value, hints[known[key]], section)
        return {known[key]: value for key, value in written.items()}

    def made(self, kind: type[T], options: dict[str, Any], section: str) -> T:
        """The settings, with their values and every name in them checked."""
        made = kind(**options)
        try:
            if isinstance(made, TrainingSettings):
                made.check()
            if isinstance(made, DataSettings):
                _check_names(made)
        except UserError as error:
            raise self.error(section, str(error), error.hint) from error
        return made

    def placed(
        self, settings: StudentSettings, places: dict[str, str], section: str
    ) -> StudentSettings:
        """The settings with the paths of what `store` and `teacher` stand for."""
        for key in ("targets", "init"):
            word = getattr(settings, key)
            if word in ("store", "teacher") and word not in places:
                raise self.error(section, f'it has {key} = "{word}", and there is no [{word}]')
            settings = replace(settings, **{key: places.get(word, word)})
        return settings

    def grid(self, tune: dict[str, Any], section: str) -> list[dict[str, Any]]:
        """Every combination of the values, none where there are none to try."""
        tried = []
        for key, values in tune.items():
            self.refuse_type(key, values, list, section)
            if not values:
                raise self.error(section, f"`{key}` has no values to try")
            tried.append([self.options(StudentSettings, {key: value}, section) for value in values])
        return (
            [
                {name: value for each in combination for name, value in each.items()}
                for combination in product(*tried)
            ]
            if tune
            else []
        )

    def merged(
        self, given: dict[str, Any], smaller: dict[str, Any], section: str = ""
    ) -> dict[str, Any]:
        """One nested table over another."""
        found = dict(given)
        for key, value in smaller.items():
            inner = f"{section}.{key}".lstrip(".")
            found[key] = (
                self.merged(self.table(given, key, inner), value, inner)
                if isinstance(value, dict)
                else value
            )
        return found

    def refuse_name(self, method: str, section: str) -> None:
        fits = (
            method.isprintable()
            and 0 < len(method.encode()) <= MAX_NAME_BYTES
            and not method.startswith(".")
            and not set(method) & set("/\\")
        )
        if method in RESERVED_NAMES or not fits:
            hint = f"leave out / and do not begin with a dot; {MAX_NAME_BYTES} letters at most; taken: {', '.join(RESERVED_NAMES)}"
            raise self.error(section, "a method is called as its folder", hint)

    def refuse_unknown(self, given: Iterable[str], known: Iterable[str], what: str) -> None:
        for key in given:
            if key not in known:
                raise unknown_name(what, key, known)

    def refuse_type(self, key: str, value: Any, wanted: Any, section: str = "") -> None:
        if not has_type(value, wanted):
            fact = f"`{key}` is {value!r}; {type_name(wanted)} is needed"
            raise (
                self.error(section, fact)
                if section
                else UserError(f"the recipe {self.name}: {fact}")
            )

    def error(self, section: str, fact: str, hint: str | None = None) -> UserError:
        return UserError(f"[{self.within}{section}] of the recipe {self.name}: {fact}", hint)


def _check_names(settings: DataSettings) -> None:
    """UserError for a data set, network or objective that there is not."""
    wanted = [("views", settings.views)] + (
        [("datasets", settings.dataset)] if settings.dataset else []
    )
    if isinstance(settings, TrainingSettings):
        wanted += [
            ("networks", settings.network),
            ("schedules", settings.schedule),
            ("preprocessing", settings.preprocessing),
        ]
    if isinstance(settings, StudentSettings):
        wanted += [("objectives", spec) for spec in settings.objective]
        wanted += [("controls", settings.control)] if settings.control else []
    if isinstance(settings, ExportSettings):
        wanted += [("distances", settings.distance)]
    for kind, spec in wanted:
        found: Registry = find_registry(kind)
        found.find(spec)
