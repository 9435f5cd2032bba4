"""Usage errors of typer as facts with their values and hints with the next step."""

import re
import sys
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

from rdl_cli.core.errors import UserError, did_you_mean, unknown_name

TYPE_NAMES = {"int": "a whole number", "float": "a number", "bool": "true or false"}


class CommandGroup(TyperGroup):
    """A group whose unknown command is a UserError with the nearest name and all names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            kind = f"`{ctx.command_path}` command" if ctx.parent else "command"
            raise unknown_name(kind, args[0], self.commands)
        return super().resolve_command(ctx, args)


def to_user_error(error: Any) -> UserError:
    """Return a usage error of typer as a UserError with a hint."""
    describe = {
        "MissingParameter": _describe_missing,
        "NoSuchOption": _describe_unknown_option,
        "BadOptionUsage": _describe_option_without_value,
        "BadParameter": _describe_value,
    }.get(type(error).__name__)
    if describe and (error.ctx or describe is _describe_option_without_value):
        return describe(error)
    message = error.format_message()
    extra = re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", message)
    if not extra or not error.ctx:
        return UserError(message, hint=_help_hint(error.ctx) if error.ctx else "see `rdl --help`")
    return UserError(
        f"`{extra[1]}` is more than `{error.ctx.command_path}` takes",
        hint=f"write `{_usage(error.ctx)}`; separate the items of an option by commas",
    )


def _describe_missing(error: Any) -> UserError:
    context = error.ctx
    hint = f"write `{_usage(context)}`"
    if error.param.param_type_name == "option":
        return UserError(f"{error.param.opts[0]} is missing", hint=f"{hint}: {error.param.help}")
    needed = [p for p in context.command.params if p.param_type_name == "argument" and p.required]
    given = _given_arguments(context)
    missing = [_argument_name(p) for p in needed[len(given) :]]
    fact = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
    return UserError(f"{fact}; given: {', '.join(given)}" if given else fact, hint=hint)


def _describe_unknown_option(error: Any) -> UserError:
    context, flag = error.ctx, error.option_name
    own = [name for p in context.command.params for name in p.opts if name.startswith("--")]
    commands = [path for path, command in _all_commands(context) if _has_option(command, flag)]
    fact = f"`{context.command_path}` has no option `{flag}`"
    if commands and not get_close_matches(flag, own, cutoff=0.85):
        hint = f"{flag} is an option of {', '.join(f'`{path}`' for path in commands)}"
        return UserError(fact, hint=hint)
    return UserError(fact + did_you_mean(flag, own), hint=_help_hint(context))


def _describe_option_without_value(error: Any) -> UserError:
    flag = error.option_name
    return UserError(f"{flag} has no value", hint=f"write {flag} VALUE, or leave {flag} out")


def _describe_value(error: Any) -> UserError:
    # pydantic's details, whose own messages speak of strings and parsing
    details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if error.param is None or not details:
        return UserError(error.format_message(), hint=_help_hint(error.ctx))
    flag = error.param.opts[0]
    value = details[0]["input"]
    choices = re.findall(r"'([^']*)'", error.message.partition(" is not one of ")[2])
    if choices:
        return unknown_name(flag.lstrip("-"), str(value), choices)
    kind = TYPE_NAMES.get(details[0]["type"].partition("_")[0])
    fact = f"{flag} is {value}; {kind or 'another value'} is needed"
    return UserError(fact, hint=_example(error.param, flag))


def _example(option: Any, flag: str) -> str:
    """Return a hint with the option's default, or with its help."""
    if isinstance(option.default, int | float | str) and option.default not in ("", True, False):
        return f"write {flag} {option.default}, or leave it out"
    return f"write {flag} VALUE: {option.help}"


def _help_hint(context: Any) -> str:
    return f"all options: `{context.command_path} --help`"


def _usage(context: Any) -> str:
    """Return the command with its arguments and the options that it needs."""
    pieces = [context.command_path]
    for parameter in context.command.params:
        if parameter.param_type_name == "argument":
            name = _argument_name(parameter)
            pieces.append(name if parameter.required else f"[{name}]")
        elif parameter.required:
            pieces.append(f"{parameter.opts[0]} {parameter.metavar or 'VALUE'}")
    return " ".join(pieces)


def _argument_name(argument: Any) -> str:
    """Return the name as in the help: STORE, FILES..., or the metavar, RUN|STORE... ."""
    return argument.metavar or argument.name.upper() + ("..." if argument.nargs != 1 else "")


def _given_arguments(context: Any) -> list[str]:
    """Return the words of the command line that are arguments, not options or their values."""
    words = sys.argv[1:]
    for name in context.command_path.split()[1:]:
        words = words[words.index(name) + 1 :]
    values, _, _ = context.command.make_parser(context).parse_args(list(words))
    given: list[str] = []
    for parameter in context.command.params:
        value = values.get(parameter.name)
        if parameter.param_type_name == "argument" and isinstance(value, str | tuple | list):
            given += [value] if isinstance(value, str) else value
    return given


def _all_commands(context: Any) -> list[tuple[str, Any]]:
    """Return every command of the program with its path, such as `rdl plot rdm`."""
    root = context.find_root()
    paths = [(root.command_path, root.command)]
    for path, command in paths:  # grows: the commands of groups follow
        paths += [(f"{path} {name}", sub) for name, sub in getattr(command, "commands", {}).items()]
    return paths


def _has_option(command: typer.core.TyperCommand, flag: str) -> bool:
    return any(flag in [*p.opts, *p.secondary_opts] for p in command.params)
