"""A run's database: which one, what it is called, and what an exchange with it means."""

from __future__ import annotations

import hashlib
import re
import secrets
from array import array
from collections.abc import Callable
from typing import Any

from tokenmark_schemas.errors import InvalidInput
from tokenmark_schemas.run import RunConfig, RunIdentity

from ..load.frames import Exchange
from ..load.framing import body_of
from ..samples.decode import refused, stamped
from ..samples.sample import Failure, Sample
from ..target.route import Destination
from .chroma import Chroma, found_in
from .mix import Call, Mix
from .postgres import Postgres
from .records import RecordSet


def own_name(run: RunIdentity) -> str:
    """Of the database that a run makes: the same for every attempt of it, and for no other run. On a laptop there are no attempts."""
    unique = run.uid or secrets.token_hex(8)
    slug = re.sub(r"[^a-z0-9]+", "_", run.name.lower()).strip("_")[:32]
    digest = hashlib.sha256(f"{run.namespace}/{run.name}/{unique}".encode()).hexdigest()[:10]
    return f"tokenmark_{slug}_{digest}"


def mix_of(config: RunConfig) -> Mix:
    """Raises InvalidInput where the workload has no operations."""
    workload = config.workload
    if workload.operations is None or workload.dataset.records is None:
        raise InvalidInput(f"engine {config.target.engine} needs a workload with operations, such as vector-search")
    return Mix(workload.operations, RecordSet(workload.dataset.records), config.seed)


def database_of(config: RunConfig, token: str | None) -> Postgres | Chroma:
    name, mix = own_name(config.run), mix_of(config)
    if config.target.engine == "postgres":
        return Postgres(config.target, token, name, mix)
    return Chroma(config.target, token, name, mix)


class DatabaseCalls:
    """What the instrument asks of a database, and the samples of its answers."""

    def __init__(self, config: RunConfig, token: str | None, destination: Destination | None) -> None:
        self.database = database_of(config, token)
        self.mix, self._destination = self.database.mix, destination

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Also what the searches should find, before any of them is asked."""
        self.mix.know(stopped)
        self.database.prepare(stopped)

    def said(self, salt: str, id_prefix: str) -> dict[str, Any]:
        """The part of a phase that says what is asked."""
        begins = self.mix.begins(salt)
        if isinstance(self.database, Postgres):
            return {"calls": self.database.calls(begins), "pool": self.database.spec.connections, "render": _nothing}
        assert self._destination is not None
        return {"render": self.database.renderer(begins, self._destination, id_prefix)}

    def sample(self, exchange: Exchange, salt: str, *, stage: str, repetition: int, request_id: str) -> Sample:
        call = self.mix.call(exchange.seq, self.mix.begins(salt))
        sample = stamped(exchange, stage=stage, repetition=repetition, request_id=request_id)
        sample.operation = self.mix.operations[call.operation].name
        if isinstance(self.database, Postgres):
            self._rows(sample, exchange, call)
        elif sample.failure is None:
            self._body(sample, exchange, call)
        if sample.failure is None:
            sample.content_ns = array("q", [exchange.end_ns])
        return sample

    def _rows(self, sample: Sample, exchange: Exchange, call: Call) -> None:
        head, _, rest = exchange.data.partition(b"\n")
        if sample.failure is not None:
            if rest or head:
                sample.failure = Failure(sample.failure.kind, exchange.data.decode("utf-8", "replace")[:300])
        elif head == b"er":
            sample.failure = Failure("server_error", rest.decode("utf-8", "replace"))
        else:
            found = [int(each) for each in rest.split(b",") if each.isdigit() and len(each) < 20]
            self._judge(sample, call, found)

    def _body(self, sample: Sample, exchange: Exchange, call: Call) -> None:
        try:
            body = body_of(exchange.data)
            sample.status = body.head.status
            if body.head.status >= 300:
                sample.failure = refused(body)
                return
            reads = self.mix.operations[call.operation].kind in ("PointRead", "Search", "FilteredSearch")
            self._judge(sample, call, list(found_in(body.payload)) if reads else [])
        except ValueError as exc:
            sample.failure = Failure("protocol", str(exc)[:300])

    def _judge(self, sample: Sample, call: Call, found: list[int]) -> None:
        """A read that finds nothing is no answer; a search's worth is its recall."""
        if self.mix.operations[call.operation].kind == "PointRead" and found != [call.record]:
            sample.failure = Failure("empty", f"the record {call.record} was not found")
        sample.recall = self.mix.recall(call, found)


def _nothing(_seq: int) -> bytes:
    raise AssertionError("calls are not rendered")
