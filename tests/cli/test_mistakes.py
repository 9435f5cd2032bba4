"""The likeliest mistakes: each message names the fact, its values and the next step."""

import shlex
import sys

import pytest
import typer

from rdl_cli.cli import main as cli

TRAIN = "--dataset digits --network mnist-cnn:width=0.25 --device cpu --epochs 2"
TEACHER, STUDENT = f"train-teacher out {TRAIN}", f"train-student out {TRAIN}"

MISTAKES = [
    # command line, the fact with its values, the next step
    ("rld", "there is no command `rld`", "compare, compare-rdms, demo"),
    ("trian-teacher out", "did you mean `train-teacher`?", "a command is one of: compare"),
    ("plot heatmap runs/a", "no `rdl plot` command `heatmap`", "curves, labels, mds, rdm"),
    ("train-teacher", "OUT is missing", "write `rdl train-teacher OUT`"),
    (
        "import-rdms target_fmri.mat",
        "STORE is missing; given: target_fmri.mat",
        "write `rdl import-rdms FILES... STORE`",
    ),
    (
        "import-rdms --image-size 64 a.mat",
        "STORE is missing; given: a.mat",
        "rdl import-rdms FILES... STORE",
    ),
    ("import-rdms", "FILES... and STORE are missing", "rdl import-rdms FILES... STORE"),
    ("export-rdms runs/t", "OUT is missing; given: runs/t", "write `rdl export-rdms SOURCE OUT`"),
    ("compare", "RUN... is missing", "write `rdl compare RUN...`"),
    ("plot rdm runs/a", "--out is missing", "RUN|STORE... --out FILE`: file to write: .svg"),
    ("show a b", "`b` is more than `rdl show` takes", "write `rdl show PATH`"),
    (
        f"{TEACHER} --epoch 3",
        "no option `--epoch`; did you mean `--epochs`",
        "train-teacher --help",
    ),
    (f"{TEACHER} --targets s.h5", "`rdl train-teacher` has no option `--targets`", "train-student"),
    ("--json show a", "`rdl` has no option `--json`", "--json is an option of `rdl compare`"),
    (f"{TEACHER} --epochs three", "--epochs is three; a whole number", "write --epochs 20"),
    (f"{TEACHER} --epochs", "--epochs has no value", "write --epochs VALUE"),
    (f"{TEACHER} --epochs -1", "--epochs is -1; at least 0", "use --epochs 20"),
    (f"{TEACHER} --batch-size 0", "--batch-size is 0; at least 1", "use --batch-size 100"),
    (f"{TEACHER} --max-steps 0", "--max-steps is 0; at least 1", "use --max-steps 1"),
    (f"{TEACHER} --lr -1", "--lr is -1.0; it cannot be negative", "use --lr 0.02"),
    (f"{TEACHER} --momentum 1.5", "--momentum is 1.5; below 1", "use 0.9"),
    (f"{TEACHER} --precision 8-bit", "there is no precision `8-bit`", "32-true, 64-true"),
    (f"{TEACHER} --optimizer adamm", "`adamm`; did you mean `adamw`", "adamw, sgd"),
    (f"{TEACHER} --device gpu", "there is no device `gpu`", "use --device cuda"),
    (f"{TEACHER} --network resnet18", "no network `resnet18`", "write torchvision:resnet18"),
    ("layers resnet18", "there is no network `resnet18`", "write torchvision:resnet18"),
    ("layers mnist-cnn --classes 0", "--classes is 0; at least 1", "use --classes 10"),
    ("list objektives", "`objektives`; did you mean `objectives`", "controls, datasets, distances"),
    (
        f"{TEACHER} --seeds 5",
        "5 seeds, or as the one seed 5",
        "--seeds 0..4 for 5 runs, or --seed 5",
    ),
    (f"{TEACHER} --seeds 0..20000", "`0..20000` has more than 10,000 seeds", "such as 0..4"),
    (f"{TEACHER} --seeds 0-4", "`0-4` is not a list of seeds", "write 0..4, or 0,2,5"),
    ("train-teacher out --dataset minst", "`minst`; did you mean `mnist`", "cifar10, cifar100"),
    ("train-teacher out --dataset folder", "dataset `folder` needs a path", "write folder:PATH"),
    ("train-teacher out --dataset folder:no", "there is no folder no", "folder of images for each"),
    ("train-teacher out --data-root no", "mnist is not in no/MNIST/raw", "pass --download"),
    (f"{TEACHER} --train-size 5000", "5,000 labelled images were asked for", "from 1 to 1000"),
    (f"{TEACHER} --init no.pt", "there are no weights at no.pt", "a .safetensors file"),
    (f"{TEACHER} --config no.toml", "no.toml could not be read: No such file", "RUN/config.toml"),
    (f"{TEACHER} --workers 0", "--workers is 0; at least 1", "use --workers 2"),
    (f"{STUDENT} --objective rdl,weight=2", "no objective `rdl,weight=2`", "write rdl:weight=2"),
    (f"{STUDENT} --objective rld", "there is no objective `rld`", "rdl, rkd, rsa"),
    (f"{STUDENT} --objective rdl:weigth=2", "`weigth`; did you mean `weight`", "pairs, scale"),
    (f"{STUDENT} --objective rdl:weight=two", "`weight=two` in `rdl:weight=two`", "weight=1.0"),
    (f"{STUDENT} --objective rdl:weight", "`weight` in `rdl:weight` has no", "write weight=VALUE"),
    (f"{STUDENT} --targets no.h5 --match fc", "there is no store at no.h5", "rdl import-rdms"),
    (f"{STUDENT} --match fc", "there is no teacher", "pass --targets STORE"),
    ("compare no", "there is no run at or below no", "train-teacher or train-student made"),
    ("compare a --report page.pdf", "--report is page.pdf; it is written as HTML", "a file.html"),
    ("compare a --primary A", '--primary is "A"', 'write two methods: --primary "A - B"'),
    ("compare a --epoch last", "there is no epoch `last`", "an epoch is one of: best, final"),
    ("compare-rdms s.h5 --measure kendall", "there is no measure `kendall`", "spearman, tau-a"),
    ("compare-rdms s.h5 --distance manhattan", "no distance `manhattan`", "correlation, cosine"),
    ("compare-rdms s.h5 --max-stimuli 2", "--max-stimuli is 2; at least 4", "--max-stimuli 200"),
    ("export-rdms no s.h5 --layers fc", "there is no run at no", "train-teacher or train-student"),
    ("import-rdms no.mat s.h5", "no.mat could not be opened: No such file", "check the path"),
    ("plot curves no --out a.jpg", "format `.jpg`; did you mean `.png`", ".pdf, .png, .svg"),
    ("reproduce mnits", "there is no recipe `mnits`; did you mean `mnist`", "brain-it, cifar100"),
]


@pytest.mark.parametrize(("words", "fact", "hint"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_main_a_mistake_is_a_fact_with_its_values_and_a_next_step(
    words, fact, hint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rdl", *shlex.split(words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    *_, error_line, hint_line = err.splitlines()
    assert end.value.code == 2 and out == "" and not list(tmp_path.iterdir())
    assert error_line.startswith("error: ") and fact in error_line, err
    assert hint_line.startswith("hint: ") and hint in hint_line, err


def list_commands(command, path="rdl"):
    """Yield every command of the program with its words."""
    yield path, command
    for name, member in getattr(command, "commands", {}).items():
        yield from list_commands(member, f"{path} {name}")


COMMANDS = dict(list_commands(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_sixty_columns_and_explains_every_option(path, flag, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "argv", [*path.split(), flag])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert not end.value.code and err == "" and out.startswith(f"Usage: {path} ")
    assert max(map(len, out.splitlines())) <= 60
    text = " ".join(out.split())
    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in text and parameter.help, parameter.name


@pytest.mark.parametrize("words", ["", "plot"])
def test_main_without_a_command_prints_the_help(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rdl", *words.split()])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert not end.value.code and err == "" and out.startswith("Usage: rdl")
