"""Commands as typed; a wrong word gives one error, one hint, exit code 2, and no file."""

import json
import subprocess
import sys
import tomllib

import pytest

from rdl_cli.cli import main as cli
from rdl_cli.commands.listing import KINDS
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store

HEAVY = {
    "torch",
    "numpy",
    "h5py",
    "scipy",
    "sklearn",
    "matplotlib",
    "torchvision",
    "lightning_fabric",
}
TRAIN = "--dataset digits --network mnist-cnn:width=0.25 --device cpu --epochs 2"


@pytest.fixture
def rdl(capsys, monkeypatch):
    """`rdl("words of a command")`: exit code, stdout, stderr."""

    def run(words):
        monkeypatch.setattr(sys, "argv", ["rdl", *words.split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_main_imports_nothing_heavy_for_help_and_typing_errors():
    code = f"""
import sys
from rdl_cli.cli.main import main
for words in (["--help"], ["train-student", "--help"], ["trian"], ["train-teacher"]):
    sys.argv = ["rdl", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == (0 if "--help" in words else 2), (words, end.code)
print("IMPORTED", sorted({HEAVY!r} & sys.modules.keys()))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout.endswith("IMPORTED []\n"), result.stdout
    assert (
        "train-student" in result.stdout
        and "--targets" in result.stdout
        and "--no-download" in result.stdout
    )


def test_train_student_equals_the_function(rdl, here, student, follow):
    code, out, err = rdl(
        f"train-student out {TRAIN} --targets {follow['targets']} --match pool1=pool1"
        " --match pool2,fc --objective rdl:pairs=500"
    )
    assert code == 0 and out == "", "stdout is data; training has none"
    assert "epoch 2/2: task" in err and "test error" in err
    assert (here / "out/model.safetensors").read_bytes() == (
        student / "model.safetensors"
    ).read_bytes()
    assert "train-student out" in Run(here / "out").provenance["command"]


def test_config_reruns_the_run_and_flags_win(rdl, here, student):
    assert rdl(f"train-student again --config {student}/config.toml")[0] == 0
    assert (here / "again/model.safetensors").read_bytes() == (
        student / "model.safetensors"
    ).read_bytes()
    assert (
        rdl(
            f"train-student other --config {student}/config.toml --seed 7 --epochs 1"
            " --objective rdl:weight=2"
        )[0]
        == 0
    )
    config = tomllib.loads((here / "other/config.toml").read_text())
    assert (config["seed"], config["epochs"], config["objective"]) == (
        7,
        1,
        ["rdl:weight=2"],
    ) and config["match"] == ["pool1,pool2,fc"]


def test_export_rdms_reads_a_config_and_makes_the_store(rdl, here, teacher, store, tiny):
    (here / "export.toml").write_text(
        'layers = ["pool1", "pool2,fc"]\nbatch-size = 100\ndevice = "cpu"\nas = "activations"\n'
    )
    code, out, err = rdl(f"export-rdms {teacher} store.h5 --config export.toml")
    assert (code, out) == (0, "") and "% on the train images" in err
    assert tiny.same_arrays(here / "store.h5", store)
    code, out, err = rdl(
        f"export-rdms {teacher} rdm.h5 --config export.toml --as rdm --layers fc"
        " --distance euclidean"
    )
    assert (
        code == 0
        and Store.open(here / "rdm.h5").rdms("fc").distance == "euclidean"
        and Store.open(here / "rdm.h5").layers == ("fc",)
    )


def test_compare_and_show_read_a_finished_run(rdl, here, teacher, student):
    code, out, _ = rdl(f"compare {teacher} {student} --json")
    assert code == 0 and len(json.loads(out)["runs"]) == 2
    code, out, _ = rdl(f"show {student}")
    assert code == 0 and out


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ("trian-teacher out", "no command `trian-teacher`; did you mean `train-teacher`"),
        ("train-teacher", "OUT is missing"),
        (
            f"train-teacher out {TRAIN} --epoch 3",
            "has no option `--epoch`; did you mean `--epochs`",
        ),
        (
            f"train-teacher out {TRAIN} --epochs three",
            "--epochs is three; a whole number is needed",
        ),
        (f"train-teacher out {TRAIN} --epochs -1", "--epochs is -1; at least 0"),
        (f"train-teacher out {TRAIN} --lr nan", "--lr is nan"),
        (f"train-teacher out {TRAIN} --batch-size 0", "--batch-size is 0; at least 1"),
        (f"train-teacher out {TRAIN} --max-steps 0", "--max-steps is 0; at least 1"),
        (f"train-teacher out {TRAIN} --precision 8-bit", "there is no precision `8-bit`"),
        (f"train-teacher out {TRAIN} --dataset digist", "did you mean `digits`"),
        (f"train-teacher out {TRAIN} --dataset mnist --data-root nowhere", "mnist"),
        (f"train-teacher out {TRAIN} --dataset folder:nowhere", "nowhere"),
        (f"train-teacher out {TRAIN} --dataset digits:size=3", "takes no options"),
        (
            f"train-teacher out {TRAIN} --image-size 16",
            "have a fixed size",
        ),
        (f"train-teacher out {TRAIN} --network mnist-cn", "did you mean `mnist-cnn`"),
        (f"train-teacher out {TRAIN} --network mnist-cnn:widht=2", "did you mean `width`"),
        (
            f"train-teacher out {TRAIN} --network mnist-cnn:width=wide",
            "`width=wide` in `mnist-cnn:width=wide` is not a number",
        ),
        (f"train-teacher out {TRAIN} --network mnist-cnn:width", "has no value"),
        (
            f"train-teacher out {TRAIN} --network torchvision:resnet18",
            "does not take 1x8x8 images",
        ),
        (f"train-teacher out {TRAIN} --schedule cosin", "did you mean `cosine`"),
        (f"train-teacher out {TRAIN} --preprocessing unti", "did you mean `unit`"),
        (f"train-teacher out {TRAIN} --views hflpi", "did you mean `hflip`"),
        (f"train-teacher out {TRAIN} --device cudda", "did you mean `cuda`"),
        (f"train-teacher out {TRAIN} --seeds 4..0", "`4..0` is not a list of seeds"),
        (f"train-teacher out {TRAIN} --train-size 2000", "2,000 labelled images were asked for"),
        (f"train-teacher out {TRAIN} --use-unlabelled", "--use-unlabelled has no effect"),
        (f"train-teacher out {TRAIN} --seed 3 --seeds 0..2", "--seeds is 0..2 and --seed is 3"),
        (f"train-teacher out {TRAIN} --seeds 0,1,1", "`0,1,1` names the seed 1 more than once"),
        (f"train-teacher out {TRAIN} --seeds 0..2,1", "`0..2,1` names the seed 1 more than once"),
        (
            f"train-teacher out {TRAIN} --views shift:8",
            "`shift:8` can shift all pixels out of images of 8 × 8",
        ),
        (f"train-teacher out {TRAIN} --views shift:1000", "`shift:1000` has 4,004,001 views"),
        (f"train-teacher out {TRAIN} --lr fast", "--lr is fast; a number is needed"),
        (
            f"train-teacher out {TRAIN} --batch-size few",
            "--batch-size is few; a whole number is needed",
        ),
        (
            f"train-student out {TRAIN} --match fd",
            "there is no layer of the student `fd`; did you mean `fc`",
        ),
        (
            f"train-student out {TRAIN} --objective dsn:layers=fc,weight=nan",
            "has weight=nan",
        ),
        (
            "export-rdms nowhere store.h5 --layers fc --batch-size 0",
            "--batch-size is 0; at least 1 is needed",
        ),
        (f"train-teacher out {TRAIN} --init nowhere", "no weights at nowhere"),
        (f"train-teacher out {TRAIN} --targets store.h5", "has no option `--targets`"),
        (f"train-student out {TRAIN} --targets nowhere.h5 --match fc", "no store at nowhere.h5"),
        (f"train-student out {TRAIN} --match fc", "there is no teacher"),
        (f"train-student out {TRAIN} --objective rdll", "did you mean `rdl`"),
        (f"train-student out {TRAIN} --align pixels", "there is no align `pixels`"),
        ("export-rdms nowhere store.h5 --layers fc", "nowhere"),
        ("export-rdms . store.h5 --layers fc", "is not a run"),
        ("compare nowhere", "nowhere"),
        ("show nowhere", "nowhere"),
        ("layers mnist-cnn --classes 0", "--classes is 0; at least 1 is needed"),
        (f"train-teacher out {TRAIN} --config nowhere.toml", "nowhere.toml could not be read"),
    ],
)
def test_main_gives_one_error_and_a_hint(words, fact, rdl, here):
    code, out, err = rdl(words)
    assert code == 2 and out == "" and not list(here.iterdir()), err
    lines = err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [
        lines[-2] if lines[-1].startswith("hint: ") else lines[-1]
    ]
    assert fact in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("toml", "fact"),
    [
        ("epoch = 3", "no option `epoch`; did you mean `epochs`?"),
        ("match = 'fc'", "`match` in c.toml is 'fc'; a list of texts is needed"),
        ("epochs = [1, 2]", "`epochs` in c.toml is [1, 2]; a whole number is needed"),
        ("lr = true", "`lr` in c.toml is True; a number is needed"),
        ("seeds = 3", "`seeds` in c.toml is 3; a text is needed"),
        ("use_unlabelled = 'yes'", "`use_unlabelled` in c.toml is 'yes'; true or false is needed"),
        ("stimuli-heldout = 40", "`stimuli-heldout` in c.toml is 40; a text is needed"),
        ("clip-grad-norm = '1'", "`clip-grad-norm` in c.toml is '1'; a number is needed"),
        ("epochs = ", "is not TOML"),
        ("epochs = 'three'", "`epochs` in c.toml is 'three'; a whole number is needed"),
        ("precision = 'low'", "`precision` in c.toml is 'low'; '32-true' or 'bf16-mixed' or"),
        ("seed = -1", "--seed is -1; at least 0"),
        ("[table]\nepochs = 3", "no option `table`"),
        ("config = 'other.toml'", "no option `config`"),
    ],
)
def test_config_errors_are_one_line(toml, fact, rdl, here):
    (here / "c.toml").write_text(toml)
    code, out, err = rdl(f"train-student out {TRAIN.replace(' --epochs 2', '')} --config c.toml")
    assert code == 2 and out == "" and {path.name for path in here.iterdir()} == {"c.toml"}
    assert fact in err and err.startswith("error: ") and "Traceback" not in err


def test_main_overwrites_nothing(rdl, here, store, teacher):
    (here / "out").mkdir()
    (here / "out" / "own.txt").write_text("own")
    (here / "store.h5").write_text("own")
    for words in (
        f"train-teacher out {TRAIN}",
        f"train-teacher out {TRAIN} --resume",
        f"export-rdms {teacher} store.h5 --layers fc",
    ):
        code, _, err = rdl(words)
        assert code == 2 and err.splitlines()[-2].startswith("error: ")
    assert (here / "store.h5").read_text() == (here / "out/own.txt").read_text() == "own"


def test_main_shows_a_traceback_for_our_own_faults(rdl, here, monkeypatch):
    monkeypatch.setattr("rdl_cli.commands.train.train.train", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["rdl", "train-teacher", "out"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_main_names_the_next_step_after_an_interrupt(rdl, here, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rdl_cli.commands.train.train.train", interrupted)
    code, out, err = rdl("train-teacher out")
    assert code == 130 and "--resume" in err and out == ""


def test_list_help_names_every_kind(rdl):
    code, out, _ = rdl("list --help")
    assert code == 0 and all(kind in out for kind in KINDS) and "controls" in out
