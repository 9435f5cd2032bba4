"""Recipes: sections, merging of [quick], sweeps, several teachers, and what each lacks."""

import tomllib
from pathlib import Path

import pytest

from rdl_cli.commands.reproduce.jobs import recipe_jobs
from rdl_cli.commands.reproduce.recipe import list_recipes, read_recipe, recipe_text
from rdl_cli.core.errors import UserError

STUDENTS = '[students]\ndataset = "digits"\n'


def test_read_recipe_refuses_missing_sections(recipe, tmp_path):
    for text, message in (
        ("", "has no methods"),
        (
            '[methods.x]\ntargets = "store"',
            r'\[methods.x\].*it has targets = "store", and there is no \[store\]',
        ),
        ('[methods.x]\ninit = "teacher"', r'it has init = "teacher", and there is no \[teacher\]'),
        (
            '[methods.x]\ninit = "teachers.a"',
            r'it has init = "teachers.a", and there is no \[teachers.a\]',
        ),
        (
            '[store]\nlayers = ["fc"]\n[methods.x]',
            r"\[store\].*it needs a teacher, and there is no \[teacher\]",
        ),
        ("methods = 3", r"\[methods\].*it is 3; a table is needed"),
        ("[methods]\nx = 3", r"\[methods.x\].*it is 3; a table is needed"),
        ("quick = 3\n[methods.x]", "`quick` is 3; a table is needed"),
    ):
        with pytest.raises(UserError, match=f"(?s){message}"):
            read_recipe(recipe(text), tmp_path / "out")
    with pytest.raises(UserError, match=r"has no \[quick\] section"):
        read_recipe(recipe("[methods.x]"), tmp_path / "out", quick=True)
    with pytest.raises(UserError, match="no recipe `digist`; did you mean `digits`"):
        read_recipe("digist", tmp_path / "out")
    with pytest.raises(UserError, match=r"missing\.toml could not be read"):
        read_recipe("missing.toml", tmp_path / "out")


@pytest.mark.parametrize("name", list_recipes())
def test_list_recipes_are_valid_in_both_sizes_and_name_their_command(name, tmp_path):
    for quick in (False, True):
        read = read_recipe(name, tmp_path / "out", quick)
        assert read.title and read.methods and read.name == name
    header, _, _ = recipe_text(name).partition("title =")
    assert f"rdl reproduce {name}" in header and tomllib.loads(recipe_text(name))["quick"]
    assert max(map(len, recipe_text(name).splitlines())) <= 100


def test_read_recipe_merges_quick_and_flags_win(recipe, recipes, tmp_path):
    name = recipe(recipes.small)
    full, quick = (
        read_recipe(name, tmp_path / "out", size, {"data_root": "there"}) for size in (False, True)
    )
    assert (full.methods["rdl"].epochs, quick.methods["rdl"].epochs) == (2, 1)
    assert full.methods["rdl"].seeds == quick.methods["rdl"].seeds == "3..4"
    assert full.methods["rdl"].targets == str(tmp_path / "out/store.h5")
    assert quick.methods["baseline"].data_root == "there"
    assert full.tune == {"baseline": [{"lr": 0.01}, {"lr": 0.1}], "rdl": []}
    assert quick.tune == {"baseline": [{"lr": 0.01}], "rdl": []}


def test_read_recipe_quick_takes_the_first_value_unless_it_has_tuning(recipe, recipes):
    quick = "[quick.students]\nepochs = 1\n"
    name = recipe(recipes.like + quick)
    assert read_recipe(name, Path("out"), quick=True).tune["few"] == [{"lr": 0.0}]
    name = recipe(recipes.like + quick + "[quick.tuning]\nepochs = 1\n")
    tuned = read_recipe(name, Path("out"), quick=True)
    assert tuned.tune["few"] == [{"lr": 0.0}, {"lr": 0.1}]


