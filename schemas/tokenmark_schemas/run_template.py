"""What kinds that make BenchmarkRuns are given to make them of."""

from __future__ import annotations

from .base import Contract, StringMap
from .benchmarkrun import BenchmarkRunSpec


class TemplateMeta(Contract):
    labels: StringMap | None = None
    annotations: StringMap | None = None


class RunTemplate(Contract):
    """What each run is made of."""

    metadata: TemplateMeta = TemplateMeta()
    spec: BenchmarkRunSpec
