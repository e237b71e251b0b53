"""One centre for two clusters: their Prometheus servers federated by the committed configuration, and the front page over both."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.layout import TREE
from tests.dashboards.exhibits import pages, prometheus, serving
from tests.dashboards.figures import ask, figures
from tests.support.scrape import exposed, finished

RULES = TREE / "deploy" / "helm" / "tokenmark" / "rules"
CENTRE = TREE / "deploy" / "monitoring" / "prometheus"


def a_cluster(provider: str, ttft_us: int) -> dict[str, Any]:
    """A finished run of that provider, as an operator shows it; whether it names its cluster itself or leaves that to labels."""
    run = finished(f"chat-{provider}")
    place = {"provider": provider, **({"cluster_label": "named-by-itself"} if provider == "aws" else {})}
    run["status"]["environment"] = place
    run["status"]["summary"][0]["ttftMicroseconds"]["p50"] = ttft_us
    run["status"]["fingerprint"] = "f" * 64
    return run


def until(what: str, fact: Any, timeout_s: float = 40) -> Any:
    limit = time.monotonic() + timeout_s
    while not (found := fact()):
        assert time.monotonic() < limit, f"{what}: not within {timeout_s} s"
        time.sleep(0.2)
    return found


def test_the_front_page_compares_providers_of_two_clusters(tmp_path: Path) -> None:
    runs = {"aws": a_cluster("aws", 20_000), "azure": a_cluster("azure", 30_000)}
    with ExitStack() as open_:
        addresses = []
        for provider, run in runs.items():
            port = open_.enter_context(pages({"/metrics": lambda run=run: exposed(run)}))
            outside = {"cluster": f"{provider}-1", "provider": provider, "region": "somewhere"}
            targets = {"tokenmark": (f"127.0.0.1:{port}", "/metrics")}
            url = open_.enter_context(prometheus(tmp_path / provider, targets, outside))
            until(f"{provider} is scraped", lambda url=url: ask(url, "tokenmark_run_info"))
            addresses.append(url.removeprefix("http://"))
        folder = tmp_path / "deploy" / "monitoring" / "prometheus"
        shutil.copytree(CENTRE, folder)
        shutil.copytree(RULES, tmp_path / "deploy" / "helm" / "tokenmark" / "rules")
        (folder / "clusters.yml").write_text(yaml.safe_dump([{"targets": [address]} for address in addresses]))
        said = (folder / "prometheus.yml").read_text()
        (folder / "prometheus.yml").write_text(said.replace("scrape_interval: 30s", "scrape_interval: 1s"))
        centre = open_.enter_context(serving(folder))
        until("both clusters are in the centre", lambda: len(ask(centre, "tokenmark_run_info")) == 2)
        clusters = {
            row["metric"]["provider"]: row["metric"].get("cluster") for row in ask(centre, "tokenmark_run_info")
        }
        assert clusters == {"aws": "named-by-itself", "azure": "azure-1"}, (
            "external labels fill in, and never overwrite"
        )
        found = dict(figures("provider-comparison", centre, {"stage": "c1"}))
    assert found["TTFT p50"] == "aws 20.0 ms, azure 30.0 ms", found
    assert found["Providers"] == "2"


def test_a_clusters_values_name_what_tells_it_apart() -> None:
    values = yaml.safe_load((CENTRE.parent / "prometheus-values.yaml").read_text())
    assert set(values["prometheus"]["prometheusSpec"]["externalLabels"]) == {"cluster", "provider", "region"}