def test_read_recipe_sweep_makes_one_method_for_each_combination(recipe):
    text = STUDENTS + (
        '[teacher]\ndataset = "digits"\n[store]\nlayers = ["fc"]\n'
        '[methods.match]\ntargets = "store"\nmatch = ["fc"]\ntune.lr = [0.1, 0.2]\n'
        'sweep.objective = [["rdl"], ["rsa:weight=2"]]\nsweep.train_size = [100, 200]\n'
    )
    read = read_recipe(recipe(text), Path("out"))
    objectives = ("rdl", "rsa:weight=2")
    assert list(read.methods) == [f"match-{o}-{n}" for o in objectives for n in (100, 200)]
    swept = read.methods["match-rsa:weight=2-200"]
    assert (swept.objective, swept.train_size, swept.label) == (
        ["rsa:weight=2"],
        200,
        "match-rsa:weight=2-200",
    )
    assert read.tune["match-rdl-100"] == [{"lr": 0.1}, {"lr": 0.2}]
    with pytest.raises(UserError, match=r"two methods are named a-1"):
        read_recipe(recipe(STUDENTS + "[methods.a-1]\n[methods.a]\nsweep.lr = [1]\n"), Path("out"))


def test_read_recipe_several_teachers_have_folders_of_their_own(recipe):
    text = STUDENTS + (
        '[teacher]\ndataset = "digits"\n[teachers.wide]\ndataset = "digits"\nseed = 1\n'
        '[stores.wide]\nlayers = ["fc"]\n[stores.first]\nlayers = ["fc"]\n'
        '[methods.a]\ntargets = "stores.wide"\nmatch = ["fc"]\n'
        '[methods.b]\ninit = "teachers.wide"\n'
    )
    read = read_recipe(recipe(text), Path("out"))
    assert {section: store.teacher for section, store in read.stores.items()} == {
        "stores.wide": "teachers.wide",
        "stores.first": "teacher",
    }
    assert read.methods["a"].targets == "out/stores/wide.h5"
    assert read.methods["b"].init == "out/teachers/wide"


def test_recipe_jobs_tuning_over_teachers_waits_for_all_of_them(recipe):
    text = STUDENTS + (
        '[teachers.a]\ndataset = "digits"\n[teachers.b]\ndataset = "digits"\n'
        '[stores.a]\nlayers = ["fc"]\n[stores.b]\nlayers = ["fc"]\n'
        '[methods.m]\nmatch = ["fc"]\nseeds = "0..1"\n'
        'tune.targets = ["stores.a", "stores.b"]\n'
    )
    jobs = recipe_jobs(read_recipe(recipe(text), Path("out")), Path("out"))
    trials = [job for job in jobs.values() if job.may_diverge]
    assert [job.settings.targets for job in trials] == ["out/stores/a.h5", "out/stores/b.h5"]
    assert [job.needs for job in trials] == [("stores/a.h5",), ("stores/b.h5",)]
    assert set(jobs["m/seed1"].needs) == {"stores/a.h5", "stores/b.h5", *(t.name for t in trials)}
    assert jobs["stores/b.h5"].needs == ("teachers/b",)


@pytest.mark.parametrize(
    ("primary", "message"),
    [
        ('"rdl"', r"\[comparison\].*`primary` is \"rdl\""),
        ('"rdl - base"', r"no method in \[comparison\] `base`; did you mean `baseline`"),
        ('"rdl - rdl"', "compares rdl with itself"),
        ("3", "`primary` is 3; a text"),
    ],
)
def test_read_recipe_refuses_a_wrong_primary_comparison(primary, message, recipe, recipes):
    name = recipe(recipes.small + f"[comparison]\nprimary = {primary}\n")
    with pytest.raises(UserError, match=f"(?s){message}"):
        read_recipe(name, Path("out"))


def test_read_recipe_keeps_the_primary_comparison(recipe, recipes):
    name = recipe(recipes.small + '[comparison]\nprimary = "rdl - baseline"\n')
    assert read_recipe(name, Path("out")).primary == ("rdl", "baseline")
    assert read_recipe(recipe(recipes.small), Path("out")).primary is None
