"""`read_recipe` and `dry_run`: every mistake is refused before anything is trained or written."""

from pathlib import Path

import pytest

from rdl_cli.commands.reproduce.reproduce import ExperimentOptions, reproduce
from rdl_cli.core.errors import UserError


@pytest.mark.parametrize(
    ("old", "new", "message"),
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
            'layers = ["fc"]\nas = "kernel"\n'
            '[methods.x]\ntargets = "store"\nmatch = ["fc"]\nobjective = ["hints"]',
            r"\[methods.x\]: layer `fc` of .*out/store.h5 holds a kernel, not activations",
        ),
        (
            'layers = ["pool1", "fc"]',
            'layers = ["fc", "pool1"]\n'
            '[methods.x]\ntargets = "store"\nmatch = ["fc"]\nobjective = ["at"]',
            r"\[methods.x\]: `at` compares maps",
        ),
        (
            'targets = "store"',
            'targets = "store"\nviews = "shift:1"',
            r"\[methods.rdl\]: the store .*out/store.h5 holds the views",
        ),
        (
            'targets = "store"',
            'targets = "store"\ngrad_fraction = ["rsa=0.1"]',
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
            r"\[methods.teacher\].*can't be the name of a folder",
        ),
        ("[methods.rdl]", '[methods."a/b"]', r"can't be the name of a folder"),
        ("[methods.rdl]", '[methods.""]', r"can't be the name of a folder"),
        ("[methods.rdl]", '[methods."store.h5"]', r"can't be the name of a folder"),
        ("[methods.rdl]", '[methods."a\\u0000b"]', r"can't be the name of a folder"),
        ("[methods.rdl]", f"[methods.{'x' * 300}]", r"can't be the name of a folder"),
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
            r"it takes the setting chosen for baseline, and has a grid of its own",
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
def test_dry_run_refuses_a_mistake_before_anything_is_written(
    old, new, message, recipe, recipes, tmp_path
):
    assert old in recipes.small
    name = recipe(recipes.small.replace(old, new, 1))
    with pytest.raises(UserError, match=f"(?s){message}"):
        reproduce(ExperimentOptions(name, tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_reproduce_refuses_files_in_the_way_before_anything_is_trained(recipe, recipes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results").write_text("mine")
    name = recipe(recipes.small)
    with pytest.raises(UserError, match="results is a file"):
        reproduce(ExperimentOptions(name, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file could not be written"):
        reproduce(ExperimentOptions(name, tmp_path / "file"))


def test_dry_run_refuses_to_replace_a_store_that_students_followed(whole, recipes, monkeypatch):
    monkeypatch.chdir(whole)
    before = Path("out/store.h5").read_bytes()
    layers = 'layers = ["pool1", "fc"]'
    text = recipes.small.replace(layers, f'{layers}\ndtype = "float16"').replace("3..4", "3..5")
    Path("more.toml").write_text(text)
    message = "holds `pool1` in another form than the recipe, and rdl/seed3 was trained with it"
    with pytest.raises(UserError, match=message):
        reproduce(ExperimentOptions("more.toml", Path("out")))
    assert Path("out/store.h5").read_bytes() == before
