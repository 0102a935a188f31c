"""The forbidden words, and where a text uses them.

A word in typographic quotes is mentioned and not used, as “anew” is here, and allowed everywhere.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("words.toml")
# The words of a phrase may be apart by line breaks, comment signs and the quotes of split strings.
GAP = r"""(?:[\s_]|\#|--|["']\s*\n\s*[fr]?["'])+"""
# A word begins and ends where letters do, and where a capital begins the next part of a name.
BEGIN = r"(?:(?<![A-Za-z\\])|(?<=[a-z])(?=[A-Z]))"
END = r"(?:(?![A-Za-z])|(?<=[a-z])(?=[A-Z]))"
QUOTED = r"“[^”]*”"
WORD_LIST = r"(?m:^pattern = .*$)"  # of words.toml


class Word(NamedTuple):
    """A forbidden word, what to write instead, and where it is right."""

    pattern: re.Pattern[str]
    instead: str
    allowed: re.Pattern[str]


def load_words() -> list[Word]:
    """Return the forbidden words of words.toml."""
    entries = tomllib.loads(FILE.read_text())["word"]
    return [
        Word(
            re.compile(f"{BEGIN}(?i:{_phrase(entry['pattern'])}){END}"),
            entry["instead"],
            _any_of([QUOTED, WORD_LIST, *_places(entry)]),
        )
        for entry in entries
    ]


def _places(entry: dict[str, Any]) -> Iterator[str]:
    for place in entry.get("allowed", []):
        yield _phrase(place["pattern"])


def _phrase(pattern: str) -> str:
    """Let the words of a phrase stand on different lines."""
    return pattern.replace(" ", GAP)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


def find_words(text: str, words: Sequence[Word]) -> Iterator[tuple[int, str]]:
    """Yield the line and the message of each forbidden word."""
    for word in words:
        spans = [match.span() for match in word.allowed.finditer(text)]
        for match in word.pattern.finditer(text):
            if not any(start <= match.start() and match.end() <= end for start, end in spans):
                line = text.count("\n", 0, match.start()) + 1
                yield line, f"“{' '.join(match[0].split())}”: write {word.instead}"
