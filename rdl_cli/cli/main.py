"""`rdl`: parse the command line, call one command, show its result. No torch until one runs."""

import io
import os
import sys
import time
from contextlib import suppress
from typing import Annotated, Any

import typer

from rdl_cli.cli.compare import compare
from rdl_cli.cli.compare_rdms import compare_rdms
from rdl_cli.cli.demo import demo
from rdl_cli.cli.export_rdms import export_rdms
from rdl_cli.cli.import_rdms import import_rdms
from rdl_cli.cli.listing import list_layers, listing
from rdl_cli.cli.options import make_command
from rdl_cli.cli.plot import plot
from rdl_cli.cli.reproduce import reproduce
from rdl_cli.cli.show import show
from rdl_cli.cli.train import train_student, train_teacher
from rdl_cli.cli.usage import CommandGroup, to_user_error
from rdl_cli.commands.console import set_verbosity
from rdl_cli.commands.settings import (
    ExportSettings,
    ImportSettings,
    StudentSettings,
    TrainingSettings,
)
from rdl_cli.core.errors import UserError
from rdl_cli.core.safe_text import escape_controls

app = typer.Typer(
    name="rdl",
    cls=CommandGroup,
    help="Train networks to take over the representational geometry of a teacher: "
    "a network, or a brain of which only an RDM is known.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

USAGE_ERRORS: tuple[Any, ...] = typer.BadParameter.__mro__[1:3]
"""UsageError and ClickException: click's, or those of the click inside later typers."""
INTERRUPTED = 130
SECONDS_FOR_FIRST = 3
RESUMABLE = dict.fromkeys(
    ("train-teacher", "train-student"), "the same command with --resume continues"
) | dict.fromkeys(("export-rdms", "reproduce"), "the same command continues")
"""Hint after an interruption, by command; other commands start again."""


def print_version(asked: bool) -> None:
    """Print the versions that matter for a bug report, and exit."""
    if asked:
        from rdl_cli.core.provenance import versions

        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="print versions and exit"
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="print results and errors only")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="print all messages, also within a demo")
    ] = False,
) -> None:
    """Options that come before a command."""
    if quiet and verbose:
        raise UserError("--quiet and --verbose exclude one another", hint="choose one of them")
    set_verbosity(quiet, verbose)


app.command("train-teacher")(make_command(TrainingSettings, train_teacher))
app.command("export-rdms")(make_command(ExportSettings, export_rdms))
app.command("train-student")(make_command(StudentSettings, train_student))
app.command("compare")(compare)
app.command("compare-rdms")(compare_rdms)
app.command("show")(show)
app.command("import-rdms")(make_command(ImportSettings, import_rdms))
app.command("layers")(list_layers)
app.command("list")(listing)
app.command("reproduce")(reproduce)
app.command("demo")(demo)
app.add_typer(plot, name="plot")


def main() -> None:
    """Run one command; exit with 0, 2 (a user's mistake), 130 (interrupted) or 1 (a fault of ours).

    A user's mistake is one line and a hint on stderr.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # LC_ALL=C, and names that are not UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        refuse_undecodable(sys.argv[1:])
        status = app(prog_name="rdl", standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here
        if status == INTERRUPTED:  # later typers return it in place of raising
            raise KeyboardInterrupt
    except UserError as error:
        print_error(str(error), error.hint)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        print_error(
            "interrupted",
            RESUMABLE.get(next((word for word in sys.argv[1:] if not word.startswith("-")), "")),
        )
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except OSError as error:  # an unreadable file, a name too long, a full disk
        if error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print_error(f"{place}{error.strerror}", None)
        status = 2
        with suppress(OSError):
            sys.stdout.close()
    except Exception as error:
        if not isinstance(error, USAGE_ERRORS):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            status = 0
        else:
            mistake = to_user_error(error)
            print_error(str(mistake), mistake.hint)
            status = 2
    sys.exit(status if isinstance(status, int) else 0)


def refuse_undecodable(words: list[str]) -> None:
    """Raise UserError if a word is not in the system's encoding: no file of ours can hold it."""
    for word in words:
        try:
            word.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(
                f"the name {word.encode('utf-8', 'backslashreplace').decode()} is not UTF-8",
                hint="rename the file or folder",
            ) from None


def print_error(fact: str, hint: str | None) -> None:
    """Print an error and its hint on stderr.

    Of several processes the first prints at once. Others wait: torchrun ends them when the first
    fails, and one error is enough. An error that is theirs alone is printed.
    """
    if os.environ.get("RANK", "0") != "0":
        time.sleep(SECONDS_FOR_FIRST)
    print(f"error: {escape_controls(fact)}", file=sys.stderr)
    if hint:
        print(f"hint: {escape_controls(hint)}", file=sys.stderr)
