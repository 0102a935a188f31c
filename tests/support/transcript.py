"""Compare what a page shows with what was printed. An ellipsis stands for anything."""

import re
import socket

ELLIPSIS = "…"
SERVER_LINE = re.compile(r"^taskmaster: no database_url set: .*\n", re.MULTILINE)
# An editable install keeps the middlewares elsewhere, so their frames are not left out as usual.
OWN_FRAMES = re.compile(r'^ +File "[^"]*/taskmaster(_middleware)?/.*\n(?: {4,}.*\n)*', re.MULTILINE)
# What differs from run to run, and what is written instead on both sides.
VARYING = [
    (
        re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,]\d+(\+00:00)?( \d+(?= taskmaster))?"),
        "TIME",
    ),
    (re.compile(rf"\b(laptop|{re.escape(socket.gethostname())}):\d+(:\d+)?"), "WORKER"),
    (re.compile(r"\b\d+(\.\d+)? (s|MB|MiB)\b"), r"N \2"),
    (re.compile(r"\b\d+\.\d+s\b"), "N s"),  # of pytest
    (re.compile(r"\bline \d+(?= in )"), "line N"),  # of a stack, when the process was killed
    (re.compile(r"\bms=\d+(\.\d+)?"), "ms=N"),
    (re.compile(r"[ \t]+"), " "),
]


def is_shown(output: str, expected: str) -> bool:
    """Return whether the whole output is what a page shows."""
    output = OWN_FRAMES.sub("", SERVER_LINE.sub("", output))
    return pattern_of(expected).fullmatch(plain(output)) is not None


def plain(text: str) -> str:
    """Return text without what differs from run to run."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return "".join(f"{line.strip()}\n" for line in text.splitlines())


def pattern_of(expected: str) -> re.Pattern[str]:
    """Return a pattern for the whole output. A line that is only an ellipsis is any lines."""
    lines = plain(expected).splitlines()
    return re.compile(
        "".join(r"(?:.*\n)*?" if line == ELLIPSIS else f"{line_pattern(line)}\n" for line in lines)
    )


def missing_lines(expected: str, shown: str) -> list[str]:
    """Return the expected lines that are not shown, in whatever order."""
    found = plain(shown)
    wanted = [line for line in plain(expected).splitlines() if line not in ("", ELLIPSIS)]
    return [
        line
        for line in wanted
        if not re.search(f"^{line_pattern(line)}$", found, flags=re.MULTILINE)
    ]


def line_pattern(line: str) -> str:
    return re.escape(line).replace(ELLIPSIS, ".*")
