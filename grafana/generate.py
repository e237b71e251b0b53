"""Writes the dashboards: `python -m grafana.generate`. Committed twice: for Grafana's provisioning, and inside the chart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .baseline import run_against_baseline
from .board import Board
from .comparison import provider_comparison
from .gpu import gpu
from .network import network
from .operator import operator
from .rag import rag_overview
from .run import run
from .trend import trend
from .vllm import vllm

TREE = Path(__file__).resolve().parents[1]
PLACES = ("grafana/dashboards", "deploy/helm/tokenmark/dashboards")
DASHBOARDS: dict[str, Callable[[], Board]] = {
    "provider-comparison": provider_comparison,
    "run": run,
    "run-against-baseline": run_against_baseline,
    "trend": trend,
    "network": network,
    "operator": operator,
    "rag-overview": rag_overview,
    "vllm": vllm,
    "gpu": gpu,
}


def files() -> dict[str, str]:
    """Generated files by path."""
    out = {}
    for name, make in DASHBOARDS.items():
        document = json.loads(JSONEncoder(sort_keys=True).encode(make().build()))
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        out |= {f"{place}/{name}.json": text for place in PLACES}
    return out


def main() -> None:
    for path, text in files().items():
        (TREE / path).parent.mkdir(parents=True, exist_ok=True)
        (TREE / path).write_text(text)


if __name__ == "__main__":
    main()
