"""Who may load a target now: computed from the objects that exist, so that nothing can leak (pure).

Runs of one group go oldest first. A finished run still blocks while its lost pod may be loading the target.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .conditions import parse_time


@dataclass(frozen=True)
class Place:
    """Position 1 may go. `blocked_by` is namespace/name of the one before."""

    position: int
    blocked_by: str | None = None
    reason: str = ""


def group_of(cr: dict[str, Any]) -> str | None:
    """The exclusivity group of a raw BenchmarkRun; None where it does not take part."""
    spec, namespace = cr.get("spec", {}), cr["metadata"].get("namespace", "default")
    exclusivity = spec.get("exclusivity") or {}
    if exclusivity.get("policy") == "Allow":
        return None
    if exclusivity.get("group"):
        return f"{namespace}/{exclusivity['group']}"
    target = spec.get("target") or {}
    ref, endpoint = target.get("serviceRef"), target.get("endpoint")
    address = (
        f"{ref.get('name')}.{namespace}:{ref.get('port')}" if ref else _host_and_port((endpoint or {}).get("url", ""))
    )
    return "target-" + hashlib.sha256(address.encode()).hexdigest()[:16]


def _host_and_port(url: str) -> str:
    """What of an address is the machine: a Service has several names, and a path is the same server."""
    try:
        parts = urlsplit(url.lower())
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return url
    host = (parts.hostname or "").rstrip(".")
    for suffix in (".cluster.local", ".svc"):
        host = host.removesuffix(suffix)
    return f"{host}:{port}"


def is_finished(cr: dict[str, Any]) -> bool:
    return _condition(cr, "Finished") == "True"


def is_settled(cr: dict[str, Any]) -> bool:
    """True when a visit would change nothing: finished, or suspended and known to be."""
    if is_finished(cr):
        return True
    status = cr.get("status") or {}
    known = status.get("observedGeneration") == cr["metadata"].get("generation")
    ended = all(a.get("state") not in ("Creating", "Pending", "Running") for a in status.get("attempts") or [])
    return bool(cr["spec"].get("suspend")) and known and ended and _reason(cr, "Succeeded") == "Suspended"


def _reason(cr: dict[str, Any], kind: str) -> str | None:
    conditions = (cr.get("status") or {}).get("conditions") or []
    return next((c["reason"] for c in conditions if c["type"] == kind), None)


def _condition(cr: dict[str, Any], kind: str) -> str | None:
    conditions = (cr.get("status") or {}).get("conditions") or []
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def haunts(cr: dict[str, Any], now: datetime) -> bool:
    """True while a pod that was lost with its node may still load the target."""
    for attempt in (cr.get("status") or {}).get("attempts") or []:
        until = parse_time(attempt.get("loadEndsBy"))
        if attempt.get("state") == "Disrupted" and until and until > now:
            return True
    return False


def has_started(cr: dict[str, Any]) -> bool:
    """True once an attempt was recorded: an admitted run is never overtaken."""
    return bool((cr.get("status") or {}).get("attempts"))


def place_of(cr: dict[str, Any], others: list[dict[str, Any]], now: datetime) -> Place:
    """The queue position of a run among all runs of its group."""
    group = group_of(cr)
    if group is None:
        return Place(1)
    uid = cr["metadata"]["uid"]
    ahead = []
    for other in others:
        if other["metadata"]["uid"] == uid or group_of(other) != group or other["metadata"].get("deletionTimestamp"):
            continue
        if haunts(other, now):
            ahead.append((_rank(other), other, "a lost pod of it may still load the target"))
        elif not is_finished(other) and not _is_passive(other) and _rank(other) < _rank(cr):
            ahead.append((_rank(other), other, "it goes first"))
    if not ahead:
        return Place(1)
    _, blocker, why = min(ahead, key=lambda item: item[0])
    meta = blocker["metadata"]
    return Place(len(ahead) + 1, f"{meta.get('namespace')}/{meta['name']}", why)


def _is_passive(cr: dict[str, Any]) -> bool:
    """Suspended and its load ended, or refused: it will not load anything."""
    attempts = (cr.get("status") or {}).get("attempts") or []
    loading = any(a.get("state") in ("Creating", "Pending", "Running") for a in attempts)
    return (bool(cr.get("spec", {}).get("suspend")) and not loading) or _condition(cr, "Accepted") == "False"


def _rank(cr: dict[str, Any]) -> tuple[int, str, str, str]:
    """Started runs first, then by age; runs of the same second by name, so that a person can foresee it."""
    meta = cr["metadata"]
    return (0 if has_started(cr) else 1, meta.get("creationTimestamp", ""), meta["name"], meta["uid"])
