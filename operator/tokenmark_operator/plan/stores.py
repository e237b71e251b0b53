"""What an uploading pod needs of its object stores: credentials and authorities, handed over by the kubelet (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenmark_schemas.kube import Results
from tokenmark_schemas.store import STORES_PATH, StoreSink, store_sinks


def sinks_of(results: Results) -> list[StoreSink]:
    """As the pod is told of them."""
    return store_sinks(results, in_pod=True)


def credentials(results: Results) -> list[dict[str, Any]]:
    """`envFrom` of a container. A Secret that is missing keeps the pod from starting, and the kubelet says which: with a
    volume it would be silent."""
    prefixes = {sink.name: sink.credentials_prefix for sink in sinks_of(results)}
    return [
        {"prefix": prefixes[sink.name], "secretRef": {"name": sink.object_store.credentials_secret_ref.name}}
        for sink in results.sinks
        if sink.object_store is not None and sink.object_store.credentials_secret_ref is not None
    ]


def authorities(results: Results) -> list[tuple[str, dict[str, Any]]]:
    """(mount path, volume) of the PEM bundles."""
    return [
        (
            f"{STORES_PATH}/{sink.name}",
            {"name": f"store-{sink.name}"[:63].rstrip("-"), "configMap": {"name": store.ca_bundle_ref.name}},
        )
        for sink in results.sinks
        if (store := sink.object_store) is not None and store.ca_bundle_ref is not None
    ]


def upload_seconds(sinks: Sequence[StoreSink]) -> int:
    """How long a pod may be busy with uploads: they go one after the other."""
    return sum(sink.deadline_s for sink in sinks)
