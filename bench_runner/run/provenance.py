"""What ran where: facts of the tool and the machine, taken without slow look-ups."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from tokenmark_schemas.result import EngineFacts, Provenance, ToolFacts, WorkloadFacts
from tokenmark_schemas.run import RunConfig

from ..target.gpu import Gpus

VERSION = "0.1.0"
# what a comparison across clouds asks for
EXPECTED = (
    "provider", "region", "zone", "node_instance_type", "node_cpu_model", "node_cpu_cores", "gpu_model", "gpu_count", "node_kernel",
    "cni", "kubernetes", "client_mtu_bytes", "target_image", "target_node",
)  # fmt: skip


def provenance(config: RunConfig, *, engine: EngineFacts, stamps: str, gpus: Gpus | None) -> Provenance:
    """RunConfig + what the engine and the GPUs said -> provenance."""
    said = config.environment.model_dump(exclude_none=True, exclude={"labels"})
    environment = {
        **_machine(),
        **_named(gpus),
        **_asked(config),
        **config.detected,
        **said,
        **(config.environment.labels or {}),
    }
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
        environment=environment,
        unknown=_unknown(environment, engine),
        workload=WorkloadFacts(**config.workload_identity.model_dump()),
        spec_hash=config.spec_hash,
        fingerprint=config.fingerprint,
        fingerprint_fields=config.fingerprint_fields,
        seed=config.seed,
        images=config.images,
        stamps=stamps,
    )


def _asked(config: RunConfig) -> dict[str, str]:
    """Of a RAG service: how many passages, of which collection."""
    asked = config.target.retrieval
    if asked is None:
        return {}
    return {"k": str(asked.k)} | ({"docset": asked.docset} if asked.docset else {})


def _named(gpus: Gpus | None) -> dict[str, str]:
    model = gpus.model() if gpus else None
    return {"gpu_model": model} if model else {}


def _machine() -> dict[str, str]:
    """Of the client's own machine, or pod."""
    facts = {
        "client_cpus": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "client_node": os.environ.get("TOKENMARK_NODE", ""),
        "client_cpu_model": _first("/proc/cpuinfo", r"^model name\s*: (.+)$"),
        "client_mtu_bytes": _mtu(),
    }
    return {name: value for name, value in facts.items() if value}


def _mtu() -> str:
    """Of the interface that the default route leaves by."""
    interface = _first("/proc/net/route", r"^(\S+)\t0{8}\t")
    return _first(f"/sys/class/net/{interface}/mtu", r"^(\d+)$") if interface else ""


def _first(path: str, pattern: str) -> str:
    """The group of the first line that matches; empty where there is no such file or line."""
    try:
        found = re.search(pattern, Path(path).read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1].strip() if found else ""


def _unknown(environment: dict[str, str], engine: EngineFacts) -> list[str]:
    silent = [f"engine.{name}" for name, value in engine.model_dump().items() if value is None]
    return [name for name in EXPECTED if not environment.get(name)] + silent
