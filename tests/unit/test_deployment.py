"""Docker, Grafana, Prometheus and the example: what they name exists, and they fit together."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import taskmaster
from grafana.build import board_json
from taskmaster.cli.main import cli
from taskmaster.config import load
from taskmaster.job import ACK
from taskmaster.options import host_and_port
from taskmaster.testing import run

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
EXAMPLE = ROOT / "examples" / "compose"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SOURCES = "".join(file.read_text() for file in Path(taskmaster.__file__).parent.rglob("*.py"))
PINNED = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)*")
SERVICE_KEYS = {
    *("image", "build", "ports", "environment", "volumes", "depends_on", "healthcheck"),
    *("stop_grace_period", "shm_size"),
}


def mounts() -> Iterator[tuple[str, str, str]]:
    """Yield each mount as service, source and target."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            yield name, source, target


def test_every_service_is_pinned_and_has_a_health_check() -> None:
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        assert "healthcheck" in service or (
            service["build"] == "." and "HEALTHCHECK" in DOCKERFILE
        ), name
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how == {"condition": "service_healthy"}
    assert all(
        PINNED.fullmatch(image) for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    )


def test_mounted_folders_and_volumes_exist() -> None:
    for name, source, _ in mounts():
        if source.startswith("."):
            assert (ROOT / source).is_dir(), f"{name}: {source}"
        else:
            assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_no_port_is_open_to_other_machines() -> None:
    assert all(
        port.startswith("127.0.0.1:")
        for service in SERVICES.values()
        for port in service.get("ports", [])
    )


def test_code_reads_the_environment_variables_of_compose() -> None:
    for name in SERVICES["taskmaster"]["environment"]:
        assert f'"{name}"' in SOURCES


def test_prometheus_scrapes_where_the_example_listens() -> None:
    http = load(EXAMPLE / "taskmaster.toml").supervisor.http
    host, port = host_and_port(http)
    assert host == "0.0.0.0"
    config = yaml.safe_load((GRAFANA / "prometheus" / "prometheus.yml").read_text())
    assert config["scrape_configs"][0]["static_configs"] == [{"targets": [f"taskmaster:{port}"]}]
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/readyz" in DOCKERFILE
    assert ("prometheus", "./grafana/prometheus", "/etc/prometheus") in list(mounts())


def test_grafana_finds_its_data_source_and_dashboard() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/taskmaster.yml").read_text())[
        "providers"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert SERVICES["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    targets = {target for name, _, target in mounts() if name == "grafana"}
    assert {provider["options"]["path"], "/etc/grafana/provisioning"} <= targets
    board = json.loads((GRAFANA / "dashboards/taskmaster.json").read_text())
    assert set(uids(board)) == {source["uid"]}
    assert board["uid"] == "taskmaster"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/taskmaster.json"


def uids(value: Any) -> Iterator[str]:
    """Yield the uid of every data source that a dashboard names."""
    if isinstance(value, dict):
        if isinstance(source := value.get("datasource"), dict):
            yield source["uid"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from uids(inner)


def test_dashboard_is_up_to_date_and_no_panels_overlap() -> None:
    written = (GRAFANA / "dashboards/taskmaster.json").read_text()
    assert written == board_json(), "run .venv/bin/python -m grafana.build"
    panels = json.loads(written)["panels"]
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert len({panel["id"] for panel in shown}) == len(shown)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in shown}) == len(shown)
    assert {variable["name"] for variable in json.loads(written)["templating"]["list"]} == {
        "queue",
        "instance",
    }


def alert_commands() -> list[str]:
    """Return the commands that the annotations of the alert rules name, with values filled in."""
    rules = (GRAFANA / "prometheus/rules/taskmaster.yml").read_text()
    texts = [
        text
        for rule in yaml.safe_load(rules)["groups"][0]["rules"]
        for text in rule["annotations"].values()
    ]
    commands = re.findall(r"`taskmaster ([^`]+)`", " ".join(texts))
    return [re.sub(r"\bID\b", "1", re.sub(r"{{.*?}}", "a queue", one)) for one in commands]


@pytest.mark.parametrize("command", alert_commands())
def test_command_in_an_alert_is_one_that_exists(command: str) -> None:
    context = click.Context(cli)
    _, found, arguments = cli.resolve_command(context, shlex.split(command))
    assert found is not None
    found.make_context(found.name, arguments, parent=context)


def test_alerts_name_commands() -> None:
    assert len(alert_commands()) > 5


def test_command_with_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        test_command_in_an_alert_is_one_that_exists("jobs a_queue")


def test_image_is_built_from_files_and_extras_that_exist(tmp_path: Path) -> None:
    copied = [
        line.split()[1:-1] for line in DOCKERFILE.splitlines() if re.match(r"COPY (?!--from)", line)
    ]
    assert all((ROOT / name).exists() for names in copied for name in names)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (wanted,) = re.findall(r"install --no-cache-dir '\.\[([a-z,-]+)\]'", DOCKERFILE)
    assert set(wanted.split(",")) <= set(extras)


def test_callback_of_the_example_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.chdir(EXAMPLE)
    (consumer,) = load(EXAMPLE / "taskmaster.toml").consumers
    assert run(consumer, {"below": 100}) == ACK
    assert "25 primes below 100" in capsys.readouterr().out
    assert run(consumer, {"below": -1}) != ACK


def test_example_is_found_by_taskmaster_check() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("taskmaster"), "check"],
        cwd=EXAMPLE,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TASKMASTER_DATABASE_URL": "postgresql://postgres@127.0.0.1:9/x",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "primes:count" in done.stdout, done.stdout + done.stderr
