"""A result by the name that a person gives it: a folder or file, a store's address, or `namespace/name` of a cluster's run.

The cluster is asked through kubectl, with the rights of who asks: no client of ours, no credentials of ours.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenmark_schemas.documents import MAX_DOCUMENT_BYTES
from tokenmark_schemas.errors import InvalidInput, RunFailed
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.store import StoreSink

from ..run.delivery import RunFiles
from ..run.kept import read_kept
from ..storage.object_store import fetch
from .stores import stores_of

OBJECT = re.compile(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)/([a-z0-9]([-a-z0-9.]*[a-z0-9])?)$")
KUBECTL_S = 30


def find_result(source: str, endpoint: str | None = None, region: str | None = None) -> RunResult:
    """Raises InvalidInput where there is none, RunFailed where the cluster or the store does not answer."""
    if "://" in source:
        return _of_store(source, endpoint, region)
    if not Path(source).exists() and source != "-" and (named := OBJECT.match(source)):
        return _of_cluster(named[1], named[3])
    return _run(read_kept(source), source)


def _run(found: object, source: str) -> RunResult:
    if not isinstance(found, RunFiles):
        raise InvalidInput(f"{source} is a probe's result; name a run's")
    return found.result


def _of_store(source: str, endpoint: str | None, region: str | None) -> RunResult:
    """The address of a result.json(.gz), or of the folder of one."""
    name = source.rstrip("/").rsplit("/", 1)[-1]
    wanted = [source] if name.endswith((".json", ".gz")) else [f"{source.rstrip('/')}/result.json"]
    sinks: Sequence[StoreSink] = stores_of([wanted[0].rsplit("/", 1)[0]], endpoint, region)
    content = fetch(sinks[0], wanted[0].rsplit("/", 1)[1], MAX_DOCUMENT_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / wanted[0].rsplit("/", 1)[1]
        kept.write_bytes(content)
        return _run(read_kept(str(kept)), source)


def _of_cluster(namespace: str, name: str) -> RunResult:
    run = _kubectl(namespace, "benchmarkrun", name)
    artifacts = (run.get("status") or {}).get("artifacts") or []
    stored = next((a["ref"] for a in artifacts if a.get("kind") == "ConfigMap" and a.get("name") == "result"), None)
    if stored is None:
        raise InvalidInput(
            f"{namespace}/{name} has no result in the cluster yet; see kubectl -n {namespace} describe benchmarkrun {name}"
        )
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "result.json"
        kept.write_text(json.dumps(_kubectl(namespace, "configmap", stored)))
        return _run(read_kept(str(kept)), f"{namespace}/{name}")


def _kubectl(namespace: str, kind: str, name: str) -> dict[str, Any]:
    words = ["kubectl", "-n", namespace, "get", kind, name, "-o", "json"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=KUBECTL_S, check=False)
    except FileNotFoundError:
        raise InvalidInput(
            f"{namespace}/{name} is no file or folder, and as a run of a cluster it needs kubectl, which is not installed"
        ) from None
    except subprocess.TimeoutExpired:
        raise RunFailed(f"kubectl did not answer within {KUBECTL_S} s; is the cluster reachable?") from None
    if done.returncode:
        raise InvalidInput(f"{namespace}/{name} is no file or folder, and kubectl says: {done.stderr.strip()[:300]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
