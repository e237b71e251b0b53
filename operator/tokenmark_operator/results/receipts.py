"""What the object stores of a run or a probe were given: receipts -> artifacts, and what ResultsStored says of them (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from tokenmark_schemas.kube import Artifact, Results
from tokenmark_schemas.store import RECEIPTS, Receipts, StoreReceipt, StoreSink

from ..plan.stores import sinks_of

RECEIPTS_KEY = "receipts.json"
NEVER = "the pod ended before it had uploaded anything"
Condition = tuple[str, str, str]  # status, reason, message


def read_receipts(payload: bytes | str | None) -> Receipts | None:
    """None where there are none, or not in our shape."""
    try:
        return Receipts.model_validate_json(payload, extra="ignore") if payload else None
    except ValidationError:
        return None


def receipts_of(config_map: dict[str, Any] | None, blocks: dict[str, bytes]) -> Receipts | None:
    """As an earlier life kept them, else as the log has them now."""
    kept = ((config_map or {}).get("data") or {}).get(RECEIPTS_KEY)
    return read_receipts(kept) or read_receipts(blocks.get(RECEIPTS))


def awaited(results: Results, blocks: dict[str, bytes]) -> bool:
    """Whether a receipt is still to come."""
    return bool(sinks_of(results)) and RECEIPTS not in blocks


def artifacts_of(receipts: Receipts | None) -> list[Artifact]:
    return [
        Artifact(
            name=f"{receipt.sink}-{found.name}", kind="ObjectStore", ref=found.url, key=found.key, sha256=found.sha256,
            size_bytes=found.size_bytes,
        )
        for receipt in (receipts.stores if receipts else [])
        for found in receipt.objects
    ]  # fmt: skip


def judged(results: Results, receipts: Receipts | None, here: Condition, again: str) -> Condition:
    """ResultsStored. `here` is what it says of the ConfigMap alone, `again` how a person tries a failed upload again."""
    sinks = sinks_of(results)
    if not sinks:
        return here
    given = {receipt.sink: receipt for receipt in (receipts.stores if receipts else [])}
    failed = [given.get(sink.name) or _never(sink) for sink in sinks]
    failed = [receipt for receipt in failed if not receipt.stored]
    if failed:
        said = "; ".join(f"{receipt.sink} ({receipt.uri}): {receipt.message}" for receipt in failed)
        return "False", failed[0].reason, f"not in every store: {said}. {here[2]}. {again}"[:4096]
    return "True", "Stored", f"{here[2] if here[1] == 'Stored' else _summary(here[2])}, and in {_places(sinks)}"


def _never(sink: StoreSink) -> StoreReceipt:
    return StoreReceipt(sink=sink.name, uri=sink.uri, reason="Interrupted", message=NEVER)


def _summary(message: str) -> str:
    """The ConfigMap lacks the requests; a store has them, so that is no loss worth a word."""
    return message.split(";", 1)[0]


def _places(sinks: Sequence[StoreSink]) -> str:
    return ", ".join(sink.uri for sink in sinks)
