"""Command-line options from a settings class: a setting is written once, as flag and key."""

import dataclasses
import inspect
import shlex
import sys
import tomllib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from rdl_cli.commands.options import to_flag
from rdl_cli.core.errors import UserError, unknown_name
from rdl_cli.core.toml_types import has_type, type_name

Out = Annotated[
    Path,
    typer.Argument(help="folder of the new run (with --seeds: of the runs)", show_default=False),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="continue an interrupted run; skip finished ones")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="check everything, print what would be done, write nothing"),
]

Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.html", help="write a page with tables and figures"),
]

Workers = Annotated[
    int | None,
    typer.Option(
        help="run so many runs at once, in processes of this machine [default: one after another]",
        show_default=False,
    ),
]
Cluster = Annotated[
    str,
    typer.Option(
        metavar="ENGINE",
        help="run on slurm:partition=NAME,time=2h,... or dask:ADDRESS (docs/cluster.md)",
        show_default=False,
    ),
]


def check_report_path(path: Path | None) -> None:
    """Raise UserError if a report could not be written, before anything is computed."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--report is {path}; it is written as HTML", hint="name a file.html")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", hint="make it first")


def typed_command() -> str:
    """Return the command as it was typed, with the name of the program alone."""
    return shlex.join(["rdl", *sys.argv[1:]])


def make_command(settings: type, command: Callable[..., Any]) -> Callable[..., None]:
    """Return a typer command with the parameters of `command` and the fields of `settings`.

    The fields replace the parameter `settings`. `--config FILE.toml` gives defaults, flags win,
    unknown keys are refused.
    """
    arguments = dict(inspect.signature(command, eval_str=True).parameters)
    arguments.pop("settings")
    fields = {field.name: field for field in dataclasses.fields(settings)}
    hints = typing.get_type_hints(settings, include_extras=True)

    def run(context: typer.Context, **values: Any) -> None:
        path = values.pop("config")
        made = settings(**{name: values.pop(name) for name in fields})
        if path:
            _check_config_names(context, path, made, values.get("out"), values.get("resume"))
        command(settings=made, **values)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in arguments.values()]
    parameters += [_make_option(hints[name], fields[name]) for name in fields]
    types = {p.name: typing.get_args(p.annotation)[0] for p in parameters}

    def read_config(context: typer.Context, path: Path | None) -> Path | None:
        return _read_config(context, path, types)

    config_option = typer.Option(
        "--config",
        is_eager=True,
        callback=read_config,
        help="TOML file of these options; flags win",
    )
    config = inspect.Parameter(
        "config",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Path | None, config_option],
    )
    place = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [place, *parameters, config]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__doc__ = inspect.getdoc(command)
    return run


def _check_config_names(
    context: typer.Context, path: Path, settings: Any, out: Path | None, resume: bool | None
) -> None:
    """Raise UserError if --config names code that is not trusted.

    The names in OUT/config.toml were typed or trusted when the run was begun, so that --resume
    needs no trust.
    """
    from rdl_cli.commands.names import check_names, iterate_names
    from rdl_cli.core.registry import NameSource

    in_file = {
        setting
        for setting, _, _ in iterate_names(settings)
        if getattr(context.get_parameter_source(setting), "name", "") == "DEFAULT_MAP"
    }
    if resume and out and path.resolve() == (out / "config.toml").resolve():
        return
    check_names(settings, NameSource(str(path), getattr(settings, "trust", False)), in_file)


def _make_option(hint: Any, field: dataclasses.Field[Any]) -> inspect.Parameter:
    """Return a setting as a typer option; its help text is the second part of the annotation."""
    kind, help_text = typing.get_args(hint)[:2]
    factory = field.default_factory
    default = field.default if factory is dataclasses.MISSING else factory()
    flag = to_flag(field.name)
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=help_text,
        show_default=default not in ("", [], None, False),
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def _read_config(context: typer.Context, path: Path | None, types: dict[str, Any]) -> Path | None:
    """Make a TOML file's values the command's defaults.

    Raise UserError for a key that is no option and for a value of a wrong type.
    """
    if path is None:
        return None
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fact = f"{path} could not be read: {error.strerror}"
        raise UserError(fact, hint="pass --config a TOML file, such as RUN/config.toml") from error
    except (ValueError, RecursionError) as error:
        fact = f"{path} is not TOML: {error}"
        raise UserError(
            fact, hint="write a line `option = value` for each, as in RUN/config.toml"
        ) from error
    options = [
        str(p.name)
        for p in context.command.params
        if p.param_type_name == "option" and p.name not in ("config", "help", "trust")
    ]
    by_key = {name.rstrip("_"): name for name in options}
    defaults = {}
    for key, value in values.items():
        name = by_key.get(key.replace("-", "_").rstrip("_"))
        if name is None:
            hint = f"{path} may hold: {', '.join(sorted(by_key))}"
            raise unknown_name("option", key, by_key, hint=hint)
        if not has_type(value, types[name]):
            raise UserError(
                f"`{key}` in {path} is {value!r}; {type_name(types[name])} is needed",
                hint="mend it, or leave it out",
            )
        defaults[name] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return path
