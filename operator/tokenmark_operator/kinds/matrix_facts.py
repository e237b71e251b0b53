"""The facts of one BenchmarkMatrix: its servers, its runs, and what those found that are over and not yet in its status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tokenmark_schemas.documents import parse_profiles, read_profiles
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.profiles import Profile

from ..plan.code_jobs import ASK, JUDGE, run_of
from ..plan.names import role_of
from ..shared.admission import is_finished
from ..shared.facts import Key, MatrixFacts
from .sources import Logs, Sources


async def gather_matrix(sources: Sources, cr: dict[str, Any], key: Key) -> MatrixFacts:
    """Raises ApiError, ClusterUnavailable."""
    meta = cr["metadata"]
    namespace, uid = meta["namespace"], meta["uid"]
    told = {
        row["run"] for row in (cr.get("status") or {}).get("cells") or [] if row.get("state") in ("Measured", "Failed")
    }
    jobs = await sources.jobs_of(namespace, uid)
    pods, _ = await sources.pods_of(namespace, uid)
    runs, results = await sources.runs_of(namespace, uid, told)
    finished = is_finished(cr)
    told_by = {name: pod for name, pod in pods.items() if role_of(pod) in (ASK, JUDGE)}
    for name in [name for name in told_by if run_of(name) in told]:
        # megabytes that a model wrote, and nobody asks for any more
        sources.followers.forget(told_by.pop(name)["metadata"]["uid"])
    logs = Logs() if finished else sources.logs(told_by, key)
    return MatrixFacts(
        cr=cr,
        now=datetime.now(UTC),
        settings=sources.settings,
        jobs=jobs,
        pods=pods,
        unmade={} if finished else await sources.unmade(namespace, jobs, pods),
        runs=runs,
        results=results,
        profiles=() if finished else await _profiles(sources, cr),
        blocks=logs.blocks,
        log_read=logs.read,
        refused=sources.refusals.pop(uid, None),
    )


async def _profiles(sources: Sources, cr: dict[str, Any]) -> Sequence[Profile] | str:
    ref = (cr.get("spec") or {}).get("profilesRef")
    if not isinstance(ref, dict):
        return _builtin()
    name, key, namespace = str(ref.get("name")), str(ref.get("key")), cr["metadata"]["namespace"]
    where = f"spec.profilesRef: ConfigMap {name}, key {key}"
    text = await sources.config_map_key(namespace, name, key)
    if text is None:
        return f"{where} does not exist in {namespace}"
    try:
        return parse_profiles(text, where).profiles
    except InvalidInput as exc:
        return str(exc)


@lru_cache(maxsize=1)
def _builtin() -> Sequence[Profile]:
    return read_profiles(None).profiles
