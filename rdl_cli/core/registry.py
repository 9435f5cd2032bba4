"""Names become objects here, and nowhere else.

A *spec* is what a person types: `[module.path:]name[:key=value,...]`, for example `rdl:weight=0.5,pairs=500`,
`my_package.losses:triplet:margin=2` or, for a member registered with `rest="path"`, `folder:/data/my images`.
"""

import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from rdl_cli.core.errors import UserError, did_you_mean, unknown_name


class Registry:
    """Named factories of one kind.

    `home` is the module or package whose import registers the members; it is imported on the first question, so that
    a new member is one new file and importing a registry costs nothing.
    """

    def __init__(self, kind: str, home: str, external: bool = True):
        self.kind, self.home, self.external = kind, home, external
        self._members: dict[str, Callable[..., Any]] = {}
        self._rest: dict[str, str] = {}
        self._loaded = False

    def register(
        self, name: str, rest: str | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator. `rest` names the one keyword that takes everything after `name:` verbatim."""

        def keep(factory: Callable[..., Any]) -> Callable[..., Any]:
            assert name not in self._members, (
                f"two members of the {self.kind} registry are called {name}"
            )
            self._members[name] = factory
            if rest:
                self._rest[name] = rest
            return factory

        return keep

    def names(self) -> list[str]:
        self._load()
        return sorted(self._members)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def find(self, spec: str) -> Callable[..., Any]:
        """The factory that a spec names, with the spec's options bound. UserError for a wrong name, option or value."""
        self._load()
        name, _, options = spec.partition(":")
        if name in self._members:
            factory = self._members[name]
            if name in self._rest:
                if not options:
                    raise UserError(
                        f"{self.kind} `{name}` needs more: `{name}:{self._rest[name].upper()}`"
                    )
                return partial(factory, **{self._rest[name]: options})
        elif self.external and options and "=" not in options.split(":")[0]:
            function, _, options = options.partition(":")
            factory = self._imported(name, function, spec)
        else:
            raise unknown_name(self.kind, name, self._members)
        given = self._options(spec, factory, options)
        return partial(factory, **given) if given else factory

    def make(self, spec: str, *context: Any) -> Any:
        """What the factory makes of the context and the spec's options. UserError where an option without a default is missing."""
        factory = self.find(spec)
        missing = [
            name for name, option in _options_of(factory).items() if option.default is option.empty
        ]
        if missing:
            raise UserError(
                f"{self.kind} `{spec}` needs the option `{missing[0]}`",
                hint=f"write {spec}{',' if '=' in spec else ':'}{missing[0]}=VALUE",
            )
        return factory(*context)

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """A member's options: its keyword-only parameters, by name."""
        return _options_of(self._member(name))

    def summary(self, name: str) -> str:
        """The first line of a member's docstring."""
        return (inspect.getdoc(self._member(name)) or "").partition("\n")[0]

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

    def _imported(self, module: str, function: str, spec: str) -> Callable[..., Any]:
        if "" not in sys.path and str(Path.cwd()) not in sys.path:
            sys.path.insert(
                0, str(Path.cwd())
            )  # a user's own file beside the command, as with `python -m`
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not (module == error.name or module.startswith(error.name + ".")):
                raise UserError(f"`{spec}`: importing `{module}` failed: {error}") from error
            raise UserError(
                f"there is no {self.kind} `{module}`{did_you_mean(module, self._members)} and no module of that name",
                hint=f"known: {', '.join(sorted(self._members))}; or module:function with the module importable from here",
            ) from error
        except Exception as error:
            raise UserError(
                f"`{spec}`: importing `{module}` failed: {type(error).__name__}: {error}"
            ) from error
        if not callable(getattr(found, function, None)):
            callables = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
            raise unknown_name(
                f"function in module {module} called",
                function,
                callables,
                hint=f"it holds: {', '.join(sorted(callables))}",
            )
        return getattr(found, function)

    def _options(self, spec: str, factory: Callable[..., Any], text: str) -> dict[str, Any]:
        if not text:
            return {}
        accepted = _options_of(factory)
        kinds = _kinds_of(factory)
        given: dict[str, Any] = {}
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
            if key in given:
                raise UserError(f"option `{key}` stands twice in `{spec}`")
            given[key] = _read(value, kinds[key], f"`{key}={value}` in `{spec}`")
        return given


def _options_of(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some functions written in C do not tell
        return {}
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}


def _kinds_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """The type of each option: as annotated, else that of its default, else text."""
    try:
        hints = typing.get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    except (
        NameError,
        TypeError,
    ):  # a name that only a type checker imports; an object that is called like a function
        hints = {}
    return {
        name: hints.get(name, _kind_of(option.default))
        for name, option in _options_of(factory).items()
    }


def _kind_of(default: Any) -> Any:
    if isinstance(default, bool):
        return bool
    return int | float if isinstance(default, int | float) else str


def _read(text: str, wanted: Any, where: str) -> Any:
    """The text as the annotated type; UserError where it is none."""
    if get_origin(wanted) is Literal:
        choices = {str(choice): choice for choice in get_args(wanted)}
        if text in choices:
            return choices[text]
        raise UserError(
            f"{where} is not a choice{did_you_mean(text, choices)}",
            hint=f"one of: {', '.join(choices)}",
        )
    if get_origin(wanted) in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(wanted):
            return None
        *others, last = [each for each in get_args(wanted) if each is not type(None)]
        for each in others:
            try:
                return _read(text, each, where)
            except UserError:
                pass
        return _read(text, last, where)
    if wanted is bool:
        if text.lower() in ("true", "yes", "1", "false", "no", "0"):
            return text.lower() in ("true", "yes", "1")
        raise UserError(f"{where} is neither true nor false")
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            kind = "a whole number" if wanted is int else "a number"
            raise UserError(f"{where} is not {kind}") from None
    return text
