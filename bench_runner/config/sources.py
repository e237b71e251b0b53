"""A result by the name that a person gives it: a folder or file, a store's address, or `namespace/name` of a cluster's run.
`baseline:NAME` is the newest promotion of that name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenmark_schemas.documents import MAX_DOCUMENT_BYTES
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult

from ..run.delivery import RunFiles
from ..run.kept import of_document, of_packed, read_kept
from ..storage import cluster
from ..storage.baselines import Baselines, Folder, Namespace, Store
from ..storage.object_store import fetch
from .stores import stores_of

OBJECT = re.compile(r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)/([a-z0-9]([-a-z0-9.]*[a-z0-9])?)$")


def named_object(source: str) -> tuple[str, str] | None:
    """(namespace, name) where it is written so."""
    found = OBJECT.match(source)
    return (found[1], found[3]) if found else None


def find_result(
    source: str, endpoint: str | None = None, region: str | None = None, baselines: str = "baselines"
) -> RunResult:
    """Raises InvalidInput where there is none, RunFailed where the cluster or the store does not answer."""
    if source.startswith("baseline:"):
        return baselines_at(baselines, endpoint, region).newest(source.removeprefix("baseline:"))[1]
    if "://" in source:
        return _of_store(source, endpoint, region)
    if not Path(source).exists() and source != "-" and (named := OBJECT.match(source)):
        return result_in_cluster(named[1], named[3])
    return _run(read_kept(source), source)


def _run(found: object, source: str) -> RunResult:
    if not isinstance(found, RunFiles):
        raise InvalidInput(f"{source} is a probe's result; name a run's")
    return found.result


def _of_store(source: str, endpoint: str | None, region: str | None) -> RunResult:
    """The address of a result.json(.gz), or of the folder of one."""
    address = source.rstrip("/")
    if not address.endswith((".json", ".gz")):
        address += "/result.json"
    folder, name = address.rsplit("/", 1)
    content = fetch(stores_of([folder], endpoint, region)[0], name, MAX_DOCUMENT_BYTES)
    if name.endswith(".gz"):
        return _run(of_packed(content, source), source)
    try:
        return _run(of_document(content.decode(), source), source)
    except UnicodeDecodeError:
        raise InvalidInput(f"{source} cannot be read: it is not UTF-8 text") from None


def result_in_cluster(namespace: str, name: str) -> RunResult:
    """Raises as `find_result`."""
    source = f"{namespace}/{name}"
    try:
        run = cluster.get(namespace, "benchmarkrun", name)
    except InvalidInput as exc:
        raise InvalidInput(f"{source} is no file or folder, and as a run of a cluster: {exc}") from None
    if run is None:
        raise InvalidInput(f"{source} is no file or folder, and no run of the cluster that kubectl speaks to")
    artifacts = (run.get("status") or {}).get("artifacts") or []
    held = next((a["ref"] for a in artifacts if a.get("kind") == "ConfigMap" and a.get("name") == "result"), None)
    stored = cluster.get(namespace, "configmap", held) if held else None
    if stored is None:
        raise InvalidInput(
            f"{source} has no result in the cluster yet; see kubectl -n {namespace} describe benchmarkrun {name}"
        )
    return _run(of_document(json.dumps(stored), source), source)


def baselines_at(where: str, endpoint: str | None = None, region: str | None = None) -> Baselines:
    """A folder, a store's address, or namespace:NAME."""
    if where.startswith("namespace:"):
        return Namespace(where.removeprefix("namespace:"))
    if "://" in where:
        return Store(stores_of([where], endpoint, region)[0])
    return Folder(Path(where))
