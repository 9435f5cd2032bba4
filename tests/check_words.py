"""Refuse retired words, so that the code keeps the field's own: `python tests/check_words.py`.

Prose (Markdown, TOML comments, docstrings, comments, messages) may not hold a word of RETIRED;
Python names may not be one of VAGUE_NAMES, which do not say what a result is.
A quotation that needs a retired word goes into ALLOWED with its file.
"""

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RETIRED = {
    "likeness": "brain similarity",
    "likenesses": "brain similarities",
    "resemblance": "similarity",
    "lesson": "training setup",
    "learner": "student module",
    "taught": "trained",
    "untaught": "task-only",
    "whom": "name the thing",
    "whence": "where from",
    "whither": "where to",
    "seal": "checksum",
    "sealed": "checksummed",
    "probe": "comparison batch",
    "probes": "comparison batches",
    "judge": "evaluator",
    "unlike": "different from",
    "aught": "anything",
}
PHRASES = {r"\bhow like\b": "brain similarity", r"\bunder the eyes of\b": "aligned with"}
VAGUE_NAMES = {"found", "each", "mine", "theirs", "told", "said", "wanted", "kept", "whole_"}
ALLOWED: dict[str, set[str]] = {
    "tests/check_words.py": set(RETIRED) | VAGUE_NAMES,
    "benchmarks/equality.toml": {"likeness", "likenesses", "taught"},  # names of the old program
    "tests/test_equality.py": {"likeness", "taught"},
    "docs/results/brain.md": {"untaught"},  # folder names in a published table
}
PROSE_SUFFIXES = {".md", ".toml", ".cff", ".yml"}


def tracked_files() -> list[Path]:
    """Return every file of the project that git tracks or would track, but generated results."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in names.splitlines()]
    return [file for file in files if (ROOT / file).is_file() and file.name != "results.md"]


def check_prose(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, word and replacement of each retired word or phrase in a text."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in re.findall(r"[A-Za-z]+", line.replace("_", " ")):
            if word.lower() in RETIRED:
                yield number, word, RETIRED[word.lower()]
        for phrase, better in PHRASES.items():
            if match := re.search(phrase, line, re.IGNORECASE):
                yield number, match[0], better


def check_names(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and advice of each vague name in Python code."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME and token.string in VAGUE_NAMES:
            yield token.start[0], token.string, "name what the thing is"


def main() -> int:
    """Print every retired word with its place; return 1 if there is one."""
    faults = []
    for file in tracked_files():
        allowed = ALLOWED.get(file.as_posix(), set())
        if file.suffix not in PROSE_SUFFIXES | {".py"}:
            continue
        text = (ROOT / file).read_text(encoding="utf-8")
        faults += [(file, *fault) for fault in check_prose(text) if fault[1].lower() not in allowed]
        if file.suffix == ".py":
            faults += [(file, *fault) for fault in check_names(text) if fault[1] not in allowed]
    for file, line, word, better in faults:
        print(f"{file}:{line}: `{word}` is retired: {better}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
