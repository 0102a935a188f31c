"""A real Prometheus scrapes a running supervisor and evaluates every panel and alert."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskmaster import Admin, Consumer, Publisher, State
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.prometheus import Prometheus, prometheus, tool
from tests.support.scraping import Exporter

GRAFANA = Path(__file__).parents[2] / "grafana"
RULES = GRAFANA / "prometheus" / "rules" / "taskmaster.yml"
# The values of Grafana's variables. Five minutes are longer than the test, so an increase counts
# everything that happened.
VARIABLES = {"$instance": ".*", "$queue": ".*", "$__rate_interval": "5m"}
# Enough for the backlog to have grown, whichever of the 43 earlier jobs a scrape has seen.
WAITING = 700
THRESHOLD = re.compile(r" (?:==|>=|>|<) [0-9.e]+$")
Found = Mapping[str, list[dict[str, Any]]]  # the samples of each expression, by its name


def panels() -> Iterator[tuple[str, str]]:
    """Yield the name and the expression of each query of the dashboard."""
    board = json.loads((GRAFANA / "dashboards" / "taskmaster.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in VARIABLES.items():
                expr = expr.replace(name, value)
            yield f"{panel['title']} {target['refId']}", expr


def alerts() -> Iterator[tuple[str, str]]:
    """Yield each part of each alert's condition without its threshold.

    Each part must return a sample that can be compared with the threshold.
    """
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        parts = re.split(r" and | or ", rule["expr"])
        for number, part in enumerate(parts):
            if not part.startswith("absent("):  # returns a sample only if there is no series
                yield (
                    f"{rule['alert']} {number}",
                    THRESHOLD.sub("", part).replace("[15m]", "[5m]").replace("10m", "5m"),
                )


def total(found: list[dict[str, Any]], **labels: str) -> float:
    """Return the sum of the samples that have these labels."""
    return float(sum(one["value"] for one in found if labels.items() <= one["metric"].items()))


def test_every_panel_and_alert_agrees_with_what_callbacks_did(
    supervise: Supervise,
    publisher: Publisher,
    admin: Admin,
    journal: Journal,
    gates: Gates,
    tmp_path: Path,
) -> None:
    consumer = Consumer(
        "mail",
        callback=ACT,
        concurrency=2,
        middleware=["metrics"],
        memory_limit_mb=2_000,
        max_crashes=9,
    )
    with supervise(consumer, http="127.0.0.1:0") as supervisor:
        exporter = Exporter(supervisor.pid)
        with prometheus(tmp_path, exporter.port) as server:
            eventually(lambda: has_scraped_no_job(server), within=30)
            publisher.put_many("mail", [{}] * 40 + [{"do": "reject"}] * 3)
            eventually(lambda: [job.state for job in admin.find()] == [State.REJECTED] * 3)
            supervisor.signal(supervisor.workers()[0], signal.SIGKILL)
            eventually(lambda: len(supervisor.workers()) == 2)
            publisher.put_many("mail", [{"do": "spin", "seconds": 0.1}] * 5)
            eventually(lambda: len(journal.finished()) == 48)
            publisher.put_many("mail", [{"do": "hold"}] * 2)
            eventually(lambda: len(journal.began()) == 50)
            publisher.put_many("mail", [{}] * WAITING)
            publisher.put("mial", {})
            eventually(lambda: has_scraped_all_jobs(server), within=60)
            eventually(lambda: agree(query_all(server, dict([*panels(), *alerts()]))), within=30)
            gates.open("gate")


def has_scraped_no_job(server: Prometheus) -> bool:
    """Return whether the state before the first job has been scraped."""
    rejected = server.value('taskmaster_queue_jobs{state="rejected"}')
    return server.value("taskmaster_listener_up") == 1 and rejected == 0


def has_scraped_all_jobs(server: Prometheus) -> bool:
    """Return whether the jobs put last have been scraped, and all runs counted."""
    return (
        server.value('taskmaster_queue_jobs{state="ready"}') == WAITING
        and server.value("taskmaster_unserved_queue_jobs") == 1
        and server.value("taskmaster_jobs_running") == 2
        and server.value("sum(taskmaster_jobs_total)") == 48
    )


def query_all(
    server: Prometheus, expressions: Mapping[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the samples of each expression, by its name."""
    found = {name: server.query(expr) for name, expr in expressions.items()}
    assert [name for name, samples in found.items() if not samples] == []
    return found


