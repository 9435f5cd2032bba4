"""Specs become objects, or errors with suggestions."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from rdl_cli.core.errors import UserError
from rdl_cli.core.registry import Registry


@pytest.fixture
def losses() -> Registry:
    registry = Registry("objective", home="rdl_cli.core.errors")

    @registry.register("rdl")
    def rdl(
        student: str,
        *,
        weight: float = 1.0,
        pairs: int = 500,
        estimator: Literal["eq4", "pairs"] = "eq4",
        level: Literal[1, 2] = 1,
        safe: bool = True,
        clip: float | None = 1.0,
        fraction: int | float = 1,
        name: str = "",
    ) -> dict[str, Any]:
        """Pulls distances together.

        And more.
        """
        return dict(locals())

    @registry.register("kd")
    class Kd:
        def __init__(self, student: str, *, temperature: float):
            self.student, self.temperature = student, temperature

    @registry.register("folder", rest="root")
    def folder(student: str, *, root: str) -> tuple[str, str]:
        """Your own images."""
        return student, root

    return registry


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a new working directory; modules imported from it are unloaded afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refusal(registry: Registry, spec: str) -> UserError:
    with pytest.raises(UserError) as error:
        registry.make(spec, "student")
    return error.value


def test_make_keeps_the_defaults(losses: Registry) -> None:
    assert losses.make("rdl", "s")["weight"] == 1.0
    assert losses.make("rdl", "s")["student"] == "s"


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("weight=0.5", "weight", 0.5),
        ("weight=1e-3", "weight", 1e-3),
        ("pairs=406", "pairs", 406),
        ("estimator=pairs", "estimator", "pairs"),
        ("level=2", "level", 2),
        ("safe=no", "safe", False),
        ("safe=True", "safe", True),
        ("clip=none", "clip", None),
        ("clip=2", "clip", 2.0),
        ("fraction=3", "fraction", 3),
        ("fraction=0.05", "fraction", 0.05),
        ("name=a=b", "name", "a=b"),
        ("pairs=3,weight=2", "weight", 2.0),
    ],
)
def test_make_converts_options_to_their_types(
    losses: Registry, text: str, option: str, value: Any
) -> None:
    actual = losses.make(f"rdl:{text}", "s")[option]
    assert actual == value and type(actual) is type(value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rld", "no objective `rld`; did you mean `rdl`?"),
        ("RDL", "did you mean `rdl`?"),
        ("rld:weight=2", "did you mean `rdl`?"),
        ("", "no objective ``"),
        ("rdl:wieght=2", "no option of `rdl` called `wieght`; did you mean `weight`?"),
        ("rdl:student=x", "no option of `rdl` called `student`"),
        ("rdl:weight", "option `weight` in `rdl:weight` has no value"),
        ("rdl:weight=1,weight=2", "is given twice"),
        ("rdl:weight=much", "`weight=much` in `rdl:weight=much` is not a number"),
        ("rdl:pairs=1.5", "is not a whole number"),
        ("rdl:estimator=eq", "is not a choice; did you mean `eq4`?"),
        ("rdl:level=3", "is not a choice"),
        ("rdl:safe=perhaps", "neither true nor false"),
        ("rdl:clip=tight", "is not a number"),
        ("rdl:fraction=half", "is not a number"),
        ("rdl:weight=1,", "no option of `rdl` called ``"),
        ("folder", "`folder` needs a root"),
        ("kd", "needs the option `temperature`"),
        ("no_such_module:loss", "no objective `no_such_module` and no module of that name"),
        ("math:hyppot", "no function in module math called `hyppot`; did you mean `hypot`?"),
        ("math:pi", "no function in module math called `pi`"),
        (":loss", "importing `` failed"),
    ],
)
def test_make_refuses_wrong_specs(losses: Registry, spec: str, message: str) -> None:
    assert message in str(refusal(losses, spec))


def test_make_lists_the_members_in_hints(losses: Registry) -> None:
    assert refusal(losses, "rld").hint == "an objective is one of: folder, kd, rdl"
    assert refusal(losses, "kd:heat=2").hint == "its options are temperature"
    assert refusal(losses, "rdl:estimator=eq").hint == "one of: eq4, pairs"
    assert refusal(losses, "kd").hint == "write kd:temperature=VALUE"


def test_make_takes_the_rest_verbatim(losses: Registry) -> None:
    assert losses.make("folder:/data/my images:x,y=1", "s") == ("s", "/data/my images:x,y=1")


def test_make_accepts_classes(losses: Registry) -> None:
    assert losses.make("kd:temperature=4", "s").temperature == 4.0


def test_registry_lists_options_and_summaries(losses: Registry) -> None:
    assert list(losses) == ["folder", "kd", "rdl"]
    assert losses.options("rdl")["pairs"].default == 500
    assert list(losses.options("kd")) == ["temperature"]
    assert list(losses.options("folder")) == ["root"]
    assert losses.summary("rdl") == "Pulls distances together."
    with pytest.raises(UserError, match="did you mean `rdl`"):
        losses.options("rld")


def test_register_refuses_a_second_member_of_one_name(losses: Registry) -> None:
    with pytest.raises(AssertionError, match="two members"):
        losses.register("rdl")(print)


def test_make_imports_from_the_working_directory(losses: Registry, beside: Path) -> None:
    (beside / "my_losses.py").write_text(
        "def triplet(student, *, margin=1, mode='hard', soft=False):\n"
        "    return student, margin, mode, soft\n"
    )
    assert losses.make("my_losses:triplet", "s") == ("s", 1, "hard", False)
    assert losses.make("my_losses:triplet:margin=0.5,mode=all,soft=yes", "s") == (
        "s",
        0.5,
        "all",
        True,
    )
    assert "no option of `my_losses:triplet` called `marge`; did you mean `margin`?" in str(
        refusal(losses, "my_losses:triplet:marge=2")
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import no_such_package_anywhere",
            "importing `broken` failed: No module named 'no_such_package_anywhere'",
        ),
        ("1 / 0", "importing `broken` failed: ZeroDivisionError"),
        ("def (", "importing `broken` failed: SyntaxError"),
    ],
)
def test_make_names_a_module_that_fails(
    losses: Registry, beside: Path, source: str, message: str
) -> None:
    (beside / "broken.py").write_text(source)
    assert message in str(refusal(losses, "broken:loss"))


def test_make_ignores_unresolvable_annotations(losses: Registry, beside: Path) -> None:
    (beside / "hidden.py").write_text(
        "def loss(student: 'Unknown', *, power=2.0):\n    return power\n"
    )
    assert losses.make("hidden:loss:power=3", "s") == 3.0


def test_registry_can_refuse_external_functions() -> None:
    closed = Registry("schedule", home="rdl_cli.core.errors", external=False)
    closed.register("step")(lambda: None)
    with pytest.raises(UserError, match="no schedule `math`"):
        closed.make("math:hypot")


def test_registry_imports_its_package_on_first_use(beside: Path) -> None:
    package = beside / "my_zoo"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from rdl_cli.core.registry import Registry\nZOO = Registry('animal', home='my_zoo')\n"
    )
    (package / "cat.py").write_text(
        "from my_zoo import ZOO\n@ZOO.register('cat')\ndef cat():\n    return 'miaow'\n"
    )
    sys.path.insert(0, str(beside))
    from my_zoo import ZOO

    assert "my_zoo.cat" not in sys.modules
    assert ZOO.make("cat") == "miaow"
