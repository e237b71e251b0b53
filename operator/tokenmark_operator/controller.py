"""From a key to a decision carried out: the only place where reading, deciding and applying meet."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from tokenmark_schemas.benchmarkrun import RunStatus
from tokenmark_schemas.netprobe import ProbeStatus

from .apply import CreateRefused, NameConflict, NamesakeDying, apply
from .facts import Decision, Key, KubeEvent
from .gather import Gatherer, list_everywhere
from .kube import NODES, PROBES, RUNS, ApiError, ClusterUnavailable, Kube, Resource
from .lifecycle import decide
from .logs import Followers
from .memory import Memory
from .observe.conditions import ORDER, PROBE_ORDER, Conditions
from .observe.exclusivity import group_of, is_finished, is_settled
from .plan import names
from .probe_lifecycle import ProbeFacts, decide_probe
from .queue import WorkQueue
from .settings import Settings
from .telemetry import Counters

log = logging.getLogger("tokenmark.operator")
RESOURCES: dict[str, Resource] = {"BenchmarkRun": RUNS, "NetProbe": PROBES}
RECONCILE_LIMIT_S = 90


class Controller:
    """Owns the queue, the memory of the watches and the log followers."""

    def __init__(self, kube: Kube, settings: Settings, counters: Counters) -> None:
        self.kube, self.settings, self.counters = kube, settings, counters
        self.queue: WorkQueue[Key] = WorkQueue()
        self.memory = Memory()
        self.followers = Followers(kube, self.queue.add)
        self.gatherer = Gatherer(kube, self.memory, self.followers, settings)
        self.resynced_at: datetime | None = None
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # --- triggers ---------------------------------------------------------------------------------------------------

    def object_changed(self, kind: str, body: dict[str, Any], *, deleted: bool, gap: bool) -> None:
        """A watch event of a run or a probe."""
        key = (kind, body["metadata"]["namespace"], body["metadata"]["name"])
        self.memory.see(key, body, deleted=deleted)
        self.queue.add(key)
        if deleted or is_finished(body):
            self._wake_waiting(kind, body)

    def child_changed(self, body: dict[str, Any], *, deleted: bool) -> None:
        """A watch event of a Job or a Pod of ours."""
        meta = body["metadata"]
        if body.get("kind") == "Pod":
            self.memory.see_pod(body, deleted=deleted)
        else:
            self.memory.last_event_s["Job"] = datetime.now(UTC).timestamp()
        for kind, label in names.OWNER_LABEL.items():
            if name := (meta.get("labels") or {}).get(label):
                self.queue.add((kind, meta["namespace"], name))

    def _wake_waiting(self, kind: str, body: dict[str, Any]) -> None:
        """Whoever waited for this one may go now."""
        group = group_of(body) if kind == "BenchmarkRun" else None
        for key, other in list(self.memory.objects.items()):
            if key[0] == kind and not is_finished(other) and (kind == "NetProbe" or group_of(other) == group):
                self.queue.add(key)

    async def resync(self) -> None:
        """LISTs both kinds, replaces the memory and visits what has not finished."""
        for kind in RESOURCES:
            listed = await list_everywhere(self.kube, self.settings, kind)
            for body in listed:
                body.setdefault("kind", kind)
                body.setdefault("apiVersion", "tokenmark.dev/v1alpha1")
            self.memory.resync(kind, listed)
            for body in listed:
                if not is_settled(body):
                    self.queue.add((kind, body["metadata"]["namespace"], body["metadata"]["name"]))
        self.resynced_at = datetime.now(UTC)

    # --- one key ----------------------------------------------------------------------------------------------------

    async def handle(self, key: Key) -> None:
        """Reconciles one object; failures are logged once and tried again with a growing delay."""
        with self.counters.reconcile(key[0]) as outcome:
            try:
                await asyncio.wait_for(self._reconcile(key), RECONCILE_LIMIT_S)
                self.queue.succeeded(key)
            except (ClusterUnavailable, TimeoutError) as exc:
                outcome.result = "unavailable"
                log.warning("%s %s/%s: %s; trying again", *key, exc or "took too long")
                self.queue.failed(key)
            except ApiError as exc:
                outcome.result = "conflict" if exc.status == 409 else "refused"
                if exc.status != 409 and not (exc.status in (403, 404) and "terminat" in exc.message):
                    log.warning("%s %s/%s: %s", *key, exc)
                self.queue.failed(key)
            except Exception:
                outcome.result = "error"
                log.exception("%s %s/%s: unexpected error", *key)
                self.queue.failed(key)

    async def _reconcile(self, key: Key) -> None:
        kind, namespace, name = key
        resource = RESOURCES[kind]
        cr = await self.kube.get(resource, namespace, name)
        if cr is None or cr["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return
        async with self._admission(kind, cr):
            await self._step(kind, resource, cr, key)

    async def _step(self, kind: str, resource: Resource, cr: dict[str, Any], key: Key) -> None:
        decision = await self._decide(kind, cr, key)
        try:
            changed = await apply(self.kube, resource, cr, decision, job_ttl_s=self.settings.job_ttl_s)
        except NameConflict as exc:
            await self._end(kind, resource, cr, "NameConflict", str(exc))
            return
        except CreateRefused as exc:
            await self._end(kind, resource, cr, "CreateRefused", str(exc))
            return
        except NamesakeDying as exc:
            log.info("%s %s/%s: %s; trying again", *key, exc)
            self.queue.failed(key)
            return
        if is_finished(cr) and not any(a.get("loadEndsBy") for a in decision.status.get("attempts") or []):
            for pod_uid in self.memory.forget_pods(cr["metadata"]["uid"]):
                self.followers.forget(pod_uid)
        if changed and decision.requeue_s == 0.0:
            self.queue.add(key)
        elif decision.requeue_s is not None:
            self.queue.add(key, max(decision.requeue_s, 0.05))

    def _admission(self, kind: str, cr: dict[str, Any]) -> asyncio.Lock:
        """One admission of a group at a time: between the LIST and the recorded attempt nobody else may look."""
        group = group_of(cr) if kind == "BenchmarkRun" else "probes"
        return self._locks.setdefault(group or cr["metadata"]["uid"], asyncio.Lock())

    async def _decide(self, kind: str, cr: dict[str, Any], key: Key) -> Decision:
        if kind == "BenchmarkRun":
            return decide(await self.gatherer.run(cr, key))
        return decide_probe(await self._probe_facts(cr, key))

    async def _probe_facts(self, cr: dict[str, Any], key: Key) -> ProbeFacts:
        meta = cr["metadata"]
        jobs = await self.gatherer.jobs_of(meta["namespace"], meta["uid"])
        pods, _ = await self.gatherer.pods_of(meta["namespace"], meta["uid"])
        if is_finished(cr):
            return ProbeFacts(cr=cr, now=datetime.now(UTC), settings=self.settings, jobs=jobs)
        clients = {job: pod for job, pod in pods.items() if job.endswith("-client")}
        blocks, _, read = self.gatherer.logs(clients, key)
        retain = ((cr["spec"].get("results") or {}).get("retention")) == "Retain"
        name = names.result_name(meta["name"], meta["uid"], retain=retain)
        stored = await self.gatherer.stored(meta["namespace"], name, meta["uid"])
        started = bool((cr.get("status") or {}).get("pairs"))
        nodes = None if started or not self.settings.read_nodes else await self.kube.list(NODES, None)
        others = [] if started else await list_everywhere(self.kube, self.settings, "NetProbe")
        return ProbeFacts(
            cr=cr, now=datetime.now(UTC), settings=self.settings, jobs=jobs, pods=pods, blocks=blocks, log_read=read,
            stored=stored, nodes=nodes, others=others,
        )  # fmt: skip

    async def _end(self, kind: str, resource: Resource, cr: dict[str, Any], reason: str, message: str) -> None:
        """Says why a child could not be made, and ends: no retry would change the server's mind."""
        order, model = (ORDER, RunStatus) if kind == "BenchmarkRun" else (PROBE_ORDER, ProbeStatus)
        fresh = await self.kube.get(resource, cr["metadata"]["namespace"], cr["metadata"]["name"])
        if fresh is None:
            return
        existing = model.model_validate(fresh.get("status") or {})
        conditions = Conditions(existing.conditions, fresh["metadata"].get("generation", 1), datetime.now(UTC), order)
        conditions.set("Accepted", "False", reason, message)
        conditions.finish(succeeded=False, reason=reason, message=message)
        status = {**(fresh.get("status") or {}), "conditions": [c.camel() for c in conditions.list()]}
        attempts = status.get("attempts") or []
        if attempts and attempts[-1]["state"] == "Creating":
            attempts[-1] = {**attempts[-1], "state": "Failed", "reason": reason, "message": message[:1024]}
        decision = Decision(status=status, events=[KubeEvent("Warning", reason, message)])
        if attempts and (fresh["spec"].get("execution") or {}).get("workers", 1) > 1:
            decision.delete_services = [names.meeting_name(attempts[-1]["jobName"])]
        await apply(self.kube, resource, fresh, decision, job_ttl_s=self.settings.job_ttl_s)

    def _forget(self, key: Key) -> None:
        known = self.memory.objects.pop(key, None)
        if known is not None:
            for pod_uid in self.memory.forget_pods(known["metadata"]["uid"]):
                self.followers.forget(pod_uid)
