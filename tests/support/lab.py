"""A cluster as its users see it: kubectl, objects as dicts, waiting for facts with a deadline, and an explanation when
one does not come."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.accuracy.test_truth import PAUSES_S
from tests.cluster.provider import Cluster

Object = dict[str, Any]


class Lab:
    """One namespace of one cluster."""

    def __init__(self, cluster: Cluster, images: dict[str, str], namespace: str) -> None:
        self.cluster, self.images, self.namespace = cluster, images, namespace

    # --- kubectl ----------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout_s: float = 120) -> str:
        done = self.try_kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def try_kubectl(
        self, *arguments: str, stdin: str | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        words = [str(self.cluster.kubectl()), "--kubeconfig", str(self.cluster.kubeconfig()), "-n", self.namespace]
        return subprocess.run(
            [*words, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=timeout_s
        )

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def get(self, kind: str, name: str) -> Object | None:
        done = self.try_kubectl("get", kind, name, "-o", "json")
        if done.returncode:
            assert "not found" in done.stderr, done.stderr
            return None
        found: Object = json.loads(done.stdout)
        return found

    def items(self, kind: str, selector: str = "") -> list[Object]:
        listed = json.loads(self.kubectl("get", kind, "-o", "json", *(["-l", selector] if selector else [])))
        items: list[Object] = listed["items"]
        return items

    def delete(self, kind: str, name: str, *flags: str) -> None:
        self.kubectl("delete", kind, name, *flags)

    # --- waiting ----------------------------------------------------------------------------------------------------

    def until(self, what: str, fact: Callable[[], Any], timeout_s: float = 60) -> Any:
        """The first truthy value of `fact`; fails with everything that explains why it did not come."""
        limit = time.monotonic() + timeout_s
        while True:
            try:
                value = fact()
            except (AssertionError, KeyError, subprocess.TimeoutExpired):
                value = None
            if value:
                return value
            if time.monotonic() > limit:
                raise AssertionError(f"{what}: not within {timeout_s:.0f} s\n{self.explain()}")
            time.sleep(0.2)

    def finished(self, name: str, kind: str = "brun", timeout_s: float = 90) -> Object:
        """The object once it is Finished."""

        def fact() -> Object | None:
            found = self.get(kind, name)
            return found if found and condition(found, "Finished")["status"] == "True" else None

        done: Object = self.until(f"{kind}/{name} is Finished", fact, timeout_s)
        return done

    def standing(self, name: str, **spec: Any) -> Object:
        """The run under that very name once its verdict stands, as dashboards count it: one that a neighbour of the machine disturbed until it was
        invalid is made anew."""
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            self.apply(run_object(name, **spec))
            run = self.finished(name, timeout_s=180)
            said = condition(run, "Valid")
            if said["status"] == "True" or said["message"].startswith("degraded"):
                return run
            self.delete("brun", name)
            self.until("its result is gone", lambda: self.get("cm", f"{name}-result") is None, 60)
        raise AssertionError(f"{said['message']}\n{self.explain()}")

    def reason(self, name: str, wanted: str, timeout_s: float = 60, kind: str = "brun") -> Object:
        """The object once the reason of Succeeded is `wanted`."""

        def fact() -> Object | None:
            found = self.get(kind, name)
            return found if found and condition(found, "Succeeded")["reason"] == wanted else None

        found: Object = self.until(f"{kind}/{name} says {wanted}", fact, timeout_s)
        return found

    def runner_pods(self, run: str) -> list[Object]:
        return self.items("pods", f"tokenmark.dev/run={run}")

    def running_pod(self, run: str, timeout_s: float = 60) -> Object:
        """The runner pod once the run reports load."""
        self.until(
            f"{run} runs",
            lambda: "stage" in ((self.get("brun", run) or {}).get("status") or {}).get("progress", ""),
            timeout_s,
        )
        pod: Object = next(p for p in self.runner_pods(run) if p["status"].get("phase") == "Running")
        return pod

    def explain(self) -> str:
        parts = [
            self.try_kubectl("get", "brun,nprobe,job,pod,cm", "-o", "wide").stdout,
            self.try_kubectl("get", "events", "--sort-by=.lastTimestamp").stdout[-3000:],
            self.try_kubectl(
                "get", "brun", "-o", 'jsonpath={range .items[*]}{.metadata.name}: {.status.conditions}{"\\n"}{end}'
            ).stdout[-4000:],
            self.try_kubectl("-n", "tokenmark-system", "logs", "deploy/tokenmark-operator", "--tail=25").stdout[-4000:],
        ]
        return "\n---\n".join(parts)

    # --- results ----------------------------------------------------------------------------------------------------

    def result(self, config_map: str) -> Object:
        """result.json of a stored result."""
        found = self.get("cm", config_map)
        assert found is not None, f"ConfigMap {config_map} is missing\n{self.explain()}"
        document: Object = json.loads(gzip.decompress(base64.b64decode(found["binaryData"]["result.json.gz"])))
        return document

    def simulator(self, name: str = "sim", *flags: str) -> None:
        """A simulator behind a Service, ready."""
        self.apply(*simulator(name, self.images["runner"], *flags))
        self.kubectl("rollout", "status", f"deploy/{name}", "--timeout=60s")

    def served(self, name: str = "sim") -> int:
        """Connections that a simulator ever had to answer: chat requests, from its own log at the end."""
        return len(self.items("pods", f"app={name}"))


def condition(cr: Object, kind: str) -> Object:
    """A condition; an unknown one where there is none yet."""
    conditions = (cr.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {"status": "", "reason": "", "message": ""})


RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}


def simulator(name: str, image: str, *flags: str) -> tuple[Object, Object]:
    """Deployment and Service of a simulator."""
    return server(name, image, ["sim", "--listen", "0.0.0.0:8000", *flags], 8000)


def server(name: str, image: str, args: list[str], port: int, probe: str = "/health") -> tuple[Object, Object]:
    """Any one-container HTTP server under the restricted profile."""
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": name,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": args,
                "securityContext": RESTRICTED,
                "ports": [{"containerPort": port}],
                "readinessProbe": {
                    "httpGet": {"path": probe, "port": port},
                    "periodSeconds": 1,
                    "failureThreshold": 120,
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
    }
    return deployment, service


def run_object(name: str, **spec: Any) -> Object:
    """A small healthy BenchmarkRun: one stage of two seconds, once; `spec` replaces members."""
    healthy: Object = {
        "target": {"engine": "openai", "model": "sim", "serviceRef": {"name": "sim", "port": 8000}},
        "workloadRef": {"name": "smoke"},
        "warmup": {"requestCount": 2, "durationSeconds": 0},
        "stages": [{"name": "c2", "concurrency": 2, "durationSeconds": 2}],
        "repetitions": 1,
        "execution": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}},
    }
    return {
        "apiVersion": "tokenmark.dev/v1alpha1",
        "kind": "BenchmarkRun",
        "metadata": {"name": name},
        "spec": {**healthy, **spec},
    }


def long_stage(seconds: int = 60) -> list[Object]:
    return [{"name": "c2", "concurrency": 2, "durationSeconds": seconds}]


def tree() -> Path:
    return Path(__file__).resolve().parents[2]
