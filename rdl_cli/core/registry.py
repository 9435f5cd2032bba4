"""Turn names into objects: the only place that does.

A *spec* is `[module.path:]name[:key=value,...]`, for example `rdl:weight=0.5,pairs=500`,
`my_package.losses:triplet:margin=2` or, for a member registered with `rest="path"`,
`folder:/data/my images`.
"""

import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rdl_cli.core.errors import UserError, did_you_mean, unknown_name
from rdl_cli.core.spec_options import option_parameters, option_types, parse_value


class NameSource(NamedTuple):
    """Where a name comes from: typed (no `file`), or read from a file.

    `module:function` in a file is imported only with `trust`, and never from the current folder.
    """

    file: str = ""
    trust: bool = False


TYPED = NameSource()


class Registry:
    """Named factories of one kind.

    Args:
        kind: what a member is called in messages, for example `distance`.
        home: module or package whose import registers the members. It is imported when a member is
            first requested, so that a new member is one new file and importing a registry is fast.
        external: whether `module:function` specs are allowed.
    """

    def __init__(self, kind: str, home: str, external: bool = True):
        self.kind, self.home, self.external = kind, home, external
        self._members: dict[str, Callable[..., Any]] = {}
        self._rest: dict[str, str] = {}
        self._loaded = False

    def register(
        self, name: str, rest: str | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator; `rest` is the keyword that takes all text after `name:` verbatim."""

        def add(factory: Callable[..., Any]) -> Callable[..., Any]:
            assert name not in self._members, (
                f"two members of the {self.kind} registry are called {name}"
            )
            self._members[name] = factory
            if rest:
                self._rest[name] = rest
            return factory

        return add

    def names(self) -> list[str]:
        """Return the names of all members, sorted."""
        self._load()
        return sorted(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def find(self, spec: str, source: NameSource = TYPED) -> Callable[..., Any]:
        """Return the factory that a spec names, with the spec's options bound.

        Raise UserError for a wrong name, option or value, and for `module:function` of a file that
        is not trusted.
        """
        self._load()
        name, _, options = spec.partition(":")
        if name in self._members:
            factory = self._members[name]
            if name in self._rest:
                if not options:
                    raise UserError(
                        f"{self.kind} `{name}` needs a {self._rest[name]}",
                        hint=f"write {name}:{self._rest[name].upper()}",
                    )
                return partial(factory, **{self._rest[name]: options})
        elif self.external and options and "=" not in options.split(":")[0]:
            function, _, options = options.partition(":")
            if source.file and not source.trust:
                raise UserError(
                    f"{source.file} names the {self.kind} `{spec}`, which is code outside rdl",
                    hint=f"if you trust `{name}`, pass --trust to import it",
                )
            with _without_current_folder() if source.file else _with_current_folder():
                factory = self._import_function(name, function, spec)
        else:
            raise self._unknown_name(name, spec)
        keywords = self._parse_options(spec, factory, options)
        return partial(factory, **keywords) if keywords else factory

    def make(self, spec: str, *context: Any, source: NameSource = TYPED) -> Any:
        """Return the object that a spec's factory makes of some context.

        Raise UserError if an option without a default is missing.
        """
        factory = self.find(spec, source)
        missing = [
            name
            for name, option in option_parameters(factory).items()
            if option.default is option.empty
        ]
        if missing:
            raise UserError(
                f"{self.kind} `{spec}` needs the option `{missing[0]}`",
                hint=f"write {spec}{',' if '=' in spec else ':'}{missing[0]}=VALUE",
            )
        return factory(*context)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Return a member's options: its keyword-only parameters, by name."""
        return option_parameters(self._member(name))

    def summary(self, name: str) -> str:
        """Return the first line of a member's docstring."""
        return (inspect.getdoc(self._member(name)) or "").partition("\n")[0]

    def _unknown_name(self, name: str, spec: str) -> UserError:
        """Return the error of an unknown name; for `rdl,weight=2` with the colon it lacks."""
        start = re.match(r"[\w-]+", spec)
        if start and start[0] in self._members and "=" in spec:
            rest = spec[start.end() :].lstrip(",:; ")
            return UserError(
                f"there is no {self.kind} `{spec}`: a colon precedes its options",
                hint=f"write {start[0]}:{rest}",
            )
        return unknown_name(self.kind, name, self._members)

    def _member(self, name: str) -> Callable[..., Any]:
        self._load()
        if name not in self._members:
            raise unknown_name(self.kind, name, self._members)
        return self._members[name]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        home = importlib.import_module(self.home)
        for module in pkgutil.iter_modules(getattr(home, "__path__", [])):
            importlib.import_module(f"{self.home}.{module.name}")

    def _import_function(self, module: str, function: str, spec: str) -> Callable[..., Any]:
        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not (module == error.name or module.startswith(error.name + ".")):
                raise UserError(f"`{spec}`: importing `{module}` failed: {error}") from error
            raise UserError(
                f"there is no {self.kind} `{module}`{did_you_mean(module, self._members)}"
                " and no module of that name",
                hint=f"known: {', '.join(sorted(self._members))};"
                " or module:function of a module that can be imported from here",
            ) from error
        except Exception as error:
            raise UserError(
                f"`{spec}`: importing `{module}` failed: {type(error).__name__}: {error}"
            ) from error
        if not callable(getattr(imported, function, None)):
            callables = [
                name
                for name, value in vars(imported).items()
                if callable(value) and not name.startswith("_")
            ]
            raise unknown_name(
                f"function in module {module} called",
                function,
                callables,
                hint=f"it holds: {', '.join(sorted(callables))}",
            )
        return getattr(imported, function)

    def _parse_options(self, spec: str, factory: Callable[..., Any], text: str) -> dict[str, Any]:
        if not text:
            return {}
        accepted = option_parameters(factory)
        types_by_name = option_types(factory)
        values: dict[str, Any] = {}
        for item in text.split(","):
            key, equals, value = item.partition("=")
            if key not in accepted:
                known = (
                    f"its options are {', '.join(sorted(accepted))}"
                    if accepted
                    else "it takes no options"
                )
                raise unknown_name(
                    f"option of `{spec.removesuffix(':' + text)}` called", key, accepted, hint=known
                )
            if not equals:
                raise UserError(
                    f"option `{key}` in `{spec}` has no value", hint=f"write {key}=VALUE"
                )
            if key in values:
                fact = f"option `{key}` is given twice in `{spec}`"
                raise UserError(fact, hint=f"leave out {key}={value}")
            try:
                where = f"`{key}={value}` in `{spec}`"
                values[key] = parse_value(value, types_by_name[key], where)
            except UserError as error:
                default = accepted[key].default
                example = "VALUE" if default in (accepted[key].empty, None, "") else default
                raise UserError(str(error), hint=error.hint or f"write {key}={example}") from error
        return values


@contextmanager
def _with_current_folder() -> Iterator[None]:
    """Put the current folder first on sys.path for good, as `python -m` does, for users' files."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    yield


@contextmanager
def _without_current_folder() -> Iterator[None]:
    """Take the current folder off sys.path for a block, unless PYTHONPATH names it."""
    here = str(Path.cwd())
    chosen = [
        str(Path(folder).absolute())
        for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if folder
    ]
    folders = {"", "."} if here in chosen else {"", ".", here}
    before = sys.path
    sys.path = [folder for folder in before if folder not in folders]
    try:
        yield
    finally:
        sys.path = before
