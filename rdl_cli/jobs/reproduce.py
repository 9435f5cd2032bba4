"""A whole experiment from one file: teacher, store, every method over its seeds, and their comparison. Stops and goes on anywhere.

title = "..."                       what it reproduces; the file's header says the rest
[teacher]                           options of rdl train-teacher
[store]                             options of rdl export-rdms
[students]                          options of rdl train-student that all methods share
[methods.NAME]                      those of one method; targets and init may say "store" and "teacher"; like = "OTHER" begins
                                    with the options of a method above, and with what was chosen for it
[methods.NAME.tune]                 option = [values]: tried with the settings of [tuning], the best on validation is kept
[tuning]                            settings of the tuning runs, in place of the students'
[quick]                             the same sections, for --quick: what is smaller there. Without [quick.tuning] nothing is tuned:
                                    the first value of every list is taken
[paper]                             NAME = error in % that was published
"""

import tomllib
from dataclasses import dataclass, fields, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from rdl_cli.core.errors import UserError, unknown
from rdl_cli.core.registry import Registry
from rdl_cli.jobs.catalogue import registry
from rdl_cli.jobs.compare import Comparison, compare
from rdl_cli.jobs.console import say
from rdl_cli.jobs.settings import Data, Export, Student, Training
from rdl_cli.stores.run import Run

SECTIONS = ("title", "teacher", "store", "students", "methods", "tuning", "quick", "paper")


@dataclass(frozen=True)
class Recipe:
    """What is to be run. `tune` lists, for each method, the settings that are to be tried before, or the method whose choice it takes."""

    name: str
    title: str
    teacher: Training | None
    store: Export | None
    methods: dict[str, Student]
    tune: dict[str, list[dict[str, Any]] | str]
    tuning: dict[str, Any]
    paper: dict[str, float]


def names() -> list[str]:
    """The recipes that come with rdl."""
    return sorted(file.name.removesuffix(".toml") for file in resources.files("rdl_cli.recipes").iterdir() if file.name.endswith(".toml"))


def reproduce(name: str, out: Path, quick: bool = False, data_root: str = "", download: bool = False) -> tuple[Recipe, Comparison]:
    """The recipe and its comparison, everything between made or found below `out`. UserError for a bad recipe, before training.

    `name` is a recipe that comes with rdl, or a file. Started again after a kill, it goes on where it stopped.
    """
    # jobs that bring torch along are imported when they are run, so that a wrong word is answered at once
    from rdl_cli.jobs.export_rdms import export_rdms
    from rdl_cli.jobs.train import train

    recipe = read(name, out, quick, {"data_root": data_root, "download": download})
    say(f"{recipe.name}: {recipe.title}")
    if recipe.teacher:
        train(out / "teacher", recipe.teacher, resume=True)
    if recipe.store:
        export_rdms(out / "teacher", out / "store.h5", recipe.store)
    chosen: dict[str, dict[str, Any]] = {}
    for method, settings in recipe.methods.items():
        trials = recipe.tune[method]
        chosen[method] = chosen[trials] if isinstance(trials, str) else _best(trials, settings, recipe.tuning, out / "tuning" / method)
        train(out / method, replace(settings, **chosen[method]), resume=True)
    teacher = [out / "teacher"] if recipe.teacher and _same_pictures(out, recipe) else []
    return recipe, compare([*teacher, *(out / method for method in recipe.methods)])


