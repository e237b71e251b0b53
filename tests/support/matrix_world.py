"""A cluster as far as a BenchmarkMatrix goes: what becomes of its servers, its runs and its Jobs, with an operator that may be killed between any two calls."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from bench_runner.storage.pod_frames import compressed
from tests.support.results import a_result, a_stage
from tests.support.runs import SETTINGS
from tokenmark_operator.kinds.matrix import decide_matrix
from tokenmark_operator.shared.facts import Decision, MatrixFacts, Refusal
from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import read_profiles
from tokenmark_schemas.quality import ANSWERS_BLOCK, RESULT_BLOCK, CodeAnswers, CodeResult, WrittenCode
from tokenmark_schemas.result import RunResult

NOW = datetime(2026, 3, 4, 3, 0, 0, tzinfo=UTC)
IMAGE = "llama-server:1"
ALLOWED = replace(SETTINGS, allowed_images=(IMAGE,), quality_image="quality:1")
BLOCKS = {"ask": ANSWERS_BLOCK, "judge": RESULT_BLOCK}
PROFILES = read_profiles(None).profiles
SMALL = {"name": "small", "files": [{"quantization": "Q8_0", "path": "/s-8.gguf", "sizeBytes": 200, "memory": "2Gi"},
                                    {"quantization": "Q4_K_M", "path": "/s-4.gguf", "sizeBytes": 100}]}  # fmt: skip
LARGE = {"name": "large", "files": [{"quantization": "Q4_K_M", "path": "/l-4.gguf", "sizeBytes": 900}]}
Object = dict[str, Any]


def a_matrix(status: Object | None = None, *, name: str = "mx", **spec: Any) -> Object:
    asked = {
        "depth": "Quick", "profiles": ["interactive", "quality"], "models": [SMALL],
        "server": {"execution": {"image": IMAGE}}, **spec,
    }  # fmt: skip
    return {
        "apiVersion": "tokenmark.dev/v1alpha1", "kind": "BenchmarkMatrix",
        "metadata": {"name": name, "namespace": "n", "uid": "m-1", "generation": 1, "creationTimestamp": "2026-03-04T02:00:00Z"},
        "spec": asked, "status": status or {},
    }  # fmt: skip


def step(cr: Object, now: datetime = NOW, **known: Any) -> Decision:
    return decide_matrix(MatrixFacts(cr=cr, now=now, settings=ALLOWED, **{"profiles": PROFILES, **known}))


def states(status: Object) -> dict[str, str]:
    return {row["name"]: row["state"] for row in status["cells"]}


class World:
    """What a cluster makes of decisions; `fate` says what becomes of a server by its arguments."""

    def __init__(self, cr: Object, seed: int = 0, kills: float = 0.0, fate: Any = None) -> None:
        self.cr, self.random, self.kills, self.now = cr, random.Random(seed), kills, NOW
        self.fate = fate or (lambda _words: "ready")
        self.jobs: dict[str, Object] = {}
        self.pods: dict[str, Object] = {}
        self.services: set[str] = set()
        self.runs: dict[str, Object] = {}
        self.results: dict[str, RunResult] = {}
        self.served: list[str] = []
        self.made = 0
        self.settings, self.profiles = ALLOWED, PROFILES
        self.speed_s = 10e-3  # between tokens
        self.refused: Refusal | None = None
        self.refuses: dict[str, Refusal] = {}  # by name, for as long as it stands there
        self.kept: dict[str, Object] = {}  # ConfigMaps and NetworkPolicies
        self.logs: dict[str, dict[str, bytes]] = {}  # frames by pod
        self.says: dict[str, bytes] = {
            "ask": compressed(an_answer()),
            "judge": compressed(a_judgement()),
        }  # of Jobs that ask for code, and judge it

    def live(self) -> list[str]:
        """Pods of servers that run, or could."""
        return [
            name for name, pod in self.pods.items() if "server-" in name and not pod["_ended"] and not pod.get("gone")
        ]

    def until_finished(self, most: int = 600) -> Object:
        for _ in range(most):
            self.turn()
            if any(c["type"] == "Finished" and c["status"] == "True" for c in self.cr["status"].get("conditions", [])):
                return self.cr["status"]
        raise AssertionError(yaml.safe_dump(self.cr["status"]))

    def turn(self) -> None:
        told = {row["run"] for row in self.cr["status"].get("cells", []) if row["state"] in ("Measured", "Failed")}
        facts = MatrixFacts(
            cr=copy.deepcopy(self.cr), now=self.now, settings=self.settings, profiles=self.profiles, jobs=dict(self.jobs), pods=dict(self.pods),
            runs=dict(self.runs), results={name: result for name, result in self.results.items() if name not in told}, refused=self.refused,
            blocks=dict(self.logs), log_read=frozenset(pod["metadata"]["uid"] for pod in self.pods.values() if pod["_ended"]),
        )  # fmt: skip
        self.refused = None
        self._apply(decide_matrix(facts))
        self.now += timedelta(seconds=2)
        self._live()

    def _apply(self, decision: Decision) -> None:
        for manifest in decision.create_first:
            if (refusal := self.refuses.get(manifest["metadata"]["name"])) is not None:
                self.refused = refusal
                return
            self._create(manifest)
            if self.random.random() < self.kills:
                return
        self.services -= set(decision.delete_services)
        if self.random.random() < self.kills:
            return
        self.cr["status"] = decision.status
        if self.random.random() < self.kills:
            return
        for name in decision.delete_jobs:
            self.jobs.pop(name, None)

    def _create(self, manifest: Object) -> None:
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "Service":
            self.services.add(name)
        elif manifest["kind"] == "Job" and name not in self.jobs:
            assert name not in self.live(), "a namesake is not gone yet"
            assert not self.live() or "server-" not in name, f"{name} beside {self.live()}"
            self._may_be_made(name, manifest)
            self.made += 1
            made = manifest["metadata"] | {"uid": f"job-{self.made}", "creationTimestamp": stamp(self.now)}
            self.jobs[name] = {**manifest, "metadata": made, "status": {}}
        elif manifest["kind"] in ("ConfigMap", "NetworkPolicy"):
            self.kept.setdefault(name, manifest)
        elif manifest["kind"] == "BenchmarkRun" and name not in self.runs:
            BenchmarkRun.model_validate(manifest)
            (serving,) = self.live()
            assert manifest["spec"]["target"]["serviceRef"]["name"] == serving
            assert serving in self.services
            self.runs[name] = a_run(manifest, None)
            self.served.append(name)

    def _may_be_made(self, name: str, manifest: Object) -> None:
        """What asks for code asks the server that is up; what judges it has its answers, and its wall."""
        pod = manifest["spec"]["template"]["spec"]
        if name.endswith("-ask"):
            (serving,) = self.live()
            assert f"http://{serving}.n.svc:8080" in pod["containers"][0]["args"]
            self.served.append(name)
        elif name.endswith("-judge"):
            (held,) = (each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each)
            assert held in self.kept
            assert "mx-judge" in self.kept
            self.served.append(name)

    def _runs(self, name: str, job: Object) -> None:
        """A pod of a Job starts, and what is no server's is over at once."""
        role = name.rpartition("-")[2]
        fate = "done" if role == "models" else self.fate(job["spec"]["template"]["spec"]["containers"][0]["args"])
        if role in self.says and fate not in ("pending", "loading"):
            fate = "done" if fate == "ready" else fate
            job["status"] = {"conditions": [{"type": "Complete" if fate == "done" else "Failed", "status": "True"}]}
        pod = self.pods[name] = a_pod(job, fate, self.now)
        if fate == "done" and role in self.says:
            self.logs[pod["metadata"]["uid"]] = {BLOCKS[role]: self.says[role]}
        elif fate == "done":
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}

    def _live(self) -> None:
        for name, job in self.jobs.items():
            if name not in self.pods or self.pods[name].get("gone"):
                if self.random.random() < 0.7:
                    self.pods[name] = a_pod(job, "pending", self.now)
            elif self.pods[name]["_state"] == "pending" and self.random.random() < 0.7:
                self._runs(name, job)
        for name in [name for name in self.pods if name not in self.jobs and self.random.random() < 0.6]:
            ended = [{"state": {"terminated": {"exitCode": 0}}}]  # as the watch saw it last
            status = {**self.pods[name]["status"], "containerStatuses": ended}
            self.pods[name] = {**self.pods[name], "status": status, "gone": True}
        for name, run in self.runs.items():
            if run["status"] and self.random.random() < 0.6:
                continue
            if not any(c["status"] == "True" for c in run["status"]["conditions"]):
                self.runs[name] = a_run(run, "Completed")
                self.results[name] = a_result(stages=[paced(self.speed_s)])


