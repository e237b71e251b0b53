"""What is generated is committed as generated, and what is written down is true."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from bench_runner.samples.metrics import METRICS
from grafana import generate
from netprobe.standing import Series
from tests.support.lab import condition
from tests.support.results import a_result
from tests.support.scrape import projection
from tokenmark_operator.kinds import rights
from tokenmark_operator.kinds.registry import KINDS
from tokenmark_operator.shared.kind import Right
from tokenmark_schemas import export
from tokenmark_schemas.documents import builtin_workloads, load_documents, parse, read_text

TREE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted(export.files()) + sorted(generate.files()))
def test_generated_files_are_up_to_date(path: str) -> None:
    wanted = {**export.files(), **generate.files()}[path]
    assert (TREE / path).read_text() == wanted, "run: make schemas"


@pytest.mark.parametrize(
    "path",
    sorted([*(TREE / "deploy" / "examples").glob("*.yaml"), *builtin_workloads().values()]),
    ids=lambda p: p.name,
)
def test_every_example_and_workload_is_valid(path: Path) -> None:
    for document, node in load_documents(read_text(path), path.name):
        if document.get("kind") in (None, "BenchmarkRun", "NetProbe"):
            parse(document, node, path.name)


def test_a_real_result_satisfies_the_committed_schema() -> None:
    schema = json.loads((TREE / "schemas" / "run-result-v1.schema.json").read_text())
    jsonschema.validate(a_result().snake(), schema)


def test_every_metric_is_documented_with_its_formula() -> None:
    text = (TREE / "docs" / "metrics.md").read_text()
    for metric in METRICS:
        assert f"`{metric.id}`" in text
        assert metric.formula in text


def test_every_metric_of_ours_in_a_dashboard_is_one_that_we_export() -> None:
    ends = ("", "_total", "_sum", "_count", "_bucket")
    families = [*projection().collect(), *Series("node").registry.collect()]
    exported = {f"{family.name}{end}" for family in families for end in ends}
    used = {name: set(re.findall(r"tokenmark_[a-z0-9_]+", path.read_text())) for name, path in _boards()}
    assert used["provider-comparison"]
    assert {name: names - exported for name, names in used.items() if names - exported} == {}


def _boards() -> list[tuple[str, Path]]:
    return [(path.stem, path) for path in sorted((TREE / "grafana" / "dashboards").glob("*.json"))]


def test_the_folder_operator_never_hides_the_standard_library() -> None:
    assert not (TREE / "operator" / "__init__.py").exists()
    assert importlib.util.find_spec("operator").origin in ("built-in", "frozen") or "lib/python" in str(
        importlib.util.find_spec("operator").origin
    )
    assert sys.version_info >= (3, 11)


def test_chart_values_are_documented_and_closed() -> None:
    chart = TREE / "deploy" / "helm" / "tokenmark"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert schema["additionalProperties"] is False
    assert set(values) <= set(schema["properties"])


def test_make_help_names_every_target() -> None:
    makefile = (TREE / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    for target in set(phony[1].split()) - {"clean"}:
        assert re.search(rf"^{target}:.*##", makefile, re.MULTILINE), f"{target} has no help"


def test_the_lab_reads_a_condition() -> None:
    assert condition({"status": {"conditions": [{"type": "A", "status": "True"}]}}, "A")["status"] == "True"


def test_the_charts_rules_are_those_of_the_kinds() -> None:
    written = (TREE / rights.FILE).read_text()
    assert written == rights.template(), f"{rights.FILE} is stale: make schemas"


def test_a_third_kind_would_bring_its_rights_by_its_row() -> None:
    third = dataclasses.replace(
        KINDS[0], name="Third", plural="thirds", needs=(Right("apps", "daemonsets", ("create",)),)
    )
    text = rights.template((*KINDS, third))
    every = ", ".join(f"{kind.plural}/status" for kind in (*KINDS, third))
    assert f"resources: [{every}]" in text
    assert "- apiGroups: [apps]\n  resources: [daemonsets]\n  verbs: [create]\n" in text
