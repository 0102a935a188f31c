"""Alerts have runbooks, runbooks name panels that exist, and links lead somewhere."""

import json
import re

import pytest

from tests.support.markdown import ROOT, alert_rules

ALERTS = ROOT / "docs" / "how-to" / "alerts.md"
LINKS = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


def test_every_alert_has_a_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", ALERTS.read_text(), flags=re.MULTILINE)
    assert headings == [rule["alert"] for rule in alert_rules()]


def test_panels_named_in_runbooks_are_on_the_dashboard() -> None:
    board = json.loads((ROOT / "grafana" / "dashboards" / "taskmaster.json").read_text())
    texts = [ALERTS.read_text(), *(rule["annotations"]["runbook"] for rule in alert_rules())]
    named = {name for text in texts for name in re.findall(r'"([A-Z][^"{]+)"', text)}
    assert named
    assert named <= {panel["title"] for panel in board["panels"]}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_links_of_a_page_outside_the_site_lead_somewhere(name: str) -> None:
    targets = [link.partition("#")[0] for link in LINKS.findall((ROOT / name).read_text())]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (ROOT / target).exists()] == []