def agree(found: Found) -> bool:
    """Assert that the samples agree with the jobs put, what callbacks did, and one SIGKILL."""
    assert_exact_samples(found)
    assert_counts(found)
    assert_times_and_sizes(found)
    return True


def assert_exact_samples(found: Found) -> None:
    exact = {
        "Scraped, supervisor, listener, database A": 1,
        "Scraped, supervisor, listener, database B": 1,
        "Scraped, supervisor, listener, database C": 1,
        "Scraped, supervisor, listener, database D": 1,
        "TaskmasterSupervisorHangs 0": 1,
        "Workers busy A": 1,
        "Running versions A": 1,
        "Jobs running A": 2,
        "TaskmasterListenerDown 0": 1,
        "TaskmasterDatabaseDown 0": 1,
        "TaskmasterNoScrape 0": 1,
        "Leases lost, jobs rescued A": 0,
        "Leases lost, jobs rescued B": 0,
        "Queue depth B": 1,
        "TaskmasterQueueUnserved 0": 1,
        "TaskmasterBacklogGrowing 0": WAITING,
        "TaskmasterBacklogGrowing 2": WAITING,
    }
    assert {name: total(found[name]) for name in exact} == exact
    assert total(found["Queue depth A"], state="ready") == WAITING
    assert total(found["Queue depth A"], state="running") == 2
    assert total(found["Queue depth A"], state="rejected") == 3
    assert total(found["Workers by state A"], state="busy") == 2


def assert_counts(found: Found) -> None:
    outcomes = found["Runs by outcome A"]
    # 45 runs were acked and 3 rejected.
    assert total(outcomes, outcome="ack") == pytest.approx(
        15 * total(outcomes, outcome="reject"), rel=0.05
    )
    # This query came a moment later.
    assert total(found["Runs by queue A"], queue="mail") == pytest.approx(total(outcomes), rel=0.05)
    assert total(found["TaskmasterBacklogGrowing 1"]) > 0
    assert total(found["TaskmasterRejectedJobs 0"]) == pytest.approx(3, rel=0.5)  # extrapolated
    assert total(found["TaskmasterCrashLoop 0"]) == pytest.approx(1, rel=0.5)
    # Prometheus extrapolates.
    assert total(found["Exits by cause A"], cause="signal SIGKILL") == pytest.approx(1, rel=0.5)
    assert total(found["Claims A"], result="found") > 0
    assert total(found["Wakeups A"], source="notify") > 0
    assert total(found["Duration A"], le="+Inf") > 0


def assert_times_and_sizes(found: Found) -> None:
    assert 0 < total(found["Oldest ready job A"]) < 60
    assert 0 < total(found["TaskmasterOldestJobTooOld 0"]) < 60
    assert 0.05 < total(found["Duration, quantiles B"]) < 1.0  # five of 48 took 0.1 s
    assert 0 < total(found["Duration, quantiles A"]) < 0.05
    assert (
        0
        < total(found["Pick-up latency A"])
        <= total(found["Pick-up latency B"])
        <= total(found["Pick-up latency C"])
        < 60
    )
    assert total(found["CPU by queue A"]) > 0
    assert 10e6 < total(found["Memory by queue B"]) < total(found["Memory by queue A"]) < 2e9
    assert 0 < total(found["TaskmasterMemoryNearLimit 0"]) < 0.5


@pytest.mark.parametrize(
    "command", [["check", "rules"], ["check", "config"], ["test", "rules"]], ids=" ".join
)
def test_promtool_accepts_the_rules_and_their_tests_pass(command: list[str]) -> None:
    file = {
        "check rules": "rules/taskmaster.yml",
        "check config": "prometheus.yml",
        "test rules": "rules.test.yml",
    }
    done = subprocess.run(
        [tool("promtool"), *command, file[" ".join(command)]],
        cwd=GRAFANA / "prometheus",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_every_alert_has_a_test_and_a_runbook() -> None:
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    tests = (GRAFANA / "prometheus" / "rules.test.yml").read_text()
    for rule in rules:
        assert rule["alert"] in tests
        assert len(rule["annotations"]["runbook"]) > 50
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("warning", "critical")
