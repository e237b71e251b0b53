"""Writes the committed JSON Schemas and CRDs: `python -m tokenmark_schemas.export ROOT`.

Generated files are committed so that people read them without Python; a drift test fails when they differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from .baseline import Promoted
from .benchmarkrun import BenchmarkRun
from .comparison import Comparison
from .cost import CostFile
from .crd import KINDS, crd
from .engines import EnginesFile
from .local_models import ModelsFile
from .matrix import MatrixResult
from .matrix_object import BenchmarkMatrix
from .netprobe import NetProbe
from .north_south import BenchmarkOutput, RunMetadata
from .probe_result import EastWest, NetProbeResult, ProbeConfig
from .profiles import ProfilesFile
from .quality import CodeAnswers, QualityTests
from .ratings import RatingFile
from .recipe import Recipe
from .result import RunResult, TerminationSummary
from .run import RunConfig
from .schedule import BenchmarkSchedule
from .store import Receipts
from .sweep import BenchmarkSweep
from .workload import Workload

SCHEMAS: dict[str, tuple[type[BaseModel], bool]] = {
    "benchmarkrun-v1alpha1": (BenchmarkRun, True),
    "netprobe-v1alpha1": (NetProbe, True),
    "benchmarkschedule-v1alpha1": (BenchmarkSchedule, True),
    "benchmarksweep-v1alpha1": (BenchmarkSweep, True),
    "benchmarkmatrix-v1alpha1": (BenchmarkMatrix, True),
    "workload": (Workload, True),
    "run-config-v1": (RunConfig, False),
    "run-result-v1": (RunResult, False),
    "termination-v1": (TerminationSummary, False),
    "netprobe-config-v1": (ProbeConfig, False),
    "netprobe-result-v1": (NetProbeResult, False),
    "netprobe-ew": (EastWest, False),
    "benchmark-output": (BenchmarkOutput, False),
    "run-metadata": (RunMetadata, False),
    "comparison-v1": (Comparison, False),
    "cost-v1": (CostFile, True),
    "ratings-v1": (RatingFile, True),
    "engines-v1": (EnginesFile, True),
    "recipe-v1": (Recipe, True),
    "models-v1": (ModelsFile, True),
    "profiles-v1": (ProfilesFile, True),
    "quality-tests-v1": (QualityTests, False),
    "code-answers-v1": (CodeAnswers, False),
    "matrix-result-v1": (MatrixResult, False),
    "baseline-v1": (Promoted, False),
    "store-receipts-v1": (Receipts, False),
}

CRD_OPEN = "{{- if .Values.crds.enabled }}\n"
CRD_KEEP = (
    "  annotations:\n    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
    "    tokenmark.dev/schema: v1alpha1\n"
)


def json_schema(name: str) -> dict[str, Any]:
    """The schema of one contract; Kubernetes objects are spelled camelCase, files snake_case."""
    model, by_alias = SCHEMAS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://tokenmark.dev/schemas/{name}.schema.json",
        **model.model_json_schema(by_alias=by_alias),
    }


def files() -> dict[str, str]:
    """Every generated file, by its path under the root of the tree."""
    out = {f"schemas/{name}.schema.json": json.dumps(json_schema(name), indent=2) + "\n" for name in SCHEMAS}
    for kind in KINDS:
        text = yaml.safe_dump(crd(kind), sort_keys=False, width=120)
        name = f"  name: {kind.plural}.tokenmark.dev\n"
        chart = CRD_OPEN + text.replace(name, name + CRD_KEEP, 1).replace("{{ ", "{{`{{ `}}") + "{{- end }}\n"
        out[f"deploy/helm/tokenmark/templates/crd-{kind.plural}.yaml"] = chart
        out[f"deploy/crds/{kind.plural}.yaml"] = text
    return out


def main(root: str = ".") -> None:
    for path, text in files().items():
        target = Path(root) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