def read(name: str, out: Path, quick: bool, data: dict[str, Any]) -> Recipe:
    """The recipe with every name in it checked. UserError for an unknown recipe, section, option, method or data set."""
    text = _text(name)
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the recipe {name} is not TOML: {error}") from error
    smaller = given.pop("quick", {})
    if quick and not smaller:
        raise UserError(f"the recipe {name} has no [quick] section", hint="run it without --quick")
    if quick:
        given = _merged(given, smaller)
    _refuse_unknown(given, SECTIONS, f"section of the recipe {name}")
    teacher = _settings(Training, given.get("teacher"), data, "teacher", label="teacher")
    store = _settings(Export, given.get("store"), data, "store")
    methods: dict[str, Student] = {}
    tune: dict[str, list[dict[str, Any]] | str] = {}
    written = given.get("methods", {})
    for method, own in written.items():
        if "like" in own:
            if (other := own.pop("like")) not in methods:
                raise unknown(f"method above [methods.{method}] in the recipe {name}", other, methods)
            trials: list[dict[str, Any]] = []
            tune[method] = other if isinstance(tune[other], list) else tune[other]
            written[method] = own = written[other] | own
        else:
            trials = _grid(own.pop("tune", {}))
            tune[method] = trials = trials[:1] if quick and "tuning" not in smaller else trials
        settings = _settings(Student, given.get("students", {}) | own, data, f"methods.{method}", label=method)
        assert settings is not None, "there is something to make it of"
        places = {"store": str(out / "store.h5"), "teacher": str(out / "teacher")}
        settings = replace(settings, targets=places.get(settings.targets, settings.targets), init=places.get(settings.init, settings.init))
        for trial in trials:
            replace(settings, **trial).check()
        methods[method] = settings
    if not methods:
        raise UserError(f"the recipe {name} has no methods", hint="a recipe has a section [methods.NAME] for each")
    for settings in (teacher, store, *methods.values()):
        _check_names(settings)
    return Recipe(Path(name).stem, given.get("title", ""), teacher, store, methods, tune, given.get("tuning", {}), given.get("paper", {}))


def _text(name: str) -> str:
    path = Path(name)
    try:
        if path.suffix == ".toml":
            return path.read_text(encoding="utf-8")
        if name in names():
            return (resources.files("rdl_cli.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the recipe {name} could not be read: {error}") from error
    raise unknown("recipe", name, names())


def _merged(given: dict[str, Any], smaller: dict[str, Any]) -> dict[str, Any]:
    """One nested table over another."""
    return given | {key: _merged(given.get(key, {}), value) if isinstance(value, dict) else value for key, value in smaller.items()}


def _settings(kind: type, given: dict[str, Any] | None, data: dict[str, Any], section: str, **more: Any) -> Any:
    """The section as its settings; None where the recipe has no such section. UserError for an option that there is not."""
    if given is None:
        return None
    known = {field.name.rstrip("_"): field.name for field in fields(kind)}
    options = {key.replace("-", "_"): value for key, value in given.items()}
    _refuse_unknown(options, known, f"option in [{section}]")
    try:
        settings = kind(**{known[key]: value for key, value in (more | data | options).items()})
    except TypeError as error:
        raise UserError(f"[{section}]: {error}") from error
    if isinstance(settings, Training):
        settings.check()
    return settings


def _check_names(settings: Data | None) -> None:
    """UserError for a data set, network or objective that there is not."""
    if settings is None:
        return
    wanted = [("datasets", settings.dataset)] if settings.dataset else []
    if isinstance(settings, Training):
        wanted += [("networks", settings.network), ("schedules", settings.schedule), ("preprocessing", settings.preprocessing)]
    wanted += [("views", settings.views)]
    if isinstance(settings, Student):
        wanted += [("objectives", spec) for spec in settings.objective]
    for kind, spec in wanted:
        found: Registry = registry(kind)
        found.find(spec)


def _refuse_unknown(given: dict[str, Any], known: Any, what: str) -> None:
    for key in given:
        if key not in known:
            raise unknown(what, key, known)


def _grid(tune: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values."""
    return [dict(zip(tune, values, strict=True)) for values in product(*tune.values())] if tune else []


def _best(trials: list[dict[str, Any]], settings: Student, tuning: dict[str, Any], out: Path) -> dict[str, Any]:
    """The trial that was best on validation images; the runs that say so are kept below `out`. One trial is no choice."""
    from rdl_cli.jobs.train import train

    if len(trials) < 2:
        return trials[0] if trials else {}
    errors = []
    for trial in trials:
        place = out / ",".join(f"{key}={value}" for key, value in trial.items()).replace("/", "_")
        (run,) = train(place, replace(settings, **{"seeds": ""} | tuning | trial), resume=True)
        errors.append(float(run.metrics()[-1]["validation_error"]))
        say(f"tuning {out.name}: {trial} has validation error {100 * errors[-1]:.2f} %")
    return trials[errors.index(min(errors))]


def _same_pictures(out: Path, recipe: Recipe) -> bool:
    """Whether the teacher was tested on the pictures that the students are tested on."""
    first = next(iter(recipe.methods))
    seed = recipe.methods[first].seed_list()[0]
    student = out / first / f"seed{seed}" if recipe.methods[first].seeds else out / first
    mine, theirs = (set(Run(path).predictions().digests.tolist()) for path in (student, out / "teacher"))
    return mine == theirs
