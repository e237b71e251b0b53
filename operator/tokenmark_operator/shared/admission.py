"""Who may load a target now: computed from the objects and pods that exist, so that nothing can leak (pure).

`holds_target` is the one answer to "does this object hold its target?". An object holds it from the moment its status says
that it was admitted until its status says no more; and as long as a pod of it may be running, whatever the object says, or
even where it was deleted. Whoever does not hold waits for those who do, and for those who asked before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from ..observe.attempt import pod_is_gone
from ..observe.conditions import condition
from ..observe.times import parse_time
from ..plan import names

ACTIVE = ("Creating", "Pending", "Running")
ADMITTED = "admittedAt"


@dataclass(frozen=True)
class Place:
    """Position 1 may go. `blocked_by` is namespace/name of the one before."""

    position: int
    blocked_by: str | None = None
    reason: str = ""


# --- which target -----------------------------------------------------------------------------------------------------


def group_of(cr: dict[str, Any]) -> str | None:
    """The exclusivity group of a raw BenchmarkRun, fit for a label; None where it does not take part."""
    spec, namespace = cr.get("spec", {}), cr["metadata"].get("namespace", "default")
    exclusivity = spec.get("exclusivity") or {}
    if exclusivity.get("policy") == "Allow":
        return None
    if exclusivity.get("group"):
        return "group-" + _hash(f"{namespace}/{exclusivity['group']}")
    target = spec.get("target") or {}
    ref, endpoint = target.get("serviceRef"), target.get("endpoint")
    if ref:
        return "target-" + _hash(f"{ref.get('name')}.{namespace}:{ref.get('port')}")
    return "target-" + _hash(_host_and_port((endpoint or {}).get("url", ""), namespace))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _host_and_port(url: str, namespace: str) -> str:
    """What of an address is the machine: a Service has several names, a name without a dot is one of the runner's own
    namespace, and a path is the same server."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port or {"https": 443, "postgresql": 5432}.get(parts.scheme, 80)
    except ValueError:
        return url
    host = (parts.hostname or "").rstrip(".")
    for suffix in (".cluster.local", ".svc"):
        host = host.removesuffix(suffix)
    return f"{host}:{port}" if "." in host or ":" in host else f"{host}.{namespace}:{port}"


# --- who holds it -----------------------------------------------------------------------------------------------------


def may_run(pod: dict[str, Any], now: datetime) -> bool:
    """Whether a container of a pod may be running: it has not ended, as far as anybody knows, nor has its own deadline
    passed (a kubelet that nobody reaches keeps that too)."""
    if pod_is_gone(pod):
        return False
    began = pod.get("status", {}).get("startTime") or pod["metadata"].get("deletionTimestamp")
    started, limit = parse_time(began), pod["spec"].get("activeDeadlineSeconds")
    return not (started and limit and started + timedelta(seconds=limit) < now)


def holds_target(cr: dict[str, Any], pods: Iterable[dict[str, Any]], now: datetime) -> bool:
    """Whether an object may be loading its target; `pods` are those of the target, whose ever they are."""
    status, uid = cr.get("status") or {}, cr["metadata"]["uid"]
    if status.get(ADMITTED):
        return True
    if any(_owner_uid(pod) == uid and may_run(pod, now) for pod in pods):
        return True
    attempts = status.get("attempts") or []
    if any(a.get("loadEndsBy") for a in attempts):
        return True
    # written by an operator that did not stamp admissions yet
    return not is_finished(cr) and not status.get("notStoredSince") and any(a.get("state") in ACTIVE for a in attempts)


