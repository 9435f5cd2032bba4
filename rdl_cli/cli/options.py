"""A settings class as command-line options: each setting is written once, and is flag, TOML key and record alike."""

import dataclasses
import inspect
import tomllib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rdl_cli.commands.settings import to_flag
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.toml_types import has_type, type_name


def make_command(settings: type, job: Callable[..., Any]) -> Callable[..., None]:
    """A typer command whose options are the parameters of `job` and, in place of its `settings`, the fields of that class.

    `--config FILE.toml` gives defaults; flags win; unknown keys are refused.
    """
    own = dict(inspect.signature(job, eval_str=True).parameters)
    own.pop("settings")
    fields = {f.name: f for f in dataclasses.fields(settings)}
    hints = typing.get_type_hints(settings, include_extras=True)

    def run(**given: Any) -> None:
        given.pop("config")
        job(settings=settings(**{name: given.pop(name) for name in fields}), **given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.values()]
    parameters += [_option(name, hints[name], fields[name]) for name in fields]
    kinds = {p.name: typing.get_args(p.annotation)[0] for p in parameters}

    def reads(context: typer.Context, path: Path | None) -> Path | None:
        return _read_config(context, path, kinds)

    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            Path | None,
            typer.Option(
                "--config",
                is_eager=True,
                callback=reads,
                help="TOML file of these options; flags win",
            ),
        ],
    )
    run.__signature__ = inspect.Signature([*parameters, config])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*parameters, config)}
    run.__doc__ = inspect.getdoc(job)
    return run


def _option(name: str, hint: Any, field: dataclasses.Field) -> inspect.Parameter:
    kind, help_text = typing.get_args(hint)[:2]
    default = (
        field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
    )
    names = (f"{to_flag(name)}/--no-{to_flag(name)[2:]}",) if kind is bool else (to_flag(name),)
    shown = default not in ("", [], None, False)
    option = typer.Option(*names, help=help_text, show_default=shown)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _read_config(context: typer.Context, path: Path | None, kinds: dict[str, Any]) -> Path | None:
    """Make a TOML file's values the defaults of the command's options. UserError for a key or a value that does not fit."""
    if path is None:
        return None
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} could not be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    options = [
        str(p.name)
        for p in context.command.params
        if p.param_type_name == "option" and p.name not in ("config", "help")
    ]
    aliases = {name.rstrip("_"): name for name in options}
    defaults = {}
    for key, value in given.items():
        name = aliases.get(key.replace("-", "_").rstrip("_"))
        if name is None:
            raise unknown_name(
                "option", key, aliases, hint=f"{path} may hold: {', '.join(sorted(aliases))}"
            )
        if not has_type(value, kinds[name]):
            raise UserError(f"`{key}` in {path} is {value!r}; {type_name(kinds[name])} is needed")
        defaults[name] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path
