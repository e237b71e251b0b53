"""What ran where: facts of the tool and the machine, taken without slow look-ups."""

from __future__ import annotations

import os
import platform

from tokenmark_schemas.result import EngineFacts, Provenance, ToolFacts, WorkloadFacts
from tokenmark_schemas.run import RunConfig

from ..target.gpu import Gpus

VERSION = "0.1.0"


def provenance(config: RunConfig, *, engine: EngineFacts, stamps: str, gpus: Gpus | None) -> Provenance:
    """RunConfig + what the engine and the GPUs said -> provenance."""
    said = config.environment.model_dump(exclude_none=True, exclude={"labels"})
    return Provenance(
        vantage=config.vantage,
        tool=ToolFacts(
            name="tokenmark",
            version=VERSION,
            image_digest=config.images.get("runner"),
            python=platform.python_version(),
            kernel=platform.release(),
        ),
        engine=engine,
        environment={**_machine(), **_named(gpus), **config.detected, **said, **(config.environment.labels or {})},
        workload=WorkloadFacts(**config.workload_identity.model_dump()),
        spec_hash=config.spec_hash,
        fingerprint=config.fingerprint,
        fingerprint_fields=config.fingerprint_fields,
        seed=config.seed,
        images=config.images,
        stamps=stamps,
    )


def _named(gpus: Gpus | None) -> dict[str, str]:
    model = gpus.model() if gpus else None
    return {"gpu_model": model} if model else {}


def _machine() -> dict[str, str]:
    facts = {"client_cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())}
    node = os.environ.get("TOKENMARK_NODE")
    return {**facts, "client_node": node} if node else facts
