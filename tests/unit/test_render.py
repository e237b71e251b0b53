"""A manifest as the objects that the operator would make of it, for who has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench_runner import cli
from tests.cluster.layout import TREE
from tests.support.builders import a_run
from tests.support.runs import facts
from tokenmark_operator.kinds.benchmarkrun import decide
from tokenmark_schemas.run import RunConfig

EXAMPLE = TREE / "deploy" / "examples" / "benchmarkrun.yaml"


def rendered(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["render", *words])
    assert not ended.value.code
    return list(yaml.safe_load_all(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["render", *words])
    assert ended.value.code == 2
    return capsys.readouterr().err


def a_manifest(folder: Path, **spec: Any) -> str:
    run = {key: value for key, value in a_run(**spec).items() if key in ("apiVersion", "kind", "spec")}
    (folder / "run.yaml").write_text(json.dumps({**run, "metadata": {"name": "demo"}}))
    return str(folder / "run.yaml")


def test_it_is_what_the_operator_makes_but_for_owner_and_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, job = rendered(capsys, a_manifest(tmp_path), "-n", "bench", "--image", "runner:1")
    theirs = decide(facts(a_run())).create
    their_config, their_job = (next(each for each in theirs if each["kind"] == kind) for kind in ("ConfigMap", "Job"))
    ours, wanted = (dict(each["spec"]["template"]["spec"]) for each in (job, their_job))
    for spec in (ours, wanted):
        spec.pop("volumes"), spec.pop("topologySpreadConstraints", None)
    assert ours == wanted
    assert (job["metadata"]["name"], job["spec"]["backoffLimit"]) == (their_job["metadata"]["name"], 0)
    said, their_said = (RunConfig.model_validate_json(each["data"]["config.json"]) for each in (config, their_config))
    assert said.stages == their_said.stages
    assert said.fingerprint == their_said.fingerprint


def test_no_operator_takes_them_for_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    config, job = rendered(capsys, str(EXAMPLE), "-n", "bench")
    for made in (config, job, job["spec"]["template"]):
        labels = made["metadata"]["labels"]
        assert not [key for key in labels if key.startswith("tokenmark.dev/")]
        assert labels["app.kubernetes.io/managed-by"] == "tokenmark-render"
        assert "ownerReferences" not in made["metadata"]
    assert config["metadata"]["namespace"] == job["metadata"]["namespace"] == "bench"
    mounted = [
        volume["configMap"]["name"] for volume in job["spec"]["template"]["spec"]["volumes"] if "configMap" in volume
    ]
    assert config["metadata"]["name"] in mounted


def test_the_same_manifest_has_the_same_names_and_the_configuration_can_be_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["render", str(EXAMPLE)])
    text = capsys.readouterr().out
    assert ' "model": "sim",\n' in text, "not one line of escapes"
    assert rendered(capsys, str(EXAMPLE)) == list(yaml.safe_load_all(text))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"execution": {"workers": 2}}, "spec.execution.workers"),
        ({"baselineRef": {"name": "x"}}, "spec.baselineRef: use tokenmark compare afterwards"),
        ({"netProbeRef": {"name": "x"}}, "spec.network, spec.netProbeRef"),
        ({"suspend": True}, "spec.suspend"),
        ({"workloadRef": {"configMap": {"name": "w", "key": "k"}}}, "give the file: --workload FILE"),
    ],
)
def test_what_only_the_operator_can_do_is_refused(
    spec: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, a_manifest(tmp_path, **spec))


def test_a_probe_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert "render takes one BenchmarkRun" in refused(capsys, str(TREE / "deploy" / "examples" / "netprobe.yaml"))


def test_labels_that_pods_were_asked_to_have_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = rendered(capsys, a_manifest(tmp_path, execution={"podLabels": {"team": "a"}}))[1]
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert (labels["team"], labels["app.kubernetes.io/managed-by"]) == ("a", "tokenmark-render")


def test_what_differs_has_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An immutable ConfigMap cannot become another."""
    manifest = a_manifest(tmp_path)
    names = {rendered(capsys, manifest, "--image", image)[0]["metadata"]["name"] for image in ("a:1", "b:1", "a:1")}
    assert len(names) == 2
