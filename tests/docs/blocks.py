"""Code blocks of a Markdown page, and the marks that tell a test what to do with them.

A comment before a block is its mark:

    <!-- parse: REASON -->   it cannot run here: rdl's parser reads its commands
    <!-- file: NAME -->      it is the content of a file, which later blocks use
    <!-- fails: TEXT -->     its last command ends with exit code 2 and a message with this text
    <!-- setup: NAME -->     not a block: make the files of example_files.NAME first
"""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import typer
from markdown_it import MarkdownIt

from rdl_cli.cli.main import app
from rdl_cli.commands.listing import find_registry
from rdl_cli.commands.names import REGISTRY_KINDS
from rdl_cli.commands.options import to_flag

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("bash", "python", "toml", "text", "bibtex", "csv")
SKIPPED = re.compile(r"\{[\w-]+\}")  # a directive of MyST
MARK = re.compile(r"<!-- (?P<kind>parse|file|fails|setup): (?P<text>.*?) -->", re.DOTALL)
INDENTED = "indented"
REGISTERED = {to_flag(setting): kind for setting, kind in REGISTRY_KINDS.items()}
"""Option → the names that it takes, whose options are parsed too."""


class Block(NamedTuple):
    """A code block; `mark` and `argument` are those of the comment before it."""

    page: str
    line: int
    language: str
    text: str
    mark: str = ""
    argument: str = ""


def read_blocks(path: Path) -> list[Block]:
    """Return the code blocks of a page, and its setups, in order."""
    page = path.relative_to(ROOT).as_posix()
    blocks: list[Block] = []
    mark: re.Match[str] | None = None
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        if token.type == "html_block":
            mark = MARK.search(token.content)
            if mark and mark["kind"] == "setup":
                blocks.append(Block(page, token.map[0] + 1, "setup", mark["text"]))
                mark = None
        elif token.type in ("fence", "code_block"):
            language = token.info.strip() if token.type == "fence" else INDENTED
            if not SKIPPED.match(language):
                marks = (mark["kind"], mark["text"]) if mark else ()
                line = token.map[0] + 1
                blocks.append(Block(page, line, language, token.content, *marks))
            mark = None
    return blocks


def split_commands(text: str) -> list[list[str]]:
    """Return the words of each command of a shell block: rdl's commands alone, also after `|`."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        if not re.search(r"\brdl\s", line):
            continue
        words = shlex.split(line, comments=True)
        while words and words[0] != "rdl":  # $ of a prompt, variables, `srun`, `for … do`
            words.pop(0)
        for end in ("|", ">", "&&", "&", ";", "or", "done"):
            if end in words:
                words = words[: words.index(end)]
        if words[1:]:
            commands.append([word.rstrip(";") for word in words])
    return commands


def parse_command(words: list[str]) -> None:
    """Parse a command as rdl does, without running it. Raise an error of typer's or a UserError.

    `...` stands for options that are left out.
    """
    words = words[1:]
    partial = "..." in words
    words = [word for word in words if word != "..."]
    if "--config" in words:  # it would be read
        del words[words.index("--config") : words.index("--config") + 2]
    command: Any = typer.main.get_command(app)
    context = command.make_context("rdl", [], resilient_parsing=True)
    while hasattr(command, "commands"):
        if words[0].startswith("-"):
            assert words[0] in ("--help", "--version"), f"rdl has no option {words[0]}"
            return
        assert words[0] in command.commands, f"there is no command {words[0]}"
        name, *words = words
        command = command.commands[name]
        if hasattr(command, "commands"):
            context = command.make_context(name, [], parent=context, resilient_parsing=True)
    if "--help" not in words:
        command.make_context(name, [*words], parent=context, resilient_parsing=partial)
    if name != "import-rdms":  # its --distance describes a file, in any words
        _parse_names(words)


def _parse_names(words: list[str]) -> None:
    for option, value in pairwise(words):
        if option not in REGISTERED or "NAME" in value or "PATH" in value or "$" in value:
            continue
        registry = find_registry(REGISTERED[option])
        for name in [value] if ":" in value else value.split(","):
            head, _, rest = name.partition(":")
            is_code = rest and "=" not in rest.partition(":")[0] and head not in registry.names()
            if not is_code:  # a reader's own module; it is imported where the block runs
                registry.find(name)
