"""Carries a decision out: status, then the rest. Thin, and safe to repeat at any point."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from ..plan import names
from ..shared.facts import Decision, KubeEvent, Refusal
from .kube import BY_KIND, EVENTS, JOBS, RUNS, SERVICES, ApiError, Kube, Resource


class NamesakeDying(Exception):
    """A child's name is taken by one of an earlier object of this name, which the cluster is removing."""


class NotMade(Exception):
    """A child could not be made: a fact for the next decision."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def apply(kube: Kube, resource: Resource, cr: dict[str, Any], decision: Decision, *, job_ttl_s: int) -> bool:
    """Returns True when the status changed. Raises NotMade, NamesakeDying, ApiError, ClusterUnavailable."""
    namespace, name = cr["metadata"]["namespace"], cr["metadata"]["name"]
    if decision.delete_self:
        await kube.delete(resource, namespace, name, cr["metadata"]["uid"])
        return False
    for manifest in decision.create_first:
        await create_once(kube, namespace, manifest, cr["metadata"]["uid"])
    for run in decision.delete_runs:
        await _delete_own(kube, RUNS, namespace, run, cr["metadata"]["uid"])
    for service in decision.delete_services:
        await _delete_own(kube, SERVICES, namespace, service, cr["metadata"]["uid"])
    changed = await write_status(kube, resource, cr, decision.status)
    for job in decision.delete_jobs:
        if (uid := decision.job_uids.get(job)) is not None:
            await kube.delete(JOBS, namespace, job, uid)
    for manifest in decision.create:
        await create_once(kube, namespace, manifest, cr["metadata"]["uid"])
    for job in decision.ttl_jobs:
        await _set_ttl(kube, namespace, job, job_ttl_s)
    for event in decision.events:
        await emit(kube, cr, event)
    return changed


async def create_once(kube: Kube, namespace: str, manifest: dict[str, Any], uid: str) -> None:
    """Creates, or finds that this very object made it before. Never adopts what belongs to somebody else."""
    resource = BY_KIND[manifest["kind"]]
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    try:
        await kube.create(resource, namespace, manifest)
    except ApiError as exc:
        if exc.status != 409:
            if (refusal := _refusal(kind, name, exc)) is None:
                raise
            raise NotMade(refusal) from exc
        found = await kube.get(resource, namespace, name)
        if found is None or _is_dying(found, manifest):
            raise NamesakeDying(f"an earlier {kind} {name} is still being removed") from exc
        if (found["metadata"].get("labels") or {}).get(names.UID_LABEL) != uid:
            said = f"{kind} {name} exists and belongs to somebody else; remove it or rename"
            raise NotMade(Refusal(kind, name, "NameConflict", said)) from exc


def _refusal(kind: str, name: str, exc: ApiError) -> Refusal | None:
    """What an answer other than "exists" means; None for one that says nothing of this child."""
    said = f"the API server refuses {kind} {name}: {exc.message}"
    if exc.status == 403 and "exceeded quota" in exc.message:
        return Refusal(kind, name, "QuotaExceeded", said, passing=True)
    if exc.status in (403, 404) and "being terminated" in exc.message:
        return Refusal(kind, name, "NamespaceTerminating", said, passing=True)
    return Refusal(kind, name, "CreateRefused", said) if exc.status in (400, 403, 422) else None


async def _delete_own(kube: Kube, resource: Resource, namespace: str, name: str, owner_uid: str) -> None:
    """A child by its name, if it is one of this very object."""
    found = await kube.get(resource, namespace, name)
    if found is not None and (found["metadata"].get("labels") or {}).get(names.UID_LABEL) == owner_uid:
        await kube.delete(resource, namespace, name, found["metadata"]["uid"])


def _is_dying(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Being deleted, or owned by an object of the same kind and name that is no more."""
    if found["metadata"].get("deletionTimestamp"):
        return True
    mine = [(o["kind"], o["name"], o["uid"]) for o in wanted["metadata"].get("ownerReferences") or []]
    theirs = [(o["kind"], o["name"], o["uid"]) for o in found["metadata"].get("ownerReferences") or []]
    return any(a[:2] == b[:2] and a[2] != b[2] for a in mine for b in theirs)


async def write_status(kube: Kube, resource: Resource, cr: dict[str, Any], status: dict[str, Any]) -> bool:
    """Patches what differs; nothing differs, nothing is sent. A lost race raises ApiError 409."""
    old = cr.get("status") or {}
    patch = {key: value for key, value in status.items() if old.get(key) != value}
    patch.update({key: None for key in old if key not in status})
    if not patch:
        return False
    body = {"metadata": {"resourceVersion": cr["metadata"]["resourceVersion"]}, "status": patch}
    await kube.patch(resource, cr["metadata"]["namespace"], cr["metadata"]["name"], body, sub="status")
    return True


async def _set_ttl(kube: Kube, namespace: str, job: str, seconds: int) -> None:
    try:
        await kube.patch(JOBS, namespace, job, {"spec": {"ttlSecondsAfterFinished": seconds}})
    except ApiError as exc:
        if exc.status != 404:
            raise


async def emit(kube: Kube, cr: dict[str, Any], event: KubeEvent) -> None:
    """A Kubernetes Event; the same one again has the same name, so a repeated step does not repeat it."""
    meta = cr["metadata"]
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    digest = hashlib.sha256(f"{event.reason}/{event.message}".encode()).hexdigest()[:12]
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{meta['uid'][:8]}.{digest}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": cr["apiVersion"], "kind": cr["kind"], "name": meta["name"], "namespace": meta["namespace"],
            "uid": meta["uid"], "resourceVersion": meta.get("resourceVersion"),
        },
        "type": event.type, "reason": event.reason, "message": event.message[:1024],
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        "source": {"component": "tokenmark-operator"}, "reportingComponent": "tokenmark-operator",
    }  # fmt: skip
    try:
        await kube.create(EVENTS, meta["namespace"], body)
    except ApiError as exc:
        if exc.status not in (403, 404, 409):  # not allowed, namespace ending, said before
            raise
