"""An extension of griffe: write the `>>>` examples of docstrings as fenced blocks of Python.

Docstrings of the project are plain prose in Markdown, where `>>>` would be a quotation in a
quotation in a quotation.
"""

from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object

FLAGS = "# doctest:"


class Doctests(Extension):
    """Rewrite the docstring of every object that is read from source."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = "\n".join(fenced(obj.docstring.value.splitlines()))


def fenced(lines: list[str]) -> Iterator[str]:
    """Put a fence around each example, from a line that begins with `>>>` to an empty line."""
    inside = False
    for line in lines:
        if line.startswith(">>>") and not inside:
            inside = True
            yield "```pycon"
        if inside and not line.strip():
            inside = False
            yield "```"
        if not line.removeprefix("...").strip().startswith(FLAGS):
            yield line.partition(f"  {FLAGS}")[0]
    if inside:
        yield "```"
