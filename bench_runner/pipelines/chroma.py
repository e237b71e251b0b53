"""Chroma, over HTTP and without its client: requests are made beforehand, and the instrument times them at its own sockets.

Vectors are always passed: what Chroma would embed texts with downloads a model first. A run makes a database of its own, or
a collection in one that it was told, and deletes it at its end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tokenmark_schemas.database import DatabaseSpec
from tokenmark_schemas.errors import RunFailed
from tokenmark_schemas.result import DatabaseFacts
from tokenmark_schemas.run import RunTarget

from ..target.http_get import Answer, ask
from ..target.route import Destination
from .mix import Call, Mix

TENANT = "/api/v2/tenants/default_tenant/databases"
COLLECTION = "records"
BATCH = 500
PATIENCE_S = 60.0
NOT_FOUND = (404,)
PATHS = {"PointRead": "get", "Insert": "add", "Update": "update", "Search": "query", "FilteredSearch": "query"}


class Chroma:
    """`prepare` it, `render` its calls, `drop` it."""

    def __init__(self, target: RunTarget, token: str | None, name: str, mix: Mix) -> None:
        self.spec = target.database or DatabaseSpec()
        self.target, self.token, self.name, self.mix = target, token, name, mix
        self.facts: DatabaseFacts | None = None
        self.version: str | None = None
        self._collection = ""
        self._made = False
        self._vectors: dict[int, str] = {}

    @property
    def _database(self) -> str:
        return self.spec.name or self.name

    @property
    def _called(self) -> str:
        """Of the collection; in a database of one's own there is only one."""
        return COLLECTION if self.spec.name is None else self.name

    # --- before and after -------------------------------------------------------------------------------------------

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Makes and fills; the index grows with what is added. Raises RunFailed."""
        began = time.monotonic()
        self.version = str(self._json("GET", "/api/v2/version"))[:200]
        self._make()
        records, count = self.mix.records, self.mix.records.spec.count
        for at in range(0, count, BATCH):
            if stopped():
                raise RunFailed("stopped while the database was filled")
            ids = range(at, min(at + BATCH, count))
            self._json("POST", f"{self._place}/add", {
                "ids": [str(number) for number in ids],
                "embeddings": [[round(float(x), 6) for x in records.vectors[number]] for number in ids],
                "metadatas": [{"category": records.category(number)} for number in ids],
                "documents": [records.payload(number) for number in ids],
            })  # fmt: skip
        if (there := self._json("GET", f"{self._place}/count")) != count:
            raise RunFailed(f"the collection at {self.target.url} holds {there} of {count} records")
        self.facts = DatabaseFacts(
            records=count, dimensions=records.spec.dimensions, load_s=time.monotonic() - began,
            index=self.spec.index.described,
        )  # fmt: skip

    def _make(self) -> None:
        index = self.spec.index
        if self.spec.name is None:
            self._delete(f"{TENANT}/{self.name}")  # an earlier attempt's of this run: nobody else has its name
            self._json("POST", TENANT, {"name": self.name})
        else:
            self._delete(f"{TENANT}/{self._database}/collections/{self._called}")
        self._made = True
        made = self._json("POST", f"{TENANT}/{self._database}/collections", {
            "name": self._called,
            "configuration": {"hnsw": {
                "space": "l2", "ef_construction": index.ef_construction, "ef_search": index.ef_search, "max_neighbors": index.m,
            }},
        })  # fmt: skip
        try:
            self._collection = str(made["id"])
        except (KeyError, TypeError):
            raise RunFailed(
                f"{self.target.url} does not answer as Chroma does; is another server on this port?"
            ) from None

    def drop(self) -> str | None:
        """What could not be removed, in a sentence; None where nothing is left."""
        if not self._made:
            return None
        collection = f"{TENANT}/{self._database}/collections/{self._called}"
        try:
            self._delete(collection)
            if self.spec.name is None:
                self._delete(f"{TENANT}/{self.name}")
        except RunFailed as exc:
            return f"database {self.name} could not be deleted: {exc}"
        self._made = False
        return None

    @property
    def _place(self) -> str:
        return f"{TENANT}/{self._database}/collections/{self._collection}"

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._asked(method, path, body)
        if answer.status >= 300:
            raise RunFailed(f"{self.target.url}{path} answers {answer.status}: {_words(answer.body)}")
        try:
            return msgspec.json.decode(answer.body) if answer.body.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RunFailed(f"{self.target.url}{path} answers no JSON: is a Chroma there?") from None

    def _delete(self, path: str) -> None:
        answer = self._asked("DELETE", path)
        if answer.status >= 300 and answer.status not in NOT_FOUND:
            raise RunFailed(f"{self.target.url}{path} answers {answer.status}: {_words(answer.body)}")

    def _asked(self, method: str, path: str, body: Any = None) -> Answer:
        answer = ask(
            self.target.url + path, token=self.token, ca_file=self.target.ca_file, verify=not self.target.insecure_skip_tls_verify,
            timeout_s=PATIENCE_S, method=method, body=None if body is None else json.dumps(body).encode(),
        )  # fmt: skip
        if isinstance(answer, str):
            raise RunFailed(f"{self.target.url}: {answer}")
        return answer

    # --- calls ------------------------------------------------------------------------------------------------------

    def renderer(self, begins: int, destination: Destination, id_prefix: str) -> Callable[[int], bytes]:
        """From a number to the bytes of that call."""
        base = destination.origin + destination.path.rstrip("/") + self._place
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        if destination.proxy_authorization:
            token += f"Proxy-Authorization: {destination.proxy_authorization}\r\n"
        heads = [
            f"POST {base}/{PATHS[operation.kind]} HTTP/1.1\r\nHost: {destination.host}\r\nUser-Agent: tokenmark\r\n"
            f"Content-Type: application/json\r\n{token}X-Request-Id: {id_prefix}-".encode()
            for operation in self.mix.operations
        ]

        def render(seq: int) -> bytes:
            call = self.mix.call(seq, begins)
            body = self._body(call).encode()
            return b"%b%d\r\nContent-Length: %d\r\n\r\n%b" % (heads[call.operation], seq, len(body), body)

        return render

    def _body(self, call: Call) -> str:
        operation, records = self.mix.operations[call.operation], self.mix.records
        if operation.kind == "PointRead":
            return f'{{"ids": ["{call.record}"], "include": ["documents"]}}'
        if operation.kind == "Update":
            return f'{{"ids": ["{call.record}"], "documents": ["{records.payload(call.new)}"]}}'
        if operation.kind == "Insert":
            vector = _text(records.added(call.query))
            return (
                f'{{"ids": ["{call.new}"], "embeddings": [{vector}], "metadatas": [{{"category": {records.category(call.record)}}}], '
                f'"documents": ["{records.payload(call.new)}"]}}'
            )
        where = (
            f', "where": {{"category": {records.asked_category(call.query)}}}'
            if operation.kind == "FilteredSearch"
            else ""
        )
        return f'{{"query_embeddings": [{self._vector(call.query)}], "n_results": {operation.k}, "include": ["distances"]{where}}}'

    def _vector(self, query: int) -> str:
        if query not in self._vectors:
            self._vectors[query] = _text(self.mix.records.asked[query])
        return self._vectors[query]


def found_in(payload: bytes) -> Sequence[int]:
    """The ids of an answer, of its first query. Raises ValueError where it is of another shape."""
    try:
        ids = msgspec.json.decode(payload)["ids"]
        return [int(each) for each in (ids[0] if ids and isinstance(ids[0], list) else ids)]
    except (KeyError, TypeError, IndexError, RecursionError, UnicodeDecodeError) as exc:
        raise ValueError(f"an answer of unexpected shape: {exc}") from exc


def _text(vector: Any) -> str:
    return "[" + ", ".join(f"{float(x):.6g}" for x in vector) + "]"


def _words(body: bytes) -> str:
    return " ".join(body[:300].decode("utf-8", "replace").split()) or "(empty body)"
