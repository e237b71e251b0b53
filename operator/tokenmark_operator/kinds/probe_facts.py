"""The facts of one NetProbe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tokenmark_schemas.probe_status import OVER

from ..core.kube import NODES, PROBES, RUNS
from ..plan import names
from ..plan.store_job import store_job_name
from ..results.probe_results import kept_payload
from ..shared.admission import holds_target, is_finished, is_settled
from ..shared.facts import Key, ProbeFacts
from .sources import Sources


async def _visit_results(sources: Sources, cr: dict[str, Any]) -> dict[str, Any]:
    """What is kept of visits that run; once none of them is left, of all."""
    meta, visits = cr["metadata"], (cr.get("status") or {}).get("pairs") or []
    open_ones = [visit for visit in visits if visit.get("state") not in OVER]
    found = {}
    for visit in [v for v in open_ones if v.get("state") == "Running"] if open_ones else visits:
        name = names.visit_result_name(meta["name"], visit["index"], meta["uid"])
        stored, _ = await sources.stored(meta["namespace"], name, meta["uid"])
        if stored is not None:
            found[int(visit["index"])] = kept_payload(stored)
    return {"visit_results": found, "visits_read": bool(visits) and not open_ones}


async def gather_probe(sources: Sources, cr: dict[str, Any], key: Key) -> ProbeFacts:
    """Raises ApiError, ClusterUnavailable."""
    meta, now = cr["metadata"], datetime.now(UTC)
    namespace, uid = meta["namespace"], meta["uid"]
    jobs = await sources.jobs_of(namespace, uid)
    pods, _ = await sources.pods_of(namespace, uid)
    known: dict[str, Any] = {"jobs": jobs, "pods": pods, "refused": sources.refusals.pop(uid, None)}
    if not is_finished(cr):
        done = {v.get("index") for v in (cr.get("status") or {}).get("pairs") or [] if v.get("state") in OVER}
        clients = {job: pod for job, pod in pods.items() if job.endswith("-client") and names.visit_of(pod) not in done}
        clients |= {job: pod for job, pod in pods.items() if job == store_job_name(meta["name"])}
        told = sources.logs(clients, key)
        known.update(blocks=told.blocks, log_read=told.read, unmade=await sources.unmade(namespace, jobs, pods))
        retain = ((cr["spec"].get("results") or {}).get("retention")) == "Retain"
        name = names.result_name("NetProbe", meta["name"], uid, retain=retain)
        known["stored"], known["name_taken"] = await sources.stored(namespace, name, uid)
        known.update(await _visit_results(sources, cr))
        if not holds_target(cr, (), now):
            known["nodes"] = await sources.kube.list(NODES, None) if sources.settings.read_nodes else None
            known["others"] = await sources.fresh("NetProbe", PROBES, lambda other: not is_settled(other))
            known["strangers"] = await sources.fresh("BenchmarkRun", RUNS, lambda other: holds_target(other, (), now))
    return ProbeFacts(cr=cr, now=now, settings=sources.settings, **known)
