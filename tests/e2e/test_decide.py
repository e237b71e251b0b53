"""A run against a baseline, in the cluster and from the command line: the same figures in condition, status, metric and table."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench_runner.reports.cost import money
from bench_runner.reports.units import seconds
from tests.accuracy.test_truth import PAUSES_S
from tests.dashboards.exhibits import prometheus
from tests.dashboards.figures import ask
from tests.dashboards.scenes import gallery
from tests.support.forward import forwarded
from tests.support.lab import Lab, Object, condition, run_object

ENOUGH = [{"name": "c4", "concurrency": 4, "requestCount": 150}]
GATES = [{"metric": "ttft", "statistic": "p50", "minEffectPerMille": 150}, {"metric": "success_rate"}]


def decided(lab: Lab, name: str, **spec: Any) -> Object:
    """The run once it is judged. A neighbour of the machine may disturb one until nobody can say: it gets further chances."""
    for chance, pause_s in enumerate(PAUSES_S):
        time.sleep(pause_s)
        lab.apply(run_object(f"{name}{chance}", stages=ENOUGH, repetitions=3, maxOutputTokens=8, **spec))
        run = lab.finished(f"{name}{chance}", timeout_s=180)
        if "baselineRef" in spec and condition(run, "NotRegressed")["status"] != "Unknown":
            return run
        if "baselineRef" not in spec and condition(run, "Valid")["reason"] == "Valid":  # else it is no baseline
            return run
    raise AssertionError(lab.explain())


def test_a_slower_run_is_regressed_and_a_like_one_is_not(lab: Lab) -> None:
    lab.simulator("sim", "--ttft-ms", "20", "--itl-ms", "1")
    lab.simulator("slow", "--ttft-ms", "28", "--itl-ms", "1")
    before = decided(lab, "before")["metadata"]["name"]
    promoted = tokenmark(
        lab, "baseline", "set", "prod", f"{lab.namespace}/{before}", "--in", f"namespace:{lab.namespace}"
    )
    assert promoted.returncode == 0, promoted.stderr
    alike = decided(lab, "alike", baselineRef={"baseline": "prod", "gates": GATES, "onRegression": "Fail"})
    target = {"engine": "openai", "model": "sim", "serviceRef": {"name": "slow", "port": 8000}}
    slower = decided(lab, "slower", target=target, baselineRef={"name": before, "gates": GATES, "onRegression": "Fail"})

    assert condition(alike, "NotRegressed")["status"] == "True", lab.explain()
    assert condition(alike, "NotRegressed")["message"].startswith("against baseline prod: ")
    assert condition(alike, "Succeeded")["status"] == "True", lab.explain()
    said = condition(slower, "NotRegressed")
    assert (said["status"], said["reason"]) == ("False", "Regressed"), lab.explain()
    assert "ttft p50 at c4 +" in said["message"]
    assert condition(slower, "Succeeded")["reason"] == "Regressed"

    found = compared(lab, before, slower["metadata"]["name"])
    line = next(each for each in found["lines"] if (each["metric"], each["statistic"]) == ("ttft", "p50"))
    kept = json.loads((lab.get("cm", f"{slower['metadata']['name']}-result") or {})["data"]["comparison.json"])
    assert (
        line["change"] == next(e for e in kept["lines"] if (e["metric"], e["statistic"]) == ("ttft", "p50"))["change"]
    )
    row = next(
        row for row in slower["status"]["comparison"] if (row["metric"], row.get("statistic")) == ("ttft", "p50")
    )
    assert row["changePerMille"] == round(1000 * line["change"])
    assert 0.25 < line["change"] < 0.5


PRICES = {"aws": "4.10", "azure": "3.70", "gcp": "3.20"}
SPEEDS = {"aws": ("20", "4"), "azure": ("30", "6"), "gcp": ("40", "8")}
CALM = [{"name": "c2", "concurrency": 2, "requestCount": 150}]  # server and client share two cores


@pytest.mark.trial
def test_three_providers_have_one_price_everywhere(lab: Lab, tmp_path: Path) -> None:
    """Condition, status, /metrics, command line, report, dashboard and result of three runs agree on every figure."""
    rows = [
        {"provider": name, "onDemandPerHour": hour, "source": "made up", "dated": "2030-01-01", "example": True}
        for name, hour in PRICES.items()
    ]
    lab.apply({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices"},
        "data": {"cost.yaml": json.dumps({"schemaVersion": "cost/v1", "name": "prices", "prices": rows})},
    })  # fmt: skip
    runs = {}
    for name, (ttft, itl) in SPEEDS.items():
        lab.simulator(f"sim-{name}", "--ttft-ms", ttft, "--itl-ms", itl)
        target = {"engine": "openai", "model": "sim", "serviceRef": {"name": f"sim-{name}", "port": 8000}}
        runs[name] = lab.standing(
            f"on-{name}", stages=CALM, repetitions=3, maxOutputTokens=16, target=target, environment={"provider": name}, cost={"configMap": {"name": "prices"}}
        )  # fmt: skip
    for name, run in runs.items():
        assert condition(run, "Succeeded")["status"] == "True", lab.explain()
        result = lab.result(f"on-{name}-result")
        stage, told = result["stages"][0], result["cost"]["stages"][0]
        wanted = Decimal(PRICES[name]) / (Decimal(repr(stage["throughput"]["output_tokens_per_s"])) * 3600) * 10**6
        assert abs(Decimal(told["per_million_output_tokens"]) - wanted) <= Decimal("0.000001")
        micros = run["status"]["summary"][0]["costMicrosPerMillionOutputTokens"]
        assert micros == round(Decimal(told["per_million_output_tokens"]) * 10**6)
        shown = lab.until("the price is on /metrics", lambda name=name: price_of(lab, f"on-{name}"), 30)
        assert shown == micros / 1e6
    sources = [f"{lab.namespace}/on-{name}" for name in SPEEDS]
    spent = json.loads(tokenmark(lab, "cost", *sources, "--format", "json").stdout)
    assert [each["cost"]["stages"][0]["per_million_output_tokens"] for each in spent] == [
        lab.result(f"on-{name}-result")["cost"]["stages"][0]["per_million_output_tokens"] for name in SPEEDS
    ]
    ranking = tokenmark(lab, "cost", *sources).stdout
    assert f"1. {lab.namespace}/on-aws" in ranking, ranking
    assert f"3. {lab.namespace}/on-gcp" in ranking, ranking
    against = json.loads(tokenmark(lab, "compare", *sources[:2], "--format", "json", "--force").stdout)
    line = next(e for e in against["lines"] if (e["metric"], e["statistic"]) == ("ttft", "p50"))
    values = [lab.result(f"on-{name}-result")["stages"][0] for name in ("aws", "azure")]
    for side, stage in zip(("baseline", "current"), values, strict=True):
        middles = [math.log(rep["metrics"]["ttft"]["p50"]) for rep in stage["repetitions"]]
        assert math.isclose(line[side], math.exp(sum(middles) / 3), rel_tol=1e-9)
    results = {name: lab.result(f"on-{name}-result") for name in SPEEDS}
    reported(lab, sources, results, tmp_path)
    drawn(lab, results, tmp_path)


def reported(lab: Lab, sources: list[str], results: dict[str, Any], folder: Path) -> None:
    """The report's data are the results, and its words are their numbers."""
    done = tokenmark(lab, "report", *sources, "--out", str(folder / "report"))
    assert done.returncode == 0, done.stderr
    text = (folder / "report" / "report.md").read_text()
    for said, result in zip(
        json.loads((folder / "report" / "summary.json").read_text()), results.values(), strict=True
    ):
        for key in ("metrics", "throughput", "requests", "goodput"):
            assert said["stages"][0][key] == result["stages"][0][key]
        assert said["cost"] == result["cost"]
        assert seconds(result["stages"][0]["metrics"]["ttft"]["p50"]) in text
        assert money(Decimal(result["cost"]["stages"][0]["per_million_output_tokens"]), "USD") in text


