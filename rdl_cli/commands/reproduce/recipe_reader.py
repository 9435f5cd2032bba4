"""Turn the tables of a recipe into settings. Every error names the recipe and the section."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from rdl_cli.commands.names import check_names
from rdl_cli.commands.reproduce.recipe import (
    FigureSettings,
    Recipe,
    StoreRecipe,
    store_path,
    teacher_path,
)
from rdl_cli.commands.reproduce.tables import TableReader
from rdl_cli.commands.settings import (
    DataSettings,
    ExportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.registry import NameSource

T = TypeVar("T")

SECTIONS = (
    *("title", "teacher", "teachers", "store", "stores", "students", "methods"),
    *("tuning", "comparison", "figures", "paper"),
)


class RecipeReader(TableReader):
    """Builds a Recipe from its tables. `within` is `quick.` while --quick's sections are read."""

    def __init__(
        self, name: str, out: Path, flags: dict[str, Any], within: str = "", has_tuning: bool = True
    ):
        super().__init__(name, within)
        self.out, self.has_tuning = out, has_tuning
        self.data_options = {key: value for key, value in flags.items() if value}

    def recipe(self, sections: dict[str, Any]) -> Recipe:
        """Return the checked recipe of all sections."""
        place = f"{'[quick] of ' if self.within else ''}the recipe {self.name}"
        self.require_known(sections, SECTIONS, f"section in {place}")
        self.require_type("title", sections.get("title", ""), str)
        teachers = {
            section: self._teacher(options, section)
            for section, options in self._numbered(sections, "teacher").items()
        }
        stores = {
            section: self._store(options, section, teachers)
            for section, options in self._numbered(sections, "store").items()
        }
        paths = {section: str(teacher_path(section, self.out)) for section in teachers}
        paths |= {section: str(store_path(section, self.out)) for section in stores}
        shared = self.options(StudentSettings, self.table(sections, "students"), "students")
        tuning = self.options(StudentSettings, self.table(sections, "tuning"), "tuning")
        methods, tune = self._methods(self.table(sections, "methods"), shared, tuning, paths)
        if not methods:
            raise UserError(
                f"the recipe {self.name} has no methods",
                hint="write a section [methods.NAME] for each method",
            )
        models = [*methods, *teachers]
        return Recipe(
            name=Path(self.name).stem,
            title=sections.get("title", ""),
            teachers=teachers,
            stores=stores,
            methods=methods,
            tune=tune,
            tuning=tuning,
            primary=self._primary(self.table(sections, "comparison"), methods),
            figures=self._figures(self.table(sections, "figures"), models),
            paper=self._paper(self.table(sections, "paper"), models),
        )

    def _numbered(self, sections: dict[str, Any], one: str) -> dict[str, dict[str, Any]]:
        """Return the tables of [ONE] and [ONEs.NAME] by section."""
        tables = {one: self.table(sections, one)} if one in sections else {}
        several = self.table(sections, f"{one}s")
        for name in several:
            section = f"{one}s.{name}"
            self.check_name(name, section)
            tables[section] = self.table(several, name, section)
        return tables

    def _teacher(self, options: dict[str, Any], section: str) -> TrainingSettings:
        known = self.options(TrainingSettings, options, section)
        return self.settings(
            TrainingSettings, known | self.data_options | {"label": section}, section
        )

    def _store(self, options: dict[str, Any], section: str, teachers: Iterable[str]) -> StoreRecipe:
        own = dict(options)
        same_name = section.replace("store", "teacher", 1)
        teacher = own.pop("teacher", same_name if same_name in teachers else "teacher")
        self.require_type("teacher", teacher, str, section)
        if teacher not in teachers:
            raise self.error(section, f"it needs a teacher, and there is no [{teacher}]")
        known = self.options(ExportSettings, own, section)
        settings = self.settings(ExportSettings, known | self.data_options, section)
        if not settings.layers:
            raise self.error(
                section,
                "no layers are named",
                'write layers = ["NAME", ...]; rdl layers NETWORK lists them',
            )
        return StoreRecipe(settings, teacher)

    def _methods(
        self,
        tables: dict[str, Any],
        shared: dict[str, Any],
        tuning: dict[str, Any],
        paths: dict[str, str],
    ) -> tuple[dict[str, StudentSettings], dict[str, list[dict[str, Any]] | str]]:
        """Return the settings and the trials of every method: `Recipe.methods`, `Recipe.tune`."""
        methods: dict[str, StudentSettings] = {}
        tune: dict[str, list[dict[str, Any]] | str] = {}
        own_options: dict[str, dict[str, Any]] = {}
        for table_name in tables:
            section = f"methods.{table_name}"
            table = dict(self.table(tables, table_name, section))
            grids = {
                key: self.grid(self.table(table, key, f"{section}.{key}"), f"{section}.{key}")
                for key in ("tune", "sweep")
            }
            table.pop("tune", None), table.pop("sweep", None)
            like = table.pop("like", None)
            options = self.options(StudentSettings, table, section)
            if like is not None:
                self._check_like(like, methods, bool(grids["tune"]), section)
                options = own_options[like] | options
            for swept in grids["sweep"] or [{}]:
                method = "-".join([table_name, *map(_format_value, swept.values())])
                self.check_name(method, section)
                if method in methods:
                    raise self.error(section, f"two methods are named {method}")
                own_options[method] = options | swept
                all_options = shared | own_options[method] | self.data_options | {"label": method}
                all_options = self._with_paths(all_options, paths, section)
                methods[method] = self.settings(StudentSettings, all_options, section)
                if like is not None:
                    tune[method] = like if isinstance(tune[like], list) else tune[like]
                    continue
                trials = [self._with_paths(trial, paths, section) for trial in grids["tune"]]
                trials = trials if self.has_tuning else trials[:1]
                tune[method] = trials
                for trial in trials:
                    tried = all_options | {"seeds": ""} | tuning | trial
                    self.settings(StudentSettings, tried, f"{section}.tune")
        return methods, tune

    def _check_like(
        self, like: Any, methods: dict[str, StudentSettings], has_grid: bool, section: str
    ) -> None:
        self.require_type("like", like, str, section)
        if like not in methods:
            place = f"method above [{self.within}{section}] in the recipe {self.name}"
            raise unknown_name(place, like, methods)
        if has_grid:
            raise self.error(
                section,
                f"it takes the setting chosen for {like}, and has a grid of its own",
                "leave out one of the two",
            )

    def _with_paths(
        self, options: dict[str, Any], paths: dict[str, str], section: str
    ) -> dict[str, Any]:
        """Return the options with the paths of the sections that targets and init name."""
        resolved = dict(options)
        for key in {"targets", "init"} & options.keys():
            value = options[key]
            is_section = value in ("store", "teacher") or value.startswith(("stores.", "teachers."))
            if is_section and value not in paths:
                raise self.error(section, f'it has {key} = "{value}", and there is no [{value}]')
            resolved[key] = paths.get(value, value)
        return resolved

    def _primary(self, table: dict[str, Any], methods: Iterable[str]) -> tuple[str, str] | None:
        """Return the two methods of `primary = "A - B"`, None where nothing is declared."""
        self.require_known(table, ("primary",), f"option in [{self.within}comparison]")
        if "primary" not in table:
            return None
        text = table["primary"]
        self.require_type("primary", text, str, "comparison")
        one, minus, other = text.partition(" - ")
        if not minus:
            raise self.error(
                "comparison", f'`primary` is "{text}"', 'write two methods: primary = "A - B"'
            )
        self.require_known((one, other), methods, f"method in [{self.within}comparison]")
        if one == other:
            raise self.error("comparison", f"`primary` compares {one} with itself")
        return one, other

    def _figures(self, table: dict[str, Any], models: Iterable[str]) -> FigureSettings:
        options = self.options(FigureSettings, table, "figures")
        figures = FigureSettings(**options)
        self.require_known(figures.methods, models, f"method in [{self.within}figures]")
        if figures.per_class < 1:
            raise self.error("figures", f"per_class is {figures.per_class}; at least 1 is needed")
        return figures

    def _paper(self, table: dict[str, Any], models: Iterable[str]) -> dict[str, float]:
        self.require_known(table, models, f"method in [{self.within}paper]")
        for model, published in table.items():
            self.require_type(model, published, float, "paper")
        return table

    def grid(self, table: dict[str, Any], section: str) -> list[dict[str, Any]]:
        """Return every combination of the values, an empty list for an empty table."""
        if not table:
            return []
        columns = []
        for key, values in table.items():
            self.require_type(key, values, list, section)
            if not values:
                raise self.error(section, f"`{key}` has no values to try")
            columns.append(
                [self.options(StudentSettings, {key: value}, section) for value in values]
            )
        return [
            {name: value for option in combination for name, value in option.items()}
            for combination in product(*columns)
        ]

    def settings(self, kind: type[T], options: dict[str, Any], section: str) -> T:
        """Return the settings after a check of their values and of every name in them."""
        settings = kind(**options)
        try:
            if isinstance(settings, TrainingSettings):
                settings.check()
            if isinstance(settings, DataSettings):
                check_names(settings, NameSource(f"the recipe {self.name}", settings.trust))
        except UserError as error:
            raise self.error(section, str(error), error.hint) from error
        return settings


def _format_value(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
