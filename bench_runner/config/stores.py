"""Object stores named on a command line -> what an uploader is told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tokenmark_schemas.documents import read_text
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.kube import KEY_TEMPLATE, ConfigMapSink, ObjectStore, Results, Sink
from tokenmark_schemas.problems import problems_of
from tokenmark_schemas.store import StoreSink, store_sinks

MOST = 4
FLAG_OF = {"uri": "--store", "endpoint": "--store-endpoint", "region": "--store-region"}


def stores_of(
    uris: Sequence[str],
    endpoint: str | None = None,
    region: str | None = None,
    key_template: str | None = None,
    deadline_s: int | None = None,
    ca_file: Path | None = None,
) -> list[StoreSink]:
    """One sink an address; a bare path is a folder. Raises InvalidInput as a manifest's field would."""
    if (endpoint or region or deadline_s or ca_file) and not uris:
        raise InvalidInput("--store-endpoint, -region, -deadline and -ca-file describe --store: give one")
    if ca_file is not None and not ca_file.is_file():
        raise InvalidInput(f"--store-ca-file {ca_file}: there is no such file")
    if len(uris) > MOST:
        raise InvalidInput(f"--store stands {len(uris)} times; a run has at most {MOST} stores")
    sinks = [
        _sink(f"store{number}" if number > 1 else "store", uri, endpoint, region, key_template, deadline_s)
        for number, uri in enumerate(uris, start=1)
    ]
    return [sink.model_copy(update={"ca_file": str(ca_file) if ca_file else None}) for sink in sinks]


def _sink(
    name: str, uri: str, endpoint: str | None, region: str | None, key_template: str | None, deadline_s: int | None
) -> StoreSink:
    said: dict[str, Any] = {
        "uri": uri if "://" in uri else Path(uri).resolve().as_uri(), "endpoint": endpoint, "region": region,
        "key_template": key_template or KEY_TEMPLATE, "deadline_seconds": deadline_s or 300,
    }  # fmt: skip
    if not re.match(r"(s3|gs|az|file)://[^?#@\s]", said["uri"]):
        raise InvalidInput(
            f"--store {uri}: write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, or a folder"
        )
    try:
        store = ObjectStore.model_validate(said)
    except ValidationError as exc:
        problem = next(iter(problems_of(exc, ObjectStore)))
        flag = FLAG_OF.get(problem.field, "--key-template")
        raise InvalidInput(f"{flag}: {problem.message}") from None
    results = Results(sinks=[Sink(name=name, object_store=store), Sink(name="configmap", config_map=ConfigMapSink())])
    return store_sinks(results, in_pod=False)[0]


def read_sinks(path: Path) -> list[StoreSink]:
    """A list of sinks as the operator mounts it. Raises InvalidInput where it is none."""
    try:
        return TypeAdapter(list[StoreSink]).validate_json(read_text(path))
    except ValidationError:
        raise InvalidInput(f"{path} is no list of stores") from None
