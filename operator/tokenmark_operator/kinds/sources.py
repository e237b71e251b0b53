"""Reads from the API what every kind needs to know: LISTs and GETs, never a cache, where a decision hangs on it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tokenmark_schemas.result import RunResult

from ..core.cache import Cache
from ..core.kube import CONFIG_MAPS, JOBS, PODS, RUNS, ApiError, Kube, Resource
from ..core.logs import Followers
from ..observe.attempt import has_ended, is_over, pod_is_gone
from ..plan import names
from ..plan.pod import CONTAINER
from ..results.config_map import held_in, stored_result
from ..settings import Settings
from ..shared.admission import is_finished
from ..shared.facts import Key, Refusal

log = logging.getLogger("tokenmark.operator")


@dataclass
class Logs:
    """What the logs of some pods have told."""

    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: frozenset[str] = frozenset()


@dataclass
class Sources:
    """Where facts come from. `refusals` holds what the last step of an object could not have, by its uid."""

    kube: Kube
    cache: Cache
    followers: Followers
    settings: Settings
    refusals: dict[str, Refusal] = field(default_factory=dict)
    synced: bool = False  # every object was listed once

    async def everywhere(self, resource: Resource, selector: str = "") -> list[dict[str, Any]]:
        """All objects in all watched namespaces."""
        return [item async for item in self.each(resource, selector)]

    async def each(self, resource: Resource, selector: str = "") -> AsyncIterator[dict[str, Any]]:
        """The same, one after the other. A namespace that is gone, or that we may not read any more, stops nothing else."""
        for namespace in self.settings.namespaces or (None,):
            try:
                async for item in self.kube.each(resource, namespace, selector):
                    yield item
            except ApiError as exc:
                if namespace is None or exc.status not in (403, 404):
                    raise
                log.warning("namespace %s is passed over: %s", namespace, exc)

    async def fresh(
        self, kind: str, resource: Resource, wanted: Callable[[dict[str, Any]], bool]
    ) -> list[dict[str, Any]]:
        """Those objects of a kind that matter, as the API has them now; the cache says which. It knows of all that could have
        been admitted: admitting is this process's alone, what it works on it has put there, and until the first resync
        everything is listed."""
        if not self.synced:
            return [body for body in await self.everywhere(resource) if wanted(body)]
        found = []
        for body in self.cache.of_kind(kind):
            if wanted(body):
                meta = body["metadata"]
                now = await self.kube.get(resource, meta["namespace"], meta["name"])
                found += [now] if now is not None else []
        return found

    async def jobs_of(self, namespace: str, uid: str) -> dict[str, dict[str, Any]]:
        listed = await self.kube.list(JOBS, namespace, names.children_selector(uid))
        return {job["metadata"]["name"]: job for job in listed}

    async def pods_of(
        self, namespace: str, uid: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        """The newest pod by Job name, and of Jobs of several pods the others: what the API lists, and what the watch
        remembers of pods that are gone."""
        listed = {p["metadata"]["uid"]: p for p in await self.kube.list(PODS, namespace, names.children_selector(uid))}
        for pod_uid, pod in list(self.cache.pods.items()):
            labels = pod["metadata"].get("labels") or {}
            if labels.get(names.UID_LABEL) == uid and pod_uid not in listed:
                listed[pod_uid] = {**pod, "gone": True}
        newest: dict[tuple[str, int], dict[str, Any]] = {}
        for pod in sorted(
            listed.values(), key=lambda p: (not p.get("gone"), p["metadata"].get("creationTimestamp", ""))
        ):
            labels = pod["metadata"].get("labels") or {}
            job = labels.get("batch.kubernetes.io/job-name") or labels.get("job-name", "")
            newest[job, names.index_of(pod)] = pod
        lead = {job: pod for (job, index), pod in newest.items() if index == 0}
        team = {job: [newest[key] for key in sorted(newest) if key[0] == job and key[1]] for job, _ in newest}
        return lead, team

    def logs(self, pods: dict[str, dict[str, Any]], key: Key) -> Logs:
        """Follows every pod that has a container, and hands out what was verified."""
        found, read = Logs(), set()
        for pod in pods.values():
            meta, gone = pod["metadata"], bool(pod.get("gone"))
            uid = meta["uid"]
            if pod.get("status", {}).get("phase") in (None, "Pending") and not gone:
                continue
            if gone and uid not in self.followers.captures:
                read.add(uid)
                continue
            capture = self.followers.ensure(uid, meta["namespace"], meta["name"], CONTAINER, key)
            if pod_is_gone(pod) or has_ended(pod):
                self.followers.ended(uid, gone=gone)
            found.blocks[uid] = dict(capture.blocks)
            if capture.reader.progress:
                found.progress[uid] = capture.reader.progress
            if capture.read:
                read.add(uid)
        found.read = frozenset(read)
        return found

    async def stored(self, namespace: str, name: str, uid: str) -> tuple[dict[str, Any] | None, str | None]:
        """The result ConfigMap of this very object; else what stands in its place, and is somebody else's."""
        found = await self.kube.get(CONFIG_MAPS, namespace, name)
        if found is None:
            return None, None
        labels = found["metadata"].get("labels") or {}
        if labels.get(names.UID_LABEL) == uid:
            return found, None
        dying = found["metadata"].get("deletionTimestamp") or found["metadata"].get("ownerReferences")
        return None, None if dying and labels.get(
            "app.kubernetes.io/managed-by"
        ) == "tokenmark" else f"ConfigMap {name}"

    async def config_map_key(self, namespace: str, name: str, key: str) -> str | None:
        """The text under a key of a ConfigMap; None where either is not there."""
        config_map = await self.kube.get(CONFIG_MAPS, namespace, name)
        value = (config_map or {}).get("data", {}).get(key)
        return str(value) if value is not None else None

    async def runs_of(
        self, namespace: str, uid: str, told: Collection[str]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, RunResult]]:
        """The runs that an object has made, by name, and the results of those that are over and not `told` yet, where they lie in a ConfigMap."""
        listed = await self.kube.list(RUNS, namespace, names.children_selector(uid))
        runs = {run["metadata"]["name"]: run for run in listed}
        over = {name: run for name, run in runs.items() if is_finished(run) and name not in told}
        results = {name: result for name, run in over.items() if (result := await self._result(run)) is not None}
        return runs, results

    async def _result(self, run: dict[str, Any]) -> RunResult | None:
        held = held_in(run)
        config_map = await self.kube.get(CONFIG_MAPS, run["metadata"]["namespace"], held) if held else None
        found = stored_result(config_map, run["metadata"]["uid"]) if config_map else None
        return found[0] if found else None

    async def unmade(self, namespace: str, jobs: dict[str, dict[str, Any]], pods: dict[str, Any]) -> dict[str, str]:
        """Why the Job controller makes no pod, in its own words, for Jobs that should have one."""
        found = {}
        for name, job in jobs.items():
            waits = not pods.get(name) and not job["spec"].get("suspend") and not is_over(job)
            if waits:
                events = await self.kube.events_of(namespace, job["metadata"]["uid"], "FailedCreate")
                if events:
                    found[name] = str(events[-1].get("message", ""))[:1000]
        return found