def an_answer() -> CodeAnswers:
    written = WrittenCode(fixture="counter", run=0, component="<template/>", seconds=1.0, output_tokens=3)
    return CodeAnswers(model="large", started_at="2026-03-04T03:00:00Z", answers=[written])


def a_judgement() -> CodeResult:
    times = {"started_at": "2026-03-04T03:00:00Z", "ended_at": "2026-03-04T03:01:00Z"}
    return CodeResult(model="large", **times, mean=7.5, stddev=None, fixtures=[], answers=[])


def paced(tpot_s: float) -> Any:
    stage = a_stage(20)
    return stage.model_copy(
        update={"metrics": {**stage.metrics, "tpot": stage.metrics["tpot"].model_copy(update={"mean": tpot_s})}}
    )


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def a_run(manifest: Object, reason: str | None, succeeded: str = "True") -> Object:
    said = [
        {"type": "Valid", "status": "True" if reason else "Unknown", "reason": "r"},
        {"type": "Finished", "status": "True" if reason else "Unknown", "reason": "r"},
        {
            "type": "Succeeded",
            "status": succeeded if reason else "Unknown",
            "reason": reason or "Running",
            "message": "said",
        },
    ]
    return {**manifest, "status": {"conditions": said}}


def a_pod(job: Object, state: str, now: datetime) -> Object:
    template = job["spec"]["template"]
    container: Object = {}
    if state in ("ready", "loading"):
        container = {"state": {"running": {"startedAt": stamp(now - timedelta(seconds=4))}}}
    elif state != "pending":
        exits = {"oom": {"exitCode": 137, "reason": "OOMKilled"}, "done": {"exitCode": 0}}
        ended = exits.get(state, {"exitCode": 1, "message": "llama_model_load: invalid magic"})
        container = {"state": {"terminated": ended}}
    said = [{"type": "Ready", "status": "True" if state == "ready" else "False", "lastTransitionTime": stamp(now)}]
    if state == "drained":
        said.append(
            {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "gone"}
        )
    return {
        "metadata": {"name": f"{job['metadata']['name']}-x", "uid": f"pod-{job['metadata'].get('uid')}", "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/controller-uid": job["metadata"].get("uid")}},
        "spec": {**template["spec"], "nodeName": "node1"},
        "status": {"phase": {"done": "Succeeded", "oom": "Failed", "crash": "Failed", "drained": "Failed"}.get(state, "Running"), "conditions": said, **({"containerStatuses": [container]} if container else {})},
        "_state": state, "_ended": state in ("oom", "crash", "done", "drained"),
    }  # fmt: skip
