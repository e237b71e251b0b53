"""The centre's files, each by the program that reads it: compose's parser, Prometheus, OpenTofu or Terraform."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.layout import TREE
from tests.cluster.shell import wait_for
from tests.cluster.tools import program
from tests.dashboards.exhibits import serving

MONITORING = TREE / "deploy" / "monitoring"
COMPOSE = MONITORING / "docker-compose.yaml"
RULES = TREE / "deploy" / "helm" / "tokenmark" / "rules"
VARIABLES = {
    "grafana_url": "https://grafana.example",
    "grafana_auth": "a-token",
    "prometheus_url": "http://prometheus.example",
}


def composed(**environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([program("composecheck"), COMPOSE], env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    done = composed(GRAFANA_ADMIN_PASSWORD="chosen")
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def alerts() -> dict[str, str]:
    groups = [group for path in RULES.glob("*.yaml") for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def told(prometheus: str, what: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{prometheus}/api/v1/{what}", timeout=10) as answer:
        found: dict[str, Any] = json.loads(answer.read())["data"]
        return found


def test_compose_reads_what_it_starts_and_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {"prometheus", "grafana"}
    for name, service in services.items():
        assert re.search(r":[^:@]+@sha256:[0-9a-f]{64}$", service["image"]), f"{name} is pinned by digest"
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}, f"{name} listens on this machine alone"
        for volume in service["volumes"]:
            if volume["type"] == "bind":
                assert volume["read_only"], volume
                assert Path(volume["source"]).is_dir(), volume
    assert services["grafana"]["ports"][0]["published"] == "3000"


def test_compose_asks_for_a_password() -> None:
    done = composed()
    assert done.returncode != 0
    assert "GRAFANA_ADMIN_PASSWORD is missing a value: choose one" in done.stderr


def test_prometheus_starts_with_compose_s_own_words_and_loads_every_rule(
    services: dict[str, Any], tmp_path: Path
) -> None:
    places = {"/deploy": str(TREE / "deploy"), "/prometheus": str(tmp_path / "data")}
    words = [
        re.sub(r"=(/deploy|/prometheus)\b", lambda at: f"={places[at[1]]}", word)
        for word in services["prometheus"]["command"]
    ]
    with serving(tmp_path, words) as url:
        loaded = [rule["name"] for group in told(url, "rules")["groups"] for rule in group["rules"]]
        wait_for("the clusters are targets", lambda: told(url, "targets")["activeTargets"], 30)
        targets = told(url, "targets")["activeTargets"]
    assert sorted(loaded) == sorted(alerts())
    assert {target["labels"]["job"] for target in targets} == {"tokenmark-clusters"}
    assert all(target["scrapeUrl"].split("?")[0].endswith("/federate") for target in targets)


@pytest.fixture
def tofu(tmp_path: Path) -> Any:
    """Runs OpenTofu or Terraform over the files, with a provider that knows the documented schema and reaches nothing."""
    name = next((name for name in ("tofu", "terraform") if shutil.which(name)), None)
    if name is None and not os.environ.get("TOKENMARK_BUILD_TOFU"):
        pytest.skip("neither OpenTofu nor Terraform is here; TOKENMARK_BUILD_TOFU=1 builds one from Go, some minutes")
    words = name or program("tofu")
    (tmp_path / "terraform-provider-grafana").symlink_to(program("grafanaschema"))
    override = f'dev_overrides {{\n "grafana/grafana" = "{tmp_path}"\n }}\n direct {{}}\n'
    (tmp_path / "cli.tfrc").write_text(f"provider_installation {{\n {override} }}\n")
    given = {f"TF_VAR_{key}": value for key, value in VARIABLES.items()}
    env = {
        **os.environ,
        "TF_CLI_CONFIG_FILE": str(tmp_path / "cli.tfrc"),
        "TF_DATA_DIR": str(tmp_path / "data"),
        **given,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [words, *arguments], cwd=MONITORING / "terraform", env=env, capture_output=True, text=True, check=False
        )

    return run


def test_terraform_is_valid_against_the_documented_schema(tofu: Any) -> None:
    assert tofu("fmt", "-check", "-diff").stdout == ""
    valid = tofu("validate", "-no-color")
    assert valid.returncode == 0, valid.stdout + valid.stderr


def test_terraform_plans_every_dashboard_and_every_alert(tofu: Any, tmp_path: Path) -> None:
    planned = tofu("plan", "-no-color", f"-out={tmp_path}/plan")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "a-token" not in planned.stdout
    document = json.loads(tofu("show", "-json", f"{tmp_path}/plan").stdout)
    made = document["planned_values"]["root_module"]["resources"]
    boards = {json.loads(one["values"]["config_json"])["uid"] for one in made if one["type"] == "grafana_dashboard"}
    assert boards == {json.loads(path.read_text())["uid"] for path in (TREE / "grafana" / "dashboards").glob("*.json")}
    rules = [rule for one in made if one["type"] == "grafana_rule_group" for rule in one["values"]["rule"]]
    asked = {rule["name"]: json.loads(rule["data"][0]["model"])["expr"] for rule in rules}
    assert asked == alerts()
    for rule in rules:
        assert rule["condition"] in {step["ref_id"] for step in rule["data"]}
        assert "$value " not in " ".join(rule["annotations"].values()), "Grafana's $value is a sentence, not a number"
