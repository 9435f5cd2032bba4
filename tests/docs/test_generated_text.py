"""Text that is made when the site is built: every option, every name, and links that lead on."""

import sys
from pathlib import Path

import pytest
import typer

from rdl_cli.cli.main import app
from rdl_cli.commands.listing import KINDS, list_members

sys.path.append(str(Path(__file__).resolve().parents[2] / "docs/_extensions"))
from generated_text import PAGES, ROOT, describe_commands, describe_names, rewrite_links


def list_options(command, name):
    """Yield each command's name with each of its flags."""
    for parameter in command.params:
        for flag in (*parameter.opts, *parameter.secondary_opts):
            if flag.startswith("--") and flag != "--help":
                yield name, flag
    for subcommand in getattr(command, "commands", {}).values():
        yield from list_options(subcommand, f"{name} {subcommand.name}")


def test_describe_commands_has_every_option_of_every_command():
    sections = describe_commands().split("```{program} ")[1:]
    texts = {section.partition("\n")[0]: section for section in sections}
    for name, flag in list_options(typer.main.get_command(app), "rdl"):
        lines = [line for line in texts[name].splitlines() if line.startswith("```{option}")]
        assert any(flag in line.replace(",", " ").split() for line in lines), (name, flag)


def test_describe_commands_shows_defaults_and_escapes_markup():
    text = describe_commands()
    assert "passes over" in text and "*default: 20*" in text and r"\$RDL" in text


@pytest.mark.parametrize("kind", KINDS)
def test_names_page_has_every_kind(kind):
    page = (ROOT / "docs/names.md").read_text(encoding="utf-8")
    assert f"<!-- generated: names {kind} -->" in page


@pytest.mark.parametrize("kind", KINDS)
def test_describe_names_has_a_row_of_three_cells_for_every_member(kind):
    rows = describe_names(kind).splitlines()[2:]
    assert len(rows) == len(list_members(kind))
    assert all(row.replace(r"\|", "").count("|") == 4 for row in rows)


@pytest.mark.parametrize(
    ("link", "file", "page", "expected"),
    [
        ("../data/README.md#terms", "docs/cite.md", "docs/cite.md", "../docs/data-sets.md#terms"),
        ("results/a.svg", "docs/mnist.md", "docs/mnist.md", "results/a.svg"),
        ("../docs/brain-files.md", "data/README.md", "docs/data-sets.md", "../docs/brain-files.md"),
        ("step.csv", "benchmarks/README.md", "docs/benchmarks.md", "../benchmarks/step.csv"),
        ("https://x.org/a.md", "LOG.md", "docs/log.md", "https://x.org/a.md"),
    ],
)
def test_rewrite_links_leads_to_pages_of_the_site(link, file, page, expected):
    assert rewrite_links(f"[a]({link})", file, page) == f"[a]({expected})"


def test_pages_show_files_that_exist():
    for file, page in PAGES.items():
        assert (ROOT / file).is_file()
        text = (ROOT / page).read_text(encoding="utf-8")
        assert page == "docs/index.md" or f"generated: file {file} " in text
