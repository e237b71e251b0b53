"""The chart, installed with Helm."""

from __future__ import annotations

from pathlib import Path

from .images import llama_name, quality_name
from .layout import TREE
from .provider import Cluster
from .shell import run

CHART = TREE / "deploy" / "helm" / "tokenmark"
RELEASE = "tokenmark"
NAMESPACE = "tokenmark-system"


def settings(cluster: Cluster) -> tuple[str, ...]:
    """What tests set of the chart's values: impatience, the image that matrices may serve models with, and the one that judges code."""
    allowed = f"allowedImages[0]={llama_name(cluster)}"
    judges = f"images.quality={quality_name(cluster)}"
    return "resyncSeconds=15", "targetWaitSeconds=12", "jobTtlSeconds=600", allowed, judges


def install(cluster: Cluster, images: dict[str, str], *settings: str, chart: Path = CHART) -> None:
    """Installs or upgrades; waits until the operator is ready."""
    _clear_interrupted(cluster)
    values = [f"images.{name}={image}" for name, image in images.items()]
    values += ["cluster.name=lab", "cluster.provider=lab", "cluster.region=local", *settings]
    words = [word for value in values for word in ("--set", value)]
    run([
        cluster.helm(), "--kubeconfig", cluster.kubeconfig(), "upgrade", "--install", RELEASE, chart,
        "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s", *words,
    ])  # fmt: skip


def _clear_interrupted(cluster: Cluster) -> None:
    """An install that was killed half-way leaves a lock; runs and results are in the CRDs, which stay."""
    helm = [cluster.helm(), "--kubeconfig", cluster.kubeconfig()]
    pending = run([*helm, "list", "--namespace", NAMESPACE, "--pending", "--short"], check=False)
    if RELEASE in pending.split():
        run([*helm, "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "60s"], check=False)


def uninstall(cluster: Cluster) -> None:
    run([
        cluster.helm(), "--kubeconfig", cluster.kubeconfig(), "uninstall", RELEASE, "--namespace", NAMESPACE,
        "--wait", "--timeout", "120s",
    ])  # fmt: skip
