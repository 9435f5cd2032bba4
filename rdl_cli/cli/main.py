"""`rdl`: parse, call one job, show what comes back. No torch until a command runs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rdl_cli.cli.compare import compare
from rdl_cli.cli.compare_rdms import compare_rdms
from rdl_cli.cli.listing import list_layers, listing
from rdl_cli.cli.options import make_command
from rdl_cli.cli.plot import plot
from rdl_cli.cli.reproduce import reproduce
from rdl_cli.cli.show import show
from rdl_cli.commands.import_settings import ImportSettings
from rdl_cli.commands.settings import FORMATS, ExportSettings, StudentSettings, TrainingSettings
from rdl_cli.core.errors import UserError

app = typer.Typer(
    name="rdl",
    help="Train networks to take over the representational geometry of a teacher: a network, or a brain of which only an RDM is known.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_USAGE: tuple[Any, ...] = typer.BadParameter.__mro__[
    1:3
]  # UsageError and ClickException: click's, or those of the click inside later typers

INTERRUPTED = 130
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}

Out = Annotated[
    Path,
    typer.Argument(help="folder of the new run (with --seeds: of the runs)", show_default=False),
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="go on with what was interrupted; pass over what is finished"),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="check everything, say what would be done, write nothing")
]


def train_teacher(
    out: Out, settings: TrainingSettings, resume: Resume = False, dry_run: DryRun = False
) -> None:
    """Train a network, to be a teacher or a baseline."""
    from rdl_cli.commands.train.train import train

    train(out, settings, resume, dry_run)


def train_student(
    out: Out, settings: StudentSettings, resume: Resume = False, dry_run: DryRun = False
) -> None:
    """Train a network whose layers follow a teacher's: a store, or a run that is run along."""
    from rdl_cli.commands.train.train import train

    train(out, settings, resume, dry_run)


def export_rdms(
    source: Annotated[
        Path,
        typer.Argument(
            help="the teacher's run; or a store, whose RDMs go out to another program",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            help="the store to make or to add layers to; or .h5, .mat, .npz", show_default=False
        ),
    ],
    settings: ExportSettings,
    format: Annotated[
        str,
        typer.Option(
            help=f"with a store: {', '.join(dict.fromkeys(FORMATS.values()))} [default: by the suffix]"
        ),
    ] = "",
    stimuli: Annotated[
        Path | None,
        typer.Option(
            help="in place of a data set: a brain's store, whose own pictures the run is shown"
        ),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Run a teacher once over a set of pictures and keep its layers' activations or RDMs; or hand a store's RDMs on."""
    if source.is_file():
        if stimuli:
            raise UserError(
                f"--stimuli is for a run; {source} is a file",
                hint="name a run, or leave out --stimuli",
            )
        from rdl_cli.commands.import_rdms import export_to_file

        export_to_file(source, out, settings, format, dry_run)
        return
    if format:
        raise UserError(
            f"--format {format} is for the RDMs of a store; {source} is not one",
            hint="name a store, or leave out --format",
        )
    if stimuli:
        from rdl_cli.commands.export_rdms.brain_stimuli import export_over_brain_stimuli

        export_over_brain_stimuli(source, stimuli, out, settings, dry_run)
        return
    from rdl_cli.commands.export_rdms.export_rdms import export_rdms as job

    job(source, out, settings, dry_run)


def import_rdms(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="files of RDMs, or of responses (rdl list formats)", show_default=False
        ),
    ],
    store: Annotated[Path, typer.Argument(help="the store to make", show_default=False)],
    settings: ImportSettings,
    dry_run: DryRun = False,
) -> None:
    """Make a store of RDMs that others measured: a brain's, a model's, a person's judgements."""
    from rdl_cli.commands.import_rdms import import_rdms as job

    job(files, store, settings, dry_run)


def demo(
    out: Annotated[
        Path | None,
        typer.Argument(
            help="folder for all of it [default: rdl-demo, or rdl-demo-brain]", show_default=False
        ),
    ] = None,
    brain: Annotated[
        bool,
        typer.Option(
            "--brain", help="with human IT as the teacher: fetches two public files, 3.8 MB"
        ),
    ] = False,
    data_root: Annotated[
        str,
        typer.Option(help="with --brain: where they lie, or are put [default: $RDL_DATA or data]"),
    ] = "",
) -> None:
    """The verbs one after another on embedded pictures: teacher, store, students, comparison. One to three minutes."""
    from rdl_cli.cli.render.comparison import console, to_rich

    if brain:
        from rdl_cli.cli.compare_rdms import to_rich as alike
        from rdl_cli.commands.demo_brain import demo_brain

        shown = demo_brain(out or Path("rdl-demo-brain"), data_root)
        console().print(to_rich(shown.compared), alike(shown.alike))
        print(shown.ending, file=sys.stderr)
        return
    if data_root:
        raise UserError(
            f"--data-root {data_root} is for --brain; the demo's digits lie nowhere",
            hint="say --brain, or leave it out",
        )
    from rdl_cli.commands.demo import demo as job

    out = out or Path("rdl-demo")

    compared, ending = job(out)
    console().print(to_rich(compared))
    print(ending, file=sys.stderr)


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


RESUMABLE = dict.fromkeys(
    ("train-teacher", "train-student"), "the same command with --resume goes on where it stopped"
) | dict.fromkeys(("export-rdms", "reproduce"), "the same command goes on where it stopped")
"""What to do after an interruption; other commands begin anew."""


def main() -> None:
    """Run one command. A user's mistake is one line and a hint on stderr, and exit code 2."""
    try:
        status = app(prog_name="rdl", standalone_mode=False)
        if status == INTERRUPTED:  # what later typers make of it themselves
            raise KeyboardInterrupt
    except UserError as error:
        print_error(str(error), error.hint)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted", RESUMABLE.get(next(iter(sys.argv[1:]), "")))
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except Exception as error:
        if not isinstance(error, _USAGE):
            raise
        print_error(_in_words(error), _usage_hint(error))
        status = 2
    sys.exit(status if isinstance(status, int) else 0)


def print_error(fact: str, hint: str | None) -> None:
    print(f"error: {fact}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)


def _in_words(error: typer.BadParameter) -> str:
    """What typer says of the command; of a value that is of the wrong type the value too, and the type in words."""
    said = error.format_message()
    found: list[dict[str, Any]] = getattr(
        error.__cause__, "errors", list
    )()  # pydantic's, whose words are of strings and parsing
    kind = KINDS.get(found[0]["type"].partition("_")[0]) if found else None
    return said.replace(error.message, f"{found[0]['input']!r} is not {kind}") if kind else said


def _usage_hint(error: typer.BadParameter) -> str | None:
    return f"see `{error.ctx.command_path} --help`" if error.ctx else None
