"""Where baselines are kept: a folder, an object store, or ConfigMaps of a namespace. All hold every promotion; the newest counts.

`folder` and `s3://bucket/prefix` hold NAME/TIME.json; `namespace:NAME` holds an immutable ConfigMap for each promotion and
one, baseline-NAME, that lists them: the operator finds the newest with two reads and no right to list.
"""

from __future__ import annotations

import base64
import gzip
import json
from abc import ABC, abstractmethod
from pathlib import Path

from pydantic import ValidationError

from tokenmark_schemas.baseline import POINTER_KEY, RESULT_KEY, Pointer, Promoted, Promotion
from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.result import RunResult
from tokenmark_schemas.store import StoreSink

from . import cluster
from .object_keys import compact
from .object_store import Piece, fetch, keys_under, upload
from .text_file import write_text

MOST_BYTES = 64 * 2**20
LABELS = {"app.kubernetes.io/managed-by": "tokenmark", "tokenmark.dev/role": "baseline"}


class Baselines(ABC):
    """One place. Methods raise InvalidInput where it cannot be read or written."""

    @abstractmethod
    def put(self, promotion: Promotion, result: RunResult) -> Promotion: ...

    @abstractmethod
    def promotions(self) -> list[Promotion]:
        """All, oldest first."""

    @abstractmethod
    def result(self, promotion: Promotion) -> RunResult: ...

    def newest(self, name: str) -> tuple[Promotion, RunResult]:
        every = self.promotions()
        found = [each for each in every if each.name == name]
        if not found:
            known = ", ".join(sorted({each.name for each in every})) or "none"
            raise InvalidInput(f"there is no baseline {name} in {self}; there is: {known}")
        return found[-1], self.result(found[-1])


class Folder(Baselines):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    def put(self, promotion: Promotion, result: RunResult) -> Promotion:
        path = self._folder / promotion.name / f"{compact(promotion.promoted_at)}.json"
        kept = promotion.model_copy(update={"kept_as": str(path)})
        write_text(path, Promoted(promotion=kept, result=result).model_dump_json(indent=1) + "\n", str(path))
        return kept

    def promotions(self) -> list[Promotion]:
        paths = sorted(self._folder.glob("*/*.json"))
        return [_read(path.read_text(), str(path)).promotion for path in paths]

    def result(self, promotion: Promotion) -> RunResult:
        path = self._folder / promotion.name / f"{compact(promotion.promoted_at)}.json"
        return _read(path.read_text(), str(path)).result


class Store(Baselines):
    def __init__(self, sink: StoreSink) -> None:
        self._sink = sink

    def __str__(self) -> str:
        return self._sink.uri

    def put(self, promotion: Promotion, result: RunResult) -> Promotion:
        key = f"{promotion.name}/{compact(promotion.promoted_at)}.json"
        kept = promotion.model_copy(update={"kept_as": f"{self._sink.uri.rstrip('/')}/{key}"})
        text = Promoted(promotion=kept, result=result).model_dump_json(indent=1).encode()
        receipt = upload(self._sink, [Piece("result", key, text)])
        if not receipt.stored:
            raise InvalidInput(f"{self._sink.uri}: {receipt.reason}: {receipt.message}")
        return kept

    def promotions(self) -> list[Promotion]:
        keys = sorted(key for key in keys_under(self._sink) if key.count("/") == 1 and key.endswith(".json"))
        return [self._of(key).promotion for key in keys]

    def result(self, promotion: Promotion) -> RunResult:
        return self._of(f"{promotion.name}/{compact(promotion.promoted_at)}.json").result

    def _of(self, key: str) -> Promoted:
        return _read(fetch(self._sink, key, MOST_BYTES).decode(), f"{self._sink.uri}/{key}")


class Namespace(Baselines):
    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def __str__(self) -> str:
        return f"namespace {self._namespace}"

    def put(self, promotion: Promotion, result: RunResult) -> Promotion:
        held = f"baseline-{promotion.name}-{compact(promotion.promoted_at).lower().split('.')[0].rstrip('z')}"
        kept = promotion.model_copy(update={"kept_as": held})
        payload = base64.b64encode(gzip.compress(result.model_dump_json().encode(), mtime=0)).decode()
        labels = {**LABELS, "tokenmark.dev/baseline": promotion.name}
        cluster.put(self._namespace, _config_map(held, labels, binary={RESULT_KEY: payload}, immutable=True))
        listed = Pointer(promotions=[*self._listed(promotion.name), kept])
        data = {POINTER_KEY: listed.model_dump_json(indent=1)}
        cluster.put(
            self._namespace,
            _config_map(f"baseline-{promotion.name}", {**labels, "tokenmark.dev/role": "baselines"}, data=data),
        )
        return kept

    def promotions(self) -> list[Promotion]:
        found = cluster.every(self._namespace, "configmap", "tokenmark.dev/role=baselines")
        listed = [each for one in found for each in _pointed(one["data"].get(POINTER_KEY, ""), one["metadata"]["name"])]
        return sorted(listed, key=lambda each: each.promoted_at)

    def result(self, promotion: Promotion) -> RunResult:
        held = cluster.get(self._namespace, "configmap", promotion.kept_as)
        if held is None:
            raise InvalidInput(f"ConfigMap {promotion.kept_as} in {self} is gone")
        return RunResult.model_validate_json(
            gzip.decompress(base64.b64decode(held["binaryData"][RESULT_KEY])), extra="ignore"
        )

    def _listed(self, name: str) -> list[Promotion]:
        found = cluster.get(self._namespace, "configmap", f"baseline-{name}")
        return _pointed(found["data"].get(POINTER_KEY, ""), f"baseline-{name}") if found else []


def _config_map(
    name: str,
    labels: dict[str, str],
    *,
    data: dict[str, str] | None = None,
    binary: dict[str, str] | None = None,
    immutable: bool = False,
) -> dict[str, object]:
    found: dict[str, object] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
    found |= {"data": data} if data else {"binaryData": binary}
    return {**found, "immutable": True} if immutable else found


def _pointed(text: str, source: str) -> list[Promotion]:
    try:
        return Pointer.model_validate_json(text, extra="ignore").promotions
    except ValidationError:
        raise InvalidInput(f"ConfigMap {source} lists no promotions") from None


def _read(text: str, source: str) -> Promoted:
    try:
        return Promoted.model_validate_json(text, extra="ignore")
    except (ValidationError, json.JSONDecodeError):
        raise InvalidInput(f"{source} is no baseline (baseline/v1)") from None
