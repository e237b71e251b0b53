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

    def see(self, key: Key, body: dict[str, Any], *, deleted: bool) -> None:
        """One watch event of an object of ours."""
        self.last_event_s[key[0]] = time.time()
        self.watched_version[key] = body["metadata"].get("resourceVersion", "")
        self.suspects.pop(key, None)
        if deleted:
            self.objects.pop(key, None)
            self.watched_version.pop(key, None)
        else:
            self.objects[key] = projected(body)

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
        self.objects.update({key: projected(body) for key, body in fresh.items()})

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
