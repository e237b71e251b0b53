"""Alert rules against series that are made up: promtool's own tests. Every alert has one, and a runbook that is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.cluster.layout import TREE
from tests.cluster.tools import debian_packages

HERE = Path(__file__).parent
RULES = TREE / "deploy" / "helm" / "tokenmark" / "rules"


@pytest.mark.parametrize("name", sorted(path.stem for path in RULES.glob("*.yaml")))
def test_alerts_fire_when_they_should_and_only_then(name: str, tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        debian_packages()
    shutil.copy(RULES / f"{name}.yaml", tmp_path)
    shutil.copy(HERE / f"{name}_rules.yaml", tmp_path)
    words = ["promtool", "test", "rules", f"{name}_rules.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, str]]:
    groups = [group for path in RULES.glob("*.yaml") for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def test_every_alert_has_a_test_in_which_it_fires_and_a_section_that_says_what_to_do() -> None:
    fired = set()
    for path in HERE.glob("*_rules.yaml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            fired |= {case["alertname"] for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert {rule["alert"] for rule in alerts()} == fired
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook_url"].removeprefix("https://tokenmark.dev/").partition("#")
        headings = re.findall(r"^#+ (.+)$", (TREE / f"{page}.md").read_text(), re.MULTILINE)
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, rule["alert"]
