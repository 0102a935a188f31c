"""Commands, keys, options, metrics and names on the pages are all and only those of the code."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import taskmaster
from taskmaster import Consumer, Failure, InvalidConfig, Publisher, SupervisorOptions, middleware
from taskmaster.cli.main import cli
from taskmaster.config import TOP_LEVEL, Settings
from taskmaster.store.connection import Connection
from tests.support import Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.commands import in_shell, in_span, refusal
from tests.support.markdown import ROOT, blocks, code_spans, names, pages, table_rows
from tests.support.scraping import Exporter

REFERENCE = ROOT / "docs" / "reference"
CONFIGURATION = REFERENCE / "configuration.md"
RULES = ROOT / "grafana" / "prometheus" / "rules" / "taskmaster.yml"
ALERTS = ROOT / "docs" / "how-to" / "alerts.md"
LINKS = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
BOUNDS = re.compile(r"(-?\d+) to (-?\d+)\b(?! characters| bytes)")
# Not options of a command's own: all commands have them, and the page says so once.
COMMON_OPTIONS = {"--config", "--help"}


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


# -- commands


def commands_on(page: Path) -> Iterator[list[str]]:
    for block in blocks(page):
        if block.language == "sh":
            yield from in_shell(block.content)
    yield from filter(None, map(in_span, code_spans(page)))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_exist(page: Path) -> None:
    refused = {" ".join(found): refusal(found) for found in commands_on(page)}
    assert {command: why for command, why in refused.items() if why} == {}


def test_commands_in_alert_rules_exist() -> None:
    texts = [rule["annotations"]["runbook"] for rule in rules()]
    found = [in_span(span) for text in texts for span in re.findall(r"`([^`]+)`", text)]
    commands = [command for command in found if command is not None]
    assert commands
    assert [(command, why) for command in commands if (why := refusal(command))] == []


@pytest.mark.parametrize(
    ("command", "is_taken"),
    [
        (["jobs", "--queue", "q", "--state", "ready"], True),
        (["show", "ID"], True),
        (["jobs", "q"], False),
        (["show", "--fast", "1"], False),
        (["cancel", "1"], False),
    ],
)
def test_command_that_does_not_exist_is_noticed(command: list[str], is_taken: bool) -> None:
    assert (refusal(command) is None) == is_taken


def options_of(command: click.Command) -> set[str]:
    """Return the long options of a command that are shown and its own."""
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    return {name for one in options for name in one.opts if name.startswith("--")} - COMMON_OPTIONS


def test_reference_lists_every_command_with_its_options() -> None:
    page = REFERENCE / "command-line.md"
    headings = re.findall(r"^## `taskmaster (\w+)`$", page.read_text(), flags=re.MULTILINE)
    assert set(headings) == set(cli.commands)
    for name in headings:
        rows = table_rows(page, f"## `taskmaster {name}`")
        options = {span.split()[0] for row in rows for span in names(row[0]) if span[0] == "-"}
        assert options == options_of(cli.commands[name]), name


# -- configuration


SECTIONS = ["What runs", "When a job fails", "What a job may use", "The worker processes"]


def documented(*headings: str) -> dict[str, list[str]]:
    """Return default and bounds of the keys in the tables below these headings."""
    rows = [row for heading in headings for row in table_rows(CONFIGURATION, heading)]
    assert len({row[0] for row in rows}) == len(rows)
    return {names(row[0])[0]: row[1:3] for row in rows}


def default_of(cell: str) -> Any:
    if cell in ("none", "required"):
        return None if cell == "none" else MISSING
    return tomllib.loads(f"value = {names(cell)[0]}")["value"]


def agree(written: Any, default: Any) -> bool:
    return bool((list(default) if isinstance(default, tuple) else default) == written)


@pytest.mark.parametrize(
    ("kind", "headings"),
    [
        (Consumer, [f"### {section}" for section in SECTIONS]),
        (SupervisorOptions, ["## `[supervisor]` { #supervisor }"]),
    ],
)
def test_reference_lists_every_key_with_its_default(kind: type, headings: list[str]) -> None:
    page = documented(*headings)
    code = {one.name: one.default for one in fields(kind) if one.name != "_"}
    assert set(page) == set(code)
    written = {key: default_of(cells[0]) for key, cells in page.items()}
    assert {
        key: (written[key], code[key]) for key in code if not agree(written[key], code[key])
    } == {}


def test_reference_lists_every_key_of_the_top_level() -> None:
    page, settings = documented("## Top level"), Settings()
    assert set(page) == set(TOP_LEVEL)
    for key in ("database_url", "schema", "max_payload_bytes"):
        assert default_of(page[key][0]) == getattr(settings, key)


def consumer(**options: Any) -> Consumer:
    return Consumer("q", callback="jobs:act", **options)


@pytest.mark.parametrize(
    ("make", "headings"),
    [
        (consumer, [f"### {section}" for section in SECTIONS]),
        (SupervisorOptions, ["## `[supervisor]` { #supervisor }"]),
    ],
)
def test_bounds_in_the_reference_are_enforced(
    make: Callable[..., object], headings: list[str]
) -> None:
    page = documented(*headings)
    bounds = {key: found for key, (_, cell) in page.items() if (found := BOUNDS.match(cell))}
    assert bounds
    for key, found in bounds.items():
        low, high = (int(bound) for bound in found.groups())
        make(**{key: low})
        make(**{key: high})
        for value in (low - 1, high + 1):
            with pytest.raises(InvalidConfig, match=key):
                make(**{key: value})


# -- middlewares, failures, metrics, SQL


def test_reference_lists_every_middleware_with_its_options() -> None:
    page = REFERENCE / "middlewares.md"
    shipped = [
        point
        for point in entry_points(group="taskmaster.middleware")
        if point.value.startswith("taskmaster_middleware.")
    ]
    headings = re.findall(r"^## `(\w+)`$", page.read_text(), flags=re.MULTILINE)
    assert set(headings) == {point.name for point in shipped}
    for point in shipped:
        parameters = signature(point.load()).parameters.values()
        options = {
            one.name: one.default for one in parameters if one.name != "queue_name"
        }  # the consumer's, which no user writes
        rows = {
            names(row[0])[0]: row[1]
            for row in table_rows(page, f"## `{point.name}`")
            if len(row) == 3
        }
        assert set(rows) == set(options), point.name
        required = {name for name, cell in rows.items() if cell == "required"}
        assert required == {name for name, default in options.items() if default is Parameter.empty}


def test_failures_have_the_fields_that_the_how_to_lists() -> None:
    page = ROOT / "docs" / "how-to" / "read-a-failure.md"
    listed = [names(row[0])[0] for row in table_rows(page, "## Every field of a record")]
    assert set(listed) == {one.name for one in msgspec.structs.fields(Failure)}


def exported(exporter: Exporter) -> dict[str, tuple[str, set[str]]]:
    """Return type and labels of each metric of ours, by the name that the reference uses."""
    found = {}
    for family in text_string_to_metric_families(exporter.get("/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels}
        if name.startswith("taskmaster_"):
            found[name] = (family.type, labels - {"le"})
    return found


def test_reference_lists_every_metric_with_type_and_labels(
    supervise: Supervise, publisher: Publisher
) -> None:
    rows = table_rows(REFERENCE / "metrics.md", "## Names")
    listed = {names(row[0])[0]: (row[1], set(names(row[2]))) for row in rows}
    one = Consumer("q", callback=ACT, middleware=["metrics"], memory_limit_mb=2_000)
    with supervise(one, http="127.0.0.1:0") as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put("q", {})
        eventually(lambda: exporter.sum("taskmaster_jobs_total", outcome="ack") == 1)
        eventually(lambda: exported(exporter) == listed)


def columns(conn: Connection) -> dict[str, set[str]]:
    """Return the columns of each table and view."""
    rows = conn.execute(
        "select table_name, array_agg(column_name::text) from information_schema.columns"
        " where table_schema = current_schema group by table_name"
    ).fetchall()
    return {name: set(found) for name, found in rows}


def test_reference_lists_every_table_and_view(conn: Connection) -> None:
    page, there = REFERENCE / "sql.md", columns(conn)
    views = {"jobs", "running"}
    tables = {names(row[0])[0] for row in table_rows(page, "## Tables")}
    assert tables | views == set(there)
    for view in views:
        rows = table_rows(page, f"### `taskmaster.{view}`")
        assert {name for row in rows for name in names(row[0])} == there[view]


@pytest.mark.parametrize("name", ["put", "requeue"])
def test_function_in_the_reference_has_these_arguments(name: str, conn: Connection) -> None:
    section = (REFERENCE / "sql.md").read_text().partition(f"### `taskmaster.{name}`")[2]
    (written,) = re.findall(r"\((.*?)\) returns", section[:400], flags=re.DOTALL)
    row = conn.execute(
        "select string_agg(argument, ' ' order by number) from pg_proc,"
        " unnest(proargnames, proargtypes::oid[]) with ordinality as one (argument, type, number)"
        " where proname = %s and pronamespace = current_schema::regnamespace",
        [name],
    ).fetchone()
    assert row is not None
    assert [part.split()[0] for part in written.split(",")] == row[0].split()


# -- public names, alerts and links


def test_reference_documents_every_public_name() -> None:
    page = (REFERENCE / "python.md").read_text()
    documented = re.findall(r"^::: taskmaster\.(\S+)$", page, flags=re.MULTILINE)
    authors = {f"middleware.{name}" for name in {*middleware.__all__} - {*taskmaster.__all__}}
    assert sorted(documented) == sorted({*taskmaster.__all__, *authors} - {"__version__"})


def test_every_alert_has_a_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", ALERTS.read_text(), flags=re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]


def test_panels_named_in_runbooks_are_on_the_dashboard() -> None:
    board = json.loads((ROOT / "grafana" / "dashboards" / "taskmaster.json").read_text())
    texts = [ALERTS.read_text(), *(rule["annotations"]["runbook"] for rule in rules())]
    named = {name for text in texts for name in re.findall(r'"([A-Z][^"{]+)"', text)}
    assert named
    assert named <= {panel["title"] for panel in board["panels"]}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_a_page_outside_the_site_lead_somewhere(name: str) -> None:
    targets = [link.partition("#")[0] for link in LINKS.findall((ROOT / name).read_text())]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (ROOT / target).exists()] == []