def place_of(
    cr: dict[str, Any], others: Sequence[dict[str, Any]], now: datetime, pods: Sequence[dict[str, Any]] = ()
) -> Place:
    """The queue position of a run among all runs of its group, and the pods that runs of it left behind."""
    group, uid = group_of(cr), cr["metadata"]["uid"]
    if group is None or holds_target(cr, (), now):
        return Place(1)
    ahead: list[tuple[tuple[int, str, str], str, str]] = []
    known = {uid}
    for other in others:
        if other["metadata"]["uid"] == uid or group_of(other) != group:
            continue
        known.add(other["metadata"]["uid"])
        if holds_target(other, pods, now):
            why = "a lost pod of it may still load the target" if _lost_pods(other) else "it goes first"
            ahead.append(((0, *_age(other)), _name(other), why))
        elif _waits(other) and _age(other) < _age(cr):
            ahead.append(((1, *_age(other)), _name(other), "it goes first"))
    for pod in pods:
        if _owner_uid(pod) not in known and may_run(pod, now):
            node = pod["spec"].get("nodeName", "?")
            ahead.append(
                (
                    (0, "", ""),
                    f"pod {_name(pod)}",
                    f"its run is over or was deleted, and it may still run on node {node}",
                )
            )
    if not ahead:
        return Place(1)
    _, blocker, why = min(ahead)
    return Place(len(ahead) + 1, blocker, why)


def _lost_pods(cr: dict[str, Any]) -> bool:
    return is_finished(cr) or any(a.get("loadEndsBy") for a in (cr.get("status") or {}).get("attempts") or [])


def sharing_nodes(others: Sequence[dict[str, Any]], nodes: set[str], now: datetime) -> tuple[str, list[str]] | None:
    """(namespace/name, nodes) of the first object of another kind that holds its target on one of these nodes: a load and a
    network probe on one node would measure each other."""
    for other in sorted(others, key=_age):
        shared = nodes & _nodes_of(other)
        if shared and holds_target(other, (), now):
            return _name(other), sorted(shared)
    return None


def _nodes_of(cr: dict[str, Any]) -> set[str]:
    """Where an object loads, as its status tells: runner, target, pairs that are not measured yet."""
    status = cr.get("status") or {}
    attempts = status.get("attempts") or []
    found = {a["node"] for a in attempts if a.get("node") and (a.get("state") in ACTIVE or a.get("loadEndsBy"))}
    found |= set(status.get("targetNodes") or [])
    for pair in status.get("pairs") or []:
        if pair.get("state") in ("Pending", "Running"):
            found |= {pair.get("sourceNode"), pair.get("targetNode")}
    return found


def _owner_uid(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(names.UID_LABEL, ""))


def _name(body: dict[str, Any]) -> str:
    return f"{body['metadata'].get('namespace')}/{body['metadata']['name']}"


def _age(cr: dict[str, Any]) -> tuple[str, str]:
    """By creation; those of the same second by name, so that a person can foresee it."""
    meta = cr["metadata"]
    return meta.get("creationTimestamp", ""), f"{meta['name']}/{meta['uid']}"


def first_in_line(cr: dict[str, Any], others: Sequence[dict[str, Any]], now: datetime) -> str | None:
    """namespace/name of the object of the same kind that goes before, where only one of the cluster may go at a time."""
    if holds_target(cr, (), now):
        return None
    for other in sorted(others, key=_age):
        if other["metadata"]["uid"] == cr["metadata"]["uid"]:
            continue
        if holds_target(other, (), now) or (_waits(other) and _age(other) < _age(cr)):
            return _name(other)
    return None


# --- what an object's status says --------------------------------------------------------------------------------------


def is_finished(cr: dict[str, Any]) -> bool:
    return condition(cr, "Finished").get("status") == "True"


def is_settled(cr: dict[str, Any]) -> bool:
    """True when a visit would change nothing: finished, or suspended and known to be, and its spec seen as it is."""
    status = cr.get("status") or {}
    if status.get("observedGeneration") != cr["metadata"].get("generation") or status.get(ADMITTED):
        return False
    if is_finished(cr):
        return True
    ended = all(a.get("state") not in ACTIVE for a in status.get("attempts") or [])
    return bool(cr["spec"].get("suspend")) and ended and condition(cr, "Succeeded").get("reason") == "Suspended"


def _waits(cr: dict[str, Any]) -> bool:
    """Whether it wants the target, and will have it when it is its turn."""
    gone = cr["metadata"].get("deletionTimestamp") or cr.get("spec", {}).get("suspend")
    placeless = condition(cr, "Admitted").get("reason") == "NotEnoughNodes"
    idle = placeless or bool((cr.get("status") or {}).get("notStoredSince"))
    return not gone and not idle and not is_finished(cr) and condition(cr, "Accepted").get("status") != "False"
