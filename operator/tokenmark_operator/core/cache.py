"""What the watches told: the newest state of every object, and of pods even after they are gone.

A cache for metrics, triggers and hints. Nothing that cannot be undone is decided from it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ..plan import names
from ..shared.facts import Key

POD_MEMORY = 2000


@dataclass
class Cache:
    """Filled by watch events and replaced by resyncs."""

    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    watched_version: dict[Key, str] = field(default_factory=dict)
    suspects: dict[Key, str] = field(default_factory=dict)
    pods: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    last_event_s: dict[str, float] = field(default_factory=dict)
    dead_watch: str | None = None
    keep_whole: int = 250
    _seen: dict[str, int] = field(default_factory=dict)
    # by kind: an object that finished before that is kept as a skeleton
    _oldest: dict[str, str] = field(default_factory=dict)

    def see(self, key: Key, body: dict[str, Any], *, deleted: bool) -> None:
        """One watch event of an object of ours."""
        self.last_event_s[key[0]] = time.time()
        self.watched_version[key] = body["metadata"].get("resourceVersion", "")
        self.suspects.pop(key, None)
        if deleted:
            self.objects.pop(key, None)
            self.watched_version.pop(key, None)
        else:
            self.objects[key] = self.kept(key[0], body)
            self._thin(key[0])

    def see_pod(self, body: dict[str, Any], *, deleted: bool) -> None:
        """One watch event of a pod of ours; what is gone is remembered for a while, marked."""
        self.last_event_s["Pod"] = time.time()
        uid = body["metadata"]["uid"]
        self.pods[uid] = {**projected(body), "gone": True} if deleted else projected(body)
        self.pods.move_to_end(uid)
        while len(self.pods) > POD_MEMORY:
            self.pods.popitem(last=False)

    def resync(self, kind: str, listed: list[dict[str, Any]]) -> None:
        """Replaces all objects of a kind by what a LIST found, and notices a watch that told nothing of a change.

        An object whose listed version the watch had not told is suspect; still so one resync later, the watch is dead.
        """
        fresh = {(kind, o["metadata"]["namespace"], o["metadata"]["name"]): o for o in listed}
        for key, body in fresh.items():
            version = body["metadata"].get("resourceVersion", "")
            if key in self.suspects and self.watched_version.get(key) != version and self.suspects[key] == version:
                self.dead_watch = f"the watch on {kind} has not told of {key[1]}/{key[2]} for a whole resync"
            if self.watched_version.get(key) != version:
                self.suspects[key] = version
            else:
                self.suspects.pop(key, None)
        for key in [k for k in self.objects if k[0] == kind and k not in fresh]:
            del self.objects[key]
            self.suspects.pop(key, None)
            self.watched_version.pop(key, None)
        self.objects.update(fresh)

    def kept(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """An object as it is kept: of finished ones only the newest whole, thousands of results are looked at by nobody."""
        plain = projected(body)
        is_old = is_over(plain) and plain["status"]["completionTime"] < self._oldest.get(kind, "")
        return skeleton(plain) if is_old else plain

    def _thin(self, kind: str) -> None:
        """Now and then the oldest of those that are whole lose their flesh."""
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] < self.keep_whole:
            return
        self._seen[kind] = 0
        over = [
            (body["status"]["completionTime"], key)
            for key, body in self.objects.items()
            if key[0] == kind and is_over(body)
        ]
        over.sort(reverse=True)
        if len(over) > self.keep_whole:
            self._oldest[kind] = over[self.keep_whole][0]
        for _, key in over[self.keep_whole :]:
            self.objects[key] = skeleton(self.objects[key])

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [body for key, body in self.objects.items() if key[0] == kind]

    def forget_pods(self, uid: str) -> list[str]:
        """Drops the pods of one object; returns their uids."""
        gone = [p for p, pod in self.pods.items() if (pod["metadata"].get("labels") or {}).get(names.UID_LABEL) == uid]
        for pod_uid in gone:
            del self.pods[pod_uid]
        return gone


def projected(body: dict[str, Any]) -> dict[str, Any]:
    """What is looked at of an object: not who wrote which field, nor a pod's containers and volumes."""
    meta = {k: v for k, v in body["metadata"].items() if k not in ("managedFields", "annotations")}
    kept = {**body, "metadata": meta}
    if body.get("kind") == "Pod":
        spec = body.get("spec", {})
        kept["spec"] = {k: spec[k] for k in ("nodeName", "activeDeadlineSeconds") if k in spec}
        if names.INDEX_LABEL in (body["metadata"].get("annotations") or {}):
            meta["annotations"] = {names.INDEX_LABEL: body["metadata"]["annotations"][names.INDEX_LABEL]}
    return kept


def is_over(body: dict[str, Any]) -> bool:
    """Finished, and nothing of it may be running."""
    status = body.get("status") or {}
    return bool(status.get("completionTime")) and not status.get("admittedAt")


def skeleton(body: dict[str, Any]) -> dict[str, Any]:
    """What a finished object is still asked for: who it is, which target it had, and that it is over."""
    meta, spec, status = body["metadata"], body.get("spec", {}), body["status"]
    named = ("name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp")
    over = [c for c in status.get("conditions") or [] if c["type"] in ("Accepted", "Finished", "Succeeded")]
    return {
        "kind": body.get("kind"), "apiVersion": body.get("apiVersion"),
        "metadata": {part: meta[part] for part in named if part in meta},
        "spec": {part: spec[part] for part in ("exclusivity", "suspend", "target") if part in spec},
        "status": {"conditions": [{part: c[part] for part in ("type", "status", "reason") if part in c} for c in over],
                   "completionTime": status["completionTime"], "observedGeneration": status.get("observedGeneration")},
    }  # fmt: skip
