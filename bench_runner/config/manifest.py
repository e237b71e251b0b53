"""A manifest, flags, or both -> RunConfig: how the command line arrives at what the operator writes into a ConfigMap."""

from __future__ import annotations

import importlib.util
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.benchmarkrun import BenchmarkRun, BenchmarkRunSpec
from tokenmark_schemas.documents import parse_costs, read_models, read_text, read_workload
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.network import WayToMeasure
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.run import RunConfig, RunIdentity, inline_prices, resolve
from tokenmark_schemas.support import unsupported_run
from tokenmark_schemas.workload import Workload

from ..run.way import read_way
from .flags import Flags
from .overrides import is_path, override, refuse_idle_flags
from .stores import stores_of

FREE_OF_A_RERUN = {
    "target", "name", "token_env", "network", "store", "store_endpoint", "store_region", "store_deadline", "store_ca_file",
}  # fmt: skip
NO_TARGET = "--target is missing: give the server's address, such as --target http://host:8000, or --target sim"


def load(manifest: Path | None, flags: Flags, *, pod: bool = False) -> RunConfig:
    """Raises InvalidInput with one sentence a problem. In a pod a stored configuration is taken as it is."""
    if manifest is None and not flags.target:
        raise InvalidInput(NO_TARGET)
    document = _read(manifest) if manifest else None
    if isinstance(document, RunConfig):
        return document if pod else _rerun(document, flags)
    spec = document.spec.camel() if document else {"target": {"engine": "openai"}, "repetitions": 1}
    refuse_idle_flags(flags, spec)
    override(spec, flags)
    checked = _checked(spec)
    workload = _workload(checked, flags)
    _refuse_unsupported(checked, workload)
    name = flags.name or (document.metadata.name if document else _default_name(checked))
    try:
        config = resolve(
            checked,
            RunIdentity(name=name, namespace=document.metadata.namespace if document else "local"),
            url=_url(checked, flags),
            workload=workload,
            token_env=flags.token_env,
            ca_file=str(flags.ca_file) if flags.ca_file else None,
        )
    except ValueError as exc:
        raise InvalidInput(str(exc)) from exc
    return _on_its_way(_priced(_stored(config, flags), checked, flags.cost), flags.network)


def _priced(config: RunConfig, spec: BenchmarkRunSpec, said: Path | None) -> RunConfig:
    """With the prices, once there is one for where the run will be: said before the load, not after."""
    prices = parse_costs(read_text(said), str(said)) if said else inline_prices(spec, datetime.now(UTC).date())
    if prices is not None:
        from tokenmark_decisions.cost import paid

        said_of_it = config.environment.model_dump(exclude_none=True, exclude={"labels"})
        paid(prices, {**said_of_it, **(config.environment.labels or {})})
    return config.model_copy(update={"prices": prices})


def _stored(config: RunConfig, flags: Flags) -> RunConfig:
    """Stores that flags name take the place of the manifest's. What uploads is an extra: said before the load, not after."""
    said = stores_of(
        flags.store or [], flags.store_endpoint, flags.store_region, deadline_s=flags.store_deadline, ca_file=flags.store_ca_file
    )  # fmt: skip
    stores = said or config.stores
    if stores and importlib.util.find_spec("obstore") is None:
        raise InvalidInput(f"{stores[0].uri}: object stores need one more package: pip install 'tokenmark[store]'")
    return config.model_copy(update={"stores": stores})


def _on_its_way(config: RunConfig, said: str | None) -> RunConfig:
    """With what is known of the network, or how to come to know it."""
    if said is None:
        return config
    path = Path(said)
    if path.is_file() or path.suffix == ".json":
        return config.model_copy(update={"network": read_way(path, config.target.url), "way_to_measure": None})
    repetitions = config.way_to_measure.repetitions if config.way_to_measure else 6
    return config.model_copy(update={"way_to_measure": WayToMeasure(host=said, repetitions=repetitions)})


def _refuse_unsupported(spec: BenchmarkRunSpec, workload: Workload | None) -> None:
    work = spec.workload or workload
    stages = spec.stages or (workload.stages if workload else [])
    missing = unsupported_run(spec, work, stages, in_cluster=False) if work else []
    if missing:
        raise InvalidInput("not supported by this version yet: " + "; ".join(missing))


def _read(path: Path) -> BenchmarkRun | RunConfig:
    models = [m for m in read_models(path) if isinstance(m, BenchmarkRun | RunConfig)]
    if len(models) != 1:
        kinds = ", ".join(type(m).__name__ for m in read_models(path))
        raise InvalidInput(
            f"{path}: expected one BenchmarkRun (or a stored config.json), found {kinds}; a workload goes into --workload"
        )
    return models[0]


def _rerun(config: RunConfig, flags: Flags) -> RunConfig:
    """A stored configuration runs as it is; only where it points may change."""
    changed = {n for n, v in vars(flags).items() if v not in (None, [])} - FREE_OF_A_RERUN
    if changed:
        names = ", ".join("--" + name.replace("_", "-") for name in sorted(changed))
        raise InvalidInput(
            f"a stored config.json is an exact rerun; {names} cannot change it (use the manifest instead)"
        )
    updates: dict[str, Any] = {"network": None, "stores": []}  # found on another way, at another time; kept where asked
    if config.team is not None:  # the pods of a cluster become processes of this machine
        updates |= {"team": None, "workers": config.team.pods}
    if flags.target:
        updates["target"] = config.target.model_copy(update={"url": flags.target.rstrip("/")})
    if flags.name:
        updates["run"] = config.run.model_copy(update={"name": flags.name})
    return _on_its_way(_stored(config.model_copy(update=updates), flags), flags.network)


def _checked(spec: dict[str, Any]) -> BenchmarkRunSpec:
    try:
        return BenchmarkRunSpec.model_validate(spec)
    except ValidationError as exc:
        raise InvalidInput(
            "\n".join(_flagged(p.field, p.message) for p in problems_of(exc, BenchmarkRunSpec))
        ) from None


_FLAG_OF = {"target.model": "--model", "target": "--target", "target.engine": "--engine", "repetitions": "--repetitions",
            "maxOutputTokens": "--max-output-tokens", "results.detail": "--detail"}  # fmt: skip


def _flagged(field: str, message: str) -> str:
    flag = _FLAG_OF.get(field)
    if flag == "--model":
        return "--model is missing: name the model as the server knows it"
    if flag == "--target":
        return NO_TARGET
    return f"{flag or 'spec.' + field}: {message}"


def _workload(spec: BenchmarkRunSpec, flags: Flags) -> Workload | None:
    if spec.workload is not None:
        return None
    if flags.workload and is_path(flags.workload):
        return read_workload(flags.workload)
    if spec.workload_ref is not None and spec.workload_ref.config_map is not None:
        raise InvalidInput("spec.workloadRef.configMap lies in a cluster; on the command line give --workload FILE")
    return read_workload(spec.workload_ref.name if spec.workload_ref and spec.workload_ref.name else "smoke")


def _url(spec: BenchmarkRunSpec, flags: Flags) -> str:
    if spec.target.endpoint is None:
        ref = spec.target.service_ref
        raise InvalidInput(
            f"spec.target.serviceRef names the Service {ref.name if ref else ''}, which only a cluster can reach; "
            "add --target http://host:port (or --target sim)"
        )
    return spec.target.endpoint.url.rstrip("/")


def _default_name(spec: BenchmarkRunSpec) -> str:
    model = re.sub(r"[^a-z0-9]+", "-", spec.target.called.lower()).strip("-")[:32] or "model"
    return f"{model}-{spec.target.engine}"
