"""The reference lists what the code has: public names, options, fields, metrics, tables, views."""

import re
from importlib.metadata import entry_points
from inspect import Parameter, signature

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

import taskmaster
from taskmaster import Consumer, Failure, Publisher, middleware
from taskmaster.store.connection import Connection
from tests.support import Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.markdown import ROOT, names, table_rows
from tests.support.scraping import Exporter

REFERENCE = ROOT / "docs" / "reference"


def test_reference_documents_every_public_name() -> None:
    page = (REFERENCE / "python.md").read_text()
    documented = re.findall(r"^::: taskmaster\.(\S+)$", page, flags=re.MULTILINE)
    authors = {f"middleware.{name}" for name in {*middleware.__all__} - {*taskmaster.__all__}}
    assert sorted(documented) == sorted({*taskmaster.__all__, *authors} - {"__version__"})


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
    publisher.put("no supervisor serves this", {})
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
    rows = conn.execute(
        "select string_agg(argument, ' ' order by number) from pg_proc,"
        " unnest(proargnames, proargtypes::oid[]) with ordinality as one (argument, type, number)"
        " where proname = %s and pronamespace = current_schema::regnamespace group by pg_proc.oid",
        [name],
    ).fetchall()
    assert rows
    assert {tuple(part.split()[0] for part in written.split(","))} == {
        tuple(row[0].split()) for row in rows
    }
