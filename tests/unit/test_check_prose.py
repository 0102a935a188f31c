"""The check of words and lines that `make lint` runs."""

from pathlib import Path

import pytest

from tools import check_prose
from tools.check_prose import check_file, find_docstrings, find_long_lines
from tools.words import find_words, load_words

# Put together here, because the check also reads this file.
PRONOUN, HAND, EXITED = "no" + "body", "at ha" + "nd", "de" + "ad"
WORDS = load_words()


def lines(text: str) -> list[int]:
    """Return the lines with a forbidden word."""
    return [line for line, _ in find_words(text, WORDS)]


@pytest.mark.parametrize(
    "text",
    [
        f"# {PRONOUN} waits",
        f"{PRONOUN.capitalize()} waits.",
        f"def wake_{PRONOUN}(): ...",
        f"class {PRONOUN.capitalize()}Waits: ...",
        f"-- the job {HAND}",
        f"count_{HAND.replace(' ', '_')} = 1",
    ],
)
def test_forbidden_word_is_found_wherever_it_stands(text: str) -> None:
    assert lines(f"first\n{text}\n") == [2]


def test_phrase_is_found_across_a_line_break() -> None:
    first, second = HAND.split()
    assert lines(f"# the job {first}\n# {second} is long") == [1]
    assert lines(f'"the job {first}"\n    f"{second} is long"') == [1]


@pytest.mark.parametrize(
    "text",
    [
        "A deadline and a deadlock.",
        f"ten {EXITED} rows, {EXITED} index\nentries, n_{EXITED}_tup",
        f"“{PRONOUN}” is mentioned and not used",
        'sep="\\tend"',
    ],
)
def test_term_of_the_field_is_allowed(text: str) -> None:
    assert lines(text) == []


def test_message_names_the_word_and_what_to_write() -> None:
    ((_, message),) = find_words(f"the job {HAND}", WORDS)
    assert message == f"“{HAND}”: write current, available"


def test_long_line_is_found_unless_a_url_or_table_needs_it() -> None:
    url = f"see https://example.org/{'x' * 100}"
    text = "\n".join(["x" * 100, "x" * 101, url, f"| {'x' * 100} |"])
    assert [line for line, _ in find_long_lines(text)] == [2, 4]
    assert [line for line, _ in find_long_lines(text, is_prose=True)] == [2]


@pytest.mark.parametrize(
    ("docstring", "count"),
    [
        ("Return the job.", 0),
        ("What the job returns.", 1),
        ("Who claims.", 1),
        ("Whole batches only.", 0),
        ("Return the job; None: there is none.", 1),
        ("Return the job, or None if there is none.", 0),
    ],
)
def test_docstring_begins_with_a_sentence(docstring: str, count: int) -> None:
    source = f'def claim():\n    """{docstring}"""\n'
    assert [line for line, _ in find_docstrings(source)] == [2] * count


def test_findings_are_printed_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path("page.md")
    (tmp_path / page).write_text(f"{'x' * 101}\n{PRONOUN}\n")
    monkeypatch.setattr(check_prose, "ROOT", tmp_path)
    monkeypatch.setattr(check_prose, "files", lambda paths: [page])

    assert [finding.line for finding in check_file(page, WORDS)] == [1, 2]
    assert check_prose.main([]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "page.md:1: 101 columns: at most 100"


def test_script_finds_nothing_in_itself() -> None:
    assert check_prose.main(["tools", "tests/unit/test_check_prose.py"]) == 0