def drawn(lab: Lab, results: dict[str, Any], folder: Path) -> None:
    """The front page of the dashboards, by Grafana's own code over a real Prometheus. It has micro- and milli-units behind it."""
    stages = {name: (result["stages"][0], result["cost"]["stages"][0]) for name, result in results.items()}
    wanted = {
        "TTFT p50": {name: stage["metrics"]["ttft"]["p50"] for name, (stage, _) in stages.items()},
        "TPOT p50": {name: stage["metrics"]["tpot"]["p50"] for name, (stage, _) in stages.items()},
        "Output tokens per second": {
            name: stage["throughput"]["output_tokens_per_s"] for name, (stage, _) in stages.items()
        },
        "Cost of a million output tokens": {
            name: float(cost["per_million_output_tokens"]) for name, (_, cost) in stages.items()
        },
    }
    with forwarded(lab) as port, prometheus(folder, {"tokenmark": (f"127.0.0.1:{port}", "/metrics")}) as url:
        lab.until(
            "all is scraped", lambda: len(ask(url, f'tokenmark_run_info{{run_namespace="{lab.namespace}"}}')) == 3, 45
        )
        with gallery(url) as browser:
            report = browser.look("provider-comparison", since="now-1m", run_namespace=lab.namespace)
    panels = {panel["title"]: panel for panel in report["panels"]}
    for title, figures in wanted.items():
        found = {bar["name"]: bar["value"] for bar in panels[title]["shown"]}
        assert found == pytest.approx(figures, rel=1e-3), title
    assert (panels["Providers"]["latest"], panels["Left out"]["latest"]) == (3, 0)


def test_a_place_without_a_price_is_refused_before_any_load(lab: Lab) -> None:
    lab.simulator()
    lab.apply(run_object("free", cost={"configMap": {"name": "nowhere"}}))
    said = condition(lab.finished("free"), "Accepted")
    assert (said["status"], said["reason"]) == ("False", "NoPrices"), lab.explain()
    assert "ConfigMap nowhere, key cost.yaml does not exist" in said["message"]
    assert lab.items("jobs") == []


def price_of(lab: Lab, run: str) -> float | None:
    """From the operator's page; None where it is not there yet: a status is seen through a watch."""
    path = "/api/v1/namespaces/tokenmark-system/services/tokenmark-operator:8080/proxy/metrics"
    wanted = ("tokenmark_run_cost_dollars_per_million_output_tokens", run, lab.namespace)
    for family in text_string_to_metric_families(lab.kubectl("get", "--raw", path)):
        for sample in family.samples:
            if (sample.name, sample.labels.get("run"), sample.labels.get("run_namespace")) == wanted:
                return float(sample.value)
    return None


def tokenmark(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line, which asks the cluster through kubectl."""
    kubectl = lab.cluster.kubectl()
    env = {**os.environ, "KUBECONFIG": str(lab.cluster.kubeconfig()), "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "bench_runner", *words], env=env, capture_output=True, text=True, check=False
    )


def compared(lab: Lab, baseline: str, current: str) -> dict[str, list[dict[str, object]]]:
    words = (f"{lab.namespace}/{baseline}", f"{lab.namespace}/{current}", "--gate", "ttft:p50", "--format", "json")
    done = tokenmark(lab, "compare", *words)
    assert done.returncode == 3, done.stdout + done.stderr
    found: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return found
