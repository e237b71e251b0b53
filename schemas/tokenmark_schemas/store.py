"""Object stores: what an uploader is told (`StoreSink`), and the receipt that it leaves (`store-receipts/v1`).

The receipt travels as a frame of the pod's log. Whoever holds no credentials, as the operator, knows from it what lies
where, and how to tell that it is whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .base import Contract, Label, Sha256, Text63, Text253, Text1024
from .kube import KEY_TEMPLATE, ObjectStore, Results

STORES_PATH = "/etc/tokenmark-stores"
RECEIPTS = "receipts"

StoreReason = Literal[
    "Stored", "StoreUnreachable", "StoreForbidden", "StoreNotFound", "StoreFull", "StoreRefused", "StoreTimedOut",
    "StoreMisconfigured", "Interrupted",
]  # fmt: skip


class StoreSink(Contract):
    """One store, as its uploader sees it. A credential is a variable of the environment: the prefix, then the store's own
    name for it."""

    name: Label
    uri: Text1024
    endpoint: Text1024 | None = None
    region: Text63 | None = None
    credentials_prefix: Text253 | None = Field(default=None, description="Unset: plain names, or who the machine is.")
    ca_file: Text1024 | None = None
    key_template: Annotated[str, Field(max_length=512)] = KEY_TEMPLATE
    deadline_s: int = 300


class StoredObject(Contract):
    """One file in a store; `url` and `key` together say where."""

    name: Literal["result", "config", "requests", "log", "record", "report"]
    url: Text1024 = Field(description="The bucket: s3://bench.")
    key: Text1024
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class StoreReceipt(Contract):
    """What became of one sink; `objects` are those that are there, also where others failed."""

    sink: Label
    uri: Text1024
    reason: StoreReason
    message: Text1024
    objects: Annotated[list[StoredObject], Field(max_length=8)] = []

    @property
    def stored(self) -> bool:
        return self.reason == "Stored"


class Receipts(Contract):
    schema_version: Literal["store-receipts/v1"] = "store-receipts/v1"
    stores: Annotated[list[StoreReceipt], Field(max_length=4)]


def store_sinks(results: Results, *, in_pod: bool) -> list[StoreSink]:
    """The object stores of a spec. A pod finds credentials where they are mounted; elsewhere the environment has them."""
    return [_sink(sink.name, sink.object_store, in_pod) for sink in results.sinks if sink.object_store is not None]


def _sink(name: str, store: ObjectStore, in_pod: bool) -> StoreSink:
    secret, bundle = (store.credentials_secret_ref, store.ca_bundle_ref) if in_pod else (None, None)
    return StoreSink(
        name=name,
        uri=store.uri.rstrip("/"),
        endpoint=store.endpoint,
        region=store.region,
        credentials_prefix=f"TOKENMARK_STORE_{name.upper().replace('-', '_')}_" if secret else None,
        ca_file=f"{STORES_PATH}/{name}/{bundle.key}" if bundle else None,
        key_template=store.key_template,
        deadline_s=store.deadline_seconds,
    )
