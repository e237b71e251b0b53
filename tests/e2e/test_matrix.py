"""A BenchmarkMatrix in the cluster: a model in two quantisations, fetched into a claim from a hub that breaks off, each on a real llama-server that comes
and goes, and an operator that is killed in the middle.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import images as image_builds
from tests.cluster import llama
from tests.cluster.layout import CACHE
from tests.cluster.pki import HOST
from tests.e2e.test_faults import embedded, kill_operator
from tests.support.hub import REPO, Weather, hub
from tests.support.lab import Lab, condition

Object = dict[str, Any]
QUANTS = ("Q4_K_M", "Q8_0")
SHORT = {"requestCount": 4}
PROFILES = {
    "schemaVersion": "profiles/v1", "version": 1,
    "profiles": [
        {
            "name": "chat", "about": "A short question.", "use": "interactive", "each": {"quick": SHORT, "standard": SHORT, "full": SHORT},
            "parts": [{"context": 1024, "workload": {"dataset": {"synthetic": {"inputTokens": {"mean": 32}}}, "maxOutputTokens": 12, "ignoreEOS": "Force"}}],
        },
        {
            "name": "quality", "about": "Is it right?", "use": "quality", "kind": "quality", "each": {"quick": SHORT, "standard": SHORT, "full": SHORT},
            "parts": [{"context": 1024, "workload": {"dataset": {"tests": {"name": "general", "version": 1}}, "maxOutputTokens": 12}}],
        },
    ],
}  # fmt: skip
RESOURCES = {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}


@pytest.fixture
def claim(lab: Lab) -> Iterator[str]:
    """An empty volume of this machine, which every node of the embedded cluster sees."""
    embedded(lab)
    folder = CACHE / "claims" / lab.namespace
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    size = {"storage": "4Gi"}
    volume = {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": lab.namespace},
        "spec": {
            "capacity": size, "accessModes": ["ReadWriteMany"], "storageClassName": "", "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": lab.namespace, "name": "models"}, "persistentVolumeReclaimPolicy": "Retain",
        },
    }  # fmt: skip
    wanted = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": size}},
    }  # fmt: skip
    lab.apply(volume, wanted)
    yield "models"
    lab.try_kubectl("delete", "ns", lab.namespace, "--wait=false")
    lab.try_kubectl("delete", "pv", lab.namespace, "--wait=false")
    for path in folder.rglob("*"):
        path.unlink()
    folder.rmdir()


def a_matrix(image: str, **spec: Any) -> Object:
    asked = {
        "depth": "Quick", "profilesRef": {"name": "uses", "key": "profiles.yaml"},
        "server": {"execution": {"image": image, "resources": {"requests": {"cpu": "500m"}}}},
        "runs": {"execution": {"resources": RESOURCES}, "environment": {"provider": "lab"}}, **spec,
    }  # fmt: skip
    return {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkMatrix",
        "metadata": {"name": "gemma"},
        "spec": asked,
    }


def uses(profiles: Object = PROFILES) -> Object:
    data = {"profiles.yaml": yaml.safe_dump(profiles)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "uses"}, "data": data}


def servers(lab: Lab) -> list[str]:
    """Pods that may run."""
    pods = lab.items("pods", "tokenmark.dev/role=server")
    return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def test_two_quantisations_are_fetched_served_and_measured_though_the_operator_is_killed(
    lab: Lab, claim: str, tmp_path: Path
) -> None:
    made = llama.quantised()
    files = {f"q/gemma-{word}.gguf": made[word].read_bytes() for word in QUANTS}
    listed = [
        {
            "quantization": word,
            "path": f"q/gemma-{word}.gguf",
            "sizeBytes": len(files[f"q/gemma-{word}.gguf"]),
            "memory": "1Gi",
        }
        for word in QUANTS
    ]
    weather = Weather(breaks_after=2**24, breaks=1)
    with hub(weather, files, HOST) as url:
        models = [{"name": "gemma-3-270m", "context": 32768, "hub": {"repo": REPO}, "files": listed}]
        matrix = a_matrix(
            image_builds.llama_server(lab.cluster), models=models, store={"claimName": claim, "endpoint": url}
        )
        lab.apply(uses(), matrix)
        first = lab.until("a run is made", lambda: lab.items("brun"), 180)[0]["metadata"]["name"]
    assert len(weather.ranges) > len(QUANTS), "what was broken off was gone on with"
    lab.running_pod(first)
    kill_operator(lab)
    seen: set[int] = set()

    def over() -> Object | None:
        seen.add(len(servers(lab)))
        found = lab.get("benchmarkmatrix", "gemma") or {}
        return found if condition(found, "Finished")["status"] == "True" else None

    done = lab.until("the matrix is over", over, 300)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    assert max(seen) <= 1, "one server at a time"
    cells = {row["name"]: row for row in done["status"]["cells"]}
    assert {row["state"] for row in cells.values()} == {"Measured"}
    assert len(cells) == len(lab.items("brun")) == 4
    assert [(each["quantization"], each["state"]) for each in done["status"]["servers"]] == [
        ("Q4_K_M", "Stopped"),
        ("Q8_0", "Stopped"),
    ]
    assert all(each["loadMilliseconds"] >= 0 for each in done["status"]["servers"])
    assert servers(lab) == []
    assert lab.items("services") == []
    assert lab.kubectl("get", "benchmarkmatrices").splitlines()[1].split()[:3] == ["gemma", "Completed", "4/4"]
    reported(lab, tmp_path, done["status"]["matrixID"])
    lab.delete("benchmarkmatrix", "gemma")
    lab.until("its runs go with it", lambda: not lab.items("brun"), 60)


def report_of(lab: Lab, folder: Path, identity: str) -> Object:
    """`tokenmark matrix NAMESPACE/NAME` writes the report that a laptop's matrix has."""
    kubectl = lab.cluster.kubectl()
    env = {**os.environ, "KUBECONFIG": str(lab.cluster.kubeconfig()), "PATH": f"{kubectl.parent}:{os.environ['PATH']}"}
    words = [sys.executable, "-m", "bench_runner", "matrix", f"{lab.namespace}/gemma", "--output-dir", str(folder)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Object = json.loads((folder / f"{identity}_results.json").read_text())
    return found


def reported(lab: Lab, folder: Path, identity: str) -> None:
    result = report_of(lab, folder, identity)
    assert [(row["quantization"], row["profile"], row["state"]) for row in result["rows"]] == [
        (word, use, "done") for word in QUANTS for use in ("chat", "quality")
    ]
    assert all(row["requests"] == 4 and row["load_s"] >= 0 for row in result["rows"])
    assert [row["asked"] for row in result["rows"]] == [None, 4, None, 4]
    assert result["machine"]["provider"] == "lab"
    assert "What to choose" in (folder / f"{identity}_report.html").read_text()


def test_code_is_asked_of_the_server_and_judged_in_a_pod_without_a_network(lab: Lab, tmp_path: Path) -> None:
    """What a small model writes is worth little; that it was asked, judged and told is what is looked at."""
    image_builds.quality(lab.cluster)
    once = {"requestCount": 1}
    code = {
        "name": "code", "about": "Does it compile?", "use": "quality", "kind": "code", "each": {"quick": once, "standard": once, "full": once},
        "parts": [{"context": 4096, "maxOutputTokens": 48}],
    }  # fmt: skip
    inside = [{"name": "gemma-3-270m", "context": 32768, "files": [{"quantization": "Q4_K_M", "path": "/model.gguf"}]}]
    lab.apply(uses(PROFILES | {"profiles": [code]}), a_matrix(image_builds.llama_server(lab.cluster), models=inside))
    judge = lab.until("its judge is made", lambda: lab.items("pods", "tokenmark.dev/role=judge"), 180)[0]
    kill_operator(lab)
    done = lab.until("the matrix is over", lambda: _over(lab), 240)
    assert condition(done, "Succeeded")["reason"] == "Completed", lab.explain()
    (cell,) = done["status"]["cells"]
    assert (cell["state"], cell["reason"]) == ("Measured", "Judged")
    kept = json.loads((lab.get("configmap", f"{cell['run']}-code") or {})["data"]["code_result.json"])
    assert {answer["fixture"] for answer in kept["answers"]} == {"counter", "todo-list", "user-card"}
    assert all(answer["output_tokens"] and answer["score"] is not None for answer in kept["answers"])
    assert judge["spec"]["containers"][0]["image"] == image_builds.quality_name(lab.cluster)
    policy = lab.get("networkpolicy", "gemma-judge") or {}
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= judge["metadata"]["labels"].items()
    (row,) = report_of(lab, tmp_path, done["status"]["matrixID"])["rows"]
    assert (row["profile"], row["state"], row["code_score"]) == ("code", "done", pytest.approx(kept["mean"]))
    lab.delete("benchmarkmatrix", "gemma")
    lab.until("its Jobs go with it", lambda: not lab.items("jobs"), 60)


def _over(lab: Lab) -> Object | None:
    found = lab.get("benchmarkmatrix", "gemma") or {}
    return found if condition(found, "Finished")["status"] == "True" else None


def test_what_is_no_matrix_is_refused_by_the_api_server_and_an_unknown_image_by_the_operator(lab: Lab) -> None:
    inside = [{"name": "m", "files": [{"quantization": "Q4_0", "path": "/model.gguf"}]}]

    def said(image: str = "stranger:1", **spec: Any) -> str:
        manifest = json.dumps(a_matrix(image, **{"models": inside, **spec}))
        return lab.try_kubectl("apply", "-f", "-", stdin=manifest).stderr

    hubbed = [{**inside[0], "hub": {"repo": "o/r"}}]
    assert "models with hub need store" in said(models=hubbed)
    assert "below the claim of store" in said(store={"claimName": "c"})
    assert "name the server's image" in said(server={"execution": {"resources": {}}})
    assert "a server is one pod" in said(server={"execution": {"image": "x:1", "workers": 2}})
    assert "should match" in said(server={"execution": {"image": "x:1"}, "args": ["--tools", "all"]})
    assert said() == ""
    lab.reason("gemma", "ProfilesNotFound", kind="benchmarkmatrix")
    lab.apply(uses())
    refused = lab.reason("gemma", "InvalidSpec", kind="benchmarkmatrix")
    assert "allow-list" in condition(refused, "Succeeded")["message"]
    assert "immutable once created" in said(depth="Full")
    assert lab.items("jobs") == []
