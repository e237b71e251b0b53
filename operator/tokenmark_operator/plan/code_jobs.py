"""BenchmarkMatrix and one of its cells that asks for code -> the Job that asks, and the Job that judges (pure).

Two, for asking needs a network and judging shall have none: what a model wrote is compiled and run there. What the one was told travels to the other as a ConfigMap.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tokenmark_decisions.matrix_cells import Cell
from tokenmark_schemas.matrix_object import CODE_RESULT_KEY, BenchmarkMatrix, code_result_name
from tokenmark_schemas.quality import CodeAnswers, CodeResult

from ..settings import Settings
from . import names
from .matrix_run import cell_run_name
from .matrix_server import DAY_S
from .pod import CONFIG_PATH, job, pod_template, queued

ASK, JUDGE = "ask", "judge"  # roles, and how their Jobs' names end
TASKS = 8  # more than are asked; a deadline, no plan
JUDGING_S, AN_ANSWER_S = 600, 360  # a hostile component may take that long
ANSWERS_KEY = "answers.json"
FIRST_USER, USERS = 100_000, 900_000
COMPILES = {
    "requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "64Mi"},
    "limits": {"memory": "3Gi", "ephemeral-storage": "64Mi"},
}


def task_name(run: str, role: str) -> str:
    return f"{run}-{role}"


def run_of(task: str) -> str:
    """The other way round."""
    return task.rpartition("-")[0]


def plan_ask(matrix: BenchmarkMatrix, cell: Cell, number: int, settings: Settings) -> dict[str, Any]:
    """`number` is of the server that is up."""
    meta, asked, target = matrix.metadata, cell.spec["code"], cell.spec["target"]
    url = f"http://{names.server_name(meta.name, number)}.{meta.namespace}.svc:{matrix.spec.server.port}"
    longest_s = target["requestTimeoutSeconds"]
    words = [
        "code", "ask", url, "--kind", target["engine"], "--model", target["model"], "--runs", str(asked["runs"]),
        "--max-output-tokens", str(asked["maxOutputTokens"]), "--timeout", str(longest_s), "--pod",
    ]  # fmt: skip
    labels, execution = _labels(matrix, ASK), matrix.spec.runs.execution
    template = pod_template(
        execution.model_copy(update={"image": None}), image=settings.runner_image, pull_policy=settings.pull_policy, args=words, labels=labels,
    )  # fmt: skip
    return _job(matrix, cell, ASK, template, min(DAY_S, TASKS * asked["runs"] * longest_s))


def plan_judge(matrix: BenchmarkMatrix, cell: Cell, answers: CodeAnswers, settings: Settings) -> list[dict[str, Any]]:
    """What keeps it from any network, the answers, and the Job."""
    run, labels = cell_run_name(matrix.metadata.name, cell), _labels(matrix, JUDGE)
    config_name = names.config_name(task_name(run, JUDGE), matrix.metadata.uid)
    config_map = _config_map(matrix, config_name, ANSWERS_KEY, json.dumps(answers.snake()))
    placed = matrix.spec.runs.execution.model_copy(
        update={"image": None, "resources": None, "service_account_name": None}
    )
    template = pod_template(
        placed, image=settings.quality_image, pull_policy=settings.pull_policy, args=[f"{CONFIG_PATH}/{ANSWERS_KEY}", "--pod"],
        labels=labels, config_map=config_name,
    )  # fmt: skip
    pod = template["spec"]
    user = user_of(matrix)
    pod["securityContext"] |= {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    pod["containers"][0]["resources"] = COMPILES
    pod["volumes"][0] = {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}}
    limit_s = JUDGING_S + AN_ANSWER_S * len(answers.answers)
    return [_no_network(matrix, labels), config_map, _job(matrix, cell, JUDGE, template, min(DAY_S, limit_s))]


def plan_code_result(matrix: BenchmarkMatrix, cell: Cell, result: CodeResult) -> dict[str, Any]:
    """It lies beside the runs' results, and goes with the matrix."""
    name = code_result_name(cell_run_name(matrix.metadata.name, cell))
    return _config_map(matrix, name, CODE_RESULT_KEY, json.dumps(result.model_copy(update={"cell": cell.hash}).snake()))


def user_of(matrix: BenchmarkMatrix) -> int:
    """A matrix judges one cell at a time, and processes are counted by user over all pods of a node: two judges of one user could starve each other."""
    return FIRST_USER + int(hashlib.sha256(matrix.metadata.uid.encode()).hexdigest(), 16) % USERS


def _labels(matrix: BenchmarkMatrix, role: str) -> dict[str, str]:
    return names.labels("BenchmarkMatrix", matrix.metadata, **{names.ROLE_LABEL: role})


def _job(matrix: BenchmarkMatrix, cell: Cell, role: str, template: dict[str, Any], deadline_s: int) -> dict[str, Any]:
    meta, execution = matrix.metadata, matrix.spec.runs.execution
    template["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
    return job(
        task_name(cell_run_name(meta.name, cell), role), template, labels={**_labels(matrix, role), **queued(execution)},
        owner=names.owner("BenchmarkMatrix", meta), deadline_s=deadline_s, startup_s=execution.startup_deadline_seconds,
    )  # fmt: skip


def _config_map(matrix: BenchmarkMatrix, name: str, key: str, text: str) -> dict[str, Any]:
    owner = names.owner("BenchmarkMatrix", matrix.metadata)
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "immutable": True, "data": {key: text},
        "metadata": {"name": name, "labels": names.labels("BenchmarkMatrix", matrix.metadata), "ownerReferences": [owner]},
    }  # fmt: skip


def _no_network(matrix: BenchmarkMatrix, labels: dict[str, str]) -> dict[str, Any]:
    """Nothing in, nothing out; the image's own filter lets no program open a socket either."""
    meta = matrix.metadata
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": f"{meta.name}-{JUDGE}", "labels": labels, "ownerReferences": [names.owner("BenchmarkMatrix", meta)]},
        "spec": {
            "podSelector": {"matchLabels": {key: labels[key] for key in (names.UID_LABEL, names.ROLE_LABEL)}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }  # fmt: skip
