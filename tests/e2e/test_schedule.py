"""A BenchmarkSchedule in the cluster: runs by the clock, their history, a changed template, and what goes with it."""

from __future__ import annotations

import json

from prometheus_client.parser import text_string_to_metric_families

from tests.support.lab import Lab, condition, run_object

PAGE = "/api/v1/namespaces/tokenmark-system/services/tokenmark-operator:8080/proxy/metrics"


def test_a_run_every_minute(lab: Lab) -> None:
    lab.simulator()
    spec = run_object("x", stages=[{"name": "c1", "concurrency": 1, "requestCount": 20}])["spec"]
    schedule = {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkSchedule",
        "metadata": {"name": "often"},
        "spec": {
            "schedule": "* * * * *",
            "timeZone": "Europe/Berlin",
            "campaign": "spring",
            "successfulRunsHistoryLimit": 1,
            "template": {"metadata": {"labels": {"team": "x"}}, "spec": spec},
        },
    }
    lab.apply(schedule)
    first = lab.until("a run is made", lambda: lab.items("benchmarkruns", "team=x"), 80)[0]["metadata"]["name"]
    done = lab.finished(first, timeout_s=60)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    assert lab.result(f"{first}-result")["provenance"]["environment"]["campaign"] == "spring"
    lab.until("the schedule knows that it succeeded", lambda: _status(lab).get("lastSuccessfulTime"), 20)
    shown = lab.kubectl("get", "benchmarkschedules")
    assert shown.splitlines()[1].split()[:3] == ["often", "*", "*"]

    changed = {"spec": {"template": {"spec": {"seed": 5}}, "concurrencyPolicy": "Allow"}}
    lab.kubectl("patch", "benchmarkschedule", "often", "--type=merge", "-p", json.dumps(changed))
    second = lab.until(
        "the next is made", lambda: [r for r in lab.items("benchmarkruns") if r["metadata"]["name"] != first], 80
    )[0]
    assert second["spec"]["seed"] == 5
    lab.kubectl("patch", "benchmarkschedule", "often", "--type=merge", "-p", '{"spec": {"suspend": true}}')
    lab.finished(second["metadata"]["name"], timeout_s=60)
    lab.until(
        "of the good ones one stays",
        lambda: [r["metadata"]["name"] for r in lab.items("benchmarkruns")] == [second["metadata"]["name"]],
        30,
    )
    series = {
        sample.name
        for family in text_string_to_metric_families(lab.kubectl("get", "--raw", PAGE))
        for sample in family.samples
        if sample.labels.get("schedule_namespace") == lab.namespace
    }
    assert "tokenmark_schedule_last_success_timestamp_seconds" in series
    assert "tokenmark_schedule_next_timestamp_seconds" not in series, "it is suspended"
    lab.delete("benchmarkschedule", "often")
    lab.until("its runs go with it", lambda: not lab.items("benchmarkruns"), 60)


def test_a_schedule_that_is_none_is_refused(lab: Lab) -> None:
    broken = {"schedule": "61 * * * *", "template": {"spec": run_object("x")["spec"]}}
    lab.apply(
        {
            "apiVersion": "tokenmark.dev/v1alpha1",
            "kind": "BenchmarkSchedule",
            "metadata": {"name": "broken"},
            "spec": broken,
        }
    )
    said = lab.until("it is refused", lambda: _accepted(lab, "broken"), 20)
    assert "Bad minute" in said
    long = lab.try_kubectl("create", "-f", "-", stdin=json.dumps({
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkSchedule", "metadata": {"name": "x" * 38}, "spec": {**broken, "schedule": "@daily"},
    }))  # fmt: skip
    assert long.returncode != 0
    assert "37" in long.stderr
    worse = {**broken, "template": {"spec": {"target": {"model": "m"}}}}
    none = lab.try_kubectl("create", "-f", "-", stdin=json.dumps({
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkSchedule", "metadata": {"name": "worse"}, "spec": worse,
    }))  # fmt: skip
    assert "set exactly one of endpoint, serviceRef" in none.stderr


def _status(lab: Lab) -> dict[str, str]:
    return (lab.get("benchmarkschedule", "often") or {}).get("status") or {}


def _accepted(lab: Lab, name: str) -> str:
    found = lab.get("benchmarkschedule", name) or {}
    said = [
        c
        for c in (found.get("status") or {}).get("conditions") or []
        if c["type"] == "Accepted" and c["status"] == "False"
    ]
    return said[0]["message"] if said else ""
