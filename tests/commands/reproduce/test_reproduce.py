"""Recipes: what is refused before anything is trained, what is tuned, what is drawn, and that a kill at any point changes nothing."""

import csv
import signal
import tomllib
from pathlib import Path

import pytest

from rdl_cli.cli import reproduce as command
from rdl_cli.cli.render.report import render_results
from rdl_cli.commands.reproduce import recipe as recipes
from rdl_cli.commands.reproduce import reproduce
from rdl_cli.commands.reproduce.recipe import read_recipe
from rdl_cli.core.errors import UserError
from rdl_cli.runs.run import Run

KILLED = -signal.SIGKILL

ALIKE = """
[students]
dataset = "digits"
network = "mnist-cnn:width=0.25"
batch_size = 10
epochs = 2

[methods.few]
train_size = 200
tune.lr = [0.0, 0.1]

[methods.more]
like = "few"
train_size = 100

[tuning]
epochs = 2
"""

SMALL = """
title = "small"
[teacher]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 3
batch_size = 20
lr = 0.1
[store]
layers = ["pool1", "fc"]
[students]
dataset = "digits"
network = "mnist-cnn:width=0.125"
epochs = 2
train_size = 300
batch_size = 10
lr = 0.1
[methods.baseline]
tune.lr = [0.01, 0.1]
[methods.rdl]
targets = "store"
match = ["pool1", "fc"]
seeds = "3..4"
[tuning]
epochs = 1
[figures]
layers = ["pool1", "logits"]
per_class = 3
[quick.students]
epochs = 1
[paper]
baseline = 0.63
"""

