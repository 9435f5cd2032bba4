"""Every code block of the documentation runs, in the order of its page, in a folder of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
import example_files
from blocks import INDENTED, LANGUAGES, ROOT, Block, parse_command, read_blocks, split_commands

PAGES = [
    ROOT / "README.md",
    *sorted(
        path
        for path in (ROOT / "docs").rglob("*.md")
        if "_build" not in path.parts and path.name != "results.md"
    ),
]
BLOCKS = {path.relative_to(ROOT).as_posix(): read_blocks(path) for path in PAGES}
TESTED_ELSEWHERE = {
    "docs/store-format.md": "tests/store/test_format.py",
}
"""Page whose Python blocks have a test of their own → the test."""


def runs(block: Block) -> bool:
    """Return True if a block is executed, and not only parsed."""
    if block.mark == "parse" or block.page in TESTED_ELSEWHERE:
        return False
    return block.language in ("bash", "python") and block.mark != "file"


RUNNING = [page for page, blocks in BLOCKS.items() if any(map(runs, blocks))]


@pytest.mark.parametrize("page", BLOCKS)
def test_blocks_name_their_language_and_parse(page):
    for block in BLOCKS[page]:
        where = f"{page}:{block.line}"
        if block.language == "setup":
            assert hasattr(example_files, block.text), where
            continue
        assert block.language in (*LANGUAGES, INDENTED), f"{where} has no language"
        assert block.mark != "parse" or block.argument, f"{where} is not run, without a reason"
        if block.language == "python":
            compile(block.text, where, "exec")
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language in ("bash", INDENTED) and block.mark != "fails":
            for words in split_commands(block.text):
                try:
                    parse_command(words)
                except Exception as error:
                    raise AssertionError(f"{where}: {' '.join(words)}: {error}") from error


def test_blocks_parser_refuses_a_wrong_option_a_wrong_name_and_a_wrong_command():
    for line in ("rdl compare --nought x", "rdl train-student a --objective rld", "rdl tain a"):
        (words,) = split_commands(line)
        with pytest.raises(BaseException, match=r"nought|rld|tain"):
            parse_command(words)


@pytest.mark.parametrize("page", TESTED_ELSEWHERE)
def test_blocks_tested_elsewhere_have_a_test_that_reads_the_page(page):
    test = ROOT / TESTED_ELSEWHERE[page]
    assert Path(page).name in test.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SESSION", str(tmp_path / ".session"))
    if page == "docs/plugins.md":  # as if the example package was installed
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples/plugin"))
        monkeypatch.syspath_prepend(ROOT / "examples/plugin")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in BLOCKS[page]:
        where = f"{page}:{block.line}"
        if block.language == "setup":
            getattr(example_files, block.text)(tmp_path)
        elif block.mark == "file":
            (tmp_path / block.argument).write_text(block.text, encoding="utf-8")
        elif not runs(block):
            continue
        elif block.language == "python":
            exec(compile(block.text, where, "exec"), names)
        else:
            run_shell(block, where)


def run_shell(block: Block, where: str) -> None:
    """Run a block of shell commands, each of which must succeed, or the last fail as marked."""
    script = f'{block.text}\nexport -p > "$SESSION"'
    if Path(os.environ["SESSION"]).exists():  # a reader exports variables once
        script = f'. "$SESSION"\n{script}'
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    output = f"{where}\n{block.text}\n{done.stdout}\n{done.stderr}"
    if block.mark == "fails":
        assert done.returncode == 2 and block.argument in done.stderr, output
    else:
        assert done.returncode == 0, output
