"""The facts of one BenchmarkRun."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tokenmark_schemas.benchmarkrun import BenchmarkRun
from tokenmark_schemas.cost import CostFile
from tokenmark_schemas.documents import load_documents, parse, parse_costs, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.run import inline_prices, service_in
from tokenmark_schemas.workload import Workload

from ..core.kube import CONFIG_MAPS, NODES, PODS, PROBES, RUNS, SERVICES, ApiError
from ..observe.environment import node_facts, pod_facts, unready
from ..observe.times import parse_time
from ..plan import names
from ..results.baseline import newest_of, promoted_result
from ..results.config_map import held_in, stored_result
from ..results.probe_results import read_whole
from ..shared.admission import group_of, holds_target, is_finished, is_settled, place_of
from ..shared.facts import Key, RunFacts
from .benchmarkrun import read_run
from .run_network import probe_name
from .sources import Sources

MAX_WORKLOAD_CHARACTERS = 65_536


async def gather_run(sources: Sources, cr: dict[str, Any], key: Key) -> RunFacts:
    """Raises ApiError, ClusterUnavailable."""
    return await _Reading(sources).facts(cr, key)


class _Reading:
    def __init__(self, sources: Sources) -> None:
        self._s = sources

    async def facts(self, cr: dict[str, Any], key: Key) -> RunFacts:
        meta = cr["metadata"]
        namespace, uid = meta["namespace"], meta["uid"]
        jobs = await self._s.jobs_of(namespace, uid)
        pods, team = await self._s.pods_of(namespace, uid)
        known: dict[str, Any] = {"jobs": jobs, "pods": pods, "team": team, "refused": self._s.refusals.pop(uid, None)}
        run = read_run(cr)
        if not is_finished(cr):
            told = self._s.logs(pods, key)
            known.update(blocks=told.blocks, progress=told.progress, log_read=told.read)
        if not is_finished(cr) and isinstance(run, BenchmarkRun):
            known["unmade"] = await self._s.unmade(namespace, jobs, pods)
            retain = run.spec.results.retention == "Retain"
            name = names.result_name("BenchmarkRun", meta["name"], uid, retain=retain)
            known["stored"], known["name_taken"] = await self._s.stored(namespace, name, uid)
            if known["stored"] is None and any("result" in blocks for blocks in known["blocks"].values()):
                known["baseline"] = await self._baseline(run)
            if not self._is_under_way(cr):
                known["workload"], known["dataset"] = await self._workload(run)
                known["prices"] = await self._prices(
                    run, parse_time(meta.get("creationTimestamp")) or datetime.now(UTC)
                )
                if not run.spec.suspend:
                    known.update(await self._admission(cr, run))
        return RunFacts(cr=cr, now=datetime.now(UTC), settings=self._s.settings, **known)

    @staticmethod
    def _is_under_way(cr: dict[str, Any]) -> bool:
        attempts = (cr.get("status") or {}).get("attempts") or []
        return bool(attempts) and attempts[-1].get("state") in ("Pending", "Running", "Succeeded")

    async def _workload(self, run: BenchmarkRun) -> tuple[Workload | str | None, str | None]:
        """The workload file a run names, and the content of a data set in a ConfigMap."""
        workload = await self._named_workload(run)
        spec = run.spec.workload or (workload if isinstance(workload, Workload) else None)
        ref = spec.dataset.config_map if spec else None
        if ref is None:
            return workload, None
        content = await self._s.config_map_key(run.metadata.namespace, ref.name, ref.key)
        if content is None:
            return f"data set: ConfigMap {ref.name} with key {ref.key} does not exist in {run.metadata.namespace}", None
        return workload, content

    async def _prices(self, run: BenchmarkRun, made: datetime) -> CostFile | str | None:
        """An inline price is of the day that the run was made: a life that is cut off makes the same configuration again."""
        ref = run.spec.cost.config_map if run.spec.cost else None
        if ref is None:
            return inline_prices(run.spec, made.date())
        where = f"ConfigMap {ref.name}, key {ref.key}"
        text = await self._s.config_map_key(run.metadata.namespace, ref.name, ref.key)
        if text is None:
            return f"spec.cost.configMap: {where} does not exist in {run.metadata.namespace}"
        try:
            return parse_costs(text, where)
        except InvalidInput as exc:
            return str(exc)

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
        text = await self._s.config_map_key(run.metadata.namespace, ref.config_map.name, ref.config_map.key)
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

    async def _admission(self, cr: dict[str, Any], run: BenchmarkRun) -> dict[str, Any]:
        """Queue, target and environment; everything that a queue is made of is read from the API once the cache says that
        the run is next."""
        now, group = datetime.now(UTC), group_of(cr)
        others, pods = self._s.cache.of_kind("BenchmarkRun"), []
        facts: dict[str, Any] = {"others": others}
        if place_of(cr, others, now).position == 1 and not holds_target(cr, (), now) and group is not None:
            others = await self._s.fresh(
                "BenchmarkRun", RUNS, lambda other: group_of(other) == group and not is_settled(other)
            )
            pods = await self._s.everywhere(PODS, f"{names.TARGET_LABEL}={group}")
            probes = await self._s.fresh("NetProbe", PROBES, lambda other: holds_target(other, (), now))
            facts.update(others=others, target_pods=pods, strangers=probes)
        if place_of(cr, others, now, pods).position == 1:
            facts.update(await self._target(run))
            facts.update(await self._network(run))
        return facts

    async def _target(self, run: BenchmarkRun) -> dict[str, Any]:
        """Where it runs, where it is a Service of this cluster."""
        ref = run.spec.target.service_ref
        endpoint = run.spec.target.endpoint
        named = (run.metadata.namespace, ref.name) if ref else service_in(endpoint.url) if endpoint else None
        if named is None:
            return {}
        try:
            service = await self._s.kube.get(SERVICES, *named)
        except ApiError:  # a Service of a namespace that the operator may not see
            if ref is not None:
                raise
            return {}
        facts: dict[str, Any] = {"target_exists": service is not None}
        if service is not None:
            facts.update(await self._behind(named[0], service))
        return facts

    async def _network(self, run: BenchmarkRun) -> dict[str, Any]:
        """The probe that a run is joined with, and what it found; the nodes, where it is yet to be made."""
        name, namespace = probe_name(run), run.metadata.namespace
        if name is None:
            return {}
        probe = await self._s.kube.get(PROBES, namespace, name)
        if probe is None:
            return {"nodes": await self._s.kube.list(NODES, None) if self._s.settings.read_nodes else None}
        artifacts = (probe.get("status") or {}).get("artifacts") or []
        if not is_finished(probe) or not artifacts:
            return {"net_probe": probe}
        return {
            "net_probe": probe,
            "net_found": read_whole(await self._s.kube.get(CONFIG_MAPS, namespace, artifacts[0]["ref"])),
        }

    async def _baseline(self, run: BenchmarkRun) -> RunResult | str | None:
        """What the run that it is compared with found, or why that is not to be had."""
        ref, namespace = run.spec.baseline_ref, run.metadata.namespace
        if ref is None:
            return None
        if ref.name is None:
            return await self._promoted(namespace, ref.called, f"baseline-{ref.baseline}")
        other = await self._s.kube.get(RUNS, namespace, ref.name)
        if other is None:
            return f"there is no BenchmarkRun {ref.name} in namespace {namespace}"
        held = held_in(other)
        found = await self._s.kube.get(CONFIG_MAPS, namespace, held) if held else None
        result = stored_result(found, other["metadata"]["uid"]) if found else None
        return result[0] if result else f"BenchmarkRun {ref.name} has no result"

    async def _promoted(self, namespace: str, called: str, pointer: str) -> RunResult | str:
        listed = await self._s.kube.get(CONFIG_MAPS, namespace, pointer)
        if listed is None:
            return f"there is no {called} in namespace {namespace} (ConfigMap {pointer})"
        held = newest_of(listed)
        found = await self._s.kube.get(CONFIG_MAPS, namespace, held) if held else None
        return (promoted_result(found) if found else None) or f"the newest promotion of {called} cannot be read"

    async def _behind(self, namespace: str, service: dict[str, Any]) -> dict[str, Any]:
        """The nodes behind a Service, facts of the first and of the pods, and whether any is ready: that is what is being measured."""
        selector = (service.get("spec") or {}).get("selector")
        if not selector:
            return {}
        try:
            pods = await self._s.kube.list(PODS, namespace, ",".join(f"{k}={v}" for k, v in selector.items()))
            nodes = sorted({p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")})
            found = await self._s.kube.get(NODES, None, nodes[0]) if nodes and self._s.settings.read_nodes else None
        except ApiError:
            return {}
        return {
            "target_nodes": frozenset(nodes),
            "detected": {**(node_facts(found) if found else {}), **pod_facts(pods)},
            "target_unready": None if service["spec"].get("publishNotReadyAddresses") else unready(pods),
        }


@lru_cache(maxsize=64)
def _builtin(name: str) -> Workload:
    """A workload that ships with the operator: it cannot change while it lives."""
    return read_workload(name)
