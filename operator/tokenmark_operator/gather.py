"""Reads the facts of one run from the API: LISTs and GETs, never a cache, where a decision hangs on it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.documents import load_documents, parse, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.workload import Workload

from .facts import Key, RunFacts
from .kube import CONFIG_MAPS, JOBS, NODES, PODS, PROBES, RUNS, SERVICES, ApiError, Kube
from .lifecycle import read_run
from .logs import Followers
from .memory import Memory
from .observe.attempt import pod_is_gone
from .observe.environment import node_facts
from .observe.exclusivity import group_of, is_finished, place_of
from .plan import names
from .plan.pod import CONTAINER
from .settings import Settings

READINGS = 3
MAX_WORKLOAD_CHARACTERS = 65_536


class Gatherer:
    """Everything `decide` wants to know."""

    def __init__(self, kube: Kube, memory: Memory, followers: Followers, settings: Settings) -> None:
        self._kube, self._memory, self._followers, self._settings = kube, memory, followers, settings

    async def run(self, cr: dict[str, Any], key: Key) -> RunFacts:
        """Facts of one BenchmarkRun. Raises ApiError, ClusterUnavailable."""
        meta = cr["metadata"]
        namespace, uid = meta["namespace"], meta["uid"]
        jobs = await self.jobs_of(namespace, uid)
        pods, mates = await self.pods_of(namespace, uid)
        finished = is_finished(cr)
        blocks, progress, read = self.logs(pods, key) if not finished else ({}, {}, frozenset())
        facts: dict[str, Any] = {}
        run = read_run(cr)
        if not finished and isinstance(run, BenchmarkRun):
            retain = run.spec.results.retention == "Retain"
            facts["stored"] = await self.stored(namespace, names.result_name(meta["name"], uid, retain=retain), uid)
            facts["workload"], facts["dataset"] = await self._workload(run)
            if not self._is_active(cr) and not run.spec.suspend:
                facts.update(await self._admission(cr, run))
        return RunFacts(
            cr=cr, now=datetime.now(UTC), settings=self._settings, jobs=jobs, pods=pods, mates=mates, blocks=blocks,
            progress=progress, log_read=read, **facts,
        )  # fmt: skip

    async def stored(self, namespace: str, name: str, uid: str) -> dict[str, Any] | None:
        """The result ConfigMap of this very object; one of the same name that is somebody else's is none."""
        found = await self._kube.get(CONFIG_MAPS, namespace, name)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return found if labels.get(names.UID_LABEL) == uid else None

    async def jobs_of(self, namespace: str, uid: str) -> dict[str, dict[str, Any]]:
        listed = await self._kube.list(JOBS, namespace, names.children_selector(uid))
        return {job["metadata"]["name"]: job for job in listed}

    async def pods_of(
        self, namespace: str, uid: str
    ) -> tuple[dict[str, dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        """The newest pod by Job name, and of Jobs of several pods the others: what the API lists, and what the watch
        remembers of pods that are gone."""
        listed = {p["metadata"]["uid"]: p for p in await self._kube.list(PODS, namespace, names.children_selector(uid))}
        for pod_uid, pod in list(self._memory.pods.items()):
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
        mates = {job: [newest[key] for key in sorted(newest) if key[0] == job and key[1]] for job, _ in newest}
        return lead, mates

    @staticmethod
    def _is_active(cr: dict[str, Any]) -> bool:
        attempts = (cr.get("status") or {}).get("attempts") or []
        return bool(attempts) and attempts[-1].get("state") in ("Pending", "Running")

    def logs(
        self, pods: dict[str, dict[str, Any]], key: Key
    ) -> tuple[dict[str, dict[str, bytes]], dict[str, dict[str, Any]], frozenset[str]]:
        """Follows every pod that has a container, and hands out what was verified."""
        blocks, progress, read = {}, {}, set()
        for pod in pods.values():
            meta = pod["metadata"]
            uid = meta["uid"]
            if pod.get("status", {}).get("phase") in (None, "Pending") and not pod.get("gone"):
                continue
            if pod.get("gone") and uid not in self._followers.captures:
                read.add(uid)
                continue
            capture = self._followers.ensure(uid, meta["namespace"], meta["name"], CONTAINER, key)
            blocks[uid] = dict(capture.blocks)
            if capture.reader.progress:
                progress[uid] = capture.reader.progress
            if capture.passes >= READINGS or (pod.get("gone") and capture.passes):
                read.add(uid)
            elif capture.passes and pod_is_gone(pod) and capture.task is not None and capture.task.done():
                self._followers.again(uid)
        return blocks, progress, frozenset(read)

    async def _workload(self, run: BenchmarkRun) -> tuple[Workload | str | None, str | None]:
        """The workload file a run names, and the content of a data set in a ConfigMap."""
        workload = await self._named_workload(run)
        spec = run.spec.workload or (workload if isinstance(workload, Workload) else None)
        ref = spec.dataset.config_map if spec else None
        if ref is None:
            return workload, None
        content = await self._config_map_key(run.metadata.namespace, ref.name, ref.key)
        if content is None:
            return f"data set: ConfigMap {ref.name} with key {ref.key} does not exist in {run.metadata.namespace}", None
        return workload, content

    async def _named_workload(self, run: BenchmarkRun) -> Workload | str | None:
        if run.spec.workload is not None:
            return None
        ref = run.spec.workload_ref
        if ref is None or ref.config_map is None:
            try:
                return _builtin(ref.name if ref and ref.name else "smoke")
            except InvalidInput as exc:
                return f"spec.workloadRef.name: {exc}"
        where = f"ConfigMap {ref.config_map.name}, key {ref.config_map.key}"
        text = await self._config_map_key(run.metadata.namespace, ref.config_map.name, ref.config_map.key)
        if text is None:
            return f"spec.workloadRef.configMap: {where} does not exist in {run.metadata.namespace}"
        if len(text) > MAX_WORKLOAD_CHARACTERS:
            return f"{where}: longer than {MAX_WORKLOAD_CHARACTERS} characters; put the data into dataset.configMap"
        try:
            document, node = load_documents(text, where)[0]
            model = parse(document, node, where)
        except InvalidInput as exc:
            return str(exc)
        return model if isinstance(model, Workload) else f"{where} is no workload file"

    async def _config_map_key(self, namespace: str, name: str, key: str) -> str | None:
        config_map = await self._kube.get(CONFIG_MAPS, namespace, name)
        value = (config_map or {}).get("data", {}).get(key)
        return str(value) if value is not None else None

    async def _admission(self, cr: dict[str, Any], run: BenchmarkRun) -> dict[str, Any]:
        """Queue, target and environment; the queue is read from the API once the cache says that the run is next."""
        now = datetime.now(UTC)
        others = self._memory.of_kind("BenchmarkRun")
        if group_of(cr) is not None and place_of(cr, others, now).position == 1:
            others = await self.all_runs()
        facts: dict[str, Any] = {"others": others}
        if place_of(cr, others, now).position == 1 and (ref := run.spec.target.service_ref) is not None:
            service = await self._kube.get(SERVICES, run.metadata.namespace, ref.name)
            facts["target_exists"] = service is not None
            facts["detected"] = await self._detect(run.metadata.namespace, service) if service else {}
        return facts

    async def all_runs(self) -> list[dict[str, Any]]:
        return await list_everywhere(self._kube, self._settings, "BenchmarkRun")

    async def _detect(self, namespace: str, service: dict[str, Any]) -> dict[str, str]:
        """Facts of the node behind a Service: that is the machine being measured."""
        selector = (service.get("spec") or {}).get("selector")
        if not selector or not self._settings.read_nodes:
            return {}
        try:
            pods = await self._kube.list(PODS, namespace, ",".join(f"{k}={v}" for k, v in selector.items()))
            node = next((p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")), None)
            found = await self._kube.get(NODES, None, node) if node else None
        except ApiError:
            return {}
        return node_facts(found) if found else {}


@lru_cache(maxsize=64)
def _builtin(name: str) -> Workload:
    """A workload that ships with the operator: it cannot change while it lives."""
    return read_workload(name)


async def list_everywhere(kube: Kube, settings: Settings, kind: str) -> list[dict[str, Any]]:
    """All objects of one of our kinds in all watched namespaces."""
    resource = RUNS if kind == "BenchmarkRun" else PROBES
    if not settings.namespaces:
        return await kube.list(resource, None)
    return [item for namespace in settings.namespaces for item in await kube.list(resource, namespace)]
