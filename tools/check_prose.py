"""Refuse private metaphors and long lines: `python -m tools.check_prose [PATH …]`.

Forbidden words are looked for in everything that a reader meets: comments, docstrings, strings,
names, documentation and SQL. They are listed in words.toml, each with what to write instead.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.words import Word, find_words, load_words

ROOT = Path(__file__).parents[1]
COLUMNS = 100
SUFFIXES = {".md", ".py", ".sql", ".toml", ".yaml", ".yml"}
NAMES = {"Dockerfile", "Makefile"}
URL = re.compile(r"https?://\S+")
FIRST_WORDS = re.compile(r"(What|Who(ever)?|That which)\b")
ELLIPSIS = re.compile(r"[:;,] None\b(?!`)|\bNone: ")
NO_SENTENCE = "begin with a verb in the imperative: Return …, Claim …, Raise … if …"
NO_ELLIPSIS = "write a clause: None if …, or Return None if …"


class Finding(NamedTuple):
    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def check_file(path: Path, words: Sequence[Word]) -> list[Finding]:
    """Return all findings in one file and in its name. The path is relative to the repository."""
    text = (ROOT / path).read_text()
    found = [*find_words(str(path), words), *find_words(text, words)]
    found += find_long_lines(text, is_prose=path.suffix == ".md")
    if path.suffix == ".py":
        found += find_docstrings(text)
    return [Finding(path, line, message) for line, message in sorted(found)]


def find_long_lines(text: str, *, is_prose: bool = False) -> Iterator[tuple[int, str]]:
    """Yield the lines over 100 columns. Tables of Markdown may be wider, and URLs do not count."""
    for number, line in enumerate(text.splitlines(), 1):
        is_table = is_prose and line.lstrip().startswith("|")
        if not is_table and len(URL.sub("", line)) > COLUMNS:
            yield number, f"{len(line)} columns: at most {COLUMNS}"


def find_docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings that begin like a riddle or leave out the verb after None."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node, clean=False)
        if text is None:
            continue
        if FIRST_WORDS.match(text.lstrip()):
            yield node.body[0].lineno, f"“{text.split()[0]} …”: {NO_SENTENCE}"
        if match := ELLIPSIS.search(text):
            line = node.body[0].lineno + text.count("\n", 0, match.start())
            yield line, f"“{match[0].strip()}”: {NO_ELLIPSIS}"


def files(paths: Sequence[str]) -> list[Path]:
    """Return the files under the paths that Git does not ignore and that hold code or prose."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = [Path(name) for name in listed.split("\0") if name]
    return sorted(path for path in found if _is_checked(path) and (ROOT / path).exists())


def _is_checked(path: Path) -> bool:
    return path.suffix in SUFFIXES or path.name in NAMES


def folder(path: Path) -> str:
    """Return the folder that a file is counted for: two levels at most."""
    return "/".join(path.parts[: min(2, len(path.parts) - 1)]) or "."


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the findings and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.check_prose", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="Default: everything.")
    parser.add_argument("--count", action="store_true", help="Only count, by folder.")
    options = parser.parse_args(arguments)
    checked, words = files(options.paths), load_words()
    found = [finding for path in checked for finding in check_file(path, words)]
    if options.count:
        print_counts(checked, found)
    else:
        for finding in found:
            print(finding)
    return 1 if found else 0


def print_counts(checked: Sequence[Path], found: Sequence[Finding]) -> None:
    """Print how many findings each folder has."""
    counts = Counter(folder(finding.path) for finding in found)
    for name in sorted({folder(path) for path in checked}):
        print(f"{counts[name]:6}  {name}")
    print(f"{len(found):6}  in all")


if __name__ == "__main__":
    sys.exit(main())
