"""From a key to a decision carried out: the only place where reading, deciding and applying meet. It knows no kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

from ..observe.attempt import pod_is_gone
from ..observe.times import parse_time
from ..plan import names
from ..settings import Settings
from ..shared.admission import ADMITTED, group_of, holds_target, is_finished, is_settled, place_of
from ..shared.facts import Decision, Key
from ..shared.kind import Kind
from ..shared.status import NotUnderstood
from .apply import NamesakeDying, NotMade, apply
from .cache import Cache
from .counters import Counters
from .kube import ApiError, ClusterUnavailable, Kube, Resource
from .logs import Followers
from .queue import WorkQueue

log = logging.getLogger("tokenmark.operator")
API_VERSION = "tokenmark.dev/v1alpha1"
RECONCILE_LIMIT_S = 90


class Controller:
    """Owns the queue, the cache of the watches and the log followers."""

    def __init__(self, kube: Kube, settings: Settings, counters: Counters, kinds: Sequence[Kind], sources: Any) -> None:
        """`sources(kube, cache, followers, settings)` makes what kinds gather their facts from."""
        self.kube, self.settings, self.counters = kube, settings, counters
        self.kinds = {kind.name: kind for kind in kinds}
        self.queue: WorkQueue[Key] = WorkQueue(
            waited=lambda key, seconds: counters.queue_wait_s.labels(key[0]).observe(seconds)
        )
        self.cache = Cache(keep_whole=settings.newest_runs + 50)
        self.followers = Followers(kube, self.queue.add)
        self.sources = sources(kube, self.cache, self.followers, settings)
        self.resynced_at: datetime | None = None
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # --- triggers ---------------------------------------------------------------------------------------------------

    def object_changed(self, kind: str, body: dict[str, Any], *, deleted: bool) -> None:
        """A watch event of an object of ours."""
        key = (kind, body["metadata"]["namespace"], body["metadata"]["name"])
        before = self.cache.objects.get(key)
        self.cache.see(key, body, deleted=deleted)
        self._visit(key, body)
        self._wake_owner(body)
        if deleted:
            self._forget(body["metadata"]["uid"])
        if deleted or (before is not None and self._let_go(before, body)):
            self._wake_waiting(kind, body)

    @staticmethod
    def _let_go(before: dict[str, Any], body: dict[str, Any]) -> bool:
        """Whether somebody may go now who could not before."""
        now = datetime.now(UTC)
        if holds_target(body, (), now):
            return False
        return holds_target(before, (), now) or (is_finished(body) and not is_finished(before))

    def _visit(self, key: Key, body: dict[str, Any]) -> None:
        """Now, where that could change something; when its time to live is over, where it has one."""
        ttl, done = (
            body["spec"].get("ttlSecondsAfterFinished"),
            parse_time((body.get("status") or {}).get("completionTime")),
        )
        if not is_settled(body):
            self.queue.add(key)
        elif ttl is not None and done is not None:
            self.queue.add(key, max(0.0, (done - datetime.now(UTC)).total_seconds() + ttl))

    def child_changed(self, body: dict[str, Any], *, deleted: bool) -> None:
        """A watch event of a Job or a Pod of ours."""
        meta = body["metadata"]
        if body.get("kind") == "Pod":
            self.cache.see_pod(body, deleted=deleted)
            if deleted or pod_is_gone(body):
                self._wake_target((meta.get("labels") or {}).get(names.TARGET_LABEL))
        else:
            self.cache.last_event_s["Job"] = datetime.now(UTC).timestamp()
        self._wake_owner(body)

    def _wake_owner(self, child: dict[str, Any]) -> None:
        """Of a Job or a pod the run or probe; of a run the schedule or the sweep that made it; of a probe the run."""
        meta = child["metadata"]
        for kind in self.kinds.values():
            if name := (meta.get("labels") or {}).get(kind.label):
                self.queue.add((kind.name, meta["namespace"], name))

    def _wake_target(self, group: str | None) -> None:
        """Whoever waited for a pod to leave its target may go now."""
        for key, other in list(self.cache.objects.items()) if group else ():
            if not is_settled(other) and group_of(other) == group:
                self.queue.add(key)

    def _wake_waiting(self, kind: str, body: dict[str, Any]) -> None:
        """Whoever waited for this one may go now."""
        for key, other in list(self.cache.objects.items()):
            if key[0] == kind and not is_settled(other) and self.kinds[kind].blocks(body, other):
                self.queue.add(key)

    async def resync(self) -> None:
        """LISTs every kind, replaces the cache and visits what has not settled."""
        for kind in self.kinds.values():
            listed = []
            async for body in self.sources.each(self._resource(kind)):
                listed.append(self.cache.kept(kind.name, {**body, "kind": kind.name, "apiVersion": API_VERSION}))
                self._visit((kind.name, body["metadata"]["namespace"], body["metadata"]["name"]), body)
            self.cache.resync(kind.name, listed)
        self.resynced_at, self.sources.synced = datetime.now(UTC), True

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
            except NamesakeDying as exc:
                outcome.result = "waiting"
                log.info("%s %s/%s: %s; trying again", *key, exc)
                self.queue.failed(key)
            except NotUnderstood as exc:
                outcome.result = "refused"
                log.warning("%s %s/%s is left alone: %s", *key, exc)
                self.queue.failed(key)
            except ApiError as exc:
                outcome.result = "conflict" if exc.status == 409 else "refused"
                if exc.status != 409 and "being terminated" not in exc.message:
                    log.warning("%s %s/%s: %s", *key, exc)
                self.queue.failed(key)
            except Exception:
                outcome.result = "error"
                log.exception("%s %s/%s: unexpected error", *key)
                self.queue.failed(key)

    async def _reconcile(self, key: Key) -> None:
        kind, namespace, name = self.kinds[key[0]], key[1], key[2]
        resource = self._resource(kind)
        cr = await self.kube.get(resource, namespace, name)
        if cr is None or cr["metadata"].get("deletionTimestamp"):
            return
        self.cache.objects.setdefault(
            key, self.cache.kept(kind.name, {**cr, "kind": kind.name, "apiVersion": API_VERSION})
        )
        turn = self._admission(kind, cr)
        async with turn as waited:
            if waited:  # somebody else was admitted meanwhile
                cr = await self.kube.get(resource, namespace, name)
            if cr is not None and not cr["metadata"].get("deletionTimestamp"):
                await self._step(kind, resource, cr, key, may_admit=turn.admits)
        if cr is not None and key not in self.cache.objects:  # deleted while it was worked on
            self._forget(cr["metadata"]["uid"])

    async def _step(self, kind: Kind, resource: Resource, cr: dict[str, Any], key: Key, *, may_admit: bool) -> None:
        decision = kind.decide(await kind.gather(self.sources, cr, key))
        admits = decision.status.get(ADMITTED) and not holds_target(cr, (), datetime.now(UTC))
        if admits and not may_admit:  # it became its turn while its facts were read: once more, as everybody's turn
            self.queue.add(key, 0.05)
            return
        try:
            changed = await apply(self.kube, resource, cr, decision, job_ttl_s=self.settings.job_ttl_s)
        except NotMade as exc:  # a fact for the next step, which says so and goes on or ends
            self.sources.refusals[cr["metadata"]["uid"]] = exc.refusal
            self.queue.add(key, 0.05)
            return
        if is_finished(cr) and not decision.status.get("admittedAt"):
            self._forget(cr["metadata"]["uid"])
        self._again(key, decision, changed)

    def _again(self, key: Key, decision: Decision, changed: bool) -> None:
        if changed and decision.requeue_s == 0.0:
            self.queue.add(key)
        elif decision.requeue_s is not None:
            self.queue.add(key, max(decision.requeue_s, 0.05))

    def _admission(self, kind: Kind, cr: dict[str, Any]) -> _Turn:
        """One admission at a time, of whatever kind: between the LIST and the recorded admission nobody else may look. Whoever
        holds its target, or is known not to be next, needs no turn."""
        now = datetime.now(UTC)
        needs_turn = not is_finished(cr) and not holds_target(cr, (), now)
        if needs_turn and kind.name == "BenchmarkRun":
            needs_turn = group_of(cr) is None or place_of(cr, self.cache.of_kind(kind.name), now).position == 1
        name = "admission" if needs_turn else cr["metadata"]["uid"]
        return _Turn(self._locks.setdefault(name, asyncio.Lock()), admits=needs_turn)

    def _forget(self, uid: str) -> None:
        """Pods and logs of an object that is over."""
        self.sources.refusals.pop(uid, None)
        for pod_uid in self.cache.forget_pods(uid):
            self.followers.forget(pod_uid)

    @staticmethod
    def _resource(kind: Kind) -> Resource:
        return Resource(API_VERSION, kind.plural)


class _Turn:
    """A lock that tells whether it had to be waited for."""

    def __init__(self, lock: asyncio.Lock, *, admits: bool) -> None:
        self._lock, self.admits = lock, admits

    async def __aenter__(self) -> bool:
        waited = self._lock.locked()
        await self._lock.acquire()
        return waited

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()
