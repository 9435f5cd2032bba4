"""Text of the site that is made when it is built: options, names, and pages of the repository.

A page holds a marker, which the text replaces:

    <!-- generated: commands -->            every option of every command, from the typer app
    <!-- generated: names objectives -->    the members of a registry, as `rdl list objectives`
    <!-- generated: file CONTRIBUTING.md --> the whole page is a Markdown file outside docs/

Links between Markdown files of the repository become links between pages of the site.
"""

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "data/README.md": "docs/data-sets.md",
    "benchmarks/README.md": "docs/benchmarks.md",
    "CONTRIBUTING.md": "docs/contributing.md",
    "CHANGELOG.md": "docs/changelog.md",
    "LOG.md": "docs/log.md",
    "README.md": "docs/index.md",
}
"""File of the repository → the page that shows it."""

MARKER = re.compile(r"<!-- generated: (?P<kind>\w+) ?(?P<argument>.*?) -->")
LINK = re.compile(r"\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
DEFAULT = re.compile(r"\s*\[(?P<text>default: [^]]*|required)\]$")


def setup(app: "Sphinx") -> dict[str, Any]:
    app.connect("source-read", read_source)
    return {"parallel_read_safe": True}


def read_source(app: "Sphinx", name: str, source: list[str]) -> None:
    """Fill the markers of a Markdown page, and rewrite its links."""
    page = f"docs/{name}.md"
    if not (ROOT / page).is_file():
        return
    if match := re.search(r"<!-- generated: file (\S+) -->", source[0]):
        text = (ROOT / match[1]).read_text(encoding="utf-8")
        source[0] = rewrite_links(text, match[1], page)
        return
    text = rewrite_links(source[0], page, page)
    source[0] = MARKER.sub(lambda match: generate(match["kind"], match["argument"]), text)


def generate(kind: str, argument: str) -> str:
    """Return the Markdown that replaces a marker."""
    assert kind in ("commands", "names"), f"`generated: {kind}` is no marker"
    return describe_commands() if kind == "commands" else describe_names(argument)


def describe_commands() -> str:
    """Return a section for each command, with its arguments and options."""
    from rdl_cli.cli.main import app

    command = typer.main.get_command(app)
    return "\n".join(_describe_command(command, "rdl", None))


def _describe_command(command: Any, name: str, parent: Any) -> list[str]:
    context = command.make_context(name.split()[-1], [], parent=parent, resilient_parsing=True)
    lines = [f"## {name}", "", escape(command.help or ""), ""] if parent else []
    lines += ["```text", command.get_usage(context).removeprefix("Usage: "), "```", ""]
    lines += [f"```{{program}} {name}", "```", ""]
    for parameter in command.params:
        if parameter.name != "help" and (record := parameter.get_help_record(context)):
            lines += _describe_parameter(*record)
    for subcommand in getattr(command, "commands", {}).values():
        lines += _describe_command(subcommand, f"{name} {subcommand.name}", context)
    return lines


def _describe_parameter(names: str, text: str) -> list[str]:
    """Return an `option` directive. Typer writes `--x / --no-x`, Sphinx `--x, --no-x`."""
    notes = []
    while match := DEFAULT.search(text):
        text = text[: match.start()]
        notes.insert(0, match["text"])
    text = escape(text)
    if notes:
        text += f" *{escape('; '.join(notes))}*"
    return [f"```{{option}} {names.replace(' / ', ', ')}", text, "```", ""]


def describe_names(kind: str) -> str:
    """Return a table of the names of one kind, with their options and defaults."""
    from rdl_cli.commands.listing import list_members

    lines = ["| name | options | description |", "|---|---|---|"]
    for member in list_members(kind):
        options = ", ".join(f"`{name}={value}`" for name, value in member.options.items())
        summary = member.summary.removeprefix("Return ").replace("|", r"\|")
        summary = summary[:1].upper() + summary[1:]
        lines.append(f"| `{member.name}` | {options} | {escape(summary, '*<$')} |")
    return "\n".join(lines)


def escape(text: str, signs: str = "*<$[]_") -> str:
    """Return a text as Markdown, without markup; options in it as code."""
    escaped = re.sub(f"([{re.escape(signs)}])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", escaped)


def rewrite_links(text: str, file: str, page: str) -> str:
    """Return the text of a file of the repository with links that are right for a page.

    Args:
        text: Markdown whose links are relative to the folder of `file`.
        file: the file, relative to the repository.
        page: the page that shows it, relative to the repository.
    """

    def rewrite(match: re.Match[str]) -> str:
        target = _resolve(PurePosixPath(file).parent / match["path"])
        if target not in PAGES and file == page:
            return match[0]
        target = PAGES.get(target, target)
        up = "../" * len(PurePosixPath(page).parent.parts)
        return f"]({up}{target}{match['anchor'] or ''})"

    return LINK.sub(rewrite, text)


def _resolve(path: PurePosixPath) -> str:
    """Return a path without `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