RUN = """
from pathlib import Path
import os
os.chdir(here)
from rdl_cli.cli.reproduce import reproduce
reproduce("small.toml", Path("out"))
"""
KILL = """
import os, signal
replace = os.replace
def killing(one, other, **kwargs):
    if str(other).endswith(part):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(one, other, **kwargs)
os.replace = os.rename = killing
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "mine.toml").write_text(text)
        return "mine.toml"

    return write


@pytest.fixture(scope="module")
def whole(elsewhere, tmp_path_factory) -> Path:
    """SMALL run to its end without a pause."""
    here = tmp_path_factory.mktemp("whole")
    (here / "small.toml").write_text(SMALL)
    assert elsewhere(RUN, here=str(here)) == 0
    return here


def tables(here: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (here / "out/results").iterdir()
        if path.suffix != ".json"
    }


def test_a_method_like_another_takes_its_options_and_what_was_chosen_for_it(recipe, tmp_path):
    done = reproduce.reproduce(recipe(ALIKE), tmp_path / "out")
    few, more = (Run(tmp_path / "out" / name).config for name in ("few", "more"))
    assert (few["train_size"], more["train_size"]) == (200, 100)
    assert few["lr"] == more["lr"] == 0.1, "a rate of zero learns nothing, and was tried"
    assert not (tmp_path / "out" / "tuning" / "more").exists()
    drawn = {path.stem for path in reproduce.draw_figures(done.recipe, tmp_path / "out", tmp_path)}
    assert drawn == {"curves", "labels"}, "the number of labels varies, and no layers are named"


def test_a_setting_that_diverges_is_the_worst_and_ends_nothing(recipe, tmp_path):
    done = reproduce.reproduce(recipe(ALIKE.replace("[0.0, 0.1]", "[1e30, 0.1]")), tmp_path / "out")
    assert [(each.settings["lr"], each.chosen) for each in done.tried] == [
        (1e30, False),
        (0.1, True),
    ]
    assert done.tried[0].error == float(
        "inf"
    ) and "| few | lr = 1e+30 | diverged |  |" in render_results(done)
    with pytest.raises(UserError, match="every setting that was tried for few diverged"):
        reproduce.reproduce(recipe(ALIKE.replace("[0.0, 0.1]", "[1e30, 1e29]")), tmp_path / "again")


def test_quick_takes_the_first_of_the_values_unless_it_has_tuning_of_its_own(recipe):
    quick = "[quick.students]\nepochs = 1\n"
    assert read_recipe(recipe(ALIKE + quick), Path("out"), quick=True).tune["few"] == [{"lr": 0.0}]
    tuned = quick + "[quick.tuning]\nepochs = 1\n"
    assert read_recipe(recipe(ALIKE + tuned), Path("out"), quick=True).tune["few"] == [
        {"lr": 0.0},
        {"lr": 0.1},
    ]


def test_what_is_left_of_a_recipe(whole):
    results = whole / "out/results"
    figures = ["curves", "map-correlation", "map-normalised", "rdms"]
    tables = ["compare.csv", "compare-best.csv", "compare.json", "results.md", "tuning.csv"]
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [f"{name}.{suffix}" for name in figures for suffix in ("svg", "png")] + tables
    )
    page = (results / "results.md").read_text()
    for words in (
        "# small\n",
        "best on validation images",
        "| baseline | 1 |",
        "| rdl | 2 |",
        "| 0.63 |",
        "lr = 0.01",
        "| chosen |",
    ):
        assert words in page
    assert max(path.stat().st_size for path in results.glob("*.svg")) < 500_000


def test_what_was_tried_is_told_with_its_error_on_validation_images(whole):
    rows = list(csv.DictReader((whole / "out/results/tuning.csv").read_text().splitlines()))
    assert [(row["method"], row["lr"]) for row in rows] == [
        ("baseline", "0.01"),
        ("baseline", "0.1"),
    ]
    for row in rows:
        run = Run(whole / f"out/tuning/baseline/lr={row['lr']}")
        assert (
            float(row["validation_error"]) == float(run.metrics()[-1]["validation_error"])
            and run.config["epochs"] == 1
        )
    (chosen,) = (row for row in rows if row["chosen"] == "True")
    assert float(chosen["validation_error"]) == min(float(row["validation_error"]) for row in rows)
    assert Run(whole / "out/baseline").config["lr"] == float(chosen["lr"])


def test_a_trial_of_many_words_has_a_folder():
    assert len(reproduce._folder({"objective": ["x" * 300], "lr": 0.1})) == 16
    assert reproduce._folder({"lr": 0.1, "match": ["a/b"]}) == "lr=0.1,match=['a_b']"


def test_seeds_of_a_trial_count_by_their_mean(recipe, tmp_path):
    done = reproduce.reproduce(
        recipe(ALIKE.replace("[tuning]", '[tuning]\nseeds = "0..1"')), tmp_path / "out"
    )
    for trial, path in zip(
        done.tried, sorted((tmp_path / "out/tuning/few").iterdir()), strict=True
    ):
        errors = [
            float(Run(path / f"seed{seed}").metrics()[-1]["validation_error"]) for seed in (0, 1)
        ]
        assert trial.error == pytest.approx(sum(errors) / 2)


PARTS = (
    "teacher/checkpoint.pt",
    "teacher/predictions.h5",
    "store.h5",
    "lr=0.1/model.safetensors",
    "baseline/metrics.csv",
    "seed3/config.toml",
)
PARTS += (
    "seed4/predictions.h5",
    "results/results.md",
    "results/compare.csv",
    "results/map-correlation.svg",
)


def test_killed_again_and_again_it_ends_with_the_same_tables(whole, elsewhere, tmp_path):
    """Each time before another file gets its name, and each time further on."""
    (tmp_path / "small.toml").write_text(SMALL)
    for part in PARTS:
        assert elsewhere(KILL + RUN, here=str(tmp_path), part=part) == KILLED, (
            f"{part} was there already, or never came"
        )
    assert elsewhere(RUN, here=str(tmp_path)) == 0
    mine, theirs = tables(tmp_path), tables(whole)
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name] == theirs[name], f"{name} is another"


def test_what_is_finished_is_not_trained_again_and_needs_no_data(whole, monkeypatch, tmp_path):
    monkeypatch.chdir(whole)
    before = {
        path: path.stat().st_mtime_ns
        for path in Path("out").rglob("*")
        if path.is_file() and path.parent.name != "results"
    }
    tables_before = tables(whole)
    command.reproduce("small.toml", Path("out"))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tables(whole) == tables_before, "figures and tables are drawn anew, to the same bytes"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[students]", "[pupils]", r"no section in the recipe mine.toml `pupils`"),
        ("epochs = 2", "epohcs = 2", r"no option in \[students\] `epohcs`; did you mean `epochs`"),
        (
            "epochs = 2",
            'epochs = "2"',
            r"\[students\] of the recipe mine.toml: `epochs` is '2'; a whole number",
        ),
        ("epochs = 2", "epochs = true", r"`epochs` is True; a whole number"),
        ("epochs = 2", "epochs = 2.5", r"`epochs` is 2.5; a whole number"),
        (
            "epochs = 2",
            "epochs = -1",
            r"\[methods.baseline\] of the recipe mine.toml: --epochs is -1",
        ),
        ("epochs = 2", 'label = "x"', r"no option in \[students\] `label`"),
        ("epochs = 2", 'precision = "8-bit"', r"`precision` is '8-bit'; '32-true' or"),
        (
            'match = ["pool1", "fc"]',
            'match = "pool1,fc"',
            r"\[methods.rdl\].*`match` is 'pool1,fc'; a list of texts",
        ),
        (
            'match = ["pool1", "fc"]',
            'match = ["pool1", "fd"]',
            r"no layer of the student `fd`; did you mean `fc`",
        ),
        (
            'layers = ["pool1", "fc"]',
            'layers = ["fc"]\nas = "kernel"\n[methods.x]\ntargets = "store"\nmatch = ["fc"]\nobjective = ["hints"]',
            r"\[methods.x\]: the store .*out/store.h5 holds only a kernel of `fc`",
        ),
        (
            'layers = ["pool1", "fc"]',
            'layers = ["fc", "pool1"]\n[methods.x]\ntargets = "store"\nmatch = ["fc"]\nobjective = ["at"]',
            r"\[methods.x\]: `at` compares maps",
        ),
        (
            'targets = "store"',
            'targets = "store"\nviews = "shift:1"',
            r"\[methods.rdl\]: the store .*out/store.h5 holds the views",
        ),
        (
            'targets = "store"',
            'targets = "store"\nshare = ["rsa=0.1"]',
            r"\[methods.rdl\]: there is no objective of this run `rsa`",
        ),
        (
            'targets = "store"',
            'targets = "teacher"\nobjective = ["at"]',
            r"\[methods.rdl\]: `at` compares maps",
        ),
        (
            'targets = "store"',
            'targets = "store"\ntune.objective = [["rdl"], ["rdl", "rdl"]]',
            r"\[methods.rdl\]: --objective names `rdl` 2",
        ),
        (
            'match = ["pool1", "fc"]',
            'match = ["pool1", "fc=pool2"]',
            r"no layer of the teacher `pool2`",
        ),
        ('layers = ["pool1", "fc"]', "layers = []", r"\[store\].*no layers are named"),
        ('layers = ["pool1", "fc"]', 'layers = ["pol1"]', r"no layer `pol1`; did you mean `pool1`"),
        ('layers = ["pool1", "fc"]', 'layer = ["pool1"]', r"no option in \[store\] `layer`"),
        (
            'dataset = "digits"',
            'dataset = "digist"',
            r"\[teacher\].*no dataset `digist`; did you mean `digits`",
        ),
        (
            'dataset = "digits"\nnetwork = "mnist-cnn:width=0.125"\nepochs = 2',
            'dataset = "mnist"\ndata_root = "nowhere"',
            "mnist",
        ),
        (
            'network = "mnist-cnn:width=0.125"\nepochs = 2',
            'network = "mnist-ccn"',
            r"\[methods.baseline\].*no network `mnist-ccn`",
        ),
        ('targets = "store"', 'targets = "brain.h5"', r"\[methods.rdl\]: there is no brain.h5"),
        (
            'targets = "store"',
            'targets = "store"\nobjective = ["rdll"]',
            r"\[methods.rdl\].*no objective `rdll`; did you mean `rdl`",
        ),
        (
            'targets = "store"',
            'targets = "store"\nobjective = ["rdl:wieght=1"]',
            r"called `wieght`; did you mean `weight`",
        ),
        (
            "[teacher]\n",
            '[methods.x]\ninit = "teacher"\n[ignored]\n',
            r"no section in the recipe mine.toml `ignored`",
        ),
        (
            "[methods.rdl]",
            "[methods.teacher]",
            r"\[methods.teacher\].*a method is called as its folder",
        ),
        ("[methods.rdl]", '[methods."a/b"]', r"a method is called as its folder"),
        ("[methods.rdl]", '[methods.""]', r"a method is called as its folder"),
        ("[methods.rdl]", '[methods."store.h5"]', r"a method is called as its folder"),
        ("[methods.rdl]", '[methods."a\\u0000b"]', r"a method is called as its folder"),
        ("[methods.rdl]", f"[methods.{'x' * 300}]", r"a method is called as its folder"),
        (
            'targets = "store"',
            'targets = "store"\nlike = ["baseline"]',
            r"`like` is \['baseline'\]; a text",
        ),
        (
            'targets = "store"',
            'targets = "store"\nobjective = ["kd"]',
            r"no layer of the teacher `logits`",
        ),
        (
            'targets = "store"',
            'targets = "store"\ntrain_size = 2000',
            r"2,000 labelled images were asked for",
        ),
        ('targets = "store"', 'targets = "store"\ndevice = "cude"', r"no device `cude`"),
        (
            'layers = ["pool1", "fc"]',
            'layers = ["fc"]\nas = "kernel"\ndtype = "float16"',
            "float16 is too narrow for a kernel",
        ),
        (
            "[methods.rdl]",
            "[methods]\nrdl = 3\n[other]",
            r"no section in the recipe mine.toml `other`",
        ),
        (
            "tune.lr = [0.01, 0.1]",
            "tune.rl = [0.01, 0.1]",
            r"no option in \[methods.baseline.tune\] `rl`; did you mean `lr`",
        ),
        (
            "tune.lr = [0.01, 0.1]",
            "tune.lr = 0.1",
            r"\[methods.baseline.tune\].*`lr` is 0.1; a list",
        ),
        ("tune.lr = [0.01, 0.1]", 'tune.lr = [0.01, "0.1"]', r"`lr` is '0.1'; a number"),
        (
            "tune.lr = [0.01, 0.1]",
            "tune.lr = [0.01, -0.1]",
            r"\[methods.baseline.tune\].*--lr is -0.1",
        ),
        ("tune.lr = [0.01, 0.1]", "tune.lr = []", r"`lr` has no values to try"),
        ("tune.lr = [0.01, 0.1]", "tune = 3", r"\[methods.baseline.tune\].*it is 3; a table"),
        (
            "tune.lr = [0.01, 0.1]",
            'tune.objective = [["dns"]]',
            r"\[methods.baseline.tune\].*no objective `dns`; did you mean `dsn`",
        ),
        ("tune.lr = [0.01, 0.1]", 'like = "rdl"', r"no method above \[methods.baseline\]"),
        (
            'seeds = "3..4"',
            'like = "baseline"\ntune.lr = [1, 2]',
            r"it takes what was chosen for baseline, and has a grid of its own",
        ),
        (
            "[tuning]\nepochs",
            "[tuning]\nepoch",
            r"no option in \[tuning\] `epoch`; did you mean `epochs`",
        ),
        (
            "[tuning]\nepochs = 1",
            "[tuning]\nepochs = 0.5",
            r"\[tuning\].*`epochs` is 0.5; a whole number",
        ),
        (
            "[quick.students]\nepochs",
            "[quick.students]\nepoch",
            r"no option in \[quick.students\] `epoch`",
        ),
        (
            "[quick.students]",
            "[quick.student]",
            r"no section in \[quick\] of the recipe mine.toml `student`",
        ),
        ("[quick.students]", "[quick.methods.dsn]", r"no method in \[quick.methods\] `dsn`"),
        ("[quick.students]\nepochs = 1", "[quick]\nstudents = 1", r"students"),
        (
            "[quick.students]\nepochs = 1",
            '[quick.students]\ndataset = "digist"',
            r"\[quick.methods.baseline\].*no dataset `digist`",
        ),
        (
            "[paper]\nbaseline",
            "[paper]\nbase",
            r"no method in \[paper\] `base`; did you mean `baseline`",
        ),
        ("baseline = 0.63", 'baseline = "0.63"', r"\[paper\].*`baseline` is '0.63'; a number"),
        ("per_class = 3", "per_class = 0", r"\[figures\].*per_class is 0"),
        (
            "per_class = 3",
            'methods = ["rld"]',
            r"no method in \[figures\] `rld`; did you mean `rdl`",
        ),
        ('["pool1", "logits"]', '["pool1", "logit"]', r"no layer `logit`; did you mean `logits`"),
        ('title = "small"', "title = 3", r"the recipe mine.toml: `title` is 3; a text"),
        ('title = "small"', "title = ", r"mine.toml is not TOML"),
    ],
)
def test_a_mistake_is_said_before_anything_is_written(old, new, says, recipe, tmp_path):
    assert old in SMALL
    with pytest.raises(UserError, match=f"(?s){says}"):
        reproduce.reproduce(recipe(SMALL.replace(old, new, 1)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_file_in_the_way_is_said_before_anything_is_trained(recipe, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results").write_text("mine")
    with pytest.raises(UserError, match="results is a file"):
        reproduce.reproduce(recipe(SMALL), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file/teacher could not be written"):
        reproduce.reproduce(recipe(SMALL), tmp_path / "file")


def test_a_store_that_students_learned_from_is_not_made_anew(whole, monkeypatch):
    monkeypatch.chdir(whole)
    before = Path("out/store.h5").read_bytes()
    Path("more.toml").write_text(
        SMALL.replace(
            'layers = ["pool1", "fc"]', 'layers = ["pool1", "fc"]\ndtype = "float16"'
        ).replace("3..4", "3..5")
    )
    with pytest.raises(
        UserError,
        match=r"holds `pool1` in another form than \[store\] says now, and rdl learned from it",
    ):
        reproduce.reproduce("more.toml", Path("out"))
    assert Path("out/store.h5").read_bytes() == before


def test_what_a_recipe_lacks_is_said(recipe, tmp_path):
    for text, says in (
        ("", "has no methods"),
        (
            '[methods.x]\ntargets = "store"',
            r'\[methods.x\].*it has targets = "store", and there is no \[store\]',
        ),
        ('[methods.x]\ninit = "teacher"', r'it has init = "teacher", and there is no \[teacher\]'),
        ('[store]\nlayers = ["fc"]\n[methods.x]', r"\[store\].*there is no \[teacher\]"),
        ("methods = 3", r"\[methods\].*it is 3; a table is needed"),
        ("[methods]\nx = 3", r"\[methods.x\].*it is 3; a table is needed"),
        ("quick = 3\n[methods.x]", "`quick` is 3; a table is needed"),
    ):
        with pytest.raises(UserError, match=f"(?s){says}"):
            read_recipe(recipe(text), tmp_path / "out")
    with pytest.raises(UserError, match=r"has no \[quick\] section"):
        read_recipe(recipe("[methods.x]"), tmp_path / "out", quick=True)
    with pytest.raises(UserError, match="no recipe `digist`; did you mean `digits`"):
        read_recipe("digist", tmp_path / "out")
    with pytest.raises(UserError, match=r"missing\.toml could not be read"):
        read_recipe("missing.toml", tmp_path / "out")


@pytest.mark.parametrize("name", recipes.list_recipes())
def test_recipes_that_come_along_are_right_in_both_sizes_and_say_their_command(name, tmp_path):
    for quick in (False, True):
        found = read_recipe(name, tmp_path / "out", quick)
        assert found.title and found.methods and found.name == name
    text = recipes._text(name)
    assert f"rdl reproduce {name}" in text.split("title =")[0] and tomllib.loads(text)["quick"]


def test_quick_lies_over_the_rest_and_flags_win(recipe, tmp_path):
    full, quick = (
        read_recipe(recipe(SMALL), tmp_path / "out", size, {"data_root": "there"})
        for size in (False, True)
    )
    assert (full.methods["rdl"].epochs, quick.methods["rdl"].epochs) == (2, 1)
    assert full.methods["rdl"].seeds == quick.methods["rdl"].seeds == "3..4"
    assert (
        full.methods["rdl"].targets == str(tmp_path / "out/store.h5")
        and quick.methods["baseline"].data_root == "there"
    )
    assert full.tune == {"baseline": [{"lr": 0.01}, {"lr": 0.1}], "rdl": []} and quick.tune == {
        "baseline": [{"lr": 0.01}],
        "rdl": [],
    }


def test_a_recipe_without_teacher_draws_the_layers_that_it_names(recipe, tmp_path):
    text = '[students]\ndataset = "digits"\nepochs = 1\ntrain_size = 50\nnetwork = "mnist-cnn:width=0.1"\n[methods.a]\n[methods.b]\nlr = 0.1\n'
    done = reproduce.reproduce(recipe(text), tmp_path / "out")
    (tmp_path / "out/results").mkdir()
    assert [
        path.stem
        for path in reproduce.draw_figures(done.recipe, tmp_path / "out", tmp_path / "out/results")
    ] == ["curves"] * 2
    done = reproduce.reproduce(
        recipe(text + '[figures]\nlayers = ["fc"]\nmethods = ["b"]\nper_class = 1'),
        tmp_path / "out",
    )
    drawn = reproduce.draw_figures(done.recipe, tmp_path / "out", tmp_path / "out/results")
    assert [path.stem for path in drawn] == [
        name for name in ("curves", "rdms", "map-correlation", "map-normalised") for _ in range(2)
    ]
    assert all(path.is_file() for path in drawn)
