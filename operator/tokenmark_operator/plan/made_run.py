"""The BenchmarkRun that another object makes (pure). Its name is made of what it asks for, so that however often it is tried there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenmark_schemas.kube import API_VERSION, ObjectMeta

from . import names

LONGEST_NAME = 48


def fitting(name: str, owner: str, digest: str) -> str:
    """A run's name, where it has room; else its owner and what tells the run from all others."""
    return name if len(name) <= LONGEST_NAME else f"{owner}-{digest[:10]}"


def made_run(
    kind: str, owner: ObjectMeta, name: str, spec: dict[str, Any], labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None
) -> dict[str, Any]:  # fmt: skip
    """`kind` and `owner` are of the object that makes it; `labels` are a person's own."""
    return {
        "apiVersion": API_VERSION,
        "kind": "BenchmarkRun",
        "metadata": {
            "name": name,
            "labels": {**(labels or {}), **names.labels(kind, owner)},
            "annotations": dict(annotations or {}),
            "ownerReferences": [names.owner(kind, owner)],
        },
        "spec": spec,
    }
