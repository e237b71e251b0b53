"""Without the operator: a run as plain objects, the probe as plain Jobs, and a standing mesh that Prometheus scrapes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lab import Lab, run_object, tree
from tokenmark_schemas.probe_result import EastWest


def example(lab: Lab, name: str, **changes: str) -> str:
    """A manifest of deploy/examples with the image of this cluster."""
    text = (
        (tree() / "deploy" / "examples" / name).read_text().replace("tokenmark-netprobe:0.1.0", lab.images["netprobe"])
    )
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.mark.trial
def test_plain_jobs_measure_between_two_nodes(lab: Lab) -> None:
    quick = '"6", --seconds, "1", --out'
    text = example(lab, "ew-netprobe-job.yaml").replace('"6", --out', quick)
    lab.kubectl("apply", "-f", "-", stdin=text)
    lab.kubectl("wait", "--for=condition=complete", "job/ew-client", "--timeout=150s", timeout_s=160)
    log = lab.kubectl("logs", "job/ew-client")
    at = log.index("{\n")
    document, _ = json.JSONDecoder().raw_decode(log[at:])
    measured = EastWest.model_validate(document)
    (pair,) = measured.pairs
    assert {pair.client.node, pair.server.node if pair.server else None} == {"node1", "node2"}
    assert [m.error for m in pair.measurements if m.error] == []
    assert all(s.low is not None for s in pair.statistics if s.statistic == "p50")
    assert "throughput p50" in log, "the matrix stands beside it"


def test_a_standing_mesh_tells_every_pair_and_forgets_who_is_gone(lab: Lab) -> None:
    lab.kubectl("apply", "-f", "-", stdin=example(lab, "ew-netprobe-ds.yaml").replace('--every, "10"', '--every, "1"'))
    lab.kubectl("rollout", "status", "ds/ew-mesh", "--timeout=60s", timeout_s=70)

    def scraped(node: str) -> str:
        pod = next(p for p in lab.items("pods", "app=ew-mesh") if p["spec"]["nodeName"] == node)
        path = f"/api/v1/namespaces/{lab.namespace}/pods/{pod['metadata']['name']}:5204/proxy/metrics"
        return lab.kubectl("get", "--raw", path)

    def value(page: str, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else -1

    for source, target in (("node1", "node2"), ("node2", "node1")):
        pair = f'{{source_node="{source}",target_node="{target}"}}'
        lab.until("the peer is up", lambda s=source, p=pair: value(scraped(s), f"tokenmark_mesh_up{p}") == 1, 40)
        page = scraped(source)
        assert value(page, f"tokenmark_mesh_rtt_seconds_count{pair}") >= 5
        assert value(page, f"tokenmark_mesh_connect_seconds_count{pair}") >= 1
        assert value(page, f"tokenmark_mesh_datagrams_answered_total{pair}") >= 10
        assert value(page, f"tokenmark_mesh_datagrams_lost_total{pair}") == 0
        assert len(re.findall("^tokenmark_mesh", page, re.MULTILINE)) < 60
    lab.kubectl(
        "patch", "ds", "ew-mesh", "--type=merge", "-p",
        '{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node1"}}}}}',
    )  # fmt: skip
    lab.until("node2 is forgotten", lambda: 'target_node="node2"' not in scraped("node1"), 60)


def test_a_rendered_run_needs_no_operator(lab: Lab, tmp_path: Path) -> None:
    """Job and ConfigMap as printed, its log as the way of its result; the operator beside it leaves them alone."""
    lab.simulator()
    (tmp_path / "run.yaml").write_text(
        json.dumps(run_object("by-hand", stages=[{"name": "c4", "concurrency": 4, "requestCount": 150}]))
    )
    words = [sys.executable, "-m", "bench_runner"]
    made = subprocess.run(
        [*words, "render", str(tmp_path / "run.yaml"), "-n", lab.namespace, "--image", lab.images["runner"]],
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    lab.kubectl("apply", "-f", "-", stdin=made.stdout)
    lab.kubectl("wait", "--for=condition=complete", "job/by-hand-a1", "--timeout=120s", timeout_s=130)
    (tmp_path / "log").write_text(lab.kubectl("logs", "job/by-hand-a1"))
    pushed = subprocess.run(
        [*words, "results", "push", str(tmp_path / "log"), "--store", str(tmp_path / "store")],
        capture_output=True,
        text=True,
    )
    assert pushed.returncode == 0, pushed.stderr
    (path,) = (tmp_path / "store").rglob("result.json")
    result = json.loads(path.read_text())
    assert result["verdict"]["state"] in ("valid", "degraded"), result["verdict"]  # a neighbour may disturb it
    assert result["stages"][0]["requests"]["errors"] == {}
    assert lab.items("brun") == []
    assert [job["metadata"]["name"] for job in lab.items("jobs")] == ["by-hand-a1"]
